"""How much noise each step of diffusion adds: the variances beta of three schedules, float64."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float64
from torch import Tensor

# No step takes away more than this part of the variance (Nichol and Dhariwal 2021, section 3.2).
MAXIMUM_BETA = 0.999


def sigmoid_schedule(num_times: int) -> Float64[Tensor, " times"]:
    """What DAVIS has: a sigmoid over 0 to 3 at temperature 1, turned down (Jabri et al. 2022)."""
    passed = torch.linspace(0, 1, num_times + 1, dtype=torch.float64)
    start, end, temperature = 0.0, 3.0, 1.0
    height = torch.sigmoid((start + (end - start) * passed) / temperature)
    return _betas((height[-1] - height) / (height[-1] - height[0]))


def cosine_schedule(num_times: int) -> Float64[Tensor, " times"]:
    """The signal's part falls as a squared cosine (Nichol and Dhariwal 2021, equation 17)."""
    passed = torch.linspace(0, 1, num_times + 1, dtype=torch.float64)
    return _betas(torch.cos((passed + 0.008) / 1.008 * math.pi / 2) ** 2)


def linear_schedule(num_times: int) -> Float64[Tensor, " times"]:
    """Betas evenly from 1e-4 to 0.02 for 1000 times (Ho et al. 2020), larger for fewer."""
    scale = 1000 / num_times
    betas = torch.linspace(1e-4 * scale, 0.02 * scale, num_times, dtype=torch.float64)
    return betas.clamp(max=MAXIMUM_BETA)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "sigmoid": sigmoid_schedule,
    "cosine": cosine_schedule,
    "linear": linear_schedule,
}


def _betas(alpha_bar: Float64[Tensor, " one_more"]) -> Float64[Tensor, " times"]:
    """The variances after which alpha_bar, whose first value stands for clean data, is left."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(0, MAXIMUM_BETA)
