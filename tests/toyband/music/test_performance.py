"""Test performances: timing, tuning, silent rests, stems that sum, and the level of noise."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.music.notes import SAMPLE_RATE_HZ, read_note_bank
from avsep.toyband.music.performance import (
    active_rms,
    balance,
    draw_noise_bed,
    envelope,
    mix_stems,
    perform,
    read_noise_folder,
)
from avsep.toyband.music.registers import REGISTERS
from avsep.toyband.music.score import NoteEvent, ScorePart, compose

PITCHED = tuple(name for name in CATEGORIES if REGISTERS[name].pitched)


def one_note(
    category: str, midi: int, onset_seconds: float = 0.5, dynamic: float = 0.8
) -> ScorePart:
    event = NoteEvent(onset_seconds=onset_seconds, duration_seconds=0.9, midi=midi, dynamic=dynamic)
    return ScorePart(category=category, tempo_bpm=100, tonic=0, mode="major", events=(event,))


def play(
    part: ScorePart, held_out: bool = False, seconds: float = 2.0, seed: int = 0
) -> np.ndarray:
    notes = read_note_bank().notes(part.category, held_out)
    return perform(part, notes, seconds, np.random.default_rng(seed)).waveform


def cents_off(waveform: np.ndarray, midi: int) -> float:
    """Return the deviation in cents of a sound from a pitch, by the sum of six harmonics."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 1 << 18))
    cents = np.arange(-100.0, 101.0)
    pitches_hz = 440 * 2 ** ((midi - 69) / 12 + cents / 1200)
    bins = np.arange(1, 7)[:, None] * pitches_hz * (1 << 18) / SAMPLE_RATE_HZ
    magnitudes = np.interp(bins, np.arange(len(spectrum)), spectrum, right=0).sum(0)
    return float(cents[np.argmax(magnitudes)])


@pytest.mark.slow
@pytest.mark.parametrize("category", PITCHED)
def test_shifted_notes_are_in_tune(category: str) -> None:
    register = REGISTERS[category]
    for midi in np.linspace(register.lowest + 1, register.highest - 1, 3).astype(int).tolist():
        # Held-out notes are five semitones or more apart, so that most pitches here are shifted.
        sound = play(one_note(category, midi, onset_seconds=0.0), held_out=True)
        stretch = sound[round(0.1 * SAMPLE_RATE_HZ) : round(0.8 * SAMPLE_RATE_HZ)]
        # The notes are tuned to 4 cents, and bowed and blown ones have a little vibrato.
        assert abs(cents_off(stretch, midi)) <= 10, midi


@pytest.mark.parametrize("category", CATEGORIES)
def test_sound_begins_with_the_event_and_not_before(category: str) -> None:
    register = REGISTERS[category]
    midi = 38 if category == "drums" else round(register.centre)
    sound = np.abs(play(one_note(category, midi)))
    onset = round(0.5 * SAMPLE_RATE_HZ)
    assert sound[:onset].max() == 0
    # Bowed strings, the slowest, rise to a tenth of their peak within 7 ms in the bank.
    assert np.argmax(sound > 0.1 * sound.max()) - onset < 0.012 * SAMPLE_RATE_HZ


@pytest.mark.slow
@pytest.mark.parametrize("category", CATEGORIES)
def test_rests_are_silent(category: str) -> None:
    generator = np.random.default_rng(7)
    bank = read_note_bank()
    score = compose([bank.register(category, False)], 8.0, generator, together=False)
    part = score.parts[0]
    sound = perform(part, bank.notes(category, False), 8.0, generator).waveform
    resting = np.ones(len(sound), dtype=bool)
    for event in part.events:
        start = int(event.onset_seconds * SAMPLE_RATE_HZ)
        ring_seconds = event.duration_seconds + REGISTERS[category].ring_seconds
        resting[start : start + int(ring_seconds * SAMPLE_RATE_HZ) + 2] = False
    assert not np.any(sound[resting])
    assert np.any(sound[~resting])


