"""Compute the energies of target, interference and artefacts of many estimates, in batches."""

from collections.abc import Callable
from dataclasses import fields
from math import prod
from operator import itemgetter

import numpy as np
import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from avsep.evaluation.projection.decomposition import (
    Decomposition,
    are_wrong,
    error_limits,
    parts_of,
)
from avsep.evaluation.projection.least_squares import correlate, explained_by_recursion, lags_of
from avsep.evaluation.projection.refinement import Mixture, refine_decomposition


def energies_of_parts(
    references: Float64[Tensor, "B S C N"],
    signals: Float64[Tensor, "B R N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
) -> Decomposition:
    """Energies [B, S, Q] of the parts of signals, as shares of each signal's own energy.

    Departure: mir_eval filters the references and subtracts; here no waveform is made as long as
    two energies from correlations tell the parts to 4e-7 dB, which an estimate of their error
    decides. Where it does not, as for references that are near singular or parts that are tiny, the
    mixture is done again with care.

    Args:
        references: of S sources, C channels each; none is silent.
        signals: silent ones have parts of 0.
        asked: which signals each source is compared with.
        taps: of the filters that a reference may go through.
    """
    _, S, C, _ = references.shape
    channels = references.flatten(1, 2)
    # Levels are evened out in the correlations: that spares a copy of every waveform.
    norms = [torch.linalg.vector_norm(x, dim=-1) for x in (channels, signals)]
    scales = torch.cat([torch.where(norm > 0, norm, 1.0) for norm in norms], dim=1)  # B G+R
    correlations = correlate(channels, [channels, signals], taps)
    correlations /= (scales[:, : S * C, None] * scales[:, None])[..., None]
    lags = lags_of(correlations[:, :, : S * C])
    sides = correlations[:, :, S * C :].transpose(1, 2)  # B R G taps
    own_lags = [lags[:, i : i + C, i : i + C] for i in range(0, S * C, C)]
    own_sides = [sides[:, asked[i], i * C : (i + 1) * C] for i in range(S)]
    own = explained_by_recursion(torch.cat(own_lags), torch.cat(own_sides))
    own = own.shaped(lambda values: values.unflatten(0, (S, -1)).transpose(0, 1))  # B S Q
    by_all = None
    if S > 1:
        found = explained_by_recursion(lags, sides)
        by_all = found.shaped(lambda values: values[:, asked])
    whole = (norms[1] > 0).to(lags.dtype)[:, asked]
    parts = parts_of(whole, own, by_all)
    limits = error_limits(whole, own, by_all)
    wrong = are_wrong(own, limits[0]) | are_wrong(by_all or own, limits[1])
    for index in wrong.flatten(1).any(1).nonzero()[:, 0].tolist():
        pick = itemgetter(index)
        mixture = Mixture(pick(references), pick(signals), pick(lags), pick(sides), asked)
        careful = refine_decomposition(mixture, own.shaped(pick), by_all and by_all.shaped(pick))
        for field in fields(Decomposition):
            getattr(parts, field.name)[index] = getattr(careful, field.name)
    return parts


# Many mixtures, each with one estimate or several, in batches of bounded size


References = Float64[Tensor, "B S C N"]
Estimates = Float64[Tensor, "B M S C N"]
Table = Float64[np.ndarray, "B M ..."]
# So many mixtures at once keep the threads busy; more of them only leave the cache.
_MOST_MIXTURES = 32
_MOST_SIGNALS = 64
_MOST_BYTES = 2**28


def in_batches(
    references: Shaped[Tensor, "... S C N"],
    estimates: Shaped[Tensor, "... S C N"],
    score: Callable[[References, Estimates], Table],
) -> Table:
    """What `score` gives for every mixture, in the shape that the leading axes broadcast to.

    Axes that only the estimates have are several answers to one mixture, which `score` gets
    together. PyTorch's threads share the mixtures of a batch.
    """
    own, shared, batch = _split_axes(references.shape[:-3], estimates.shape[:-3])
    tail = references.shape[-3:]
    truth = _leading(references, len(batch)).permute(*own, *shared, -3, -2, -1)
    truth = truth.reshape(-1, *tail)
    guess = _leading(estimates, len(batch)).expand(*batch, *tail)
    guess = guess.permute(*own, *shared, -3, -2, -1).reshape(len(truth), -1, *tail)
    num_mixtures, num_answers = guess.shape[:2]
    answers = max(1, _MOST_SIGNALS // prod(tail[:2]))
    num_signals = prod(tail[:2]) * (1 + min(answers, num_answers))
    mixtures = max(1, min(_MOST_MIXTURES, _MOST_BYTES // (8 * num_signals * tail[2])))
    rows = []
    for first in range(0, num_mixtures, mixtures):
        sources = truth[first : first + mixtures].to(torch.float64)
        columns = guess[first : first + mixtures].split(answers, dim=1)
        rows.append(
            np.concatenate([score(sources, some.to(torch.float64)) for some in columns], axis=1)
        )
    table = np.concatenate(rows)
    order = (*own, *shared)
    table = table.reshape(*(batch[axis] for axis in order), *table.shape[2:])
    places = [order.index(axis) for axis in range(len(batch))]
    return table.transpose(*places, *range(len(batch), table.ndim))


def _split_axes(
    truth: tuple[int, ...], guess: tuple[int, ...]
) -> tuple[list[int], list[int], tuple[int, ...]]:
    """Leading axes along which the references change, those along which they do not, and all."""
    batch = tuple(torch.broadcast_shapes(truth, guess))
    truth = (1,) * (len(batch) - len(truth)) + truth
    own = [axis for axis, size in enumerate(truth) if size == batch[axis]]
    return own, [axis for axis in range(len(batch)) if axis not in own], batch


def _leading(waveforms: Shaped[Tensor, "..."], num_axes: int) -> Shaped[Tensor, "..."]:
    """With axes of one at the front until there are so many beside the last three."""
    return waveforms[(None,) * (num_axes + 3 - waveforms.ndim)]
