"""Compose melodies and drum patterns in beats: motifs, phrases with rests, fills."""

from typing import NamedTuple

import numpy as np

from avsep.toyband.music.registers import Register

# Semitones above the tonic. The minor scale is the natural one, without a raised seventh.
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
BAR_BEATS = 4
# Divisions of a bar into note lengths in beats, from calm to lively: a phrase picks around a
# position in this order.
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
# Rests between phrases. Not longer, because a window of six seconds, the unit of training and
# evaluation, should contain some sound of every player.
PAUSES_BEATS = (0, 0, 1, 1, 2)
# Intervals between neighbouring notes in scale steps, and their probabilities: mostly by step.
STEPS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
STEP_WEIGHTS = (0.03, 0.05, 0.12, 0.26, 0.08, 0.26, 0.12, 0.05, 0.03)
# Largest range of one melody, an octave and a fourth, placed at random in the register.
COMPASS_SEMITONES = 17


class GridNote(NamedTuple):
    """One note of a part, in beats from the start; dynamic 0 (softest) to 1.

    The order of the fields matters: parts are sorted by start, then by length and pitch.
    """

    start_beats: float
    length_beats: float
    midi: int
    dynamic: float


class Key(NamedTuple):
    """A tonic, 0 (C) to 11 (B), and a mode, one of SCALES."""

    tonic: int
    mode: str

    def pitches(self, lowest: int, highest: int) -> list[int]:
        """Return the MIDI numbers of the scale from lowest to highest, both included."""
        steps = SCALES[self.mode]
        return [midi for midi in range(lowest, highest + 1) if (midi - self.tonic) % 12 in steps]


class Bar(NamedTuple):
    """A motif of one bar: note lengths in beats, and scale steps from the previous note to each."""

    rhythm: tuple[float, ...]
    steps: tuple[int, ...]


def draw_key(generator: np.random.Generator) -> Key:
    """Draw a key; major has a probability of 0.6."""
    return Key(int(generator.integers(12)), "major" if generator.random() < 0.6 else "minor")


def compose_melody(
    register: Register, key: Key, num_beats: float, generator: np.random.Generator
) -> list[GridNote]:
    """Compose a melody of phrases of two to four bars within the register, sorted by start.

    A phrase repeats or varies its motif, has one arch of dynamics and one articulation, and most
    phrases end with a rest. Instruments that can play chords add a third or an octave below some
    of the longer notes. Notes may start after `num_beats`; the tempo map cuts them.
    """
    spare = max(register.highest - register.lowest - COMPASS_SEMITONES, 0)
    lowest = register.lowest + int(generator.integers(spare + 1))
    scale = key.pitches(lowest, min(lowest + COMPASS_SEMITONES, register.highest))
    liveliness = generator.uniform(0, 1)
    notes: list[GridNote] = []
    scale_index = int(generator.integers(len(scale)))
    # Half of the melodies start late, so that independent parts do not share an onset at time 0.
    start_beats = float(generator.choice((0, 0, 0, 0.5, 1, 2)))
    while start_beats < num_beats:
        bars = _draw_phrase(liveliness, generator)
        phrase, scale_index = _phrase_notes(bars, scale, scale_index, start_beats, generator)
        if register.chords and generator.random() < 0.4:
            phrase += _lower_voice(phrase, scale, generator)
        notes += phrase
        start_beats += BAR_BEATS * len(bars) + float(generator.choice(PAUSES_BEATS))
    return sorted(notes)


def _draw_phrase(liveliness: float, generator: np.random.Generator) -> list[Bar]:
    """Draw two to four bars: a motif, then repeats, the same rhythm with new steps, or new motifs.

    Args:
        liveliness: 0 prefers the calm end of RHYTHMS, 1 the lively end.
    """

    def draw_motif(rhythm: tuple[float, ...] | None = None) -> Bar:
        if rhythm is None:
            centre = liveliness * (len(RHYTHMS) - 1)
            index = round(float(np.clip(generator.normal(centre, 2), 0, len(RHYTHMS) - 1)))
            rhythm = RHYTHMS[index]
        steps = generator.choice(STEPS, size=len(rhythm), p=STEP_WEIGHTS)
        return Bar(rhythm, tuple(int(step) for step in steps))

    bars = [draw_motif()]
    for _ in range(int(generator.integers(1, 4))):
        likeness = generator.random()
        bar = bars[0] if likeness < 0.35 else draw_motif(bars[0].rhythm if likeness < 0.7 else None)
        bars.append(bar)
    return bars


