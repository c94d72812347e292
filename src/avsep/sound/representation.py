"""The magnitudes that DAVIS generates: logarithmic, scaled and held in 0..1 (section 3.4)."""

import torch
from jaxtyping import Float
from torch import Tensor

# Of the released code, the paper gives no number: 1 is then reached at a magnitude of 784.8.
SCALE = 0.15


def represent(
    magnitude: Float[Tensor, "*batch R T"], scale: float = SCALE
) -> Float[Tensor, "*batch R T"]:
    """clamp(scale ln(1 + magnitude), 0, 1)."""
    return (scale * torch.log1p(magnitude)).clamp(0, 1)


def unrepresent(
    representation: Float[Tensor, "*batch R T"], scale: float = SCALE
) -> Float[Tensor, "*batch R T"]:
    """The magnitude that is represented; what lies below 0 counts by its size, as released."""
    return torch.expm1(representation.abs() / scale)
