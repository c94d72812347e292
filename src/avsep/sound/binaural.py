"""What the two ears of a spectrogram tell of direction: differences of phase and of level.

Both are left minus right, whichever ear is asked for.
"""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor

SpatialCues = Literal["none", "paper", "signed"]
# Maps that each choice gives.
NUM_MAPS: dict[str, int] = {"none": 0, "paper": 1, "signed": 3}
# Keeps the level difference of silence at zero; that of sound is held within e^3, 26 dB.
_QUIET = 1e-4
_MOST_NEPER = 3.0


def spatial_maps(
    kind: SpatialCues, magnitude: Float[Tensor, "B 2 F T"], phase: Complex[Tensor, "B 2 F T"]
) -> Float[Tensor, "B D F T"]:
    """The maps of a choice, D of them: cos IPD; with `signed`, sin IPD and ILD in neper too.

    Equation 4 of LAVSS is the cosine alone. It is even: two sources as far to the left as to the
    right have the same, so that `paper` cannot tell which of them is which.
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
    """Cosine and sine of the interaural phase difference (IPD) of unit phases (equation 4).

    Departure: the released code divides by magnitudes, which makes a silent cell's cosine 0; by
    the equation it is 1, as the phase of silence is taken as zero.
    """
    left, right = phase.unbind(dim=-3)
    turned = left * right.conj()
    return turned.real, turned.imag


def level_difference(magnitude: Float[Tensor, "*batch 2 F T"]) -> Float[Tensor, "*batch F T"]:
    """The interaural level difference (ILD) of each cell, ln(left / right), within 26 dB."""
    left, right = (magnitude + _QUIET).log().unbind(dim=-3)
    return (left - right).clamp(-_MOST_NEPER, _MOST_NEPER)
