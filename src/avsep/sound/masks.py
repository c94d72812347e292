"""Masks, the inputs they are predicted from, and the weight of their loss, all on magnitudes."""

import torch
from jaxtyping import Float
from torch import Tensor

# Keeps divisions and logarithms finite; the papers' codes add it to the mixture's magnitude.
FLOOR = 1e-10
MAXIMUM_RATIO = 5.0


def ratio_mask(
    source: Float[Tensor, "*batch F T"],
    mixture: Float[Tensor, "*#batch F T"],
    maximum: float = MAXIMUM_RATIO,
) -> Float[Tensor, "*batch F T"]:
    """The part of the mixture's magnitude that is the source's, 0 up to `maximum`.

    It exceeds one where sources cancel, which a sigmoid cannot reach (DGFNet, equation 6).
    """
    return (source / (mixture + FLOOR)).clamp(0, maximum)


def binary_mask(
    source: Float[Tensor, "*batch F T"], mixture: Float[Tensor, "*#batch F T"]
) -> Float[Tensor, "*batch F T"]:
    """One where the source holds more than half of the mixture's magnitude, else zero.

    Departure: LAVSS equation 7 asks for the whole of it, which is nearly never so; its code and all
    others use the half.
    """
    return (source > 0.5 * mixture).to(source.dtype)


def log_input(mixture: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """What Sound of Pixels, Co-Separation, LAVSS and AVPC see: the natural logarithm."""
    return torch.log(mixture + FLOOR)


def log1p_input(mixture: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """What CCoL, iQuery, DGFNet and DAVIS see: ln(1 + magnitude), zero for silence."""
    return torch.log1p(mixture)


def loss_weight(mixture: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """How much each cell of the mixture counts in a mask's loss: its log1p, held in 0.001..10."""
    return torch.log1p(mixture).clamp(1e-3, 10)
