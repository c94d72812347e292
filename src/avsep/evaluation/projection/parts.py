"""The parts of an estimate by their energies, and whether explained energies tell them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from avsep.evaluation.projection.explained import Explained

Energies = Float64[Tensor, "*B Q"]
Wrong = Bool[Tensor, "*B Q"]
# Each part is off by this share of itself at most, 1e-7 dB.
_SHARE = 3e-8
# Artifacts of this share of what is explained are none: their ratio is beyond 100 dB in any case.
_NOTHING = 1e-11
_ROUNDING = 2.0**-52


@dataclass(frozen=True)
class Parts:
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


def parts_of(whole: Energies, own: Explained, by_all: Explained | None) -> Parts:
    """The parts of signals of energy 1, or 0, from what a source's own references explain, and all.

    With one source these are one and the same (none is given), and interference is none.
    """
    target, explained = own.energy, (by_all or own).energy
    artifacts = (whole - explained).clamp(min=_ROUNDING)
    parts = (target, whole - target, explained - target, explained, artifacts)
    return Parts(*(torch.where(whole > 0, part, 0.0) for part in parts))


def wrong_answers(
    whole: Energies, own: Explained, by_all: Explained | None
) -> tuple[Wrong, Wrong | None]:
    """Where explained energies are not known well enough to tell the parts: of own and of all.

    Nothing is asked of silence.
    """
    sounds, target = whole > 0, own.energy
    least = torch.minimum(target, whole - target)
    if by_all is None:
        return sounds & ~(own.error <= _SHARE * least), None
    artifacts = whole - by_all.energy
    has_none = artifacts + by_all.error < _NOTHING * by_all.energy
    shared = torch.minimum(by_all.energy - target, torch.where(has_none, torch.inf, artifacts))
    # What is not known at all says nothing about the other.
    own_limit = torch.where(by_all.error.isfinite(), torch.minimum(least, shared), least)
    limit = torch.where(own.error.isfinite(), shared, torch.where(has_none, torch.inf, artifacts))
    # Written so that NaN is wrong.
    right = own.error <= _SHARE * own_limit, by_all.error <= _SHARE * limit
    return sounds & ~right[0], sounds & ~right[1]
