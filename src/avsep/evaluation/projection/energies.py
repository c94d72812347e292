"""The parts of estimates: by correlations where these tell them, as waveforms where not."""

from dataclasses import fields
from operator import itemgetter

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from avsep.evaluation.projection.careful import Mixture, parts_with_care
from avsep.evaluation.projection.correlations import correlate, lags_of
from avsep.evaluation.projection.parts import Parts, are_wrong, error_limits, parts_of
from avsep.evaluation.projection.schur import explained_by_recursion


def energies_of_parts(
    references: Float64[Tensor, "B S C N"],
    signals: Float64[Tensor, "B R N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
) -> Parts:
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
        careful = parts_with_care(mixture, own.shaped(pick), by_all and by_all.shaped(pick))
        for field in fields(Parts):
            getattr(parts, field.name)[index] = getattr(careful, field.name)
    return parts
