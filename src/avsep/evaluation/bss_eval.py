"""Compute BSS Eval v3 scores of separated sources: SDR, SIR and SAR."""

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
    ScoreTable,
    decompose_signals,
    score_in_batches,
)
from avsep.evaluation.waveforms import (
    UndefinedScoreError,
    Waveforms,
    as_tensors,
    check_shapes,
    check_values,
    rescale_extremes,
)  # fmt: skip


@dataclass(frozen=True)
class BssScores:
    """Scores of each source in decibels, higher is better; rounding decides above 100 dB.

    Attributes:
        sdr_db: source to distortion: the source against everything else in its estimate.
        sir_db: source to interference: the source against the other sources; inf with one source.
        sar_db: sources to artifacts: all sources against what none of them explains.
        permutation: index of the estimate scored for each reference.
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
    """Return SDR, SIR and SAR of estimates [..., sources, samples], computed in float64.

    An estimate is split in three (Vincent, Gribonval, Fevotte 2006, section III): its projection
    onto its own reference delayed by 0 to `filter_taps` - 1 samples, what the projection onto the
    delayed references of all sources adds, and the rest. So a gain, a short delay and a mild
    equaliser are forgiven.

    Leading axes broadcast. Axes that the references lack hold several estimates of one mixture,
    which share all work on its references: give [sources, samples] and [models, sources, samples]
    to score many models at once. CUDA tensors are scored on their device.

    With `permute` estimates are assigned to references by the best mean SIR. An estimate of zeros
    scores -inf throughout. With one source there is no interference, and its SIR is inf.

    Raises:
        InputError: shapes do not match, sounds are too short for the filters, samples are NaN or
            infinite, or a reference is all zeros, so that no score is defined.

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> bss_eval(noise, noise + 0.1 * noise[::-1]).sir_db.round()
    array([20., 20.])
    """
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, samples", filter_taps)
    num_sources = truth.shape[-2]

    def score(sources: References, guesses: Estimates) -> ScoreTable:
        indices = torch.arange(guesses.shape[1] * num_sources, device=guesses.device)
        by_model = indices.unflatten(0, (-1, num_sources))  # M S
        # To find the best order every source is compared with every estimate, else with its own.
        compared = indices.expand(num_sources, -1) if permute else by_model.T
        sources = rescale_extremes(sources, may_be_silent=False)
        signals = rescale_extremes(guesses.flatten(1, 3))
        parts = decompose_signals(sources, signals, compared, filter_taps)
        table_db = _ratios_db(parts).unflatten(2, (len(by_model), -1))  # B S M estimates 3
        return table_db.transpose(1, 2).cpu().numpy()

    try:
        table_db = score_in_batches(truth.unsqueeze(-2), guess.unsqueeze(-2), score)
    except UndefinedScoreError:
        # Checked only now: on valid input, the usual case, looking for NaN would cost time.
        check_values(truth, guess)
        raise
    scores_db, order = select_estimates(table_db, 1, permute)
    return BssScores(*np.moveaxis(scores_db, -1, 0), permutation=order)


def _ratios_db(parts: Decomposition) -> Float64[Tensor, "B S Q 3"]:
    """Return SDR, SIR and SAR, the ratios of energies in dB."""
    ratios = (
        parts.target / parts.distortion,
        parts.target / parts.interference,
        parts.explained / parts.artifacts,
    )
    # 0 / 0 occurs for an estimate of zeros only, which scores -inf.
    return 10 * torch.log10(torch.stack(ratios, dim=-1).nan_to_num(nan=0.0, posinf=torch.inf))


def select_estimates(
    table_db: Float64[np.ndarray, "*batch S estimates K"], sir_column: int, permute: bool
) -> tuple[Float64[np.ndarray, "*batch S K"], Int64[np.ndarray, "*batch S"]]:
    """Return the scores of the estimate assigned to each reference, and the indices of these.

    Args:
        table_db: K scores of each reference with every estimate; without `permute`, with its own
            estimate only.
        sir_column: index of SIR among the K scores.
        permute: assign estimates by the best mean SIR.
    """
    if not permute:
        order = np.broadcast_to(np.arange(table_db.shape[-3]), table_db.shape[:-2]).copy()
        return table_db[..., 0, :], order
    order = best_order_by_sir(table_db[..., sir_column])
    return np.take_along_axis(table_db, order[..., None, None], axis=-2)[..., 0, :], order


def best_order_by_sir(sir_db: Float64[np.ndarray, "*batch S S"]) -> Int64[np.ndarray, "*batch S"]:
    """Return the index of the estimate for each reference in the order of best mean SIR."""
    # Infinities cannot be summed, and above 200 dB rounding would decide.
    return assign_estimates(sir_db.clip(-1000, 200))


def assign_estimates(
    similarity: Float64[np.ndarray, "*batch S S"],
) -> Int64[np.ndarray, "*batch S"]:
    """Return the index of the estimate for each reference in the assignment of highest sum."""
    tables = similarity.reshape(-1, *similarity.shape[-2:])
    # Hungarian algorithm, one mixture at a time: all orders of many sources are too many to try.
    orders = [linear_sum_assignment(table, maximize=True)[1] for table in tables]
    return np.stack(orders).astype(np.int64).reshape(similarity.shape[:-1])
