"""Convert the notes of a part into the pose of its player at any time.

A player is still during rests. Strokes, strums and strikes start at the onset of their note;
sticks rise shortly before it, so that they touch the drum exactly at the onset.
"""

import bisect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

CHORD_SECONDS = 0.03  # notes with onsets closer than this form one gesture
RAISE_SECONDS = 0.16  # a stick starts to rise this long before the onset
TRAVEL_SECONDS = 0.22  # a hand starts to move to its next key or drum this long before the onset
# Longer than a frame at the default rate of 20 a second, so that every strike is in the video.
TOUCH_SECONDS = 0.06
RING_SECONDS = 0.2  # a struck bar, drum or string is drawn as ringing for this long
RECOVER_SECONDS = 0.16  # a stick is back at rest this long after it left the drum
GLIDE_LEAD_SECONDS, GLIDE_SECONDS = 0.08, 0.1  # left hand or slide: start before onset, duration
STRUM_LEAD_SECONDS, STRUM_SECONDS = 0.05, 0.16  # plucking hand: start before onset, duration
IDLE_HEIGHT = 0.35  # height of a stick at rest; 1 is the top of a strike
DEFAULT_MIDI = 60  # pitch used for notes without one
SWAY_SECONDS = 2.4  # playing time of one full sway, left to right and back
OCTAVE_SEMITONES = 12
FULL_STROKE_SECONDS = 0.5  # notes at least this long use the full stroke
# At most this many gestures have their onset within RING_SECONDS, as they are CHORD_SECONDS apart.
MAX_RINGING_GESTURES = 8


@runtime_checkable
class PlayedNote(Protocol):
    """Timing, pitch and loudness of a note: the interface that any note type has to provide."""

    @property
    def onset_seconds(self) -> float:
        """Onset, from the start of the clip."""
        ...

    @property
    def duration_seconds(self) -> float:
        """Duration of the note."""
        ...

    @property
    def midi(self) -> int | None:
        """Pitch, or key of the General MIDI percussion map, or None."""
        ...

    @property
    def dynamic(self) -> float:
        """Loudness, 0..1."""
        ...


class Hand(NamedTuple):
    """A striking hand: the pitches it moves between, progress 0..1, and height (0 touches)."""

    from_midi: int
    to_midi: int
    progress: float
    height: float


@dataclass(frozen=True)
class Pose:
    """The state of a player at one time, quantised so that drawn layers can be cached.

    Attributes:
        stroke: position of a bow or a bellows, -1..1; the direction alternates with each note.
        pitch: position of the pitch in the part's range, 0..1.
        fingers: which of six fingers are down, as bits.
        strum: position of a plucking hand, 0..1; it crosses the strings at each onset.
        lean: amount by which the player leans into the note, 0..1; decreases during the note.
        sway: of the body, -1..1.
        hands: the two striking hands: left in the picture, right in the picture.
        struck: pitches whose bar, drum or string is ringing.
        sounding: pitches of the notes being held.
        lowest, highest: the part's pitch range, at least an octave.
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
        """Return the position of a pitch in the part's range, 0..1."""
        return min(1.0, max(0.0, (midi - self.lowest) / max(1, self.highest - self.lowest)))


class Gesture(NamedTuple):
    """One movement of a player: all notes that start together."""

    onset_seconds: float
    end_seconds: float
    dynamic: float
    midis: tuple[int, ...]

    @property
    def duration_seconds(self) -> float:
        """Time from the onset to the end, at least 0.01."""
        return self.end_seconds - self.onset_seconds


