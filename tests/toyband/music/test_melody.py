"""Test melodies and drum patterns: range, key, intervals, density, and length of rests."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.toyband.music.melody import (
    BAR_BEATS,
    COMPASS_SEMITONES,
    DRUM_PATTERNS,
    RHYTHMS,
    STEP_WEIGHTS,
    STEPS,
    GridNote,
    Key,
    compose_drums,
    compose_melody,
)
from avsep.toyband.music.registers import REGISTERS, drum_kind

C_MAJOR = Key(0, "major")
NUM_BEATS = 40.0
melodious = st.sampled_from([name for name, register in REGISTERS.items() if register.pitched])
seeds = st.integers(0, 10**6)


def melody(category: str, seed: int) -> list[GridNote]:
    return compose_melody(REGISTERS[category], C_MAJOR, NUM_BEATS, np.random.default_rng(seed))


def longest_rest_beats(notes: list[GridNote]) -> float:
    """Return the longest rest: before the first note, between notes, or after the last."""
    last, longest = 0.0, 0.0
    for note in notes:
        longest = max(longest, note.start_beats - last)
        last = max(last, note.start_beats + note.length_beats)
    return max(longest, NUM_BEATS - last)


def test_tables_are_whole_bars_and_probabilities() -> None:
    assert all(sum(rhythm) == BAR_BEATS for rhythm in RHYTHMS)
    assert len(STEPS) == len(STEP_WEIGHTS) and sum(STEP_WEIGHTS) == pytest.approx(1)
    for pattern in DRUM_PATTERNS:
        assert all(len(strokes) == 4 * BAR_BEATS for strokes in pattern.values())
        assert all(set(strokes) <= set("xX.") for strokes in pattern.values())
        # At the slowest tempo a bar lasts 3.2 s: four strokes are more than one a second.
        assert sum(strokes.count(stroke) for strokes in pattern.values() for stroke in "xX") >= 4


@pytest.mark.slow
@settings(max_examples=40)
@given(category=melodious, seed=seeds)
def test_a_melody_keeps_to_its_compass_and_key(category: str, seed: int) -> None:
    notes = melody(category, seed)
    midis = [note.midi for note in notes]
    assert max(midis) - min(midis) <= COMPASS_SEMITONES
    assert min(midis) >= REGISTERS[category].lowest and max(midis) <= REGISTERS[category].highest
    assert set(midis) <= set(C_MAJOR.pitches(0, 127))
    assert all(0.05 < note.dynamic <= 1 and note.length_beats > 0 for note in notes)
    assert notes == sorted(notes)


@pytest.mark.slow
def test_melodies_move_mostly_by_step_and_seldom_repeat_a_note() -> None:
    steps = np.concatenate(
        [np.diff([note.midi for note in melody("flute", seed)]) for seed in range(30)]
    )
    # In semitones: one scale step is one or two of them.
    assert np.mean(np.abs(steps) <= 2) > 0.5
    assert np.mean(np.abs(steps) > 7) < 0.05
    assert np.mean(steps == 0) < 0.25


@pytest.mark.slow
def test_rests_of_more_than_three_seconds_are_rare_at_the_slowest_tempo() -> None:
    rests = [longest_rest_beats(melody("violin", seed)) for seed in range(150)]
    # Melodies of half a minute: one in twenty is one window of ten seconds in sixty.
    assert np.mean(np.array(rests) * 60 / 76 > 3) < 0.05
    assert np.median(rests) > 1


@pytest.mark.slow
def test_melodies_are_calm_to_lively() -> None:
    num_onsets = [
        len({note.start_beats for note in melody("guitar", seed) if note.start_beats < NUM_BEATS})
        for seed in range(60)
    ]
    # RHYTHMS have 3 to 8 notes per bar of 4 beats, less rests.
    assert min(num_onsets) > 0.5 * NUM_BEATS and max(num_onsets) <= 2 * NUM_BEATS
    assert np.ptp(num_onsets) > 0.5 * NUM_BEATS


@pytest.mark.slow
def test_only_instruments_that_can_play_chords_do() -> None:
    def num_chords(category: str) -> int:
        return sum(
            len(notes) - len({note.start_beats for note in notes})
            for notes in (melody(category, seed) for seed in range(10))
        )

    assert num_chords("piano") > 20 and num_chords("harp") > 20
    assert num_chords("clarinet") == num_chords("violin") == 0


@settings(max_examples=40)
@given(seed=seeds)
def test_drums_have_no_long_pause(seed: int) -> None:
    strokes = compose_drums(NUM_BEATS, np.random.default_rng(seed))
    starts = sorted({stroke.start_beats for stroke in strokes})
    assert starts[0] <= 0.5 and max(np.diff([*starts, NUM_BEATS])) <= 3
    assert len(strokes) >= NUM_BEATS
    assert all(start * 4 == int(start * 4) for start in starts)
    kinds = {drum_kind(stroke.midi) for stroke in strokes}
    assert {"kick", "snare"} <= kinds or "low tom" in kinds
