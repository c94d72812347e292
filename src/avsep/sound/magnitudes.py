"""Masks, compressed magnitudes and input level: everything a network reads or predicts."""

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


# The magnitudes that DAVIS generates: logarithmic, scaled and held in 0..1 (section 3.4)


# Of the released code, the paper gives no number: 1 is then reached at a magnitude of 784.8.
SCALE = 0.15


def compress(
    magnitude: Float[Tensor, "*batch R T"], scale: float = SCALE
) -> Float[Tensor, "*batch R T"]:
    """clamp(scale ln(1 + magnitude), 0, 1)."""
    return (scale * torch.log1p(magnitude)).clamp(0, 1)


def expand(
    representation: Float[Tensor, "*batch R T"], scale: float = SCALE
) -> Float[Tensor, "*batch R T"]:
    """The magnitude that is represented; what lies below 0 counts by its size, as released."""
    return torch.expm1(representation.abs() / scale)


# The level at which a network hears: whatever a mixture's own, all are brought to one


# Softer than this a mixture is raised no further: it is silence, or about to be.
_SOFTEST_RMS = 1e-5


def input_gain(mixture: Float[Tensor, "B C N"], level_rms: float | None) -> Float[Tensor, "B 1"]:
    """The factor that brings each mixture, over all its channels, to an RMS; none: one."""
    if level_rms is None:
        return mixture.new_ones(len(mixture), 1)
    rms = mixture.square().mean((1, 2), keepdim=True)[:, 0].sqrt()
    return level_rms / rms.clamp_min(_SOFTEST_RMS)