def _phrase_notes(
    bars: list[Bar],
    scale: list[int],
    scale_index: int,
    start_beats: float,
    generator: np.random.Generator,
) -> tuple[list[GridNote], int]:
    """Return the notes of a phrase that starts at an index of the scale, and the last index."""
    loudness, arch = generator.uniform(0.45, 0.85), generator.uniform(0, 0.25)
    articulation = float(generator.choice((0.55, 0.9, 0.95, 1.0)))  # staccato to legato
    num_beats = BAR_BEATS * len(bars)
    notes, beat = [], 0.0
    for bar in bars:
        for length_beats, step in zip(bar.rhythm, bar.steps, strict=True):
            scale_index += step
            # Reflected at the ends of the range: clipping would repeat the outermost note.
            if not 0 <= scale_index < len(scale):
                scale_index = int(np.clip(scale_index - 2 * step, 0, len(scale) - 1))
            # Half a sine over the phrase, and an accent on the first beat of each bar.
            swell = arch * np.sin(np.pi * beat / num_beats) + 0.06 * (beat % BAR_BEATS == 0)
            dynamic = float(np.clip(loudness + swell + generator.normal(0, 0.03), 0.1, 1))
            if generator.random() > 0.06:  # else a rest
                notes.append(
                    GridNote(
                        start_beats + beat, articulation * length_beats, scale[scale_index], dynamic
                    )
                )
            beat += length_beats
    return notes, scale_index


def _lower_voice(
    phrase: list[GridNote], scale: list[int], generator: np.random.Generator
) -> list[GridNote]:
    """Return softer notes a third or an octave below some of the notes of a beat or more."""
    # Two scale steps are a third; the lowest two notes of the scale have none below them.
    third_below = dict(zip(scale[2:], scale, strict=False))
    added = []
    for note in phrase:
        lower = third_below.get(note.midi) if generator.random() < 0.6 else note.midi - 12
        # 0.9 beats: a note of one beat, played almost legato.
        if note.length_beats >= 0.9 and lower in scale and generator.random() < 0.7:
            added.append(note._replace(midi=lower, dynamic=0.85 * note.dynamic))
    return added


# Drum patterns

# Keys of General MIDI's percussion map.
KICK, SNARE, CLOSED, OPEN, RIDE, CRASH = 36, 38, 42, 46, 51, 49
TOMS = (48, 45, 41)
# A pattern is one bar of sixteenths: x is a stroke, X an accented one.
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
# Two strokes, not none: a whole bar of rest at the slowest tempo would last over three seconds.
PAUSE = {KICK: "X...............", OPEN: "........x......."}
FILLS = ("X.x.X.x.X.x.X.x.", "........X.x.X.xx", "....X.xxX.xxX.xx")


def compose_drums(num_beats: float, generator: np.random.Generator) -> list[GridNote]:
    """Compose a drum part: one repeated pattern, with a fill or a pause every few bars."""
    pattern = DRUM_PATTERNS[int(generator.integers(len(DRUM_PATTERNS)))]
    period_bars = int(generator.choice((2, 3, 4)))
    loudness = generator.uniform(0.5, 0.85)
    notes: list[GridNote] = []
    for bar in range(int(np.ceil(num_beats / BAR_BEATS))):
        strokes_by_key = pattern
        if bar % period_bars == period_bars - 1:
            strokes_by_key = _draw_fill(generator) if generator.random() < 0.75 else PAUSE
        elif bar % period_bars == 0 and bar and generator.random() < 0.7:
            # A crash cymbal on the first beat after a fill.
            strokes_by_key = {**pattern, CRASH: "X..............."}
        for key, strokes in strokes_by_key.items():
            for sixteenth, stroke in enumerate(strokes):
                if stroke == ".":
                    continue
                dynamic = loudness + 0.15 * (stroke == "X") + generator.normal(0, 0.04)
                start_beats = bar * BAR_BEATS + sixteenth / 4
                notes.append(GridNote(start_beats, 0.25, key, float(np.clip(dynamic, 0.1, 1))))
    return sorted(note for note in notes if note.start_beats < num_beats)


def _draw_fill(generator: np.random.Generator) -> dict[int, str]:
    """Draw a fill that moves down the kit: one beat each on snare, high, middle and low tom."""
    strokes = FILLS[int(generator.integers(len(FILLS)))]
    beats = dict(zip((SNARE, *TOMS), range(4), strict=True))
    return {
        key: "".join(stroke if n // 4 == beat else "." for n, stroke in enumerate(strokes))
        for key, beat in beats.items()
    }