def test_the_same_seed_gives_the_same_sound_bit_for_bit() -> None:
    bank = read_note_bank()
    score = compose([bank.register("guitar", False)], 4.0, np.random.default_rng(3), together=False)
    notes = bank.notes("guitar", False)
    sounds = [
        perform(score.parts[0], notes, 4.0, np.random.default_rng(seed)).waveform
        for seed in (1, 1, 3)
    ]
    assert np.array_equal(sounds[0], sounds[1])
    assert not np.array_equal(sounds[0], sounds[2])


@pytest.mark.parametrize("held_out", [False, True])
def test_each_kind_of_seed_plays_its_own_notes_only(held_out: bool) -> None:
    bank = read_note_bank()
    generator = np.random.default_rng(0)
    for category in ("accordion", "drums", "piano"):
        part = compose([bank.register(category, held_out)], 5, generator, together=False).parts[0]
        performance = perform(part, bank.notes(category, held_out), 5.0, generator)
        assert len(performance.note_names) == len(part.events)
        assert set(performance.note_names) <= {note.name for note in bank.notes(category, held_out)}
        others = {note.name for note in bank.notes(category, not held_out)}
        assert not set(performance.note_names) & others


def test_louder_events_are_louder_and_struck_harder() -> None:
    bank = read_note_bank()
    levels, names = [], []
    for dynamic in (0.3, 0.9):
        performance = perform(
            one_note("piano", 60, dynamic=dynamic),
            bank.notes("piano", False),
            2.0,
            np.random.default_rng(0),
        )
        levels.append(active_rms(performance.waveform))
        names.append(performance.note_names[0])
    # 0.6 of DYNAMIC_RANGE_DB is a factor of 5; the softer note may be recorded louder.
    assert levels[1] > 3 * levels[0]
    dynamics = {note.name: note.dynamic or 0.0 for note in bank.notes("piano", False)}
    assert dynamics[names[1]] > dynamics[names[0]]


def test_a_note_shorter_than_its_event_just_ends(tmp_path: Path) -> None:
    (tmp_path / "violin").mkdir()
    tone = 0.5 * np.sin(np.arange(4410) * 0.06)
    soundfile.write(tmp_path / "violin" / "069_000.wav", tone, SAMPLE_RATE_HZ)
    notes = read_note_bank(tmp_path).notes("violin", False)
    sound = perform(one_note("violin", 69), notes, 1.0, np.random.default_rng(0)).waveform
    assert np.abs(sound).max() > 0.1
    assert not np.any(sound[round(0.5 * SAMPLE_RATE_HZ) + 4500 :])


def test_a_drummer_without_a_piece_plays_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "drums").mkdir()
    soundfile.write(tmp_path / "drums" / "000.wav", np.hanning(400), SAMPLE_RATE_HZ)
    notes = read_note_bank(tmp_path).notes("drums", False)
    performance = perform(one_note("drums", 49), notes, 1.0, np.random.default_rng(0))
    assert performance.note_names == ("drums/000.wav",)


def test_the_envelope_follows_the_notes() -> None:
    loudness = envelope(play(one_note("trumpet", 67, onset_seconds=1.0), seconds=3.0), 25, 75)
    assert loudness.shape == (75,)
    assert loudness.max() == 1
    assert not loudness[:24].any()
    assert loudness[26:45].min() > 0.3
    assert not loudness[60:].any()
    assert not envelope(np.zeros(1000, dtype=np.float32), 25, 10).any()


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    num_stems=st.integers(1, 5),
    num_channels=st.integers(1, 2),
    gain_db=st.floats(-60, 40),
)
def test_stems_sum_to_the_mixture_to_the_sample_without_clipping(
    seed: int, num_stems: int, num_channels: int, gain_db: float
) -> None:
    generator = np.random.default_rng(seed)
    shape = (num_stems, num_channels, 500)
    stems = (10 ** (gain_db / 20) * generator.standard_normal(shape)).astype(np.float32)
    quantised, mixture = mix_stems(stems)
    assert np.array_equal(quantised.astype(int).sum(0), mixture.astype(int))
    loudest = max(np.abs(quantised.astype(int)).max(), np.abs(mixture.astype(int)).max())
    assert 0.88 * 32767 < loudest < 0.9 * 32767  # PEAK is 0.89, and every stem is rounded
    scale = loudest / max(np.abs(stems).max(), np.abs(stems.sum(0)).max())
    # One rounding step, and half a step per stem in the peak from which the scale is estimated.
    assert np.abs(quantised - stems * scale).max() <= 1 + num_stems / 2


