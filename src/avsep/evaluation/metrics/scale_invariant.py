"""Scores that forgive a gain at most: SI-SDR, SI-SIR, SI-SAR, SA-SDR, and what separation gains."""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from avsep.errors import InputError
from avsep.evaluation.bss_eval import BssScores, assignments, best_orders, bss_eval
from avsep.evaluation.waveforms import (
    Waveforms,
    as_tensors,
    check_finite,
    check_shapes,
    check_sounding,
    unit_energy,
)

# Directions among references of energy 1 that are weaker than this are rounding.
_RANK_TOLERANCE = 1e-12
# What rounding leaves of a constant when its mean is taken away, relative to it.
_MEAN_ROUNDING = 1e-12


def si_bss_eval(
    references: Waveforms,
    estimates: Waveforms,
    *,
    permute: bool = False,
    zero_mean: bool = False,
) -> BssScores:
    """SI-SDR, SI-SIR, SI-SAR of estimates [..., sources, samples] in dB, in float64.

    BSS Eval with filters of one tap: an estimate is split into its projection on its own reference,
    what the span of all references explains beyond that, and the rest (Le Roux, Wisdom, Erdogan,
    Hershey, "SDR - half-baked or well done?", ICASSP 2019). So a gain is forgiven, a
    delay is not. Leading axes broadcast. With `zero_mean` the mean of each waveform is taken away
    first; the paper does not, some toolkits do.

    Departure: the paper's SI-SAR has the target alone above the line; ours has all that references
    explain, as BSS Eval v3 and fast_bss_eval have. With one source both are the same.

    With `permute` each reference gets the estimate that the assignment of best mean SI-SIR gives
    it. An estimate of zeros scores -inf throughout; one source has an SI-SIR of inf. References
    that are multiples of one another span what one of them spans.

    Raises:
        InputError: unequal shapes, NaN, too few samples, a reference of zeros (with `zero_mean`, of
            a constant).

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> si_bss_eval(noise, noise + 0.1 * noise[::-1]).sdr_db.round()
    array([20., 20.])
    """
    truth, guess = _checked(references, estimates)
    if zero_mean:
        truth, guess = _without_mean(truth), _without_mean(guess)
    check_sounding(truth)
    table = _pairs_db(unit_energy(truth), unit_energy(guess))
    num_sources = truth.shape[-2]
    order = np.broadcast_to(np.arange(num_sources), truth.shape[:-1])
    if permute:
        order = best_orders(table[..., 1])
    scores = np.take_along_axis(table, order[..., None, None], axis=-2)[..., 0, :]
    return BssScores(
        sdr_db=scores[..., 0],
        sir_db=scores[..., 1],
        sar_db=scores[..., 2],
        permutation=order.astype(np.int64),
    )


def sa_sdr_db(
    references: Waveforms, estimates: Waveforms, *, permute: bool = False
) -> Float64[np.ndarray, "*batch"]:
    """Source-aggregated SDR of each mixture in dB, estimates [..., sources, samples].

    The energy of all sources together against that of all errors together (von Neumann, Kinoshita,
    Boeddeker, Delcroix, Haeb-Umbach, "SA-SDR: a novel loss function for separation of meeting style
    data", ICASSP 2022). So a source may be silent: what is heard in its estimate still counts as
    error. A gain is not forgiven. With `permute` the order of best SA-SDR is scored. Estimates of
    zeros score 0, a perfect answer inf.

    Raises:
        InputError: unequal shapes, NaN, a mixture in which all references are zeros.

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> float(sa_sdr_db(noise, 0.9 * noise).round(6))
    20.0
    """
    truth, guess = _checked(references, estimates)
    silent = (truth == 0).all(-1).all(-1)
    if silent.any():
        where = f" of mixture {silent.nonzero()[0].tolist()}" if silent.ndim else ""
        raise InputError(
            f"all references{where} are silent: no score is defined against them; leave this "
            "mixture out"
        )
    # Squares of what is very soft would become zero.
    peak = truth.abs().amax(dim=(-2, -1), keepdim=True)
    truth, guess = truth / peak, guess / peak
    if permute:
        # In any order the energies are the same: the products decide.
        products = torch.einsum("...sn,...en->...se", truth, guess)
        order = torch.as_tensor(assignments(products.cpu().numpy()), device=guess.device)
        guess = torch.take_along_dim(guess, order[..., None], dim=-2)
    error = (truth - guess).square().sum((-2, -1))
    return _decibels(truth.square().sum((-2, -1)), error).cpu().numpy()


