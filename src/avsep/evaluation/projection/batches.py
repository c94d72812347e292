"""Many mixtures, each with one estimate or several, in batches of bounded size."""

from collections.abc import Callable
from math import prod

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

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
