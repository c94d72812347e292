"""Find and take off constant offsets between estimates and their references."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64

_LONGEST_OFFSET_SECONDS = 10.0
_BLOCK_SAMPLES = 2**20
# An offset is reported where sounds correlate this much at it, and clearly more than without it:
# tones also correlate a period later.
_SMALLEST_CORRELATION = 0.3
_FACTOR_ABOVE_ZERO_LAG = 1.25


@dataclass(frozen=True)
class Offset:
    """The delay of an estimate against its reference.

    Attributes:
        samples: negative where the estimate is earlier.
        correlation: normalised cross-correlation there, of the mean of the channels.
    """

    samples: int
    correlation: float


def find_offset(
    reference: Float32[np.ndarray, "C N"],
    estimate: Float32[np.ndarray, "C M"],
    sample_rate_hz: int,
) -> Offset:
    """Return the offset of an estimate, 0 where none is clear; lengths may differ."""
    truth, guess = (waveform.mean(axis=0, dtype=np.float64) for waveform in (reference, estimate))
    energy = np.sqrt((truth @ truth) * (guess @ guess))
    longest = min(round(_LONGEST_OFFSET_SECONDS * sample_rate_hz), len(truth), len(guess))
    if not energy or not longest:
        return Offset(0, 0.0)
    correlations = np.abs(_correlate(truth, guess, longest)) / energy
    best = int(correlations.argmax())
    peak, at_zero = float(correlations[best]), float(correlations[longest])
    if peak < max(_SMALLEST_CORRELATION, _FACTOR_ABOVE_ZERO_LAG * at_zero):
        return Offset(0, at_zero)
    return Offset(best - longest, peak)


def take_off(
    references: Sequence[Float32[np.ndarray, "C _"]],
    estimates: Sequence[Float32[np.ndarray, "C _"]],
    others: Sequence[Float32[np.ndarray, "C _"]],
    offsets: Sequence[int],
) -> list[Float32[np.ndarray, "C _"]]:
    """Return references, estimates and others without the offsets of the estimates.

    Estimates that are early lack the beginning: it is cut off everything.
    """
    begin = max(0, *(-offset for offset in offsets))
    shifted = [
        estimate[:, begin + offset :] for estimate, offset in zip(estimates, offsets, strict=True)
    ]
    return [*(x[:, begin:] for x in references), *shifted, *(x[:, begin:] for x in others)]


def _correlate(
    truth: Float64[np.ndarray, " N"], guess: Float64[np.ndarray, " M"], longest: int
) -> Float64[np.ndarray, " lags"]:
    """Correlate at lags -longest..longest, block by block in memory that does not grow."""
    size = 1 << (min(_BLOCK_SAMPLES, len(truth)) + 2 * longest - 1).bit_length()
    padded = np.pad(guess, longest)
    total = np.zeros(size // 2 + 1, np.complex128)
    for begin in range(0, len(truth), _BLOCK_SAMPLES):
        block = truth[begin : begin + _BLOCK_SAMPLES]
        segment = padded[begin : begin + len(block) + 2 * longest]
        if len(segment):
            total += np.fft.rfft(segment, size) * np.fft.rfft(block, size).conj()
    return np.fft.irfft(total, size)[: 2 * longest + 1]
