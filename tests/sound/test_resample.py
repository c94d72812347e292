"""Resampling: pitch, length and level survive; the same rate is the same array."""

import numpy as np
import pytest

from avsep.sound.resampling import resample


def tone(rate_hz: int) -> np.ndarray:
    n = np.arange(rate_hz)
    return (0.5 * np.sin(2 * np.pi * 440 * n / rate_hz)).astype(np.float32)[None]


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44100, 11025), (22050, 44100), (48000, 11025)])
def test_a_tone_stays_a_tone(from_hz: int, to_hz: int) -> None:
    found = resample(tone(from_hz), from_hz, to_hz)
    assert found.shape == (1, to_hz) and found.dtype == np.float32
    middle = slice(to_hz // 4, 3 * to_hz // 4)  # the ends ring
    np.testing.assert_allclose(found[:, middle], tone(to_hz)[:, middle], atol=1e-4)


def test_the_same_rate_is_untouched() -> None:
    waveform = tone(8000)
    assert resample(waveform, 8000, 8000) is waveform
