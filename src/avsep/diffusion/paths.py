"""Probability paths between data and noise, noise schedules and training targets."""

import math
from collections.abc import Callable
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from avsep.errors import InputError, unknown_name

# How much noise each step of diffusion adds: the variances beta of three schedules, float64


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


@runtime_checkable
class ProbabilityPath(Protocol):
    """x_t = signal(t) x_0 + spread(t) noise, at times that a sampler visits from noise to data.

    While data and noise are held, x divided by a scale is a straight line in the *noise level*.
    Solvers step in it: it is spread / signal for diffusion (the sigma of EDM, Karras et al. 2022)
    and the spread itself for a flow, where it is a straight line in time.
    """

    def signal(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """The data's weight at each time, in the time's dtype."""
        ...

    def noise_scale(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """The noise's weight at each time, in the time's dtype."""
        ...

    def velocity_weights(
        self, time: Float[Tensor, "*times"]
    ) -> tuple[Float[Tensor, "*times"], Float[Tensor, "*times"]]:
        """The weights of data and noise in the velocity that a network may be trained to say."""
        ...

    def noise_level(self, time: float) -> float:
        """The variable in which solvers step; it falls from noise to data."""
        ...

    def time_at(self, noise_level: float) -> float:
        """The time of a noise level."""
        ...

    def times(self, num_steps: int) -> tuple[float, ...]:
        """The num_steps + 1 times that a sampler visits, from noise to data.

        Raises InputError where there are not so many steps.
        """
        ...

    def sample_times(
        self, num: int, generator: Generator, device: torch.device, timestep_power: float = 1.0
    ) -> Float[Tensor, " num"]:
        """Times to train at; even at noisiness 1, more of them noisy above it.

        A time lies u ** (1 / noisiness) of the way from data to noise, u even in 0..1: the share of
        times in the noisier half is 1 - 0.5 ** noisiness.
        """
        ...

    def weights(self, time: float) -> tuple[float, float]:
        """Signal and spread at one time, as numbers."""
        at = torch.tensor(time, dtype=torch.float64)
        return float(self.signal(at)), float(self.noise_scale(at))

    def noised(
        self,
        clean: Float[Tensor, "B *rest"],
        noise: Float[Tensor, "B *rest"],
        time: Float[Tensor, " B"],
    ) -> Float[Tensor, "B *rest"]:
        """x_t of a batch, each item at its own time."""
        signal, noise_scale = over(self.signal(time), clean), over(self.noise_scale(time), clean)
        return signal * clean + noise_scale * noise


class DiffusionPath(ProbabilityPath):
    """The table of a discrete diffusion (Ho et al. 2020), where signal² + spread² = 1.

    Times are 0 to num_times - 1, and -1 for clean data. Between them the logarithm of signal to
    noise runs straight; between -1 and 0, where it has no bound, the noise level itself.
    """

    def __init__(self, schedule: str = "sigmoid", num_times: int = 1000) -> None:
        if schedule not in SCHEDULES:
            raise unknown_name("noise schedule", schedule, SCHEDULES)
        self.num_times = num_times
        self.beta = SCHEDULES[schedule](num_times)
        self.alpha_bar = torch.cumprod(1 - self.beta, dim=0)
        self._log_level = (torch.log1p(-self.alpha_bar) - torch.log(self.alpha_bar)) / 2

    def signal(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """The square root of alpha_bar."""
        return torch.sigmoid(-2 * self._log_level_at(time)).sqrt().to(time.dtype)

    def noise_scale(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """The square root of 1 - alpha_bar."""
        return torch.sigmoid(2 * self._log_level_at(time)).sqrt().to(time.dtype)

    def velocity_weights(
        self, time: Float[Tensor, "*times"]
    ) -> tuple[Float[Tensor, "*times"], Float[Tensor, "*times"]]:
        """The v of Salimans and Ho 2022: signal noise - spread data."""
        return -self.noise_scale(time), self.signal(time)

    def noise_level(self, time: float) -> float:
        """Spread / signal."""
        return math.exp(self._log_level_at(torch.tensor(time, dtype=torch.float64)))

    def time_at(self, noise_level: float) -> float:
        """The time of a noise level; those beyond the noisiest are held there."""
        table = self._log_level
        if noise_level <= math.exp(table[0]):
            return noise_level / math.exp(table[0]) - 1
        log_level = torch.tensor(math.log(noise_level), dtype=torch.float64)
        above = int(torch.searchsorted(table, log_level).clamp(max=self.num_times - 1))
        low, high = float(table[above - 1]), float(table[above])
        return above - 1 + min((float(log_level) - low) / (high - low), 1.0)

    def times(self, num_steps: int) -> tuple[float, ...]:
        """Evenly spaced whole times, rounded down, from num_times - 1 to -1."""
        if not 1 <= num_steps <= self.num_times:
            raise InputError(
                f"{num_steps} sampling steps: this diffusion has 1 to {self.num_times}; "
                f"take {min(max(num_steps, 1), self.num_times)}"
            )
        return tuple(
            float(step * self.num_times // num_steps - 1) for step in range(num_steps, -1, -1)
        )

    def sample_times(
        self, num: int, generator: Generator, device: torch.device, timestep_power: float = 1.0
    ) -> Float[Tensor, " num"]:
        """Whole times from 0 to num_times - 1."""
        ways = _ways_to_noise(num, generator, timestep_power)
        return (ways * self.num_times).floor().clamp(max=self.num_times - 1).to(device)

    def _log_level_at(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        # Float64 wherever there is such a thing.
        finest = torch.float32 if time.device.type == "mps" else torch.float64
        table = self._log_level.to(time.device, finest)
        time = time.to(finest).clamp(-1, self.num_times - 1)
        low = time.floor().clamp(min=0).long()
        high = (low + 1).clamp(max=self.num_times - 1)
        between = torch.lerp(table[low], table[high], (time - low).clamp(min=0))
        return torch.where(time < 0, table[0] + torch.log(time + 1), between)


class FlowPath(ProbabilityPath):
    """Flow matching along straight lines (Lipman et al. 2023, section 4.1): 0 is noise, 1 data."""

    def __init__(self, sigma_min: float = 1e-4) -> None:
        self.sigma_min = sigma_min

    def signal(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """The time itself."""
        return time

    def noise_scale(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """1 - (1 - sigma_min) t, written so that sigma_min is left at 1 in any precision."""
        return (1 - time) + self.sigma_min * time

    def velocity_weights(
        self, time: Float[Tensor, "*times"]
    ) -> tuple[Float[Tensor, "*times"], Float[Tensor, "*times"]]:
        """The flow's velocity, the same at all times: data - (1 - sigma_min) noise."""
        return torch.ones_like(time), torch.full_like(time, self.sigma_min - 1)

    def noise_level(self, time: float) -> float:
        """The spread."""
        return self.weights(time)[1]

    def time_at(self, noise_level: float) -> float:
        """The time of a noise level."""
        return (1 - noise_level) / (1 - self.sigma_min)

    def times(self, num_steps: int) -> tuple[float, ...]:
        """Evenly spaced times from 0 to 1."""
        if num_steps < 1:
            raise InputError(f"{num_steps} sampling steps: a flow has 1 or more; take 2")
        return tuple(step / num_steps for step in range(num_steps + 1))

    def sample_times(
        self, num: int, generator: Generator, device: torch.device, timestep_power: float = 1.0
    ) -> Float[Tensor, " num"]:
        """Times in 0..1."""
        return (1 - _ways_to_noise(num, generator, timestep_power)).to(device)


def over(weights: Float[Tensor, " B"], like: Float[Tensor, "B *rest"]) -> Float[Tensor, "B *ones"]:
    """One weight an item, shaped to multiply a batch and in its dtype."""
    return weights.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _ways_to_noise(num: int, generator: Generator, timestep_power: float) -> Float[Tensor, " num"]:
    if timestep_power <= 0:
        raise InputError(f"noisiness {timestep_power} must be above 0; 1 draws times evenly")
    even = torch.rand(num, generator=generator, device=generator.device)
    return even ** (1 / timestep_power)


# What a network may be trained to say, and the data that its answer stands for
# Every answer is p data + q noise with known weights, as x_t = signal data + spread noise is; two
# equations give the data:
#
# | target | p | q | |
# |---|---|---|---|
# | noise | 0 | 1 | Ho et al. 2020; the DAVIS paper's |
# | data | 1 | 0 | |
# | bounded | 1 | 0 | data that the network itself keeps below the mixture |
# | velocity | `path.velocity_weights` | | Salimans and Ho 2022; of a flow its own |


Target = Literal["noise", "data", "mask", "velocity"]
TARGETS: tuple[Target, ...] = get_args(Target)

# Where less of the data than this stands in x, noise tells nothing of it; schedules hold more of it
# at their noisiest (sigmoid 5.5e-4, cosine 4.9e-5), a flow's start holds none.
LEAST_SIGNAL = 1e-6


def target_of(
    target: Target,
    clean: Float[Tensor, "B *rest"],
    noise: Float[Tensor, "B *rest"],
    time: Float[Tensor, " B"],
    path: ProbabilityPath,
) -> Float[Tensor, "B *rest"]:
    """What a network of this target should say of x_t."""
    of_data, of_noise = _weights(target, time, path)
    return over(of_data, clean) * clean + over(of_noise, clean) * noise


def data_from(
    target: Target,
    said: Float[Tensor, "B *rest"],
    noisy: Float[Tensor, "B *rest"],
    time: Float[Tensor, " B"],
    path: ProbabilityPath,
) -> Float[Tensor, "B *rest"]:
    """The data that an answer stands for, given x_t; as large as it comes, not clamped."""
    if target in ("data", "mask"):
        return said
    of_data, of_noise = _weights(target, time, path)
    # 1 or -1 for the velocity, the signal for noise.
    divisor = path.signal(time) * of_noise - path.noise_scale(time) * of_data
    divisor = torch.where(divisor.abs() < LEAST_SIGNAL, LEAST_SIGNAL, divisor)
    of_noisy, of_said = of_noise / divisor, path.noise_scale(time) / divisor
    return over(of_noisy, noisy) * noisy - over(of_said, noisy) * said


def _weights(
    target: Target, time: Float[Tensor, " B"], path: ProbabilityPath
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    if target == "velocity":
        return path.velocity_weights(time)
    nothing, all_of_it = torch.zeros_like(time), torch.ones_like(time)
    return (nothing, all_of_it) if target == "noise" else (all_of_it, nothing)
