"""Compute binaural errors: interaural level (ILD) and time (ITD) differences."""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Complex128, Float64
from scipy.fft import next_fast_len

from avsep.errors import InputError
from avsep.evaluation.waveforms import (
    Waveforms,
    as_tensors,
    check_finite,
    check_not_silent,
    check_shapes,
)

# Heads delay one ear by about 0.7 ms at most; papers search to 1 ms (Veluri et al. 2023).
MAX_ITD_SECONDS = 1e-3
# Steps start at most a quarter of a sample away, and each squares the error: four reach rounding.
_NEWTON_STEPS = 4
# Bins weaker than this share of the strongest hold rounding, whose random phase whitening would
# give full weight.
_EMPTY_BIN = 1e-10


def ild_error_db(references: Waveforms, estimates: Waveforms) -> Float64[np.ndarray, "*batch S"]:
    """Return the absolute errors of interaural level differences, in dB, 0 is best.

    |ILD of the estimate - ILD of the reference|, ILD = 10 log10(energy left / energy right) of the
    whole sound and all frequencies (Veluri, Itani, Chan, Yoshioka, Gollakota, "Semantic hearing",
    UIST 2023).

    Departure: on music, arXiv 2507.00155 takes both differences in frames of half a second and
    weighs them by energy; the whole sound needs no such settings, and suits sources that do not
    move.

    0 if both are silent in the same ear; inf for an estimate silent in one ear or both where the
    reference is not.

    Args:
        references, estimates: [..., sources, 2, samples], left ear first.

    Raises:
        InputError: unequal shapes, not two channels, NaN, a reference silent in both ears.

    >>> noise = np.random.default_rng(0).standard_normal((1, 2, 8000))
    >>> ild_error_db(noise, noise * [[1.0], [0.5]]).round(4)
    array([6.0206])
    """
    truth, guess = _check_ears(references, estimates)
    true_db, guess_db = _level_difference_db(truth), _level_difference_db(guess)
    with np.errstate(invalid="ignore"):
        error_db = np.abs(guess_db - true_db)
    # Equal infinities (one ear silent in both) have a difference of NaN, and no error.
    return np.where(guess_db == true_db, 0.0, np.nan_to_num(error_db, nan=np.inf, posinf=np.inf))


def itd_error_us(
    references: Waveforms, estimates: Waveforms, sample_rate_hz: int, *, whiten: bool = True
) -> Float64[np.ndarray, "*batch S"]:
    """Return the absolute errors of interaural time differences, in microseconds, 0 is best.

    |ITD of the estimate - ITD of the reference|, each by `time_difference_us`. NaN where the
    reference is silent in one ear, since it has no ITD then; inf where only the estimate is.

    Whitening, the usual choice, weighs all frequencies alike: noise that an estimate adds where its
    source has no energy may decide. Without it the loudest frequencies decide.

    Args:
        references, estimates: [..., sources, 2, samples], left ear first.

    Raises:
        InputError: as `ild_error_db`.
    """
    truth, guess = _check_ears(references, estimates)
    true_us, guess_us = (
        time_difference_us(x, sample_rate_hz, whiten=whiten) for x in (truth, guess)
    )
    error_us = np.abs(guess_us - true_us)
    return np.where(np.isnan(guess_us) & ~np.isnan(true_us), np.inf, error_us)


