"""The parts of an estimate as waveforms: slower, and exact however near singular the references."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

from avsep.evaluation.projection.correlations import correlate, filter_and_add, lags_of
from avsep.evaluation.projection.parts import Parts

# A projection is settled when the next step would change its energy by less than this share of the
# estimate's: an amplitude of 3e-13, which moves even an SIR of 90 dB by less than 1e-7 dB.
_SETTLED_SHARE = 1e-25
# References without energy in part of the band need the most; what is left then is ill-posed.
_MAX_STEPS = 16
# Steps' gains need not fall evenly: on their way down they rose to twice the last at most on the
# low-passed noise of the tests, and to 4 and 10 times where nothing but rounding was left.
_MOST_RISE = 4.0


def parts_exactly(
    references: Float64[Tensor, "S C N"],
    signals: Float64[Tensor, "R N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
) -> Parts:
    """Parts [S, Q] of signals by sources of C channels each, of one mixture.

    Args:
        references, signals: at any level; parts are those of signals of energy 1, or of zeros.
        asked: which signals each source is compared with.
        taps: of the filters.
    """
    references, signals = _unit_energy(references), _unit_energy(signals)
    rests = _rests(references.flatten(0, 1), signals, taps) if len(references) > 1 else None
    longer = pad(signals, (0, taps - 1))
    found: list[list[Tensor]] = []
    for channels, which in zip(references, asked, strict=True):
        estimates = longer[which]
        distortion = _rests(channels, signals[which], taps)
        artifacts = distortion if rests is None else rests[which]
        waves = (estimates - distortion, distortion, distortion - artifacts)
        waves = (*waves, estimates - artifacts, artifacts)
        found.append([wave.square().sum(-1) for wave in waves])
    return Parts(*(torch.stack(energies) for energies in zip(*found, strict=True)))


def _rests(
    references: Float64[Tensor, "G N"], signals: Float64[Tensor, "R N"], taps: int
) -> Float64[Tensor, "R longer"]:
    """What filtered references cannot make of each signal: least squares over their filters.

    The normal equations square the condition of the problem, and sound without energy in part of
    the band leaves them near singular. So they only precondition conjugate gradients on the
    residual itself (Bjorck, Numerical Methods for Least Squares Problems, chapter 7): the first
    step is their solution, one or two more remove its rounding.

    Departure: mir_eval stops at that solution, or takes a pseudo-inverse where the equations are
    singular to the last bit. On sound low-passed by 8th-order filters it is off by up to 1 dB.
    """
    factor = _cholesky(_gram_matrix(references, taps))
    rest = pad(signals, (0, taps - 1))
    limit = _SETTLED_SHARE * rest.square().sum(-1)
    settled = torch.zeros_like(limit, dtype=torch.bool)
    direction, last_gain = None, torch.full_like(limit, torch.inf)
    for _ in range(_MAX_STEPS):
        gradient = correlate(references, rest, taps).transpose(0, 1).flatten(1)  # R G*taps
        step = torch.cholesky_solve(gradient.mT, factor).mT
        gain = (gradient * step).sum(-1)
        # A gain that rises much is rounding: to follow it would add up to noise.
        settled = settled | (gain <= limit) | (gain >= _MOST_RISE * last_gain)
        if settled.all():
            break
        if direction is not None:
            step = step + torch.where(settled, 0.0, gain / last_gain)[:, None] * direction
        direction, last_gain = step, gain
        change = filter_and_add(references, direction.unflatten(1, (len(references), taps)))
        change_energy = change.square().sum(-1)
        # Filters that cancel out (equal references) leave only rounding to follow.
        settled = settled | (change_energy < 1e-4 * gain)
        rest = rest - torch.where(settled, 0.0, gain / change_energy)[:, None] * change
    return rest


def _gram_matrix(references: Float64[Tensor, "G N"], taps: int) -> Float64[Tensor, "rows rows"]:
    """Inner products of all delayed references with one another: Toeplitz blocks."""
    lags = lags_of(correlate(references, references, taps))
    # Entry [a, b] of a block is the product at lag a - b.
    blocks = lags.unfold(-1, taps, 1).flip(-1)
    return blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1)


def _cholesky(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """Its Cholesky factor, with the least ridge that lets it have one."""
    ridge = 1e-15
    gram.diagonal().add_(ridge)
    factor, info = torch.linalg.cholesky_ex(gram.mT)
    while info.any():
        ridge *= 10
        gram.diagonal().add_(ridge)
        factor, info = torch.linalg.cholesky_ex(gram.mT)
    return factor


def _unit_energy(waveforms: Float64[Tensor, "*B N"]) -> Float64[Tensor, "*B N"]:
    """Each waveform scaled to energy 1; zeros stay."""
    norm = torch.linalg.vector_norm(waveforms, dim=-1, keepdim=True)
    return waveforms / torch.where(norm > 0, norm, 1.0)
