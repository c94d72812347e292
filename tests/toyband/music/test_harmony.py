"""Test four-part harmony: voice leading, reading chorales, and parts for instruments."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.toyband.music.harmony import (
    REST,
    VOICE_RANGES,
    assign_voices,
    compose_harmony,
    draw_chorale_excerpt,
    fit_to_register,
    read_chorales,
)
from avsep.toyband.music.registers import REGISTERS

TWO_BARS = [[72, 67, 64, 48]] * 8 + [[71, 67, 62, 55]] * 8


@pytest.mark.slow
@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_voices_keep_their_order_and_ranges(seed: int) -> None:
    # Every second eighth: passing notes are on the off-beats.
    beats = compose_harmony(24, np.random.default_rng(seed)).grid[::2]
    assert (np.diff(beats, axis=1) < 0).all()
    for line, (lowest, highest) in zip(beats.T, VOICE_RANGES, strict=True):
        assert line.min() >= lowest
        assert line.max() <= highest


@pytest.mark.slow
@settings(max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_beats_are_complete_triads_without_dissonance(seed: int) -> None:
    beats = compose_harmony(24, np.random.default_rng(seed)).grid[::2]
    for beat in beats:
        assert len({midi % 12 for midi in beat.tolist()}) == 3
        for upper, lower in itertools.combinations(beat.tolist(), 2):
            assert (upper - lower) % 12 not in (1, 2, 10, 11)  # seconds and sevenths


def test_parallel_fifths_and_octaves_are_rare() -> None:
    num_parallels = num_moves = 0
    for seed in range(20):
        beats = compose_harmony(24, np.random.default_rng(seed)).grid[::2]
        for upper, lower in itertools.combinations(beats.T, 2):
            # Repeated chords are not parallels.
            moved = np.diff(upper) != 0
            interval = (upper - lower) % 12
            perfect = np.isin(interval[1:], (0, 7)) & (interval[1:] == interval[:-1])
            num_parallels += int((moved & perfect).sum())
            num_moves += int(moved.sum())
    # Not never: sometimes every voicing has a fault, and the noise may choose another one.
    assert num_parallels < 0.02 * num_moves


def test_the_tune_moves() -> None:
    soprano = np.stack(
        [compose_harmony(16, np.random.default_rng(n)).grid[:, 0] for n in range(20)]
    )
    assert np.mean(np.diff(soprano, axis=1) != 0) > 0.3
    assert np.abs(np.diff(soprano, axis=1)).max() <= 12


def test_chorales_are_read_with_their_rests(tmp_path: Path) -> None:
    path = tmp_path / "chorales.json"
    eighths = [*TWO_BARS, [72, 48], [], [None, 67, -1, 0], [72, 67, 64, float("nan")]]
    path.write_text(json.dumps({"train": [eighths], "test": [[[60, 55, 52, 48]]]}))
    (grid,) = read_chorales(path)  # the piece of one eighth is left out
    assert grid[: len(TWO_BARS)].tolist() == TWO_BARS
    rests = [[72, 0, 0, 48], [0, 0, 0, 0], [0, 67, 0, 0], [72, 67, 64, 0]]
    assert grid[len(TWO_BARS) :].tolist() == rests


@pytest.mark.parametrize(
    "text", ["", "{", "3", '["ab"]', "[[[1, 2, 3, 4, 5]]]", "[[[200]]]", '{"train": 1}']
)
def test_another_file_is_an_error_that_describes_the_format(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"holds no chorales \(.*allowed: JSON: a list of pieces"):
        read_chorales(path)


def test_no_file_and_no_piece_of_a_bar_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the chorales"):
        read_chorales(tmp_path / "none.json")
    (tmp_path / "short.json").write_text("[[[60, 55, 52, 48]]]")
    with pytest.raises(InputError, match="holds no chorale of a bar or more"):
        read_chorales(tmp_path / "short.json")


def test_a_chorale_keeps_its_intervals() -> None:
    piece = np.array(TWO_BARS)
    harmony = draw_chorale_excerpt((piece,), 12, np.random.default_rng(3))
    shift = int(harmony.grid[0, 3]) - int(harmony.grid[0, 0]) - (48 - 72)
    # The excerpt begins with either bar; their outer voices are 24 and 16 semitones apart.
    assert shift in (0, (55 - 71) - (48 - 72))
    assert harmony.grid.shape == (24, 4)
    allowed = {tuple(np.subtract(eighth, eighth[3])) for eighth in TWO_BARS}
    assert {tuple(eighth - eighth[3]) for eighth in harmony.grid} <= allowed


def test_a_line_is_moved_by_octaves_only() -> None:
    line = np.array([72, 74, REST, 76, 77])
    moved = fit_to_register(line, REGISTERS["tuba"])
    assert moved.tolist() == [48, 50, REST, 52, 53]
    assert fit_to_register(line, REGISTERS["violin"]).tolist() == line.tolist()


def test_high_voices_go_to_high_instruments() -> None:
    registers = [REGISTERS[name] for name in ("tuba", "flute", "cello", "clarinet")]
    harmony = compose_harmony(32, np.random.default_rng(0))
    parts = assign_voices(harmony, registers, np.random.default_rng(1))
    tuba, flute, cello, clarinet = (np.mean([note.midi for note in part]) for part in parts)
    assert flute > clarinet > cello > tuba


@pytest.mark.slow
def test_in_an_ensemble_no_player_rests_for_more_than_half_a_bar() -> None:
    registers = [REGISTERS[name] for name in ("violin", "cello", "flute")]
    rests = []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        for part in assign_voices(compose_harmony(32, generator), registers, generator):
            ends = [0.0, *(note.start_beats + note.length_beats for note in part)]
            rests += list(np.subtract([*(note.start_beats for note in part), 32.0], ends))
    # Two beats of rest, and 0.8 at most before it: staccato notes last 0.6 of two beats.
    assert 1.9 < max(rests) <= 2.8 + 1e-9
