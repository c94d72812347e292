"""Silence mask-guided sampling (DAVIS, section 3.5): what is silent in the mixture stays silent."""

import torch
from jaxtyping import Float
from torch import Tensor

from avsep.diffusion.paths import Path


def as_released(
    estimate: Float[Tensor, "*shape"], mixture: Float[Tensor, "*#shape"], threshold: float
) -> Float[Tensor, "*shape"]:
    """The estimate of the data with the mixture where that is below the threshold, held in 0..1.

    Departure: equation 5 of DAVIS replaces cells of the noisy x after each step. The released code
    replaces them in the estimate of the data at every look, by the clean mixture, as this does;
    `equation_5` is the paper's.
    """
    return torch.where(mixture < threshold, mixture, estimate).clamp(0, 1)


def equation_5(
    noisy: Float[Tensor, "*shape"],
    mixture: Float[Tensor, "*#shape"],
    threshold: float,
    path: Path,
    time: float,
    noise: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """A step's x, but the mixture noised to its time where the mixture is below the threshold.

    The noise is to be drawn anew for each step. At the last time of diffusion it has no weight, and
    silent cells become the mixture's.
    """
    signal, spread = path.weights(time)
    return torch.where(mixture < threshold, signal * mixture + spread * noise, noisy)
