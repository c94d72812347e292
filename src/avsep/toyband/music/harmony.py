"""Compose four-part harmony by voice leading, or read chorales, and assign voices to players."""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import numpy as np
from jaxtyping import Int64
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from avsep.errors import InputError
from avsep.toyband.music.melody import BAR_BEATS, SCALES, GridNote, Key, draw_key
from avsep.toyband.music.registers import Register

# MIDI numbers of four voices on a grid of eighth notes, soprano first; 0 is a rest.
VoiceGrid = Int64[np.ndarray, "steps 4"]
STEPS_PER_BEAT = 2
REST = 0

# The usual ranges of soprano (C4 to G5), alto, tenor and bass in chorales.
VOICE_RANGES = ((60, 79), (55, 74), (48, 67), (40, 60))
# Degree of a chord (0 is the tonic) -> degrees that may follow; a repeated degree is more likely.
# The common progressions of tonal harmony; the diminished chord on the seventh degree is left out.
CHORD_SUCCESSORS = {
    0: (1, 2, 3, 3, 4, 4, 5, 5),
    1: (4, 4, 3),
    2: (5, 3),
    3: (4, 4, 0, 1),
    4: (0, 0, 0, 5),
    5: (3, 1, 4, 2),
}
PHRASE_BEATS = 8


@dataclass(frozen=True)
class Harmony:
    """Four voices in a key; `origin` is "generated" or "chorale"."""

    grid: VoiceGrid
    key: Key
    origin: str


def compose_harmony(num_beats: int, generator: np.random.Generator) -> Harmony:
    """Compose a progression in a random key, voiced with small steps and few parallels.

    Chords last one or two beats. Every phrase of eight beats ends on the dominant or the tonic.
    Passing notes on the off-beats fill some of the thirds.
    """
    key = draw_key(generator)
    degrees = _draw_progression(num_beats, generator)
    grid = np.zeros((num_beats * STEPS_PER_BEAT, 4), dtype=np.int64)
    voicing: tuple[int, int, int, int] | None = None
    for beat, degree in enumerate(degrees):
        # A held chord keeps its voicing.
        if voicing is None or degree != degrees[beat - 1]:
            voicing = _next_voicing(key, degree, voicing, generator)
        grid[beat * STEPS_PER_BEAT : (beat + 1) * STEPS_PER_BEAT] = voicing
    _add_passing_notes(grid, key, generator)
    return Harmony(grid, key, "generated")


def _draw_progression(num_beats: int, generator: np.random.Generator) -> list[int]:
    """Draw the degree of the chord on every beat."""
    degrees: list[int] = []
    degree = 0
    while len(degrees) < num_beats:
        num_left = PHRASE_BEATS - len(degrees) % PHRASE_BEATS
        if num_left <= 2:
            # An authentic cadence (dominant, tonic) or a half cadence (dominant).
            authentic = generator.random() < 0.7
            degrees += ([4, 0] if authentic else [4, 4])[-num_left:]
            degree = degrees[-1]
            continue
        degrees += [degree] * min(int(generator.choice((1, 1, 2))), num_left - 1)
        degree = int(generator.choice(CHORD_SUCCESSORS[degree]))
    return degrees[:num_beats]


def chord_pitch_classes(key: Key, degree: int) -> tuple[int, int, int]:
    """Return root, third and fifth of a chord as pitch classes, 0 (C) to 11 (B)."""
    scale = SCALES[key.mode]
    root, third, fifth = ((key.tonic + scale[(degree + step) % 7]) % 12 for step in (0, 2, 4))
    # The dominant of a minor key has the leading tone, the raised seventh of the scale.
    if key.mode == "minor" and degree == 4:
        third = (third + 1) % 12
    # The second degree of minor has a diminished fifth, a dissonance: a perfect fifth instead.
    if key.mode == "minor" and degree == 1:
        fifth = (fifth + 1) % 12
    return root, third, fifth


