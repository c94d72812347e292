"""BSS Eval v3: how much of an estimate is its source, how much other sources, how much neither."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from avsep.evaluation.projection.decomposition import Decomposition
from avsep.evaluation.projection.energies import (
    Estimates,
    References,
    Table,
    energies_of_parts,
    in_batches,
)
from avsep.evaluation.waveforms import (
    NoScoreError,
    Waveforms,
    as_tensors,
    check_shapes,
    check_values,
    evened,
)  # fmt: skip


@dataclass(frozen=True)
class BssScores:
    """Scores of each source in decibels, higher is better; rounding decides above 100 dB.

    Attributes:
        sdr_db: source to distortion: the source against everything else in its estimate.
        sir_db: source to interference: the source against the other sources; inf with one source.
        sar_db: sources to artifacts: all sources against what none of them explains.
        permutation: which estimate was scored for each reference.
    """

    sdr_db: Float64[np.ndarray, "*batch S"]
    sir_db: Float64[np.ndarray, "*batch S"]
    sar_db: Float64[np.ndarray, "*batch S"]
    permutation: Int64[np.ndarray, "*batch S"]

    @property
    def table_db(self) -> Float64[np.ndarray, "*batch S 3"]:
        """SDR, SIR and SAR of each source side by side."""
        return np.stack([self.sdr_db, self.sir_db, self.sar_db], axis=-1)


def bss_eval(
    references: Waveforms,
    estimates: Waveforms,
    *,
    permute: bool = False,
    filter_taps: int = 512,
) -> BssScores:
    """SDR, SIR and SAR of estimates [..., sources, samples] against the true sources, in float64.

    An estimate is split in three (Vincent, Gribonval, Fevotte 2006, section III): what a filter of
    `filter_taps` taps can make of its own reference, what such filters can make of all references
    beyond that, and the rest. So a gain, a short delay and a mild equaliser are forgiven.

    Leading axes broadcast. Axes that the references lack are several answers to one mixture, and
    share all work on its references: give [sources, samples] and [models, sources, samples] to
    score many models at once. CUDA tensors are scored where they are.

    With `permute` each reference gets the estimate that the assignment of best mean SIR gives it.
    An estimate of zeros scores -inf throughout: it holds nothing of its source. With one source
    there is no interference, and its SIR is inf.

    Raises:
        InputError: shapes that do not fit, sounds too short for the filters, NaN or infinite
            samples, a reference of zeros, against which no score is defined.

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> bss_eval(noise, noise + 0.1 * noise[::-1]).sir_db.round()
    array([20., 20.])
    """
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, samples", filter_taps)
    num_sources = truth.shape[-2]

    def score(sources: References, answers: Estimates) -> Table:
        places = torch.arange(answers.shape[1] * num_sources, device=answers.device)
        by_answer = places.unflatten(0, (-1, num_sources))  # M S
        asked = places.expand(num_sources, -1) if permute else by_answer.T
        sources, signals = evened(sources, may_be_silent=False), evened(answers.flatten(1, 3))
        parts = energies_of_parts(sources, signals, asked, filter_taps)
        table_db = _ratios_db(parts).unflatten(2, (len(by_answer), -1))  # B S M estimates 3
        return table_db.transpose(1, 2).cpu().numpy()

    try:
        table_db = in_batches(truth.unsqueeze(-2), guess.unsqueeze(-2), score)
    except NoScoreError:
        check_values(truth, guess)
        raise
    scores_db, order = in_order(table_db, 1, permute)
    return BssScores(*np.moveaxis(scores_db, -1, 0), permutation=order)


def _ratios_db(parts: Decomposition) -> Float64[Tensor, "B S Q 3"]:
    """SDR, SIR, SAR of parts."""
    ratios = (
        parts.target / parts.distortion,
        parts.target / parts.interference,
        parts.explained / parts.artifacts,
    )
    # Only an estimate of zeros has nothing above and below the line.
    return 10 * torch.log10(torch.stack(ratios, dim=-1).nan_to_num(nan=0.0, posinf=torch.inf))


def in_order(
    table_db: Float64[np.ndarray, "*batch S estimates K"], sir_column: int, permute: bool
) -> tuple[Float64[np.ndarray, "*batch S K"], Int64[np.ndarray, "*batch S"]]:
    """Scores of the estimate that belongs to each reference, and which that is.

    Args:
        table_db: K scores of each reference with every estimate; with its own alone where estimates
            keep their order.
        sir_column: of the K.
        permute: the order of best mean SIR is looked for.
    """
    if not permute:
        order = np.broadcast_to(np.arange(table_db.shape[-3]), table_db.shape[:-2]).copy()
        return table_db[..., 0, :], order
    order = best_orders(table_db[..., sir_column])
    return np.take_along_axis(table_db, order[..., None, None], axis=-2)[..., 0, :], order


def best_orders(sir_db: Float64[np.ndarray, "*batch S S"]) -> Int64[np.ndarray, "*batch S"]:
    """The estimate for each reference in the assignment of best mean SIR."""
    # Infinities cannot be summed, and above 200 dB rounding would choose.
    return assignments(sir_db.clip(-1000, 200))


def assignments(worth: Float64[np.ndarray, "*batch S S"]) -> Int64[np.ndarray, "*batch S"]:
    """The estimate for each reference in the assignment of highest sum, mixture by mixture."""
    tables = worth.reshape(-1, *worth.shape[-2:])
    orders = [linear_sum_assignment(table, maximize=True)[1] for table in tables]
    return np.stack(orders).astype(np.int64).reshape(worth.shape[:-1])
