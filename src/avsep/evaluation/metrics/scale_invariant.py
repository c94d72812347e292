"""Compute SI-SDR, SI-SIR, SI-SAR, SA-SDR, and improvements over the mixture."""

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from avsep.errors import InputError
from avsep.evaluation.bss_eval import BssScores, assign_estimates, best_order_by_sir, bss_eval
from avsep.evaluation.waveforms import (
    Waveforms,
    as_tensors,
    check_finite,
    check_not_silent,
    check_shapes,
    unit_energy,
)

# Singular values of unit-energy references below this share of the largest are rounding.
_RANK_TOLERANCE = 1e-12
# Rounding that subtracting the mean leaves of a constant, relative to the constant.
_MEAN_ROUNDING = 1e-12


def si_bss_eval(
    references: Waveforms,
    estimates: Waveforms,
    *,
    permute: bool = False,
    zero_mean: bool = False,
) -> BssScores:
    """Return SI-SDR, SI-SIR, SI-SAR of estimates [..., sources, samples] in dB, in float64.

    BSS Eval with filters of one tap: an estimate is split into its projection on its own reference,
    what the span of all references explains beyond that, and the rest (Le Roux, Wisdom, Erdogan,
    Hershey, "SDR - half-baked or well done?", ICASSP 2019). So a gain is forgiven, a
    delay is not. Leading axes broadcast. With `zero_mean` the mean of each waveform is subtracted
    first; the paper does not, some toolkits do.

    Departure: the numerator of the paper's SI-SAR is the target alone; ours is all that references
    explain, as in BSS Eval v3 and fast_bss_eval. With one source both are the same.

    With `permute` estimates are assigned to references by the best mean SI-SIR. An estimate of
    zeros scores -inf throughout; one source has an SI-SIR of inf. References that are multiples of
    one another span one dimension.

    Raises:
        InputError: unequal shapes, NaN, too few samples, a reference of zeros (with `zero_mean`, of
            a constant).

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> si_bss_eval(noise, noise + 0.1 * noise[::-1]).sdr_db.round()
    array([20., 20.])
    """
    truth, guess = _check_and_convert(references, estimates)
    if zero_mean:
        truth, guess = _subtract_mean(truth), _subtract_mean(guess)
    check_not_silent(truth)
    table = _pairs_db(unit_energy(truth), unit_energy(guess))
    num_sources = truth.shape[-2]
    order = np.broadcast_to(np.arange(num_sources), truth.shape[:-1])
    if permute:
        order = best_order_by_sir(table[..., 1])
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
    """Return the source-aggregated SDR of each mixture in dB, estimates [..., sources, samples].

    The energy of all sources together against that of all errors together (von Neumann, Kinoshita,
    Boeddeker, Delcroix, Haeb-Umbach, "SA-SDR: a novel loss function for separation of meeting style
    data", ICASSP 2022). So a source may be silent: sound in its estimate still counts as error. A
    gain is not forgiven. With `permute` the order of best SA-SDR is scored. Estimates of zeros
    score 0, perfect ones inf.

    Raises:
        InputError: unequal shapes, NaN, a mixture in which all references are zeros.

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> float(sa_sdr_db(noise, 0.9 * noise).round(6))
    20.0
    """
    truth, guess = _check_and_convert(references, estimates)
    silent = (truth == 0).all(-1).all(-1)
    if silent.any():
        where = f" of mixture {silent.nonzero()[0].tolist()}" if silent.ndim else ""
        raise InputError(
            f"all references{where} are silent: no score is defined against them; leave this "
            "mixture out"
        )
    # Squares of very soft sound would underflow to zero.
    peak = truth.abs().amax(dim=(-2, -1), keepdim=True)
    truth, guess = truth / peak, guess / peak
    if permute:
        # |r - e|^2 = |r|^2 - 2 <r, e> + |e|^2: only the products depend on the order.
        products = torch.einsum("...sn,...en->...se", truth, guess)
        order = torch.as_tensor(assign_estimates(products.cpu().numpy()), device=guess.device)
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
    """Return the SDR of each estimate minus the mixture's, in dB: SDRi, or SI-SDRi.

    SDRi by BSS Eval v3 with filters of `filter_taps` taps, or SI-SDRi by `si_bss_eval` if
    `scale_invariant`. NaN where the mixture is perfect already (one source and no noise): there is
    nothing to improve. An estimate of zeros has -inf.

    Args:
        references, estimates: [..., sources, samples].
        mixture: [..., samples], the sound before separation.

    Raises:
        InputError: as `bss_eval`, or a mixture of another shape.
    """
    truth, guess = _check_and_convert(references, estimates)
    sound, _ = as_tensors(mixture, mixture)
    if list(sound.shape) != [*truth.shape[:-2], truth.shape[-1]]:
        raise InputError(
            f"the mixture has shape {list(sound.shape)}, references {list(truth.shape)}; it must "
            "have theirs without the axis of sources: cut the longer one"
        )
    as_estimates = sound.to(truth)[..., None, :].expand(truth.shape)
    # Stacked, both share the work on the references.
    pair = torch.stack([guess, as_estimates])
    if scale_invariant:
        after, before = si_bss_eval(truth, pair).sdr_db
    else:
        after, before = bss_eval(truth, pair, filter_taps=filter_taps).sdr_db
    return after - np.where(np.isposinf(before), np.nan, before)


