"""What a network may be trained to say, and the data that its answer stands for.

Every answer is p data + q noise with known weights, as x_t = signal data + spread noise is; two
equations give the data:

| target | p | q | |
|---|---|---|---|
| noise | 0 | 1 | Ho et al. 2020; the DAVIS paper's |
| data | 1 | 0 | |
| bounded | 1 | 0 | data that the network itself keeps below the mixture |
| velocity | `path.slope` | | Salimans and Ho 2022 for diffusion, the flow's own for a flow |
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from avsep.diffusion.paths import Path, over

Target = Literal["noise", "data", "bounded", "velocity"]
TARGETS: tuple[Target, ...] = get_args(Target)

# Where less of the data than this stands in x, noise tells nothing of it; schedules hold more of it
# at their noisiest (sigmoid 5.5e-4, cosine 4.9e-5), a flow's start holds none.
LEAST_SIGNAL = 1e-6


def target_of(
    target: Target,
    clean: Float[Tensor, "B *rest"],
    noise: Float[Tensor, "B *rest"],
    time: Float[Tensor, " B"],
    path: Path,
) -> Float[Tensor, "B *rest"]:
    """What a network of this target should say of x_t."""
    of_data, of_noise = _weights(target, time, path)
    return over(of_data, clean) * clean + over(of_noise, clean) * noise


def data_from(
    target: Target,
    said: Float[Tensor, "B *rest"],
    noisy: Float[Tensor, "B *rest"],
    time: Float[Tensor, " B"],
    path: Path,
) -> Float[Tensor, "B *rest"]:
    """The data that an answer stands for, given x_t; as large as it comes, not clamped."""
    if target in ("data", "bounded"):
        return said
    of_data, of_noise = _weights(target, time, path)
    # 1 or -1 for the velocity, the signal for noise.
    divisor = path.signal(time) * of_noise - path.spread(time) * of_data
    divisor = torch.where(divisor.abs() < LEAST_SIGNAL, LEAST_SIGNAL, divisor)
    of_noisy, of_said = of_noise / divisor, path.spread(time) / divisor
    return over(of_noisy, noisy) * noisy - over(of_said, noisy) * said


def _weights(
    target: Target, time: Float[Tensor, " B"], path: Path
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    if target == "velocity":
        return path.slope(time)
    nothing, all_of_it = torch.zeros_like(time), torch.ones_like(time)
    return (nothing, all_of_it) if target == "noise" else (all_of_it, nothing)
