"""Compute the multi-resolution STFT distance of magnitude spectrograms."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from avsep.evaluation.waveforms import Waveforms, as_tensors, check_shapes, check_values

# FFT, hop and window in samples: those of Parallel WaveGAN, and of most later work.
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
# Squared magnitudes are clamped to this, so that the logarithm of silence is finite.
_FLOOR = 1e-7


def spectral_distance(
    references: Waveforms,
    estimates: Waveforms,
    *,
    resolutions: Sequence[tuple[int, int, int]] = RESOLUTIONS,
) -> Float64[np.ndarray, "*batch S"]:
    """Return the multi-resolution STFT distance of estimates [..., sources, samples], 0 is best.

    The mean over the resolutions of spectral convergence and log magnitude distance (Yamamoto,
    Song, Kim, "Parallel WaveGAN", ICASSP 2020, its auxiliary loss), with Hann windows:

        || |X| - |Y| ||_F / || |X| ||_F  +  mean | ln |X| - ln |Y| |

    Phase is ignored, so that it suits models that generate new phases; gain is not: an estimate of
    half the level has a distance of 0.5 + ln 2, one of zeros 1 and more. Magnitudes below 3.2e-4
    count as that, for samples in -1..1.

    Raises:
        InputError: unequal shapes, NaN, a reference of zeros.

    >>> noise = np.random.default_rng(0).standard_normal((1, 8000))
    >>> spectral_distance(noise, 0.5 * noise).round(3)
    array([1.193])
    """
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, samples", taps=1)
    check_values(truth, guess)
    truth, guess = torch.broadcast_tensors(truth.to(torch.float64), guess.to(torch.float64))
    flat = [x.reshape(-1, x.shape[-1]) for x in (truth, guess)]
    distances = [_distance(flat[0], flat[1], *resolution) for resolution in resolutions]
    return torch.stack(distances).mean(0).reshape(truth.shape[:-1]).cpu().numpy()


def _distance(
    truth: Float64[Tensor, "B N"],
    guess: Float64[Tensor, "B N"],
    fft_samples: int,
    hop_samples: int,
    window_samples: int,
) -> Float64[Tensor, " B"]:
    """Return the sum of spectral convergence and log magnitude distance at one resolution."""
    window = torch.hann_window(window_samples, dtype=torch.float64, device=truth.device)
    X, Y = (
        torch.stft(
            waveform,
            fft_samples,
            hop_samples,
            window_samples,
            window,
            pad_mode="constant",  # reflection needs sounds longer than half the FFT
            return_complex=True,
        )
        .abs()
        .square()
        .clamp(min=_FLOOR)
        .sqrt()
        for waveform in (truth, guess)
    )  # B F T
    convergence = torch.linalg.matrix_norm(X - Y) / torch.linalg.matrix_norm(X)
    return convergence + (X.log() - Y.log()).abs().mean((-2, -1))