def time_difference_us(
    ears: Float64[np.ndarray, "*batch 2 N"], sample_rate_hz: int, *, whiten: bool = True
) -> Float64[np.ndarray, "*batch"]:
    """Return ITDs in microseconds, above 0 when the right ear is later; NaN if an ear is silent.

    The lag of the maximum within 1 ms of the cross-correlation of both ears, with sub-sample
    precision; with `whiten`, of their whitened spectra (GCC-PHAT: Knapp and Carter, IEEE TASSP
    24(4), 1976).
    """
    *batch, _, num_samples = ears.shape
    max_lag = max(1, math.ceil(MAX_ITD_SECONDS * sample_rate_hz))
    # Long enough that no lag within the limit wraps around.
    fft_samples = 2 * cast(int, next_fast_len(num_samples // 2 + max_lag + 1))
    spectra = np.fft.rfft(_scale_to_peak(ears).reshape(-1, 2, num_samples), fft_samples)
    cross = spectra[:, 1] * spectra[:, 0].conj()
    if whiten:
        cross = _whiten(cross)
    # Twice the FFT length samples the correlation every half sample, so that no peak is missed.
    by_lag = np.fft.irfft(cross, 2 * fft_samples)
    lags = np.arange(-2 * max_lag, 2 * max_lag + 1)
    coarse_samples = lags[by_lag[:, lags].argmax(-1)] / 2
    lag_samples = _refine_peaks(cross, coarse_samples, fft_samples)
    limit_us = 1e6 * MAX_ITD_SECONDS
    itd_us = (1e6 * lag_samples / sample_rate_hz).clip(-limit_us, limit_us).reshape(batch)
    return np.where(ears.any(axis=-1).all(axis=-1), itd_us, np.nan)


def _refine_peaks(
    cross: Complex128[np.ndarray, "B F"], start_samples: Float64[np.ndarray, " B"], fft_samples: int
) -> Float64[np.ndarray, " B"]:
    """Return the lags of a correlation's peaks near starting points, by Newton's method."""
    # r(lag) = sum of Re(X e^{i w lag}) is band-limited, so that its derivatives are exact.
    frequencies = 2 * np.pi * np.arange(cross.shape[-1]) / fft_samples  # radians per sample
    lags = start_samples
    for _ in range(_NEWTON_STEPS):
        shifted = cross * np.exp(1j * frequencies * lags[:, None])
        slope, curvature = -(shifted.imag @ frequencies), -(shifted.real @ frequencies**2)
        # Where the curve is not concave a Newton step would lead away from the maximum.
        lags = lags - np.where(curvature < 0, slope / np.where(curvature < 0, curvature, 1.0), 0.0)
        lags = lags.clip(start_samples - 0.5, start_samples + 0.5)
    return lags


def _check_ears(
    references: Waveforms, estimates: Waveforms
) -> tuple[Float64[np.ndarray, "*batch 2 N"], Float64[np.ndarray, "*batch 2 N"]]:
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, 2, samples", taps=1)
    if truth.shape[-2] != 2:
        raise InputError(
            f"references and estimates have shape {list(truth.shape)}; two ears, [..., sources, 2, "
            "samples], are needed"
        )
    check_finite(truth, guess)
    check_not_silent(truth.flatten(-2))
    both = torch.broadcast_tensors(truth.to(torch.float64), guess.to(torch.float64))
    return both[0].cpu().numpy(), both[1].cpu().numpy()


def _level_difference_db(
    ears: Float64[np.ndarray, "*batch 2 N"],
) -> Float64[np.ndarray, "*batch"]:
    """Return the level of left over right; +-inf if one is silent, NaN if both are."""
    energy = np.square(_scale_to_peak(ears)).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(energy[..., 0] / energy[..., 1])


def _scale_to_peak(ears: Float64[np.ndarray, "*batch 2 N"]) -> Float64[np.ndarray, "*batch 2 N"]:
    """Scale both ears by one factor, so that squares of soft sound do not underflow."""
    peak = np.abs(ears).max(axis=(-2, -1), keepdims=True)
    return ears / np.where(peak > 0, peak, 1.0)


def _whiten(cross: Complex128[np.ndarray, "*batch F"]) -> Complex128[np.ndarray, "*batch F"]:
    """Return the phases of a cross-spectrum at magnitude 1; empty bins are 0."""
    magnitude = np.abs(cross)
    sounds = magnitude > _EMPTY_BIN * magnitude.max(axis=-1, keepdims=True)
    return np.where(sounds, cross, 0.0) / np.where(sounds, magnitude, 1.0)
