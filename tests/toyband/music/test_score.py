"""Test scores: reproducible, within the registers, on the beat, and in a common harmony."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.toyband.categories import CATEGORIES
from avsep.toyband.music.harmony import VoiceGrid
from avsep.toyband.music.registers import DRUM_KINDS, REGISTERS, narrow_register
from avsep.toyband.music.score import CompositionSettings, Score, ScorePart, compose

SECONDS = 10.0
# Jitter is cut at three standard deviations; times are rounded to a tenth of a millisecond.
JITTER_SECONDS = 3 * CompositionSettings().timing_spread_seconds + 1e-3
# A chorale of two bars in C: tonic, then dominant.
CHORALE: VoiceGrid = np.array([[72, 67, 64, 48]] * 8 + [[71, 67, 62, 55]] * 8)

casts = st.lists(st.sampled_from(CATEGORIES), min_size=1, max_size=4)


def compose_for(cast: list[str], seed: int, together: bool, seconds: float = SECONDS) -> Score:
    registers = [REGISTERS[category] for category in cast]
    return compose(registers, seconds, np.random.default_rng(seed), together=together)


def offsets_seconds(part: ScorePart) -> list[float]:
    """Return the distance in seconds of each onset from the nearest sixteenth."""
    sixteenth_seconds = 15 / part.tempo_bpm  # 60 seconds, four sixteenths per beat
    onsets = np.array([event.onset_seconds for event in part.events])
    return list(np.abs(onsets - np.rint(onsets / sixteenth_seconds) * sixteenth_seconds))


@pytest.mark.slow
@settings(max_examples=25)
@given(cast=casts, seed=st.integers(0, 10**6), together=st.booleans())
def test_parts_stay_within_instrument_and_clip(cast: list[str], seed: int, together: bool) -> None:
    score = compose_for(cast, seed, together)
    assert [part.category for part in score.parts] == cast
    for part in score.parts:
        register = REGISTERS[part.category]
        keys = {key for kind in DRUM_KINDS.values() for key in kind}
        assert part.events
        for event in part.events:
            assert event.onset_seconds + event.duration_seconds <= SECONDS + 1e-3
            assert register.lowest <= event.midi <= register.highest
            assert register.pitched or event.midi in keys
        onsets = [event.onset_seconds for event in part.events]
        assert onsets == sorted(onsets)


@pytest.mark.slow
@settings(max_examples=25)
@given(cast=casts, seed=st.integers(0, 10**6), together=st.booleans())
def test_the_same_seed_gives_the_same_score(cast: list[str], seed: int, together: bool) -> None:
    first, again = (compose_for(cast, seed, together) for _ in range(2))
    assert first == again
    assert first != compose_for(cast, seed + 1, together)


@pytest.mark.slow
@settings(max_examples=25)
@given(cast=casts, seed=st.integers(0, 10**6), together=st.booleans())
def test_onsets_are_on_the_beat_grid(cast: list[str], seed: int, together: bool) -> None:
    score = compose_for(cast, seed, together)
    assert max(itertools.chain.from_iterable(map(offsets_seconds, score.parts))) <= JITTER_SECONDS
    if together:
        assert len({part.tempo_bpm for part in score.parts}) == 1


@pytest.mark.slow
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), number=st.integers(2, 4))
def test_ensembles_sound_chord_tones_on_beats(seed: int, number: int) -> None:
    score = compose_for(["violin", "cello", "flute", "trombone"][:number], seed, together=True)
    beat_seconds = 60 / score.parts[0].tempo_bpm
    num_on_beat = 0
    for event in itertools.chain.from_iterable(part.events for part in score.parts):
        beat = round(event.onset_seconds / beat_seconds)
        on_beat = abs(event.onset_seconds - beat * beat_seconds) <= JITTER_SECONDS
        if on_beat and beat < len(score.chords):
            assert event.midi % 12 in score.chords[beat].pitch_classes
            num_on_beat += 1
    assert num_on_beat >= 5  # else nothing was checked


def test_free_parts_have_their_own_tempo_and_key() -> None:
    scores = [compose_for(["violin", "violin"], seed, together=False) for seed in range(10)]
    assert all(score.parts[0].tempo_bpm != score.parts[1].tempo_bpm for score in scores)
    assert len({part.tonic for score in scores for part in score.parts}) > 4
    assert all(score.chords == () and score.harmony == "none" for score in scores)


def test_melodies_keep_to_their_key() -> None:
    scales = {"major": {0, 2, 4, 5, 7, 9, 11}, "minor": {0, 2, 3, 5, 7, 8, 10}}
    for seed in range(10):
        (part,) = compose_for(["guitar"], seed, together=False).parts
        assert {(event.midi - part.tonic) % 12 for event in part.events} <= scales[part.mode]


def test_melodies_rest_and_vary_in_loudness() -> None:
    parts = [compose_for(["flute"], seed, together=False, seconds=30).parts[0] for seed in range(8)]
    resting, dynamics = [], []
    for part in parts:
        ends = [event.onset_seconds + event.duration_seconds for event in part.events]
        onsets = [event.onset_seconds for event in part.events]
        resting.append(max(np.subtract(onsets[1:], ends[:-1])))
        dynamics += [event.dynamic for event in part.events]
    assert np.median(resting) > 0.4  # a pause between phrases, one beat at 138 a minute
    assert np.std(dynamics) > 0.08


def test_a_drummer_keeps_a_beat_on_several_pieces() -> None:
    for seed in range(10):
        (part,) = compose_for(["drums"], seed, together=False).parts
        assert len({event.midi for event in part.events}) >= 2
        assert len(part.events) >= 6


def test_a_given_chorale_is_played() -> None:
    registers = [REGISTERS[name] for name in ("violin", "violin", "cello")]
    generator = np.random.default_rng(2)
    score = compose(registers, SECONDS, generator, together=True, chorales=(CHORALE,))
    assert score.harmony == "chorale"
    pitch_classes = {event.midi % 12 for part in score.parts for event in part.events}
    # Transposed by up to three semitones.
    shifts = [{(tone + shift) % 12 for tone in (0, 2, 4, 7, 11)} for shift in range(-3, 4)]
    assert any(pitch_classes <= tones for tones in shifts)


@pytest.mark.slow
@pytest.mark.parametrize("together", [True, False])
def test_every_part_has_a_note_even_in_one_second(together: bool) -> None:
    for seed in range(20):
        score = compose_for(["violin", "tuba", "drums"], seed, together, seconds=1.0)
        assert all(part.events for part in score.parts)


def test_a_score_is_unchanged_after_writing_and_reading() -> None:
    score = compose_for(["violin", "drums"], 5, together=True)
    assert Score.model_validate_json(score.model_dump_json()) == score


def test_a_range_in_another_octave_is_taken_from_the_notes() -> None:
    register = narrow_register("tuba", [70, 75, 80])
    assert (register.lowest, register.highest) == (67, 83)
    assert narrow_register("drums", [None, None]) == REGISTERS["drums"]
