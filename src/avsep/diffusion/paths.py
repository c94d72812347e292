"""Probability paths between data and noise, noise schedules and training targets."""

import math
from collections.abc import Callable
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Float64
from torch import Generator, Tensor

from avsep.errors import InputError, unknown_name

# Upper bound of a beta (Nichol and Dhariwal 2021, section 3.2). Without it the last beta of the
# sigmoid and cosine schedules is 1 and the noisiest x contains no signal.
MAXIMUM_BETA = 0.999

# Smallest divisor when the data is recovered from a noise prediction. All schedules end above it
# (sigmoid 5.5e-4, cosine 4.9e-5); a flow starts at signal 0, where noise determines no data.
MINIMUM_SIGNAL = 1e-6

Target = Literal["noise", "data", "mask", "velocity"]
TARGETS: tuple[Target, ...] = get_args(Target)


# Noise schedules: the variances beta of the steps of a diffusion

# All are computed in float64: in float32 their last entries differ in the fourth digit.


def sigmoid_schedule(num_times: int) -> Float64[Tensor, " times"]:
    """Return the betas of DAVIS: a falling sigmoid over 0 to 3, temperature 1 (Jabri 2022)."""
    progress = torch.linspace(0, 1, num_times + 1, dtype=torch.float64)
    start, end, temperature = 0.0, 3.0, 1.0
    curve = torch.sigmoid((start + (end - start) * progress) / temperature)
    return _betas((curve[-1] - curve) / (curve[-1] - curve[0]))


def cosine_schedule(num_times: int) -> Float64[Tensor, " times"]:
    """Return betas whose alpha-bar is a squared cosine (Nichol and Dhariwal 2021, equation 17)."""
    progress = torch.linspace(0, 1, num_times + 1, dtype=torch.float64)
    # The offset 0.008 keeps the first betas from vanishing; the paper's value.
    return _betas(torch.cos((progress + 0.008) / 1.008 * math.pi / 2) ** 2)


def linear_schedule(num_times: int) -> Float64[Tensor, " times"]:
    """Return evenly spaced betas, 1e-4 to 0.02 for 1000 times (Ho et al. 2020)."""
    # Larger for fewer times, so that the sum of the betas stays the same.
    scale = 1000 / num_times
    betas = torch.linspace(1e-4 * scale, 0.02 * scale, num_times, dtype=torch.float64)
    return betas.clamp(max=MAXIMUM_BETA)


SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "sigmoid": sigmoid_schedule,
    "cosine": cosine_schedule,
    "linear": linear_schedule,
}


def _betas(alpha_bar: Float64[Tensor, " one_more"]) -> Float64[Tensor, " times"]:
    """Return the betas of an alpha-bar curve whose first value belongs to clean data."""
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(0, MAXIMUM_BETA)


# Probability paths