@lru_cache(maxsize=256)
def _voicings(chord: tuple[int, int, int]) -> Int64[np.ndarray, "voicings 4"]:
    """List all complete voicings of a chord: in range and order, root or third in the bass.

    Neighbouring upper voices are at most an octave apart, as usual in four-part writing.
    """
    root, third, _ = chord
    pools = [
        [midi for midi in range(low, high + 1) if midi % 12 in chord] for low, high in VOICE_RANGES
    ]
    voicings = [
        (soprano, alto, tenor, bass)
        for soprano, alto, tenor, bass in itertools.product(*pools)
        if bass % 12 in (root, third)
        and bass < tenor < alto < soprano <= alto + 12
        and alto <= tenor + 12
        and len({soprano % 12, alto % 12, tenor % 12, bass % 12}) == 3
    ]
    return np.array(voicings, dtype=np.int64)


def _next_voicing(
    key: Key,
    degree: int,
    previous: tuple[int, int, int, int] | None,
    generator: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Draw a voicing of a chord with the rules of voice leading after the previous voicing."""
    chord = chord_pitch_classes(key, degree)
    voicings = _voicings(chord)
    # Gumbel noise makes the choice random among the cheaper voicings: its scale is the cost of two
    # semitones in an inner voice, far below that of a parallel fifth.
    cost = generator.gumbel(0, 2.0, len(voicings))
    cost += 3.0 * (voicings[:, 3] % 12 == chord[1])  # first inversion is rarer
    cost += 3.0 * ((voicings % 12 == chord[1]).sum(1) > 1)  # a doubled third
    if previous is not None:
        moves = voicings - np.array(previous)
        # Inner voices should move least; the bass is free to leap.
        cost += np.abs(moves) @ (0.6, 1.0, 1.0, 0.4)
        cost += 5.0 * (moves[:, 0] == 0)  # a repeated note makes a dull tune
        cost += 12.0 * _num_parallels(voicings, np.array(previous), moves)
    soprano, alto, tenor, bass = (int(midi) for midi in voicings[np.argmin(cost)])
    return soprano, alto, tenor, bass


def _num_parallels(
    voicings: Int64[np.ndarray, "voicings 4"],
    previous: Int64[np.ndarray, " 4"],
    moves: Int64[np.ndarray, "voicings 4"],
) -> Int64[np.ndarray, " voicings"]:
    """Count the pairs of voices that move in parallel fifths or octaves, for each voicing."""
    count = np.zeros(len(voicings), dtype=np.int64)
    for upper, lower in itertools.combinations(range(4), 2):
        interval = (voicings[:, upper] - voicings[:, lower]) % 12
        same = interval == (previous[upper] - previous[lower]) % 12
        count += same & np.isin(interval, (0, 7)) & (moves[:, upper] != 0)
    return count


def _add_passing_notes(grid: VoiceGrid, key: Key, generator: np.random.Generator) -> None:
    """Add passing notes within thirds, and neighbour notes to repeats of the soprano, in place."""
    scale = set(key.pitches(0, 127))
    for step in range(1, len(grid) - 1, STEPS_PER_BEAT):
        for voice in range(4):
            first, second = int(grid[step, voice]), int(grid[step + 1, voice])
            between = [
                midi for midi in range(min(first, second) + 1, max(first, second)) if midi in scale
            ]
            if abs(first - second) in (3, 4) and between and generator.random() < 0.5:
                grid[step, voice] = between[0]
            elif first == second and voice == 0 and generator.random() < 0.3:
                grid[step, voice] = first + (2 if first + 2 in scale else 1)


# Chorales from a file

# The form in which Bach's chorales are published as JSON, there with lists train, valid and test.
_FORMAT = "JSON: a list of pieces, each a list of eighths, each [soprano, alto, tenor, bass]"


def read_chorales(path: Path) -> tuple[VoiceGrid, ...]:
    """Read chorales from JSON; pieces shorter than a bar are left out.

    A piece is a list of eighth notes, each a list [soprano, alto, tenor, bass] of MIDI numbers;
    null, 0, -1 and missing voices are rests. The file is a list of pieces, or an object whose
    values are such lists (train, valid, test).

    Raises:
        InputError: the file cannot be read, has another form, or has no piece of a bar.
    """
    try:
        pieces = _CHORALES.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read the chorales {path}: {error.strerror}") from error
    except ValidationError as error:
        # One error for each of the two forms: the deepest is of the form that fits better.
        deepest = max(error.errors(), key=lambda details: len(details["loc"]))
        raise InputError(
            f"{path} holds no chorales ({deepest['msg']}); allowed: {_FORMAT}"
        ) from error
    if isinstance(pieces, dict):
        pieces = [piece for part in pieces.values() for piece in part]
    grids = tuple(_read_piece(piece) for piece in pieces)
    grids = tuple(grid for grid in grids if len(grid) >= BAR_BEATS * STEPS_PER_BEAT)
    if not grids:
        raise InputError(f"{path} holds no chorale of a bar or more; allowed: {_FORMAT}")
    return grids


def _read_pitch(midi: float) -> int:
    """Return a MIDI number as an integer, REST for zero, negative numbers and NaN."""
    if midi > 127:
        raise ValueError(f"pitch {midi:g} is above MIDI's 127")
    return int(midi) if midi > 0 else REST  # comparisons with NaN are False


_Pitch = Annotated[float, AfterValidator(_read_pitch)]
_Eighth = Annotated[list[_Pitch | None], Field(max_length=4)]
_CHORALES = TypeAdapter(list[list[_Eighth]] | dict[str, list[list[_Eighth]]])


def _read_piece(piece: list[list[float | None]]) -> VoiceGrid:
    """Convert a piece to a grid; the pitches of an incomplete eighth go to the nearest voices."""
    grid = np.zeros((len(piece), 4), dtype=np.int64)
    # The last pitch of each voice, at first the middle of its range.
    last = np.array([sum(bounds) // 2 for bounds in VOICE_RANGES])
    for step, frame in enumerate(piece):
        pitches = [int(midi or REST) for midi in frame]
        # Combinations keep the order of the voices: the first pitch is the highest.
        choices = list(itertools.combinations(range(4), len(pitches)))
        distances = [
            sum(abs(last[v] - m) for v, m in zip(voices, pitches, strict=True))
            for voices in choices
        ]
        for voice, midi in zip(choices[int(np.argmin(distances))], pitches, strict=True):
            if midi > REST:
                grid[step, voice] = last[voice] = midi
    return grid


def draw_chorale_excerpt(
    pieces: tuple[VoiceGrid, ...], num_beats: int, generator: np.random.Generator
) -> Harmony:
    """Draw an excerpt of a random piece from a random bar; short pieces are repeated.

    The excerpt is transposed by up to three semitones. The key is that of the piece's last chord,
    with the bass as tonic.
    """
    piece = pieces[int(generator.integers(len(pieces)))]
    shift = int(generator.integers(-3, 4))
    first_bar = int(generator.integers(max(len(piece) // (BAR_BEATS * STEPS_PER_BEAT), 1)))
    steps = first_bar * BAR_BEATS * STEPS_PER_BEAT + np.arange(num_beats * STEPS_PER_BEAT)
    grid = piece[steps % len(piece)]
    complete = piece[(piece > REST).all(1)]
    bass = int(complete[-1, 3]) if len(complete) else 0
    minor_third = len(complete) and bool(np.any((complete[-1] - bass) % 12 == 3))
    key = Key((bass + shift) % 12, "minor" if minor_third else "major")
    return Harmony(np.where(grid > REST, grid + shift, REST), key, "chorale")


# Parts of the players


def assign_voices(
    harmony: Harmony, registers: list[Register], generator: np.random.Generator
) -> list[list[GridNote]]:
    """Assign a voice of the harmony to each instrument, high voices to high instruments.

    The soprano is always played, the other voices are drawn. More than four instruments share
    voices. Each part is moved by octaves into the instrument's range.
    """
    order = np.argsort([-register.centre for register in registers], kind="stable")
    others = generator.permutation([1, 2, 3])[: max(len(registers) - 1, 0)]
    voices = [0, *sorted(int(voice) for voice in others)]
    loudness = generator.uniform(0.5, 0.85)
    parts: list[list[GridNote]] = [[] for _ in registers]
    for rank, performer in enumerate(order):
        voice = voices[rank % len(voices)]
        line = fit_to_register(harmony.grid[:, voice], registers[performer])
        parts[performer] = _line_notes(
            line, loudness, may_rest=len(registers) > 1, generator=generator
        )
    return parts


def fit_to_register(
    line: Int64[np.ndarray, " steps"], register: Register
) -> Int64[np.ndarray, " steps"]:
    """Move a line by octaves into a register; single notes outside of it are moved or left out."""
    pitches = line[line > REST]
    if not len(pitches):
        return line
    # The smallest shift first, because argmin takes the first of equal counts.
    shifts = np.array(sorted(range(-60, 61, 12), key=abs))
    moved = pitches[None] + shifts[:, None]  # [shift, note]
    outside = ((moved < register.lowest) | (moved > register.highest)).sum(1)
    fitted = np.where(line > REST, line + shifts[np.argmin(outside)], REST)
    for step in np.flatnonzero(fitted > REST):
        octaves = fitted[step] + 12 * np.arange(-9, 10)
        inside = octaves[(octaves >= register.lowest) & (octaves <= register.highest)]
        nearest = inside[np.argsort(np.abs(inside - fitted[step]), kind="stable")]
        fitted[step] = nearest[0] if len(nearest) else REST
    return fitted


def _line_notes(
    line: Int64[np.ndarray, " steps"],
    loudness: float,
    may_rest: bool,
    generator: np.random.Generator,
) -> list[GridNote]:
    """Convert a line to notes: equal eighths are joined, and some half bars are rests."""
    bar_steps = BAR_BEATS * STEPS_PER_BEAT
    resting = generator.random(2 * len(line) // bar_steps + 1) < (0.2 if may_rest else 0.0)
    resting[1:] &= ~resting[:-1]  # no two in a row, so that no player is silent for long
    line = np.where(np.repeat(resting, bar_steps // 2)[: len(line)], REST, line)
    articulation, arch = float(generator.choice((0.6, 0.9, 0.97))), generator.uniform(0, 0.2)
    longest_steps = int(generator.choice((2, 2, 4)))
    notes, step = [], 0
    while step < len(line):
        num_steps = 1
        # Notes end at the lines of a grid of one or two beats: long chords are struck again.
        while (
            (step + num_steps) % longest_steps
            and step + num_steps < len(line)
            and (line[step + num_steps] == line[step])
        ):
            num_steps += 1
        if line[step] > REST:
            # Half a sine over each two bars.
            swell = arch * np.sin(np.pi * (step % (2 * bar_steps)) / (2 * bar_steps))
            dynamic = float(np.clip(loudness + swell + generator.normal(0, 0.03), 0.1, 1))
            length_beats = articulation * num_steps / STEPS_PER_BEAT
            notes.append(GridNote(step / STEPS_PER_BEAT, length_beats, int(line[step]), dynamic))
        step += num_steps
    return notes


def beat_pitch_classes(harmony: Harmony) -> list[tuple[int, ...]]:
    """Return the ascending pitch classes of the four voices on each beat."""
    beats: Int64[np.ndarray, "beats 4"] = harmony.grid[::STEPS_PER_BEAT]
    return [tuple(sorted({int(midi) % 12 for midi in beat if midi > REST})) for beat in beats]
