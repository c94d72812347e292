"""How a player moves: from the notes of a part to the pose at any time.

Everything stands still in a rest; strokes, strums and blows start when their note starts, and
sticks rise a moment before, so that they meet the drum at the onset.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

CHORD_SECONDS = 0.03  # notes that start closer than this are one movement
RAISE_SECONDS = 0.16  # a stick starts to rise so long before it falls
TRAVEL_SECONDS = 0.22  # a hand starts to its next place so long before
TOUCH_SECONDS = 0.06  # a stick stays on the drum so long: more than one picture at 20 a second
RING_SECONDS = 0.2  # a bar, a drum or a string is seen to shake so long
RECOVER_SECONDS = 0.16  # a nod and a raised stick are back so soon
IDLE_HEIGHT = 0.35  # of a resting stick, 1 is the top of a blow
DEFAULT_MIDI = 60  # for events without a pitch
SWAY_SECONDS = 2.4  # of playing, from left to right and back


@runtime_checkable
class PlayedNote(Protocol):
    """What the pictures ask of a note."""

    @property
    def onset_seconds(self) -> float:
        """When it starts, from the start of the clip."""
        ...

    @property
    def duration_seconds(self) -> float:
        """How long it sounds."""
        ...

    @property
    def midi(self) -> int | None:
        """Its pitch, or the drum of the General MIDI list, or none."""
        ...

    @property
    def dynamic(self) -> float:
        """How loud, 0..1."""
        ...


class Hand(NamedTuple):
    """A hand that hits: between two places, and how high above them (0 touches)."""

    from_midi: int
    to_midi: int
    progress: float
    height: float


@dataclass(frozen=True)
class Pose:
    """All that moves, at one time, in coarse steps so that pictures of it can be kept.

    Attributes:
        stroke: place of a bow or a bellows, -1..1; one way a note, back with the next.
        pitch: where the note lies in the part's range, 0..1.
        fingers: which of six fingers are down, as bits.
        strum: place of a plucking hand, 0..1; across the strings at each onset.
        press: how much the player leans into the note, 0..1; falls while it lasts.
        sway: of the body, -1..1.
        hands: the two hands of those who hit: left of the picture, right of it.
        struck: pitches whose bar, drum or string has just been hit.
        sounding: pitches that sound.
        lowest, highest: the part's range, at least an octave.
    """

    stroke: float = 0.0
    pitch: float = 0.5
    fingers: int = 0
    strum: float = 0.0
    lean: float = 0.0
    sway: float = 0.0
    hands: tuple[Hand, Hand] = (Hand(60, 60, 1.0, 0.35), Hand(60, 60, 1.0, 0.35))
    struck: tuple[int, ...] = ()
    sounding: tuple[int, ...] = ()
    lowest: int = 48
    highest: int = 72

    def relative_pitch(self, midi: float) -> float:
        """Where a pitch lies in the part's range, 0..1."""
        return min(1.0, max(0.0, (midi - self.lowest) / max(1, self.highest - self.lowest)))


class Gesture(NamedTuple):
    """One movement: notes that start together."""

    onset_seconds: float
    end_seconds: float
    dynamic: float
    midis: tuple[int, ...]


class Motion:
    """The poses of one part."""

    def __init__(
        self, notes: Sequence[PlayedNote], strike_position: Callable[[int], float | None] = float
    ) -> None:
        """Plan the movements; `where` says how far right a pitch is hit, none for by no hand."""
        self.gestures = _group_chords(notes)
        self._note_spans = [
            (n.onset_seconds, n.onset_seconds + n.duration_seconds, _midi_of(n)) for n in notes
        ]
        self._onsets = [gesture.onset_seconds for gesture in self.gestures]
        midis = [midi for gesture in self.gestures for midi in gesture.midis] or [DEFAULT_MIDI]
        spare = max(0, 12 - (max(midis) - min(midis))) // 2
        self._still = Pose(lowest=min(midis) - spare, highest=max(midis) + spare)
        self._hits = _split_between_hands(self.gestures, strike_position)
        self._stroke_ends = _plan_strokes(self.gestures)
        lengths = [gesture.end_seconds - gesture.onset_seconds for gesture in self.gestures]
        self._played_seconds = np.concatenate([[0.0], np.cumsum(lengths)]).tolist()

    def pose(self, time_seconds: float) -> Pose:
        """The pose at a time."""
        if not self.gestures:
            return self._still
        index = bisect.bisect_right(self._onsets, time_seconds) - 1
        now = self.gestures[max(index, 0)]
        playing = index >= 0 and time_seconds < now.end_seconds
        age = time_seconds - now.onset_seconds
        recent = self.gestures[max(0, index - 7) : index + 1]
        return replace(
            self._still,
            stroke=_quantise(self._stroke(index, age), 20),
            pitch=_quantise(self._still.relative_pitch(self._gliding_pitch(time_seconds)), 24),
            fingers=(max(now.midis) * 11) % 63 + 1 if playing else 0,
            strum=_quantise(self._strum(time_seconds), 6),
            lean=_quantise(_lean(now, age) if index >= 0 else 0.0, 4),
            sway=_quantise(math.sin(2 * math.pi * self._played(index, age) / SWAY_SECONDS), 8),
            hands=(_hand(self._hits[0], time_seconds), _hand(self._hits[1], time_seconds)),
            struck=_pitches(b for b in recent if time_seconds - b.onset_seconds < RING_SECONDS),
            sounding=self._sounding(time_seconds),
        )

    def _sounding(self, time_seconds: float) -> tuple[int, ...]:
        """Pitches held, each as long as its own note: a bass may last below a melody."""
        return tuple(
            sorted({midi for start, end, midi in self._note_spans if start <= time_seconds < end})
        )

    def _played(self, index: int, age: float) -> float:
        """Seconds of playing so far, rests left out."""
        if index < 0:
            return 0.0
        gesture = self.gestures[index]
        return self._played_seconds[index] + min(age, gesture.end_seconds - gesture.onset_seconds)

    def _stroke(self, index: int, age: float) -> float:
        if index < 0:
            return self._stroke_ends[0]
        gesture = self.gestures[index]
        share = min(1.0, age / (gesture.end_seconds - gesture.onset_seconds))
        return (
            self._stroke_ends[index]
            + (self._stroke_ends[index + 1] - self._stroke_ends[index]) * share
        )

    def _gliding_pitch(self, time_seconds: float) -> float:
        """The pitch that the left hand or the slide is at: on its way just before an onset."""
        index = max(0, bisect.bisect_right(self._onsets, time_seconds + 0.08) - 1)
        pitch, before = (max(self.gestures[max(0, i)].midis) for i in (index, index - 1))
        share = _smoothstep((time_seconds + 0.08 - self._onsets[index]) / 0.1)
        return before + (pitch - before) * share

    def _strum(self, time_seconds: float) -> float:
        """Down with one note, up with the next, quickly around the onset."""
        index = bisect.bisect_right(self._onsets, time_seconds + 0.05) - 1
        if index < 0:
            return 0.0
        share = _smoothstep((time_seconds + 0.05 - self._onsets[index]) / 0.16)
        return share if index % 2 == 0 else 1 - share


