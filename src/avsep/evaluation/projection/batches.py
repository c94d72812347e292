"""Many mixtures, each with one estimate or several: batches of bounded size, threads over them."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from math import prod

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

References = Float64[Tensor, "B S C N"]
Estimates = Float64[Tensor, "B M S C N"]
Table = Float64[np.ndarray, "B M ..."]
# So many mixtures at once keep the recursion busy; more of them only leave the cache.
_MOST_MIXTURES = 16
_MOST_SIGNALS = 64
_MOST_BYTES = 2**26


def in_batches(
    references: Shaped[Tensor, "... S C N"],
    estimates: Shaped[Tensor, "... S C N"],
    score: Callable[[References, Estimates], Table],
) -> Table:
    """What `score` gives for every mixture, in the shape that the leading axes broadcast to.

    Axes that only the estimates have are several answers to one mixture, which `score` gets
    together. On a CPU threads share the batches, each of which then computes with one thread.
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
    num_threads = torch.get_num_threads() if truth.device.type == "cpu" else 1
    mixtures = min(_MOST_MIXTURES, _MOST_BYTES // (8 * num_signals * tail[2]))
    mixtures = max(1, min(mixtures, -(-num_mixtures // num_threads)))

    def part(start: tuple[int, int]) -> Table:
        rows, columns = (slice(a, a + n) for a, n in zip(start, (mixtures, answers), strict=True))
        found = truth[rows].to(torch.float64), guess[rows, columns].to(torch.float64)
        return score(*found)

    starts = list(product(range(0, num_mixtures, mixtures), range(0, num_answers, answers)))
    tables = iter(_in_threads(part, starts, num_threads))
    per_row = len(range(0, num_answers, answers))
    rows = [
        np.concatenate([next(tables) for _ in range(per_row)], axis=1)
        for _ in range(0, num_mixtures, mixtures)
    ]
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


def _in_threads(
    work: Callable[[tuple[int, int]], Table], starts: list[tuple[int, int]], num_threads: int
) -> list[Table]:
    """The work on each start; several at a time, each on one thread of PyTorch's own."""
    if min(num_threads, len(starts)) < 2:
        return [work(start) for start in starts]
    pool = ThreadPoolExecutor(num_threads, "bss-eval", torch.set_num_threads, (1,))
    try:
        with pool:
            return list(pool.map(work, starts))
    finally:
        # A thread's own number is what later threads begin with, too.
        torch.set_num_threads(num_threads)