class Motion:
    """The poses of one player, computed from the notes of the part."""

    def __init__(
        self,
        notes: Sequence[PlayedNote],
        strike_position: Callable[[int], float | None] = float,
    ) -> None:
        """Plan the gestures of a part.

        Args:
            notes: the part, in any order.
            strike_position: from a pitch to the x position at which a hand strikes it; None for
                a pitch that no hand strikes.
        """
        self.gestures = _group_chords(notes)
        self._note_spans = [
            (n.onset_seconds, n.onset_seconds + n.duration_seconds, _midi_of(n)) for n in notes
        ]
        self._onsets = [gesture.onset_seconds for gesture in self.gestures]
        midis = [midi for gesture in self.gestures for midi in gesture.midis] or [DEFAULT_MIDI]
        # With a narrower range, a part of two adjacent pitches would move over the whole neck.
        spare = max(0, OCTAVE_SEMITONES - (max(midis) - min(midis))) // 2
        self._rest_pose = Pose(lowest=min(midis) - spare, highest=max(midis) + spare)
        self._strikes = _split_between_hands(self.gestures, strike_position)
        self._stroke_ends = _plan_strokes(self.gestures)
        durations = [gesture.duration_seconds for gesture in self.gestures]
        self._playing_seconds_before = np.concatenate([[0.0], np.cumsum(durations)]).tolist()

    def pose(self, time_seconds: float) -> Pose:
        """Return the pose at a time."""
        if not self.gestures:
            return self._rest_pose
        index = bisect.bisect_right(self._onsets, time_seconds) - 1
        current = self.gestures[max(index, 0)]
        is_playing = index >= 0 and time_seconds < current.end_seconds
        age_seconds = time_seconds - current.onset_seconds
        recent = self.gestures[max(0, index + 1 - MAX_RINGING_GESTURES) : index + 1]
        sway_turns = self._playing_seconds(index, age_seconds) / SWAY_SECONDS
        # Every distinct value of a field is one more drawing to cache, so each field has the
        # fewest steps that still move by only a few pixels.
        return replace(
            self._rest_pose,
            stroke=_quantise(self._stroke(index, age_seconds), 20),
            pitch=_quantise(self._rest_pose.relative_pitch(self._gliding_pitch(time_seconds)), 24),
            # 11 has no factor in common with 63: different pitches of a scale get different
            # fingerings. Adding 1 keeps at least one finger down.
            fingers=(max(current.midis) * 11) % 63 + 1 if is_playing else 0,
            strum=_quantise(self._strum(time_seconds), 6),
            lean=_quantise(_lean(current, age_seconds) if index >= 0 else 0.0, 4),
            sway=_quantise(math.sin(2 * math.pi * sway_turns), 8),
            hands=(_hand(self._strikes[0], time_seconds), _hand(self._strikes[1], time_seconds)),
            struck=_pitches(g for g in recent if time_seconds - g.onset_seconds < RING_SECONDS),
            sounding=self._sounding(time_seconds),
        )

    def _sounding(self, time_seconds: float) -> tuple[int, ...]:
        """Return the held pitches, each for its own duration: a bass may outlast a melody note."""
        return tuple(
            sorted({midi for start, end, midi in self._note_spans if start <= time_seconds < end})
        )

    def _playing_seconds(self, index: int, age_seconds: float) -> float:
        """Return the playing time so far without rests, so that the sway pauses during a rest."""
        if index < 0:
            return 0.0
        gesture = self.gestures[index]
        return self._playing_seconds_before[index] + min(age_seconds, gesture.duration_seconds)

    def _stroke(self, index: int, age_seconds: float) -> float:
        if index < 0:
            return self._stroke_ends[0]
        start, end = self._stroke_ends[index : index + 2]
        share = min(1.0, age_seconds / self.gestures[index].duration_seconds)
        return start + (end - start) * share

    def _gliding_pitch(self, time_seconds: float) -> float:
        """Return the pitch under the left hand or slide, which moves shortly before an onset."""
        ahead = time_seconds + GLIDE_LEAD_SECONDS
        index = max(0, bisect.bisect_right(self._onsets, ahead) - 1)
        pitch, before = (max(self.gestures[max(0, i)].midis) for i in (index, index - 1))
        share = _smoothstep((ahead - self._onsets[index]) / GLIDE_SECONDS)
        return before + (pitch - before) * share

    def _strum(self, time_seconds: float) -> float:
        """Return the position of the plucking hand: down and up with alternate notes."""
        ahead = time_seconds + STRUM_LEAD_SECONDS
        index = bisect.bisect_right(self._onsets, ahead) - 1
        if index < 0:
            return 0.0
        share = _smoothstep((ahead - self._onsets[index]) / STRUM_SECONDS)
        return share if index % 2 == 0 else 1 - share


def _group_chords(notes: Sequence[PlayedNote]) -> list[Gesture]:
    """Group simultaneous notes into gestures; each ends no later than the next one starts."""
    chords: list[list[PlayedNote]] = []
    for note in sorted(notes, key=lambda note: note.onset_seconds):
        if chords and note.onset_seconds - chords[-1][0].onset_seconds < CHORD_SECONDS:
            chords[-1].append(note)
        else:
            chords.append([note])
    onsets = [chord[0].onset_seconds for chord in chords] + [math.inf]
    gestures = []
    for chord, onset, next_onset in zip(chords, onsets[:-1], onsets[1:], strict=True):
        last_end = max(note.onset_seconds + note.duration_seconds for note in chord)
        # At least 10 ms, since positions within a gesture are divided by its duration.
        end = max(onset + 0.01, min(next_onset, last_end))
        midis = tuple(sorted({_midi_of(note) for note in chord}))
        gestures.append(Gesture(onset, end, max(note.dynamic for note in chord), midis))
    return gestures


