"""Test the spectral distance against a second implementation, with gains and bad input."""

import numpy as np
import pytest
import torch

from avsep.errors import InputError
from avsep.evaluation.metrics.spectral_distance import RESOLUTIONS, spectral_distance


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def magnitudes(waveform: np.ndarray, fft: int, hop: int, window: int) -> np.ndarray:
    """By NumPy's FFT of frames centred on multiples of the hop, Hann in their middle."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    taper = np.zeros(fft)
    taper[(fft - window) // 2 : (fft - window) // 2 + window] = hann
    padded = np.pad(waveform, fft // 2)
    starts = range(0, len(waveform) + 1, hop)
    frames = np.stack([padded[start : start + fft] * taper for start in starts])
    return np.sqrt(np.maximum(np.abs(np.fft.rfft(frames)) ** 2, 1e-7))


def by_hand(truth: np.ndarray, guess: np.ndarray) -> float:
    result = []
    for resolution in RESOLUTIONS:
        X, Y = magnitudes(truth, *resolution), magnitudes(guess, *resolution)
        convergence = np.sqrt(((X - Y) ** 2).sum() / (X**2).sum())
        result.append(convergence + np.abs(np.log(X / Y)).mean())
    return float(np.mean(result))


def test_formula() -> None:
    truth, guess = noise(0, 2, 3000), noise(1, 2, 3000)
    result = spectral_distance(truth, guess)
    expected = [by_hand(*pair) for pair in zip(truth, guess, strict=True)]
    np.testing.assert_allclose(result, expected, rtol=1e-10)


def test_phase_is_forgiven_and_gain_is_not() -> None:
    truth = noise(2, 1, 4000)
    assert spectral_distance(truth, -truth).tolist() == [0.0]
    np.testing.assert_allclose(spectral_distance(truth, truth / 4), 0.75 + np.log(4), rtol=1e-6)
    near, far = (spectral_distance(truth, truth + g * noise(3, 1, 4000)) for g in (0.01, 0.3))
    assert 0 < near < far


def test_silence_and_short_sounds() -> None:
    truth = noise(4, 1, 4000)
    assert spectral_distance(truth, 0 * truth) > 1
    assert np.isfinite(spectral_distance(truth[:, :5], truth[:, 5:10])).all()
    with pytest.raises(InputError, match="reference 0 is silent"):
        spectral_distance(0 * truth, truth)
    with pytest.raises(InputError, match="both must have one shape"):
        spectral_distance(truth, truth[:, 1:])


def test_a_batch_is_a_loop() -> None:
    truth, guess = noise(5, 3, 2, 1500), noise(6, 3, 2, 1500)
    whole = spectral_distance(torch.tensor(truth), torch.tensor(guess).float())
    assert whole.shape == (3, 2) and whole.dtype == np.float64
    item = spectral_distance(truth[1], guess[1].astype(np.float32))
    np.testing.assert_allclose(whole[1], item, rtol=1e-9)
