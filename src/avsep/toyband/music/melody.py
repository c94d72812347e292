"""Free melodies and drum patterns, in beats: motifs that come back, phrases that breathe."""

from typing import NamedTuple

import numpy as np

from avsep.toyband.music.registers import Register

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
BAR_BEATS = 4
# How a bar of four beats may be divided, calm to lively.
RHYTHMS = (
    (2.0, 1.0, 1.0),
    (1.0, 1.0, 2.0),
    (1.0, 1.0, 1.0, 1.0),
    (1.5, 0.5, 1.0, 1.0),
    (1.5, 0.5, 1.5, 0.5),
    (1.0, 0.5, 0.5, 1.0, 1.0),
    (0.5, 0.5, 1.0, 0.5, 0.5, 1.0),
    (0.5, 0.5, 0.5, 0.5, 1.0, 1.0),
    (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
)
# Between phrases; not longer, for a window of six seconds should hold something of every player.
PAUSES_BEATS = (0, 0, 1, 1, 2)
# A melody moves mostly by step: scale steps and how often each is taken.
STEPS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
STEP_WEIGHTS = (0.03, 0.05, 0.12, 0.26, 0.08, 0.26, 0.12, 0.05, 0.03)
# A melody stays within so many semitones, wherever in the instrument's range that is.
COMPASS_SEMITONES = 17


class GridNote(NamedTuple):
    """One note of a part, in beats from the start; dynamic 0 (softest) to 1."""

    start_beats: float
    length_beats: float
    midi: int
    dynamic: float


class Key(NamedTuple):
    """A tonic, 0 (C) to 11 (B), and a scale of SCALES."""

    tonic: int
    mode: str

    def pitches(self, lowest: int, highest: int) -> list[int]:
        """The MIDI numbers of the scale from lowest to highest, both included."""
        steps = SCALES[self.mode]
        return [midi for midi in range(lowest, highest + 1) if (midi - self.tonic) % 12 in steps]


class Bar(NamedTuple):
    """A motif: how a bar is divided, and by how many scale steps each note leaves the last."""

    rhythm: tuple[float, ...]
    steps: tuple[int, ...]


def draw_key(generator: np.random.Generator) -> Key:
    """A random key, major somewhat more often."""
    return Key(int(generator.integers(12)), "major" if generator.random() < 0.6 else "minor")


def write_melody(
    register: Register, key: Key, num_beats: float, generator: np.random.Generator
) -> list[GridNote]:
    """A melody of phrases of two to four bars that fills so many beats, within the register.

    A phrase repeats or varies its motif, has one arch of dynamics and one manner of articulation,
    and ends with a rest more often than not. Instruments that can play chords add a third or an
    octave below some of the longer notes.
    """
    slack = max(register.highest - register.lowest - COMPASS_SEMITONES, 0)
    lowest = register.lowest + int(generator.integers(slack + 1))
    scale = key.pitches(lowest, min(lowest + COMPASS_SEMITONES, register.highest))
    liveliness = generator.uniform(0, 1)
    notes: list[GridNote] = []
    place = int(generator.integers(len(scale)))
    start_beats = float(generator.choice((0, 0, 0, 0.5, 1, 2)))
    while start_beats < num_beats:
        bars = _phrase(liveliness, generator)
        phrase, place = _sing(bars, scale, place, start_beats, generator)
        if register.chords and generator.random() < 0.4:
            phrase += _lower_notes(phrase, scale, generator)
        notes += phrase
        start_beats += BAR_BEATS * len(bars) + float(generator.choice(PAUSES_BEATS))
    return sorted(notes)


def _phrase(liveliness: float, generator: np.random.Generator) -> list[Bar]:
    """Two to four bars: a motif, then the same, its rhythm with other steps, or another motif."""

    def motif(rhythm: tuple[float, ...] | None = None) -> Bar:
        if rhythm is None:
            centre = liveliness * (len(RHYTHMS) - 1)
            pick = round(float(np.clip(generator.normal(centre, 2), 0, len(RHYTHMS) - 1)))
            rhythm = RHYTHMS[pick]
        steps = generator.choice(STEPS, size=len(rhythm), p=STEP_WEIGHTS)
        return Bar(rhythm, tuple(int(step) for step in steps))

    bars = [motif()]
    for _ in range(int(generator.integers(1, 4))):
        likeness = generator.random()
        again = bars[0] if likeness < 0.35 else motif(bars[0].rhythm if likeness < 0.7 else None)
        bars.append(again)
    return bars


def _sing(
    bars: list[Bar],
    scale: list[int],
    place: int,
    start_beats: float,
    generator: np.random.Generator,
) -> tuple[list[GridNote], int]:
    """The notes of a phrase from a place in the scale, and the place where it ends."""
    loudness, arch = generator.uniform(0.45, 0.85), generator.uniform(0, 0.25)
    held = float(generator.choice((0.55, 0.9, 0.95, 1.0)))  # staccato to legato
    num_beats = BAR_BEATS * len(bars)
    notes, beat = [], 0.0
    for bar in bars:
        for length_beats, step in zip(bar.rhythm, bar.steps, strict=True):
            place += step
            if not 0 <= place < len(scale):  # turn back at the end of the compass
                place = int(np.clip(place - 2 * step, 0, len(scale) - 1))
            swell = arch * np.sin(np.pi * beat / num_beats) + 0.06 * (beat % BAR_BEATS == 0)
            dynamic = float(np.clip(loudness + swell + generator.normal(0, 0.03), 0.1, 1))
            if generator.random() > 0.06:  # else a rest
                notes.append(
                    GridNote(start_beats + beat, held * length_beats, scale[place], dynamic)
                )
            beat += length_beats
    return notes, place


def _lower_notes(
    phrase: list[GridNote], scale: list[int], generator: np.random.Generator
) -> list[GridNote]:
    """A third or an octave below some of the notes of a beat or more, a little softer."""
    third_below = dict(zip(scale[2:], scale, strict=False))
    added = []
    for note in phrase:
        lower = third_below.get(note.midi) if generator.random() < 0.6 else note.midi - 12
        if note.length_beats >= 0.9 and lower in scale and generator.random() < 0.7:
            added.append(note._replace(midi=lower, dynamic=0.85 * note.dynamic))
    return added


# Drums. A pattern is a bar of sixteenths: x struck, X accented.
KICK, SNARE, CLOSED, OPEN, RIDE, CRASH = 36, 38, 42, 46, 51, 49
TOMS = (48, 45, 41)
DRUM_PATTERNS = (
    {KICK: "X.......X.......", SNARE: "....X.......X...", CLOSED: "x.x.x.x.x.x.x.x."},
    {KICK: "X.....x.X.......", SNARE: "....X.......X..x", CLOSED: "X.x.X.x.X.x.X.x."},
    {KICK: "X...X...X...X...", SNARE: "....X.......X...", OPEN: "..x...x...x...x."},
    {KICK: "X.......x.x.....", SNARE: "....X..x....X...", RIDE: "X...X.x.X...X.x."},
    {KICK: "X.......X.......", SNARE: "X.xxX.x.X.xxX.x."},
    {KICK: "X..x..x...X.x...", SNARE: "....X.......X...", CLOSED: "xxxxxxxxxxxxxxxx"},
    {KICK: "X.......X.......", 45: "....x.x.....x.x.", 41: "..x.......x....."},
    {KICK: "X...............", SNARE: "........X.......", CLOSED: "x...x...x...x..."},
)
PAUSE = {KICK: "X...............", OPEN: "........x......."}
FILLS = ("X.x.X.x.X.x.X.x.", "........X.x.X.xx", "....X.xxX.xxX.xx")


def write_drums(num_beats: float, generator: np.random.Generator) -> list[GridNote]:
    """A drum part: one pattern kept up, a fill over snare and toms or a pause every few bars."""
    pattern = DRUM_PATTERNS[int(generator.integers(len(DRUM_PATTERNS)))]
    every_bars = int(generator.choice((2, 3, 4)))
    loudness = generator.uniform(0.5, 0.85)
    notes: list[GridNote] = []
    for bar in range(int(np.ceil(num_beats / BAR_BEATS))):
        struck = pattern
        if bar % every_bars == every_bars - 1:
            struck = _fill(generator) if generator.random() < 0.75 else PAUSE
        elif bar % every_bars == 0 and bar and generator.random() < 0.7:
            struck = {**pattern, CRASH: "X..............."}
        for key, strokes in struck.items():
            for sixteenth, stroke in enumerate(strokes):
                if stroke == ".":
                    continue
                dynamic = loudness + 0.15 * (stroke == "X") + generator.normal(0, 0.04)
                start_beats = bar * BAR_BEATS + sixteenth / 4
                notes.append(GridNote(start_beats, 0.25, key, float(np.clip(dynamic, 0.1, 1))))
    return sorted(note for note in notes if note.start_beats < num_beats)


def _fill(generator: np.random.Generator) -> dict[int, str]:
    """A bar that goes down the kit: its strokes are shared out over snare and toms in turn."""
    strokes = FILLS[int(generator.integers(len(FILLS)))]
    quarters = dict(zip((SNARE, *TOMS), range(4), strict=True))
    return {
        key: "".join(stroke if n // 4 == quarter else "." for n, stroke in enumerate(strokes))
        for key, quarter in quarters.items()
    }
