"""Compute BSS Eval decompositions of many estimates by correlations, in batches."""

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from avsep.devices import map_on_threads
from avsep.evaluation.projection.decomposition import Decomposition, Mixtures, decompose
from avsep.evaluation.projection.least_squares import (
    DelayedReferences,
    ToeplitzSystems,
    compute_autocorrelations,
    norms,
)

References = Float64[Tensor, "B S C N"]
Estimates = Float64[Tensor, "B M S C N"]
ScoreTable = Float64[np.ndarray, "B M ..."]

# Small operations of the recursion serve 32 mixtures at a time; larger batches take more memory.
_MAX_MIXTURES = 32
_MAX_SIGNALS = 64  # estimates of one mixture per call, times sources and channels
_MAX_BYTES = 2**28  # float64 copies of a batch's waveforms stay below 256 MiB


def decompose_signals(
    references: Float64[Tensor, "B S C N"],
    signals: Float64[Tensor, "B R N"],
    compared: Int64[Tensor, "S Q"],
    taps: int,
) -> Decomposition:
    """Return the energies [B, S, Q] of the parts of signals, as shares of each signal's energy.

    Departure: mir_eval filters the references and subtracts; here no waveform is made as long as
    two energies from correlations give the parts to 4e-7 dB, which an estimate of their error
    decides. Where they do not, as for near-singular references or tiny parts, the mixture's
    decomposition is refined on waveforms.

    Args:
        references: S sources of C channels each; none is silent.
        signals: estimates to decompose; silent ones have parts of 0.
        compared: indices of the signals that each source is compared with.
        taps: length of the filters that a reference may pass through.
    """
    _, S, C, _ = references.shape
    channels = references.flatten(1, 2)
    # Normalising the correlations instead of the waveforms saves a copy of every waveform.
    signal_norms = norms(signals)
    scales = torch.cat([norms(channels), signal_norms], dim=1)  # B G+R
    scales = torch.where(scales > 0, scales, 1.0)
    # One mixture after another, whose blocks then stay in the cache.
    delayed = [
        DelayedReferences(*each, taps) for each in zip(channels, scales[:, : S * C], strict=True)
    ]
    correlations = torch.stack(
        [x.correlate(both) for x, *both in zip(delayed, channels, signals, strict=True)]
    )
    correlations /= scales[:, None, :, None]
    autocorrelations = compute_autocorrelations(correlations[:, :, : S * C])
    cross_correlations = correlations[:, :, S * C :].transpose(1, 2)  # B R G taps
    # All sources' own systems have one size: they are one batch, mixture by mixture.
    own_blocks = [autocorrelations[:, i : i + C, i : i + C] for i in range(0, S * C, C)]
    own_sides = [cross_correlations[:, compared[i], i * C : (i + 1) * C] for i in range(S)]
    by_source = ToeplitzSystems(
        torch.stack(own_blocks, dim=1).flatten(0, 1), torch.stack(own_sides, dim=1).flatten(0, 1)
    )
    by_all = ToeplitzSystems(autocorrelations, cross_correlations) if S > 1 else None
    return decompose(Mixtures(delayed, signals, signal_norms, compared, by_source, by_all))


def score_in_batches(
    references: Shaped[Tensor, "... S C N"],
    estimates: Shaped[Tensor, "... S C N"],
    score: Callable[[References, Estimates], ScoreTable],
) -> ScoreTable:
    """Apply `score` to all mixtures in batches; return its table over the broadcast leading axes.

    Leading axes that only the estimates have hold M estimates of one mixture, which `score` gets
    together, so that they share the work on its references. Each thread takes whole batches.
    """
    mixture_axes, estimate_axes, batch = _split_axes(references.shape[:-3], estimates.shape[:-3])
    axes = (*mixture_axes, *estimate_axes)
    tail = references.shape[-3:]
    truth = _add_leading_axes(references, len(batch)).permute(*axes, -3, -2, -1)
    truth = truth.reshape(-1, *tail)
    guess = _add_leading_axes(estimates, len(batch)).expand(*batch, *tail)
    guess = guess.permute(*axes, -3, -2, -1).reshape(len(truth), -1, *tail)
    num_mixtures, num_estimates = guess.shape[:2]
    estimates_per_call = max(1, _MAX_SIGNALS // prod(tail[:2]))
    num_signals = prod(tail[:2]) * (1 + min(estimates_per_call, num_estimates))
    batch_size = max(1, min(_MAX_MIXTURES, _MAX_BYTES // (8 * num_signals * tail[2])))
    if truth.device.type == "cpu":
        # As many batches for every thread.
        num_threads = torch.get_num_threads()
        num_rounds = -(-num_mixtures // (batch_size * num_threads))
        batch_size = -(-num_mixtures // (num_rounds * num_threads))

    def score_batch(first: int) -> ScoreTable:
        sources = truth[first : first + batch_size].to(torch.float64)
        chunks = guess[first : first + batch_size].split(estimates_per_call, dim=1)
        tables = [score(sources, chunk.to(torch.float64)) for chunk in chunks]
        return np.concatenate(tables, axis=1)

    starts = range(0, num_mixtures, batch_size)
    if truth.device.type == "cpu":
        table = np.concatenate(map_on_threads(score_batch, starts))
    else:
        table = np.concatenate([score_batch(first) for first in starts])
    # Undo the permutation: restore the leading axes in the order in which they broadcast.
    table = table.reshape(*(batch[axis] for axis in axes), *table.shape[2:])
    places = [axes.index(axis) for axis in range(len(batch))]
    return table.transpose(*places, *range(len(batch), table.ndim))


def _split_axes(
    truth: tuple[int, ...], guess: tuple[int, ...]
) -> tuple[list[int], list[int], tuple[int, ...]]:
    """Return the leading axes of mixtures, those of estimates alone, and the broadcast shape."""
    batch = tuple(torch.broadcast_shapes(truth, guess))
    truth = (1,) * (len(batch) - len(truth)) + truth
    mixture_axes = [axis for axis, size in enumerate(truth) if size == batch[axis]]
    estimate_axes = [axis for axis in range(len(batch)) if axis not in mixture_axes]
    return mixture_axes, estimate_axes, batch


def _add_leading_axes(waveforms: Shaped[Tensor, "..."], num_axes: int) -> Shaped[Tensor, "..."]:
    """Prepend axes of size 1 until there are `num_axes` before the last three."""
    return waveforms[(None,) * (num_axes + 3 - waveforms.ndim)]