def sdr_improvement_db(
    references: Waveforms,
    estimates: Waveforms,
    mixture: Waveforms,
    *,
    scale_invariant: bool = False,
    filter_taps: int = 512,
) -> Float64[np.ndarray, "*batch S"]:
    """How far the SDR of each estimate lies above the mixture's, in dB: SDRi, or SI-SDRi.

    SDRi by BSS Eval v3 with filters of `filter_taps` taps, SI-SDRi by `si_bss_eval` when
    `scale_invariant`. NaN where the mixture is perfect already (one source and no noise): there is
    nothing to improve. An estimate of zeros has -inf.

    Args:
        references, estimates: [..., sources, samples].
        mixture: [..., samples], the sound that was separated.

    Raises:
        InputError: as `bss_eval`, or a mixture of another shape.
    """
    truth, guess = _checked(references, estimates)
    heard, _ = as_tensors(mixture, mixture)
    if list(heard.shape) != [*truth.shape[:-2], truth.shape[-1]]:
        raise InputError(
            f"the mixture has shape {list(heard.shape)}, references {list(truth.shape)}; it must "
            "have theirs without the axis of sources: cut the longer one"
        )
    as_estimates = heard.to(truth)[..., None, :].expand(truth.shape)
    answers = torch.stack([guess, as_estimates])  # of one mixture, which share its references
    if scale_invariant:
        after, before = si_bss_eval(truth, answers).sdr_db
    else:
        after, before = bss_eval(truth, answers, filter_taps=filter_taps).sdr_db
    return after - np.where(np.isposinf(before), np.nan, before)


def _checked(
    references: Waveforms, estimates: Waveforms
) -> tuple[Float64[Tensor, "*batch S N"], Float64[Tensor, "*batch S N"]]:
    """Both as finite float64 of one shape."""
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, samples", taps=1)
    check_finite(truth, guess)
    both = torch.broadcast_tensors(truth.to(torch.float64), guess.to(torch.float64))
    return both[0], both[1]


def _pairs_db(
    references: Float64[Tensor, "*batch S N"], estimates: Float64[Tensor, "*batch S N"]
) -> Float64[np.ndarray, "*batch S estimates 3"]:
    """SI-SDR, SI-SIR and SI-SAR of every estimate against every reference, all of energy 1 or 0."""
    own_gain = torch.einsum("...sn,...en->...se", references, estimates)
    num_sources = references.shape[-2]
    whole = _explained(references, estimates) if num_sources > 1 else None
    ratios = []
    for index in range(num_sources):
        own = own_gain[..., index, :, None] * references[..., index, None, :]
        whole = own if whole is None else whole
        own_energy, whole_energy = own.square().sum(-1), whole.square().sum(-1)
        distortion = (estimates - own).square().sum(-1)
        interference = (whole - own).square().sum(-1)
        artifacts = (estimates - whole).square().sum(-1)
        ratios.append(
            torch.stack(
                [
                    _decibels(own_energy, distortion),
                    _decibels(own_energy, interference),
                    _decibels(whole_energy, artifacts),
                ],
                dim=-1,
            )
        )
    return torch.stack(ratios, dim=-3).cpu().numpy()


def _explained(
    references: Float64[Tensor, "*batch S N"], estimates: Float64[Tensor, "*batch S N"]
) -> Float64[Tensor, "*batch S N"]:
    """What the references together make of each estimate: its projection on their span."""
    # Singular values of the waveforms themselves: Gram matrices would square the condition.
    basis, strength, _ = torch.linalg.svd(references.mT, full_matrices=False)
    basis = basis * (strength > _RANK_TOLERANCE * strength[..., :1])[..., None, :]  # ... N S
    first = (estimates @ basis) @ basis.mT
    # Once more on what is left takes the rounding of the first away.
    return first + ((estimates - first) @ basis) @ basis.mT


def _decibels(
    up: Float64[Tensor, "*batch"], down: Float64[Tensor, "*batch"]
) -> Float64[Tensor, "*batch"]:
    """The ratio in dB; -inf where there is nothing above, and nothing below either."""
    return 10 * torch.log10((up / down).nan_to_num(nan=0.0, posinf=torch.inf))


def _without_mean(waveforms: Float64[Tensor, "*batch N"]) -> Float64[Tensor, "*batch N"]:
    """Each waveform less its mean; of a constant nothing is left, not even rounding."""
    centred = waveforms - waveforms.mean(-1, keepdim=True)
    rounding = centred.abs().amax(-1) <= _MEAN_ROUNDING * waveforms.abs().amax(-1)
    return torch.where(rounding[..., None], 0.0, centred)
