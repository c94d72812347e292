"""Target masks, network inputs, DAVIS' compressed magnitudes, and input level."""

import torch
from jaxtyping import Float
from torch import Tensor

# Keeps divisions and logarithms finite; the papers' codes add it to the mixture's magnitude.
FLOOR = 1e-10
# Upper limit of ratio masks in all released codes.
MAXIMUM_RATIO = 5.0
# From DAVIS' released code, as the paper gives no number. 1 is then reached at a magnitude of
# 784.8; a full-scale sine has 255.5 in a window of 1022 samples, so that nothing is clipped.
DAVIS_SCALE = 0.15
# Full scale is at 6.7. An untrained network that is not limited goes far beyond; up to this
# exponent sums of squares are finite.
_MAX_EXPONENT = 30.0
# Mixtures below this RMS, a third of a 16-bit step (-100 dB of full scale), are silence and are
# not amplified further: a gain towards infinity would turn their rounding noise into music's level.
_MIN_RMS = 1e-5


def ratio_mask(
    source: Float[Tensor, "*batch F T"],
    mixture: Float[Tensor, "*#batch F T"],
    maximum: float = MAXIMUM_RATIO,
) -> Float[Tensor, "*batch F T"]:
    """Compute the ratio of a source's magnitude to the mixture's, clamped to 0..`maximum`.

    It exceeds one where sources cancel, which a sigmoid cannot reach (DGFNet, equation 6).
    """
    return (source / (mixture + FLOOR)).clamp(0, maximum)


def binary_mask(
    source: Float[Tensor, "*batch F T"], mixture: Float[Tensor, "*#batch F T"]
) -> Float[Tensor, "*batch F T"]:
    """Compute one where the source has more than half of the mixture's magnitude, else zero.

    Departure: LAVSS equation 7 asks for the whole of it, which is nearly never so; its code and all
    others use the half.
    """
    return (source > 0.5 * mixture).to(source.dtype)


def log_input(mixture: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """Compute ln(magnitude), the input of Sound of Pixels, Co-Separation, LAVSS and AVPC."""
    return torch.log(mixture + FLOOR)


def log1p_input(mixture: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """Compute ln(1 + magnitude), zero for silence: the input of CCoL, iQuery, DGFNet and DAVIS."""
    return torch.log1p(mixture)


def loss_weight(mixture: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """Compute each cell's weight in a mask loss: ln(1 + magnitude), clamped to 0.001..10."""
    return torch.log1p(mixture).clamp(1e-3, 10)


# Compressed magnitudes of DAVIS (section 3.4)


def compress(
    magnitude: Float[Tensor, "*batch R T"], scale: float = DAVIS_SCALE
) -> Float[Tensor, "*batch R T"]:
    """Compress a magnitude to 0..1: clamp(scale ln(1 + magnitude), 0, 1)."""
    return (scale * torch.log1p(magnitude)).clamp(0, 1)


def expand(
    compressed: Float[Tensor, "*batch R T"], scale: float = DAVIS_SCALE
) -> Float[Tensor, "*batch R T"]:
    """Expand a compressed magnitude, the inverse of `compress`; signs are dropped, as released."""
    # A sampler overshoots 0 now and then; the released code takes the absolute value.
    return torch.expm1((compressed.abs() / scale).clamp(max=_MAX_EXPONENT))


# Input level


def input_gain(mixture: Float[Tensor, "B C N"], level_rms: float | None) -> Float[Tensor, "B 1"]:
    """Compute the gain that brings each mixture to an RMS over all channels; none: gain 1.

    One gain for all channels keeps the level difference between ears.
    """
    if level_rms is None:
        return mixture.new_ones(len(mixture), 1)
    rms = mixture.square().mean((1, 2), keepdim=True)[:, 0].sqrt()
    return level_rms / rms.clamp_min(_MIN_RMS)