def _check_and_convert(
    references: Waveforms, estimates: Waveforms
) -> tuple[Float64[Tensor, "*batch S N"], Float64[Tensor, "*batch S N"]]:
    """Return both as finite float64 tensors of one shape."""
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, samples", taps=1)
    check_finite(truth, guess)
    both = torch.broadcast_tensors(truth.to(torch.float64), guess.to(torch.float64))
    return both[0], both[1]


def _pairs_db(
    references: Float64[Tensor, "*batch S N"], estimates: Float64[Tensor, "*batch S N"]
) -> Float64[np.ndarray, "*batch S estimates 3"]:
    """Return SI-SDR, SI-SIR, SI-SAR of every estimate against every reference.

    All waveforms have energy 1 or 0.
    """
    gain = torch.einsum("...sn,...en->...se", references, estimates)
    num_sources = references.shape[-2]
    explained = _project_on_span(references, estimates) if num_sources > 1 else None
    ratios = []
    for index in range(num_sources):
        target = gain[..., index, :, None] * references[..., index, None, :]
        explained = target if explained is None else explained
        target_energy, explained_energy = target.square().sum(-1), explained.square().sum(-1)
        distortion = (estimates - target).square().sum(-1)
        interference = (explained - target).square().sum(-1)
        artifacts = (estimates - explained).square().sum(-1)
        ratios.append(
            torch.stack(
                [
                    _decibels(target_energy, distortion),
                    _decibels(target_energy, interference),
                    _decibels(explained_energy, artifacts),
                ],
                dim=-1,
            )
        )
    return torch.stack(ratios, dim=-3).cpu().numpy()


def _project_on_span(
    references: Float64[Tensor, "*batch S N"], estimates: Float64[Tensor, "*batch S N"]
) -> Float64[Tensor, "*batch S N"]:
    """Return the projection of each estimate on the span of the references."""
    # Singular values of the waveforms themselves: Gram matrices would square the condition.
    basis, strength, _ = torch.linalg.svd(references.mT, full_matrices=False)
    basis = basis * (strength > _RANK_TOLERANCE * strength[..., :1])[..., None, :]  # ... N S
    first = (estimates @ basis) @ basis.mT
    # Projecting the residual once more removes the rounding of the first projection.
    return first + ((estimates - first) @ basis) @ basis.mT


def _decibels(
    up: Float64[Tensor, "*batch"], down: Float64[Tensor, "*batch"]
) -> Float64[Tensor, "*batch"]:
    """Return the ratio in dB; -inf for 0 / 0, an estimate of zeros."""
    return 10 * torch.log10((up / down).nan_to_num(nan=0.0, posinf=torch.inf))


def _subtract_mean(waveforms: Float64[Tensor, "*batch N"]) -> Float64[Tensor, "*batch N"]:
    """Subtract the mean of each waveform; a constant becomes exactly 0."""
    centred = waveforms - waveforms.mean(-1, keepdim=True)
    rounding = centred.abs().amax(-1) <= _MEAN_ROUNDING * waveforms.abs().amax(-1)
    return torch.where(rounding[..., None], 0.0, centred)
