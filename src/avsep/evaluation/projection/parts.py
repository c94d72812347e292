"""The parts of an estimate by their energies, and the ratios that BSS Eval makes of them."""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

Energies = Float64[Tensor, "*B S Q"]


@dataclass(frozen=True)
class Parts:
    """Energies of the parts of Q signals, for each of S sources in turn.

    Attributes:
        target: what the source's own delayed references explain.
        distortion: all the rest.
        interference: what those of all sources explain beyond the target.
        explained: what those of all sources explain.
        artifacts: what none of them explains.
    """

    target: Energies
    distortion: Energies
    interference: Energies
    explained: Energies
    artifacts: Energies
