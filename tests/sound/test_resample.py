"""Resampling: pitch, length and level survive, aliases do not; the same rate is the same array."""

import math

import numpy as np
import pytest

from avsep.sound.resampling import resample


def tone(rate_hz: int, frequency_hz: float = 440) -> np.ndarray:
    n = np.arange(rate_hz)
    return (0.5 * np.sin(2 * np.pi * frequency_hz * n / rate_hz)).astype(np.float32)[None]


def resampled_level_db(frequency_hz: float, from_hz: int, to_hz: int) -> float:
    """Level of a tone after resampling relative to before, in the middle of two seconds."""
    n = np.arange(2 * from_hz)
    swell = np.sin(np.pi * n / len(n)) ** 2  # no edges, which would ring

    def middle_rms(waveform: np.ndarray, rate_hz: int) -> float:
        middle = waveform[0, rate_hz // 2 : 3 * rate_hz // 2].astype(np.float64)
        return math.sqrt(np.square(middle).mean())

    sound = (swell * np.sin(2 * np.pi * frequency_hz * n / from_hz)).astype(np.float32)[None]
    level = middle_rms(resample(sound, from_hz, to_hz), to_hz) / middle_rms(sound, from_hz)
    return 20 * math.log10(level)


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 11025), (22050, 44100), (48000, 11025)])
def test_a_tone_stays_a_tone(from_hz: int, to_hz: int) -> None:
    resampled = resample(tone(from_hz), from_hz, to_hz)
    assert resampled.shape == (1, to_hz) and resampled.dtype == np.float32
    middle = slice(to_hz // 4, 3 * to_hz // 4)  # the ends ring
    np.testing.assert_allclose(resampled[:, middle], tone(to_hz)[:, middle], atol=1e-4)


@pytest.mark.parametrize("frequency_hz", [5600, 6100, 8000])
def test_aliases_are_below_the_rounding_of_24_bits(frequency_hz: float) -> None:
    """Above half of 11,025 Hz: -160 dB in very high quality, -143 dB in high, -131 in medium."""
    assert resampled_level_db(frequency_hz, 44100, 11025) < -150


def test_the_transition_band_ends_at_half_the_lower_rate() -> None:
    """5,500 of 5,512.5 Hz: -138 dB in very high quality, -104 dB in high, -86 in medium."""
    assert resampled_level_db(5500, 44100, 11025) < -130


@pytest.mark.parametrize("share", [0.5, 0.9, 0.912])
@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 11025), (11025, 48000), (44100, 48000)])
def test_the_passband_is_flat(share: float, from_hz: int, to_hz: int) -> None:
    """Up to 0.913 of half the lower rate, which `MaskResampler` relies on up to 0.9."""
    frequency_hz = share * min(from_hz, to_hz) / 2
    # Low quality loses 12 dB at 0.87; a hundredth is far above float32's rounding.
    assert resampled_level_db(frequency_hz, from_hz, to_hz) == pytest.approx(0, abs=0.01)


def test_the_same_rate_is_untouched() -> None:
    waveform = tone(8000)
    assert resample(waveform, 8000, 8000) is waveform
