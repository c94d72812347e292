"""The parts of an estimate from correlations alone, and whether they are as good as exact."""

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from avsep.evaluation.projection.correlations import correlate, lags_of
from avsep.evaluation.projection.parts import Parts
from avsep.evaluation.projection.toeplitz import ToeplitzInverse

# Each ratio is off by 1e-8 of itself at most, 4e-8 dB.
_SHARE = 1e-8
# An artifact of this share of what is explained is none: its ratio is beyond 100 dB in any case.
_NOTHING = 1e-11
# Each refinement gains three digits or more, or the inverse is of no use.
_CONTRACTION = 1e-3
_ROUNDING = 2.0**-52


def parts_by_correlation(
    references: Float64[Tensor, "B S C N"],
    signals: Float64[Tensor, "B R N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
) -> tuple[Parts, Bool[Tensor, " B"]]:
    """Parts of signals by sources of C channels each, and for which mixtures they are right.

    Departure: mir_eval filters the references and subtracts; here no waveform is made. With
    right-hand sides b and filters x the energy that is explained is x b, and two such energies
    tell the parts. Where that loses digits, because a system is near singular or a part tiny
    beside its estimate, the mixture is said to need the exact way.

    Args:
        references, signals: at any level; parts are those of signals of energy 1, or of zeros.
        asked: which signals each source is compared with.
        taps: of the filters.
    """
    _, S, C, _ = references.shape
    channels = references.flatten(1, 2)
    # Levels are evened out here: that spares a copy of every waveform.
    norms = [torch.linalg.vector_norm(x, dim=-1) for x in (channels, signals)]
    scales = torch.cat([torch.where(norm > 0, norm, 1.0) for norm in norms], dim=1)  # B G+R
    found = [
        correlate(own, torch.cat([own, heard]), taps)
        for own, heard in zip(channels, signals, strict=True)
    ]
    correlations = torch.stack(found) / (scales[:, : S * C, None] * scales[:, None])[..., None]
    lags = lags_of(correlations[:, :, : S * C])
    sides = correlations[:, :, S * C :].transpose(1, 2)  # B R G taps
    own_lags = [lags[:, i : i + C, i : i + C] for i in range(0, S * C, C)]
    own_sides = [sides[:, asked[i], i * C : (i + 1) * C] for i in range(S)]
    own = _explained(torch.cat(own_lags), torch.cat(own_sides))
    target, target_error = (x.unflatten(0, (S, -1)).transpose(0, 1) for x in own)  # B S Q
    explained, error = target, target_error
    if S > 1:
        explained, error = (x[:, asked] for x in _explained(lags, sides))
    whole = (norms[1] > 0).to(target.dtype)[:, asked]
    artifacts = whole - explained
    right = (whole == 0) | (target_error <= _SHARE * torch.minimum(target, whole - target))
    if S > 1:
        right &= (whole == 0) | (target_error + error <= _SHARE * (explained - target))
    has_none = artifacts + error < _NOTHING * explained
    right &= (whole == 0) | (error <= _SHARE * artifacts) | has_none
    parts = Parts(
        target, whole - target, explained - target, explained, artifacts.clamp(min=_ROUNDING)
    )
    return parts, right.flatten(1).all(1)


def _explained(
    lags: Float64[Tensor, "B G G lags"], sides: Float64[Tensor, "B R G taps"]
) -> tuple[Float64[Tensor, "B R"], Float64[Tensor, "B R"]]:
    """Energies that references explain of signals, and how far off they may be."""
    inverse = ToeplitzInverse(lags)
    filters = inverse.solve(sides)
    last_gain = torch.ones_like(filters[..., 0, 0])
    while True:
        left = sides - inverse.multiply(filters)
        step = inverse.solve(left)
        gain = (left * step).sum((-2, -1))
        energy = (filters * (sides + left)).sum((-2, -1)) + gain
        rounding = _ROUNDING * (1 + filters.square().sum((-2, -1)))
        shrinks = gain.abs() <= torch.maximum(_CONTRACTION * last_gain, rounding)
        error = torch.where(shrinks, gain.abs(), torch.inf) + rounding
        if bool((~shrinks | (gain.abs() <= rounding)).all()):
            return energy, error
        filters, last_gain = filters + step, gain.abs()
