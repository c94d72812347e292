"""Decompose an estimate's energy into its BSS Eval parts, within error bounds."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

AnyEnergies = Float64[Tensor, "..."]
Energies = Float64[Tensor, "*B Q"]

# Each energy may be off by this share of the smallest part: 10 log10(1 + 1e-7) is 4e-7 dB, below
# the 1e-6 dB to which scores agree with mir_eval.
_MAX_RELATIVE_ERROR = 1e-7
# Artifacts below this share of the explained energy count as none: their ratio is beyond 100 dB,
# where scores only mean "perfect".
_NEGLIGIBLE_ARTIFACTS = 1e-11
_ROUNDING = 2.0**-52  # float64 epsilon, the rounding of an energy of 1


@dataclass(frozen=True)
class ProjectedEnergy:
    """Energies of projections of unit-energy signals onto delayed references.

    Attributes:
        energy: squared norm of each projection.
        error: bound of its rounding error; inf if unknown.
    """

    energy: AnyEnergies
    error: AnyEnergies

    def map(self, change: Callable[[AnyEnergies], AnyEnergies]) -> "ProjectedEnergy":
        """Return a copy with the same change of axes applied to energies and errors."""
        return ProjectedEnergy(change(self.energy), change(self.error))


@dataclass(frozen=True)
class Decomposition:
    """Energies of the parts of Q signals, each compared with one source.

    Attributes:
        target: energy explained by the source's own delayed references.
        distortion: the rest of the signal.
        interference: energy explained by the references of all sources beyond the target.
        explained: energy explained by the references of all sources.
        artifacts: energy that no reference explains.
    """

    target: Energies
    distortion: Energies
    interference: Energies
    explained: Energies
    artifacts: Energies


def subtract_energies(
    signal_energy: Energies, by_source: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> Decomposition:
    """Compute the parts of signals as differences of projected energies.

    Projections are orthogonal, so that energies of parts are differences of energies.

    Args:
        signal_energy: 1, or 0 for silent signals, whose parts are all 0.
        by_source: energy explained by the references of the compared source.
        by_all: energy explained by the references of all sources; None with a single source, whose
            interference is 0.
    """
    target, explained = by_source.energy, (by_all or by_source).energy
    # A perfect estimate has no artifacts but rounding, and rounding may be negative.
    artifacts = (signal_energy - explained).clamp(min=_ROUNDING)
    parts = (target, signal_energy - target, explained - target, explained, artifacts)
    return Decomposition(*(torch.where(signal_energy > 0, part, 0.0) for part in parts))


def error_limits(
    signal_energy: Energies, by_source: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> tuple[Energies, Energies]:
    """Return the largest acceptable errors of `by_source` and `by_all`.

    An error within its limit changes no part by more than 1e-7 of it. Silent signals have limits of
    inf, since all their parts are 0.
    """
    target = by_source.energy
    smallest = torch.minimum(target, signal_energy - target)
    smallest_of_all = smallest
    if by_all is not None:
        artifacts = signal_energy - by_all.energy
        has_none = artifacts + by_all.error < _NEGLIGIBLE_ARTIFACTS * by_all.energy
        artifacts = torch.where(has_none, torch.inf, artifacts)
        # Interference is a difference of both energies, and limits the error of either.
        shared = torch.minimum(by_all.energy - target, artifacts)
        # An energy of unknown error gives no meaningful interference: do not limit the other by it.
        smallest_of_all = torch.where(by_source.error.isfinite(), shared, artifacts)
        smallest = torch.where(by_all.error.isfinite(), torch.minimum(smallest, shared), smallest)
    sounds = signal_energy > 0
    return (
        torch.where(sounds, _MAX_RELATIVE_ERROR * smallest, torch.inf),
        torch.where(sounds, _MAX_RELATIVE_ERROR * smallest_of_all, torch.inf),
    )


def exceeds_limit(energies: ProjectedEnergy, limit: Energies) -> Bool[Tensor, "*B Q"]:
    """Mark energies whose error may exceed the limit; NaN is marked too."""
    return ~(energies.error <= limit)  # not `>`, which is False for NaN
