"""Decomposition of an estimate by energies, and the error bounds of projected energies."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

# What is known of how much references explain: energies, and how far off they may be


AnyEnergies = Float64[Tensor, "..."]


@dataclass(frozen=True)
class ProjectedEnergy:
    """Energies that references explain of signals of energy 1.

    Attributes:
        energy: what they explain.
        error: how far off that may be; inf where nobody knows.
    """

    energy: AnyEnergies
    error: AnyEnergies

    def shaped(self, change: Callable[[AnyEnergies], AnyEnergies]) -> "ProjectedEnergy":
        """Both with their axes changed alike."""
        return ProjectedEnergy(change(self.energy), change(self.error))


Energies = Float64[Tensor, "*B Q"]
# Each energy is off by this share of any part at most, 4e-7 dB.
_SHARE = 1e-7
# Artifacts of this share of what is explained are none: their ratio is beyond 100 dB in any case.
_NOTHING = 1e-11
_ROUNDING = 2.0**-52


@dataclass(frozen=True)
class Decomposition:
    """Energies of the parts of Q signals, each compared with a source.

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


def parts_of(
    whole: Energies, own: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> Decomposition:
    """The parts of signals of energy 1, or 0, from what a source's own references explain, and all.

    With one source these are one and the same (none is given), and interference is none.
    """
    target, explained = own.energy, (by_all or own).energy
    artifacts = (whole - explained).clamp(min=_ROUNDING)
    parts = (target, whole - target, explained - target, explained, artifacts)
    return Decomposition(*(torch.where(whole > 0, part, 0.0) for part in parts))


def error_limits(
    whole: Energies, own: ProjectedEnergy, by_all: ProjectedEnergy | None
) -> tuple[Energies, Energies]:
    """How far off explained energies of own references, and of all, may be to tell the parts.

    Silence tells them in any case: its limits are inf.
    """
    target = own.energy
    least = torch.minimum(target, whole - target)
    least_of_all = least
    if by_all is not None:
        artifacts = whole - by_all.energy
        has_none = artifacts + by_all.error < _NOTHING * by_all.energy
        artifacts = torch.where(has_none, torch.inf, artifacts)
        shared = torch.minimum(by_all.energy - target, artifacts)
        # What is not known at all says nothing about the other.
        least_of_all = torch.where(own.error.isfinite(), shared, artifacts)
        least = torch.where(by_all.error.isfinite(), torch.minimum(least, shared), least)
    sounds = whole > 0
    return (
        torch.where(sounds, _SHARE * least, torch.inf),
        torch.where(sounds, _SHARE * least_of_all, torch.inf),
    )


def are_wrong(answer: ProjectedEnergy, limit: Energies) -> Bool[Tensor, "*B Q"]:
    """Where energies are not known to a limit; NaN is wrong."""
    return ~(answer.error <= limit)
