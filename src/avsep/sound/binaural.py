"""Compute spatial cues of binaural spectrograms: interaural phase and level differences.

Both are left minus right, whichever ear is to be separated.
"""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

SpatialCues = Literal["none", "paper", "signed"]
# Number of maps D of each choice.
NUM_MAPS: dict[str, int] = {"none": 0, "paper": 1, "signed": 3}
# Added to both magnitudes, so that the level difference of silence is zero.
_LEVEL_FLOOR = 1e-4
# Limit of the level difference: e^3 is 26 dB, about the most that a head causes. Cells in which
# the sound of one ear cancels would exceed it without bound.
_MAX_LEVEL_NEPER = 3.0


def spatial_maps(
    kind: SpatialCues, magnitude: Float[Tensor, "B 2 F T"], phase: Complex[Tensor, "B 2 F T"]
) -> Float[Tensor, "B D F T"]:
    """Compute the D maps of a choice: cos IPD; with `signed` also sin IPD and ILD in neper.

    Equation 4 of LAVSS is the cosine alone. It is even: sources at mirrored azimuths have the same
    maps, so that `paper` cannot distinguish left from right.
    """
    if kind == "none":
        return magnitude[:, :0]
    cosine, sine = phase_difference(phase)
    if kind == "paper":
        return cosine[:, None]
    return torch.stack([cosine, sine, level_difference(magnitude)], dim=1)


def phase_difference(
    phase: Complex[Tensor, "*batch 2 F T"],
) -> tuple[Float[Tensor, "*batch F T"], Float[Tensor, "*batch F T"]]:
    """Compute cosine and sine of the interaural phase difference (IPD, LAVSS equation 4).

    Takes unit phases, as of `front_end.unit_phase`.

    Departure: the released code divides by magnitudes, which makes a silent cell's cosine 0; by
    the equation it is 1, as the phase of silence is taken as zero.
    """
    left, right = phase.unbind(dim=-3)
    # e^(i l) conj(e^(i r)) = e^(i (l - r)): no unwrapping, no angles.
    difference = left * right.conj()
    return difference.real, difference.imag


def level_difference(magnitude: Float[Tensor, "*batch 2 F T"]) -> Float[Tensor, "*batch F T"]:
    """Compute the interaural level difference (ILD), ln(left / right), clamped to 26 dB."""
    left, right = (magnitude + _LEVEL_FLOOR).log().unbind(dim=-3)
    return (left - right).clamp(-_MAX_LEVEL_NEPER, _MAX_LEVEL_NEPER)
