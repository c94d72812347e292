"""The parts of estimates: by correlations where these tell them, as waveforms where not."""

from dataclasses import fields

from jaxtyping import Float64, Int64
from torch import Tensor

from avsep.evaluation.projection.exact import parts_exactly
from avsep.evaluation.projection.fast import parts_by_correlation
from avsep.evaluation.projection.parts import Parts


def energies_of_parts(
    references: Float64[Tensor, "B S C N"],
    signals: Float64[Tensor, "B R N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
) -> Parts:
    """Energies of the parts of signals, as shares of each signal's own energy.

    Args:
        references: of S sources, C channels each; none is silent.
        signals: silent ones have parts of 0.
        asked: which signals each source is compared with.
        taps: of the filters that a reference may go through.
    """
    parts, is_right = parts_by_correlation(references, signals, asked, taps)
    for index in (~is_right).nonzero()[:, 0].tolist():
        exact = parts_exactly(references[index], signals[index], asked, taps)
        for field in fields(Parts):
            getattr(parts, field.name)[index] = getattr(exact, field.name)
    return parts