def test_silence_stays_silent() -> None:
    quantised, mixture = mix_stems(np.zeros((2, 1, 100), dtype=np.float32))
    assert not quantised.any()
    assert not mixture.any()
    balanced = balance(np.zeros((2, 100), dtype=np.float32), np.random.default_rng(0))
    assert not balanced.any()


def test_performers_differ_by_a_few_decibels() -> None:
    generator = np.random.default_rng(0)
    stems = generator.standard_normal((4, 44_100)).astype(np.float32)
    stems *= np.array([[1.0], [0.1], [0.01], [3.0]], dtype=np.float32)
    levels = [20 * np.log10(active_rms(stem)) for stem in balance(stems, generator)]
    assert 0.5 < max(levels) - min(levels) <= 6.0  # the default spread is 6 dB


def write_noise(path: Path, num_samples: int, sample_rate_hz: int = 22_050) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = 0.1 * np.random.default_rng(0).standard_normal(num_samples)
    soundfile.write(path, sound, sample_rate_hz)


@pytest.mark.parametrize("num_samples", [300, 8_000, 200_000])
def test_noise_is_as_long_as_the_band_and_softer(tmp_path: Path, num_samples: int) -> None:
    write_noise(tmp_path / "rain" / "a.wav", num_samples)
    band = play(one_note("tuba", 40), seconds=3.0)
    for seed in range(5):
        bed = draw_noise_bed(read_noise_folder(tmp_path), band, np.random.default_rng(seed))
        assert bed.waveform.shape == band.shape
        level_db = 20 * np.log10(active_rms(bed.waveform) / active_rms(band))
        assert -20 <= bed.level_db <= -6
        assert level_db == pytest.approx(bed.level_db, abs=0.01)
        # No gap where the loop repeats: no tenth of a second is 6 dB below the mean.
        quietest = (bed.waveform[: len(band) // 4410 * 4410].reshape(-1, 4410) ** 2).mean(1).min()
        assert 10 * np.log10(quietest) > 20 * np.log10(active_rms(bed.waveform)) - 6


def test_silent_ends_of_a_noise_are_cut(tmp_path: Path) -> None:
    sound = np.zeros(44_100)
    sound[10_000:20_000] = 0.3
    soundfile.write(tmp_path / "bark.wav", sound, 44_100)
    band = np.ones(88_200, dtype=np.float32)
    bed = draw_noise_bed(read_noise_folder(tmp_path), band, np.random.default_rng(0))
    assert np.count_nonzero(bed.waveform) == len(band)


def test_noise_folders_that_cannot_be_used_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no folder of noise at .*nowhere"):
        read_noise_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no sound files in .* or below; allowed: wav"):
        read_noise_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("not a sound")
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"cannot read the noise .*broken\.wav"):
        read_noise_folder(tmp_path)


def test_a_silent_noise_is_an_error_that_names_it(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nothing.wav", np.zeros(1000), 44_100)
    band = np.ones(1000, dtype=np.float32)
    with pytest.raises(InputError, match=r"nothing\.wav is silent"):
        draw_noise_bed(read_noise_folder(tmp_path), band, np.random.default_rng(0))


def test_a_noise_with_nan_is_an_error_that_names_it(tmp_path: Path) -> None:
    broken = np.full(2000, np.nan, dtype=np.float32)
    soundfile.write(tmp_path / "wind.wav", broken, 44_100, subtype="FLOAT")
    with pytest.raises(InputError, match=r"wind\.wav has NaN or infinite samples"):
        draw_noise_bed(
            (tmp_path / "wind.wav",), np.ones(1000, np.float32), np.random.default_rng(0)
        )