@runtime_checkable
class ProbabilityPath(Protocol):
    """x_t = signal(t) x_0 + noise_scale(t) noise, for times between noise and data.

    For fixed data and noise, x divided by a scale is linear in the *noise level*, the variable in
    which the samplers step. It is noise_scale / signal for diffusion (the sigma of EDM, Karras et
    al. 2022) and noise_scale for a flow, which is linear in time as well.
    """

    def signal(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return the weight of the data at each time, in the time's dtype."""
        ...

    def noise_scale(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return the weight of the noise at each time, in the time's dtype."""
        ...

    def velocity_weights(
        self, time: Float[Tensor, "*times"]
    ) -> tuple[Float[Tensor, "*times"], Float[Tensor, "*times"]]:
        """Return the weights of data and noise in the velocity target."""
        ...

    def noise_level(self, time: float) -> float:
        """Return the noise level of a time; it falls from noise to data."""
        ...

    def time_at(self, noise_level: float) -> float:
        """Return the time of a noise level."""
        ...

    def times(self, num_steps: int) -> tuple[float, ...]:
        """Return the num_steps + 1 times of a sampler, from noise to data.

        Raises:
            InputError: fewer or more steps than the path has.
        """
        ...

    def sample_times(
        self, num: int, generator: Generator, device: torch.device, timestep_power: float = 1.0
    ) -> Float[Tensor, " num"]:
        """Draw times to train at: uniform for a timestep_power of 1, noisier above it.

        The distance from data is u ** (1 / timestep_power) of the path, u uniform in 0..1; the
        share of times in the noisier half is 1 - 0.5 ** timestep_power.
        """
        ...

    def weights(self, time: float) -> tuple[float, float]:
        """Return signal and noise_scale at one time as Python floats."""
        at = torch.tensor(time, dtype=torch.float64)
        return float(self.signal(at)), float(self.noise_scale(at))

    def noised(
        self,
        clean: Float[Tensor, "B *rest"],
        noise: Float[Tensor, "B *rest"],
        time: Float[Tensor, " B"],
    ) -> Float[Tensor, "B *rest"]:
        """Return x_t of a batch (DAVIS equation 1), each item at its own time."""
        signal = _expand_like(self.signal(time), clean)
        noise_scale = _expand_like(self.noise_scale(time), clean)
        return signal * clean + noise_scale * noise


class DiffusionPath(ProbabilityPath):
    """Discrete variance-preserving diffusion (Ho et al. 2020): signal² + noise_scale² = 1.

    Times are 0 to num_times - 1, and -1 for clean data. Between whole times the logarithm of the
    noise level is interpolated linearly; between -1 and 0, where it has no lower bound, the noise
    level itself.
    """

    def __init__(self, schedule: str = "sigmoid", num_times: int = 1000) -> None:
        if schedule not in SCHEDULES:
            raise unknown_name("noise schedule", schedule, SCHEDULES)
        self.num_times = num_times
        self.beta = SCHEDULES[schedule](num_times)
        self.alpha_bar = torch.cumprod(1 - self.beta, dim=0)
        # log1p keeps the digits of 1 - alpha_bar at the clean end, where alpha_bar is close to 1.
        self._log_level = (torch.log1p(-self.alpha_bar) - torch.log(self.alpha_bar)) / 2

    # With l the logarithm of the noise level, alpha_bar = sigmoid(-2 l) and
    # 1 - alpha_bar = sigmoid(2 l): both are exact, where a difference from 1 would cancel.

    def signal(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return the square root of alpha_bar (DAVIS equation 1)."""
        return torch.sigmoid(-2 * self._log_level_at(time)).sqrt().to(time.dtype)

    def noise_scale(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return the square root of 1 - alpha_bar (DAVIS equation 1)."""
        return torch.sigmoid(2 * self._log_level_at(time)).sqrt().to(time.dtype)

    def velocity_weights(
        self, time: Float[Tensor, "*times"]
    ) -> tuple[Float[Tensor, "*times"], Float[Tensor, "*times"]]:
        """Return the weights of v = signal noise - noise_scale data (Salimans and Ho 2022)."""
        return -self.noise_scale(time), self.signal(time)

    def noise_level(self, time: float) -> float:
        """Return noise_scale / signal."""
        return math.exp(self._log_level_at(torch.tensor(time, dtype=torch.float64)))

    def time_at(self, noise_level: float) -> float:
        """Return the time of a noise level, at most the noisiest time."""
        table = self._log_level
        if noise_level <= math.exp(table[0]):
            return noise_level / math.exp(table[0]) - 1
        log_level = torch.tensor(math.log(noise_level), dtype=torch.float64)
        above = int(torch.searchsorted(table, log_level).clamp(max=self.num_times - 1))
        low, high = float(table[above - 1]), float(table[above])
        return above - 1 + min((float(log_level) - low) / (high - low), 1.0)

    def times(self, num_steps: int) -> tuple[float, ...]:
        """Return evenly spaced whole times, rounded down, from num_times - 1 to -1."""
        if not 1 <= num_steps <= self.num_times:
            raise InputError(
                f"{num_steps} sampling steps: this diffusion has 1 to {self.num_times}; "
                f"give {min(max(num_steps, 1), self.num_times)}"
            )
        # The released DAVIS code truncates linspace(-1, 999, num_steps + 1) to the same times.
        return tuple(
            float(step * self.num_times // num_steps - 1) for step in range(num_steps, -1, -1)
        )

    def sample_times(
        self, num: int, generator: Generator, device: torch.device, timestep_power: float = 1.0
    ) -> Float[Tensor, " num"]:
        """Draw whole times from 0 to num_times - 1."""
        distance = _sample_distances(num, generator, timestep_power)
        # Clamped because a float32 distance close to 1 can round to num_times.
        return (distance * self.num_times).floor().clamp(max=self.num_times - 1).to(device)

    def _log_level_at(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        # MPS devices have no float64.
        dtype = torch.float32 if time.device.type == "mps" else torch.float64
        table = self._log_level.to(time.device, dtype)
        time = time.to(dtype).clamp(-1, self.num_times - 1)
        low = time.floor().clamp(min=0).long()
        high = (low + 1).clamp(max=self.num_times - 1)
        between = torch.lerp(table[low], table[high], (time - low).clamp(min=0))
        # Below time 0 the level is (time + 1) times that of time 0, and 0 at clean data.
        return torch.where(time < 0, table[0] + torch.log(time + 1), between)


class FlowPath(ProbabilityPath):
    """Flow matching on straight lines (Lipman et al. 2023, section 4.1); time 0 is noise, 1 data.

    DAVIS-Flow uses it with sigma_min 1e-4.
    """

    def __init__(self, sigma_min: float = 1e-4) -> None:
        self.sigma_min = sigma_min

    def signal(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return the time itself."""
        return time

    def noise_scale(self, time: Float[Tensor, "*times"]) -> Float[Tensor, "*times"]:
        """Return 1 - (1 - sigma_min) t."""
        # Written as a sum of positive terms, which gives sigma_min at t = 1 in any precision.
        return (1 - time) + self.sigma_min * time

    def velocity_weights(
        self, time: Float[Tensor, "*times"]
    ) -> tuple[Float[Tensor, "*times"], Float[Tensor, "*times"]]:
        """Return the weights of the velocity data - (1 - sigma_min) noise, the same at any time."""
        return torch.ones_like(time), torch.full_like(time, self.sigma_min - 1)

    def noise_level(self, time: float) -> float:
        """Return the noise scale."""
        return self.weights(time)[1]

    def time_at(self, noise_level: float) -> float:
        """Return the time of a noise level."""
        return (1 - noise_level) / (1 - self.sigma_min)

    def times(self, num_steps: int) -> tuple[float, ...]:
        """Return evenly spaced times from 0 to 1."""
        if num_steps < 1:
            raise InputError(f"{num_steps} sampling steps: a flow has 1 or more; give 2")
        return tuple(step / num_steps for step in range(num_steps + 1))

    def sample_times(
        self, num: int, generator: Generator, device: torch.device, timestep_power: float = 1.0
    ) -> Float[Tensor, " num"]:
        """Draw times in 0..1."""
        return (1 - _sample_distances(num, generator, timestep_power)).to(device)


def _expand_like(
    weights: Float[Tensor, " B"], like: Float[Tensor, "B *rest"]
) -> Float[Tensor, "B *ones"]:
    """Return one weight per item, shaped to multiply a batch and in its dtype."""
    return weights.to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))


def _sample_distances(
    num: int, generator: Generator, timestep_power: float
) -> Float[Tensor, " num"]:
    """Draw distances from data, 0..1 of the path."""
    if timestep_power <= 0:
        raise InputError(
            f"timestep_power {timestep_power} must be above 0; give 1 to draw times uniformly"
        )
    uniform = torch.rand(num, generator=generator, device=generator.device)
    return uniform ** (1 / timestep_power)


# Training targets, and the data that a prediction implies
#
# A target is p data + q noise with known weights p and q, and so is x_t = signal data +
# noise_scale noise. Two equations in two unknowns: given x_t, a prediction determines the data.
#
# | target | p | q | source |
# |---|---|---|---|
# | noise | 0 | 1 | Ho et al. 2020; DAVIS |
# | data | 1 | 0 | |
# | mask | 1 | 0 | data that the network computes as a mask times the mixture |
# | velocity | `path.velocity_weights` | | Salimans and Ho 2022; for a flow DAVIS-Flow |


def compute_target(
    target: Target,
    clean: Float[Tensor, "B *rest"],
    noise: Float[Tensor, "B *rest"],
    time: Float[Tensor, " B"],
    path: ProbabilityPath,
) -> Float[Tensor, "B *rest"]:
    """Return the training target of a network at x_t (for noise: DAVIS equation 4)."""
    data_weight, noise_weight = _target_weights(target, time, path)
    return _expand_like(data_weight, clean) * clean + _expand_like(noise_weight, clean) * noise


def recover_data(
    target: Target,
    prediction: Float[Tensor, "B *rest"],
    noisy: Float[Tensor, "B *rest"],
    time: Float[Tensor, " B"],
    path: ProbabilityPath,
) -> Float[Tensor, "B *rest"]:
    """Return the data that a prediction at x_t implies, not clamped."""
    if target in ("data", "mask"):
        return prediction
    data_weight, noise_weight = _target_weights(target, time, path)
    # The determinant of the two equations: 1 or -1 for the velocity, the signal for noise.
    divisor = path.signal(time) * noise_weight - path.noise_scale(time) * data_weight
    divisor = torch.where(divisor.abs() < MINIMUM_SIGNAL, MINIMUM_SIGNAL, divisor)
    noisy_weight, prediction_weight = noise_weight / divisor, path.noise_scale(time) / divisor
    return _expand_like(noisy_weight, noisy) * noisy - (
        _expand_like(prediction_weight, noisy) * prediction
    )


def _target_weights(
    target: Target, time: Float[Tensor, " B"], path: ProbabilityPath
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Return the weights p of the data and q of the noise in a target."""
    if target == "velocity":
        return path.velocity_weights(time)
    zeros, ones = torch.zeros_like(time), torch.ones_like(time)
    return (zeros, ones) if target == "noise" else (ones, zeros)
