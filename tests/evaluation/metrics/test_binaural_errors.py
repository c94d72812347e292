"""Test ILD and ITD errors on delays of whole and fractional samples."""

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfilt

from avsep.errors import InputError
from avsep.evaluation.metrics.binaural_errors import ild_error_db, itd_error_us, time_difference_us

RATE_HZ = 44100
SAMPLE_US = 1e6 / RATE_HZ


def source(seed: int = 0, num_samples: int = 8192) -> np.ndarray:
    """Noise with silent edges, which a delay does not push over the end."""
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    noise[:100] = noise[-100:] = 0.0
    return noise


def delayed(waveform: np.ndarray, num_samples: float) -> np.ndarray:
    """The same sound later by any part of a sample, by its phase."""
    bins = np.arange(len(waveform) // 2 + 1) / len(waveform)
    turned = np.fft.rfft(waveform) * np.exp(-2j * np.pi * bins * num_samples)
    return np.fft.irfft(turned, len(waveform))


def ears(waveform: np.ndarray, delay_samples: float, gain: float = 1.0) -> np.ndarray:
    """Left as it is, right delayed and quieter."""
    return np.stack([waveform, gain * delayed(waveform, delay_samples)])


@pytest.mark.parametrize("delay_samples", [-40, -3, 0, 1, 25])
@pytest.mark.parametrize("whiten", [True, False])
def test_whole_delays_are_exact(delay_samples: int, whiten: bool) -> None:
    found_us = time_difference_us(ears(source(), delay_samples, 0.3), RATE_HZ, whiten=whiten)
    assert found_us == pytest.approx(delay_samples * SAMPLE_US, abs=1e-3)


@pytest.mark.parametrize("delay_samples", [-7.81, -0.5, -0.25, 0.1, 3.37, 22.75])
@pytest.mark.parametrize("cutoff", [None, 0.2])
def test_delays_between_samples(delay_samples: float, cutoff: float | None) -> None:
    """To a thousandth of a sample: the ends of a delayed sound ring beyond its frame."""
    waveform = source(1)
    if cutoff:
        waveform = sosfilt(butter(8, cutoff, output="sos"), waveform)
    found_us = time_difference_us(ears(waveform, delay_samples), RATE_HZ)
    assert found_us == pytest.approx(delay_samples * SAMPLE_US, abs=1e-3 * SAMPLE_US)


def test_time_error_is_the_difference_of_delays() -> None:
    references = np.stack([ears(source(2), 10), ears(source(3), -4)])
    estimates = np.stack([ears(source(4), 12.5), ears(source(5), 4)])
    found_us = itd_error_us(references, estimates, RATE_HZ)
    np.testing.assert_allclose(found_us, [2.5 * SAMPLE_US, 8 * SAMPLE_US], atol=0.05)
    swapped = itd_error_us(references, references[:, ::-1].copy(), RATE_HZ)
    np.testing.assert_allclose(swapped, [20 * SAMPLE_US, 8 * SAMPLE_US], atol=0.05)
    mono = references.mean(axis=1, keepdims=True).repeat(2, axis=1)
    assert time_difference_us(mono, RATE_HZ) == pytest.approx([0, 0], abs=1e-6)


def test_no_head_delays_by_more_than_a_millisecond() -> None:
    far = time_difference_us(ears(source(6), 90), RATE_HZ)
    assert abs(far) <= 1000
    assert time_difference_us(np.ones((2, 3)), 8000) == pytest.approx(0, abs=1e-6)


def test_a_tone_in_noise_is_found_without_whitening() -> None:
    tone = np.sin(2 * np.pi * 440 / RATE_HZ * np.arange(8192)) * np.hanning(8192)
    noise = 1e-3 * np.random.default_rng(7).standard_normal((2, 8192))
    heard = ears(tone, 8) + noise
    assert time_difference_us(heard, RATE_HZ, whiten=False) == pytest.approx(8 * SAMPLE_US, abs=2)


@pytest.mark.parametrize("gain", [1e-120, 0.5, 1.0, 3.0])
def test_level_errors_are_exact(gain: float) -> None:
    references = np.stack([ears(source(8), 0), ears(source(9), 0, 0.5)])
    estimates = np.stack([ears(source(8), 0, gain), ears(source(9), 0, 0.5)])
    expected_db = abs(20 * np.log10(gain))
    np.testing.assert_allclose(ild_error_db(references, estimates), [expected_db, 0], atol=1e-9)
    quiet = ild_error_db(1e-170 * references, 1e-30 * estimates)
    np.testing.assert_allclose(quiet, [expected_db, 0], atol=1e-9)


def test_a_factor_for_both_ears_and_any_batch_change_nothing() -> None:
    references = np.stack([ears(source(seed), seed, 0.7) for seed in range(6)])
    estimates = np.stack([ears(source(seed + 9), 2 * seed, 0.2) for seed in range(6)])
    plain = ild_error_db(references, estimates), itd_error_us(references, estimates, RATE_HZ)
    shape = (3, 2, 2, 8192)
    tensors = torch.tensor(references).reshape(shape), 7 * torch.tensor(estimates).reshape(shape)
    result = ild_error_db(*tensors), itd_error_us(*tensors, RATE_HZ)
    for item, other in zip(plain, result, strict=True):
        np.testing.assert_allclose(other, item.reshape(3, 2), rtol=0, atol=1e-6)


def test_silent_ears() -> None:
    both = ears(source(10), 5)[None]
    left, none = both * [[1.0], [0.0]], 0 * both
    assert ild_error_db(both, left).tolist() == [np.inf]
    assert ild_error_db(both, none).tolist() == [np.inf]
    assert ild_error_db(left, left).tolist() == [0.0]
    assert ild_error_db(left, left[:, ::-1].copy()).tolist() == [np.inf]
    assert ild_error_db(left, none).tolist() == [np.inf]
    assert itd_error_us(both, none, RATE_HZ).tolist() == [np.inf]
    assert np.isnan(itd_error_us(left, both, RATE_HZ)).all()


def test_bad_input() -> None:
    both = ears(source(11), 5)[None]
    for score in (ild_error_db, lambda truth, guess: itd_error_us(truth, guess, RATE_HZ)):
        with pytest.raises(InputError, match=r"shape \[1, 1, 8192\]; two ears, \[..., sources, 2,"):
            score(both[:, :1], both[:, :1])
        with pytest.raises(
            InputError,
            match=r"shape \[2, 8192\], estimates \[2, 8192\]: they must be \[..., sources, 2",
        ):
            score(both[0], both[0])
        with pytest.raises(InputError, match="reference 0 is silent"):
            score(0 * both, both)
        with pytest.raises(InputError, match=r"estimate \[0, 1\] holds NaN"):
            score(both, both * [[1.0], [np.nan]])
