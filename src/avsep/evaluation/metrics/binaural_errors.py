"""Errors of what two ears tell of direction: differences of level (ILD) and of time (ITD)."""

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
    check_shapes,
    check_sounding,
)

# Heads delay one ear by less than this (about 0.7 ms); the field looks no further.
MAX_ITD_SECONDS = 1e-3
# From a quarter of a sample off each squares the error: four leave rounding.
_NEWTON_STEPS = 4
# Bins weaker than this share of the strongest hold rounding, whose phase would count like sound's.
_EMPTY_BIN = 1e-10


def ild_error_db(references: Waveforms, estimates: Waveforms) -> Float64[np.ndarray, "*batch S"]:
    """How far the level difference between the ears is from the true one, in dB, 0 is best.

    |ILD of the estimate - ILD of the reference|, ILD = 10 log10(energy left / energy right) of the
    whole sound and all frequencies (Veluri, Itani, Chan, Yoshioka, Gollakota, "Semantic hearing",
    UIST 2023).

    Departure: on music, arXiv 2507.00155 takes both differences in frames of half a second and
    weighs them by energy; the whole sound needs no such settings, and suits what stays in place.

    Equal for two that are silent in the same ear; inf for an estimate silent in one ear or both
    where the reference is not.

    Args:
        references, estimates: [..., sources, 2, samples], left ear first.

    Raises:
        InputError: unequal shapes, not two channels, NaN, a reference silent in both ears.

    >>> noise = np.random.default_rng(0).standard_normal((1, 2, 8000))
    >>> ild_error_db(noise, noise * [[1.0], [0.5]]).round(4)
    array([6.0206])
    """
    truth, guess = _ears(references, estimates)
    true_db, found_db = _level_difference_db(truth), _level_difference_db(guess)
    with np.errstate(invalid="ignore"):
        error_db = np.abs(found_db - true_db)
    return np.where(found_db == true_db, 0.0, np.nan_to_num(error_db, nan=np.inf, posinf=np.inf))


def itd_error_us(
    references: Waveforms, estimates: Waveforms, sample_rate_hz: int, *, whiten: bool = True
) -> Float64[np.ndarray, "*batch S"]:
    """How far the delay between the ears is from the true one, in microseconds, 0 is best.

    |ITD of the estimate - ITD of the reference|, each by `time_difference_us`. NaN where the
    reference is silent in one ear, since it has no ITD then; inf where only the estimate is.

    Whitening, the field's way, counts every frequency alike: noise that an estimate adds where its
    source has nothing may decide. Without it the loudest frequencies decide.

    Args:
        references, estimates: [..., sources, 2, samples], left ear first.

    Raises:
        InputError: as `ild_error_db`.
    """
    truth, guess = _ears(references, estimates)
    true_us, found_us = (
        time_difference_us(x, sample_rate_hz, whiten=whiten) for x in (truth, guess)
    )
    error_us = np.abs(found_us - true_us)
    return np.where(np.isnan(found_us) & ~np.isnan(true_us), np.inf, error_us)


def time_difference_us(
    ears: Float64[np.ndarray, "*batch 2 N"], sample_rate_hz: int, *, whiten: bool = True
) -> Float64[np.ndarray, "*batch"]:
    """ITD in microseconds, above 0 when the right ear hears later; NaN where an ear hears nothing.

    The highest point within 1 ms of the cross-correlation of both ears, between the samples too,
    with `whiten` of their whitened spectra (GCC-PHAT: Knapp and Carter, IEEE TASSP 24(4), 1976).
    """
    *batch, _, num_samples = ears.shape
    max_lag = max(1, math.ceil(MAX_ITD_SECONDS * sample_rate_hz))
    # Long enough for no lag in question to wrap around.
    fft_samples = 2 * cast(int, next_fast_len(num_samples // 2 + max_lag + 1))
    spectra = np.fft.rfft(_peak_one(ears).reshape(-1, 2, num_samples), fft_samples)
    cross = spectra[:, 1] * spectra[:, 0].conj()
    if whiten:
        cross = _whitened(cross)
    # Zeros behind the spectrum give points between the samples: no peak is narrower than two.
    by_lag = np.fft.irfft(cross, 2 * fft_samples)
    lags = np.arange(-2 * max_lag, 2 * max_lag + 1)
    coarse_samples = lags[by_lag[:, lags].argmax(-1)] / 2
    lag_samples = _at_the_top(cross, coarse_samples, fft_samples)
    limit_us = 1e6 * MAX_ITD_SECONDS
    found_us = (1e6 * lag_samples / sample_rate_hz).clip(-limit_us, limit_us).reshape(batch)
    return np.where(ears.any(axis=-1).all(axis=-1), found_us, np.nan)


def _at_the_top(
    cross: Complex128[np.ndarray, "B F"], start_samples: Float64[np.ndarray, " B"], fft_samples: int
) -> Float64[np.ndarray, " B"]:
    """The lags of the peaks of a correlation near where they are believed, by Newton's steps."""
    pace = 2 * np.pi * np.arange(cross.shape[-1]) / fft_samples  # radians a sample
    lags = start_samples
    for _ in range(_NEWTON_STEPS):
        turned = cross * np.exp(1j * pace * lags[:, None])
        slope, bend = -(turned.imag @ pace), -(turned.real @ pace**2)
        # Where it does not bend down there is no top to go to.
        lags = lags - np.where(bend < 0, slope / np.where(bend < 0, bend, 1.0), 0.0)
        lags = lags.clip(start_samples - 0.5, start_samples + 0.5)
    return lags


def _ears(
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
    check_sounding(truth.flatten(-2))
    both = torch.broadcast_tensors(truth.to(torch.float64), guess.to(torch.float64))
    return both[0].cpu().numpy(), both[1].cpu().numpy()


def _level_difference_db(
    ears: Float64[np.ndarray, "*batch 2 N"],
) -> Float64[np.ndarray, "*batch"]:
    """Level of the left ear over the right; +-inf where one is silent, NaN where both are."""
    energy = np.square(_peak_one(ears)).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10 * np.log10(energy[..., 0] / energy[..., 1])


def _peak_one(ears: Float64[np.ndarray, "*batch 2 N"]) -> Float64[np.ndarray, "*batch 2 N"]:
    """Both ears by one factor, so that squares of soft sound do not become zero."""
    peak = np.abs(ears).max(axis=(-2, -1), keepdims=True)
    return ears / np.where(peak > 0, peak, 1.0)


def _whitened(cross: Complex128[np.ndarray, "*batch F"]) -> Complex128[np.ndarray, "*batch F"]:
    """The phases of a cross-spectrum, all of one weight where there is sound."""
    strength = np.abs(cross)
    sounds = strength > _EMPTY_BIN * strength.max(axis=-1, keepdims=True)
    return np.where(sounds, cross, 0.0) / np.where(sounds, strength, 1.0)