def _group_chords(notes: Sequence[PlayedNote]) -> list[Gesture]:
    """Chords as one; each ends at the latest where the next starts."""
    groups: list[list[PlayedNote]] = []
    for note in sorted(notes, key=lambda each: each.onset_seconds):
        if groups and note.onset_seconds - groups[-1][0].onset_seconds < CHORD_SECONDS:
            groups[-1].append(note)
        else:
            groups.append([note])
    starts = [group[0].onset_seconds for group in groups] + [math.inf]
    return [
        Gesture(
            start,
            max(start + 0.01, min(following, max(n.onset_seconds + n.duration_seconds
                                                 for n in group))),
            max(n.dynamic for n in group),
            tuple(sorted({_midi_of(note) for note in group})),
        )
        for group, start, following in zip(groups, starts[:-1], starts[1:], strict=True)
    ]  # fmt: skip


def _midi_of(note: PlayedNote) -> int:
    return DEFAULT_MIDI if note.midi is None else note.midi


def _plan_strokes(gestures: list[Gesture]) -> list[float]:
    """Where the bow is before each note and after the last: farther for loud and long notes."""
    ends = [-0.6]
    for index, gesture in enumerate(gestures):
        length = min(1.0, (gesture.end_seconds - gesture.onset_seconds) / 0.5)
        reach = 0.3 + (0.3 + 0.4 * gesture.dynamic) * length
        ends.append(reach if index % 2 == 0 else -reach)
    return ends


def _split_between_hands(
    gestures: list[Gesture], strike_position: Callable[[int], float | None]
) -> tuple[list[Gesture], list[Gesture]]:
    """What the left and the right hand hit: each its own half."""
    places = {midi: strike_position(midi) for gesture in gestures for midi in gesture.midis}
    known = [place for place in places.values() if place is not None]
    middle = (min(known) + max(known)) / 2 if known else 0.0
    left: list[Gesture] = []
    right: list[Gesture] = []
    for gesture in gestures:
        for hits, is_left in ((left, True), (right, False)):
            near = [
                midi
                for midi in gesture.midis
                if (place := places[midi]) is not None and (place < middle) == is_left
            ]
            if near:
                hits.append(gesture._replace(midis=tuple(near)))
    return left, right


def _hand(hits: list[Gesture], time_seconds: float) -> Hand:
    """A hand on its way: back up after a hit, over to the next place, up and down."""
    if not hits:
        return Hand(-1, -1, 1.0, IDLE_HEIGHT)
    onsets = [hit.onset_seconds for hit in hits]
    index = bisect.bisect_right(onsets, time_seconds + 0.01) - 1
    here = hits[max(index, 0)].midis[-1]
    until = onsets[index + 1] - time_seconds if index + 1 < len(hits) else math.inf
    since = time_seconds - onsets[index] if index >= 0 else math.inf
    height = IDLE_HEIGHT * _smoothstep((since - TOUCH_SECONDS) / RECOVER_SECONDS)
    if until < RAISE_SECONDS:
        share = until / RAISE_SECONDS
        height = max(height, IDLE_HEIGHT) * min(1, 3 * share) + 2.6 * share * (1 - share)
    target, progress = here, 1.0
    if until < TRAVEL_SECONDS:
        target = hits[index + 1].midis[-1]
        progress = _smoothstep((TRAVEL_SECONDS - until) / (TRAVEL_SECONDS * 0.8))
    return Hand(here, target, _quantise(progress, 4), _quantise(min(1.0, height), 6))


def _lean(gesture: Gesture, age: float) -> float:
    """How much the player leans into a note: most at its onset, nothing at its end."""
    left = 1 - age / max(RECOVER_SECONDS, gesture.end_seconds - gesture.onset_seconds)
    return max(0.0, left) * (0.35 + 0.65 * gesture.dynamic)


def _pitches(gestures: Iterable[Gesture]) -> tuple[int, ...]:
    return tuple(sorted({midi for gesture in gestures for midi in gesture.midis}))


def _smoothstep(share: float) -> float:
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def _quantise(value: float, steps: int) -> float:
    """The nearest step, so that few different pictures are needed."""
    return round(value * steps) / steps
