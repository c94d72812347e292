"""Test the equaliser: the bands that it raises, its level and its channels."""

import numpy as np
import pytest

from avsep.data.mixing import NUM_BANDS, equalise

RATE_HZ = 8192


def tone(frequency_hz: float, num_samples: int = RATE_HZ) -> np.ndarray:
    times = np.arange(num_samples) / RATE_HZ
    return np.sin(2 * np.pi * frequency_hz * times).astype(np.float32)


def rms(sound: np.ndarray) -> float:
    return float(np.sqrt(np.square(sound).mean()))


def strength(sound: np.ndarray, frequency_hz: float) -> float:
    times = np.arange(len(sound)) / RATE_HZ
    return float(abs((sound * np.exp(-2j * np.pi * frequency_hz * times)).mean()))


def test_flat_bands_change_nothing() -> None:
    noise = np.random.default_rng(0).standard_normal((2, 1, 5001)).astype(np.float32)
    # What remains is the rounding of float32.
    np.testing.assert_allclose(equalise(noise, np.zeros((2, NUM_BANDS))), noise, atol=1e-5)


@pytest.mark.parametrize("band", range(NUM_BANDS - 1))
def test_a_band_raises_its_octave_against_the_others(band: int) -> None:
    own_hz = RATE_HZ / 2 / 2 ** (NUM_BANDS - 1 - band)
    other_hz = own_hz / 4 if band > 2 else own_hz * 4
    gains_db = np.zeros((1, NUM_BANDS))
    gains_db[0, band] = 6.0
    both = (tone(own_hz) + tone(other_hz))[None, None]
    coloured = equalise(both, gains_db)[0, 0]
    ratio_db = 20 * np.log10(strength(coloured, own_hz) / strength(coloured, other_hz))
    # Whole periods of both tones fit: nothing leaks, only float32 rounds.
    assert ratio_db == pytest.approx(6.0, abs=1e-3)


def test_the_level_stays_and_silence_too() -> None:
    generator = np.random.default_rng(1)
    sounds = np.stack([generator.standard_normal(4096), np.zeros(4096)])[:, None].astype(np.float32)
    coloured = equalise(sounds, generator.normal(0, 6, (2, NUM_BANDS)))
    assert rms(coloured[0]) == pytest.approx(rms(sounds[0]), rel=1e-5)
    assert not coloured[1].any()


def test_each_sound_has_its_own_bands() -> None:
    noise = np.random.default_rng(2).standard_normal((2, 1, 2048)).astype(np.float32)
    gains_db = np.random.default_rng(3).normal(0, 6, (2, NUM_BANDS))
    both = equalise(noise, gains_db)
    for own in range(2):
        alone = equalise(noise[own : own + 1], gains_db[own : own + 1])
        np.testing.assert_allclose(both[own], alone[0], atol=1e-6)


def test_all_channels_are_coloured_alike() -> None:
    noise = np.random.default_rng(4).standard_normal(2048).astype(np.float32)
    ears = np.stack([noise, -0.5 * noise])[None]
    coloured = equalise(ears, np.random.default_rng(5).normal(0, 6, (1, NUM_BANDS)))[0]
    np.testing.assert_allclose(coloured[1], -0.5 * coloured[0], atol=1e-5)
    assert rms(coloured) == pytest.approx(rms(ears), rel=1e-5)
