"""What is known of how much references explain: energies, and how far off they may be."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor

Energies = Float64[Tensor, "..."]


@dataclass(frozen=True)
class Explained:
    """Energies that references explain of signals of energy 1.

    Attributes:
        energy: what they explain.
        error: how far off that may be; inf where nobody knows.
    """

    energy: Energies
    error: Energies

    def shaped(self, change: Callable[[Energies], Energies]) -> "Explained":
        """Both with their axes changed alike."""
        return Explained(change(self.energy), change(self.error))