def _midi_of(note: PlayedNote) -> int:
    return DEFAULT_MIDI if note.midi is None else note.midi


def _plan_strokes(gestures: list[Gesture]) -> list[float]:
    """Return the bow position before each gesture and after the last.

    Loud and long notes get longer strokes, up to 1 from the middle.
    """
    ends = [-0.6]
    for index, gesture in enumerate(gestures):
        length = min(1.0, gesture.duration_seconds / FULL_STROKE_SECONDS)
        reach = 0.3 + (0.3 + 0.4 * gesture.dynamic) * length
        ends.append(reach if index % 2 == 0 else -reach)
    return ends


def _split_between_hands(
    gestures: list[Gesture], strike_position: Callable[[int], float | None]
) -> tuple[list[Gesture], list[Gesture]]:
    """Return the strikes of the left and right hand: each strikes one half of the range in use."""
    x_by_midi = {midi: strike_position(midi) for gesture in gestures for midi in gesture.midis}
    positions = [x for x in x_by_midi.values() if x is not None]
    middle = (min(positions) + max(positions)) / 2 if positions else 0.0
    left: list[Gesture] = []
    right: list[Gesture] = []
    for gesture in gestures:
        for strikes, is_left in ((left, True), (right, False)):
            midis = tuple(
                midi
                for midi in gesture.midis
                if (x := x_by_midi[midi]) is not None and (x < middle) == is_left
            )
            if midis:
                strikes.append(gesture._replace(midis=midis))
    return left, right


def _hand(strikes: list[Gesture], time_seconds: float) -> Hand:
    """Return the state of a hand: up again after a strike, over to the next place, up and down."""
    if not strikes:
        return Hand(-1, -1, 1.0, IDLE_HEIGHT)
    onsets = [strike.onset_seconds for strike in strikes]
    # A strike counts as reached 10 ms early: the frame just before an onset shows the contact.
    index = bisect.bisect_right(onsets, time_seconds + 0.01) - 1
    from_midi = strikes[max(index, 0)].midis[-1]
    seconds_until = onsets[index + 1] - time_seconds if index + 1 < len(strikes) else math.inf
    seconds_since = time_seconds - onsets[index] if index >= 0 else math.inf
    height = IDLE_HEIGHT * _smoothstep((seconds_since - TOUCH_SECONDS) / RECOVER_SECONDS)
    if seconds_until < RAISE_SECONDS:
        share = seconds_until / RAISE_SECONDS
        # A parabola with its top, 2.6 / 4 above IDLE_HEIGHT and so 1, halfway through the rise.
        height = max(height, IDLE_HEIGHT) * min(1, 3 * share) + 2.6 * share * (1 - share)
    to_midi, progress = from_midi, 1.0
    if seconds_until < TRAVEL_SECONDS:
        to_midi = strikes[index + 1].midis[-1]
        # The hand is above its target after 80 % of the time; the last part is straight down.
        progress = _smoothstep((TRAVEL_SECONDS - seconds_until) / (TRAVEL_SECONDS * 0.8))
    return Hand(from_midi, to_midi, _quantise(progress, 4), _quantise(min(1.0, height), 6))


def _lean(gesture: Gesture, age_seconds: float) -> float:
    """Return the lean of the player: largest at the onset, 0 at the end of the gesture."""
    remaining = 1 - age_seconds / max(RECOVER_SECONDS, gesture.duration_seconds)
    # The softest note still moves the player by a third, so that every onset is visible.
    return max(0.0, remaining) * (0.35 + 0.65 * gesture.dynamic)


def _pitches(gestures: Iterable[Gesture]) -> tuple[int, ...]:
    return tuple(sorted({midi for gesture in gestures for midi in gesture.midis}))


def _smoothstep(share: float) -> float:
    """Interpolate from 0 to 1 with zero slope at both ends: 3 x^2 - 2 x^3, clamped."""
    share = min(1.0, max(0.0, share))
    return share * share * (3 - 2 * share)


def _quantise(value: float, steps: int) -> float:
    return round(value * steps) / steps
