"""Sample from a diffusion or flow model: settings, silence guidance, noise field, samplers."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from avsep.diffusion.paths import ProbabilityPath
from avsep.errors import InputError, unknown_name

# Estimate of the data, given x and its time.
Denoiser = Callable[[Tensor, float], Tensor]

# The start has index -1 and the steps of a sampler count from 0. Silence guidance draws its own
# noise at indices above those of any sampler.
_START_INDEX = -1
_FIRST_SILENCE_INDEX = 1_000_000

# Noise is drawn in blocks of so many frames, so that a window draws only the blocks it overlaps.
_BLOCK_FRAMES = 64


class SamplingSettings(BaseModel):
    """Sampling settings; the defaults are those of DAVIS' released code on MUSIC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: str = Field(default="ddim", description="a name of diffusion's SAMPLERS")
    num_steps: int = Field(default=15, ge=1, description="steps from noise to data")
    eta: float = Field(default=1.0, ge=0, le=1, description="fresh noise in the steps of ddim")
    silence: Literal["off", "released", "equation-5"] = Field(
        default="released",
        description="silent cells of the mixture take its value: in the estimate of the clean "
        "magnitude (released), or in the noisy magnitude (equation 5)",
    )
    silence_threshold: float = Field(
        default=0.002,
        ge=0,
        description="a compressed mixture magnitude below it is silent (Table 4)",
    )
    clamp_estimate: bool = Field(
        default=True,
        description="limit every estimate of the clean magnitude to -1..1, as DAVIS; DAVIS-Flow "
        "does not",
    )
    step_noise: Literal["predicted", "derived"] = Field(
        default="predicted",
        description="noise in the steps of ddim, ddpm and euler: that of the network, also where "
        "clamp or silence changed its estimate (predicted, as released), or ours: derived from the "
        "changed estimate",
    )
    reduced_precision: bool = Field(
        default=False,
        description="most convolutions and the projections of TF blocks in bfloat16, on devices "
        "with instructions for it",
    )

    @model_validator(mode="after")
    def _sampler_exists(self) -> "SamplingSettings":
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler '{self.sampler}' is none of {', '.join(SAMPLERS)}")
        return self

    @property
    def evaluations(self) -> int:
        """Number of network evaluations."""
        return count_evaluations(self.sampler, self.num_steps)


def sample(
    settings: SamplingSettings,
    estimate: Denoiser,
    mixture: Float[Tensor, "N R T"],
    path: ProbabilityPath,
    noise: Callable[[int], Float[Tensor, "N R T"]],
) -> Float[Tensor, "N R T"]:
    """Draw compressed clean magnitudes from noise (DAVIS, equation 2).

    Args:
        settings: the sampler, its steps, and the limits of estimates and their silence.
        estimate: the clean magnitudes, not limited, given noisy ones and their time.
        mixture: compressed magnitude of the mixture, once for each source.
        path: the path between data and noise.
        noise: normal noise of an index: -1 for the start, 0 and up for steps.
    """
    threshold = settings.silence_threshold

    def constrain(data: Float[Tensor, "N R T"]) -> Float[Tensor, "N R T"]:
        data = data.clamp(-1, 1) if settings.clamp_estimate else data
        return clamp_silence(data, mixture, threshold) if settings.silence == "released" else data

    def denoise(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
        return constrain(estimate(noisy, time))

    # Better estimates of the other samplers combine several: all of them are limited.
    keeps_noise = settings.step_noise == "predicted" and settings.sampler in _FIRST_ORDER
    silence_indices = iter(range(_FIRST_SILENCE_INDEX, 2 * _FIRST_SILENCE_INDEX))

    def renoise(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
        fresh = noise(next(silence_indices))
        return renoise_silence(noisy, mixture, threshold, path, time, fresh)

    return SAMPLERS[settings.sampler](
        estimate if keeps_noise else denoise,
        noise(_START_INDEX),
        path,
        settings.num_steps,
        noise=noise,
        eta=settings.eta,
        guidance=StepGuidance(
            constrain if keeps_noise else None,
            renoise if settings.silence == "equation-5" else None,
        ),
    )


# Silence mask-guided sampling (DAVIS, section 3.5)


def clamp_silence(
    estimate: Float[Tensor, "*shape"], mixture: Float[Tensor, "*#shape"], threshold: float
) -> Float[Tensor, "*shape"]:
    """Replace silent cells of the data estimate by the mixture and clamp it to 0..1.

    Departure: equation 5 of DAVIS replaces cells of the noisy x after each step. The released code
    replaces them in the estimate of the data at every evaluation, by the clean mixture, as this
    does; `renoise_silence` is the paper's.
    """
    # Equations 5c and 5d, on the estimate of x_0.
    return torch.where(mixture < threshold, mixture, estimate).clamp(0, 1)


def renoise_silence(
    noisy: Float[Tensor, "*shape"],
    mixture: Float[Tensor, "*#shape"],
    threshold: float,
    path: ProbabilityPath,
    time: float,
    noise: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """Replace silent cells of x by the mixture, noised to the same time (DAVIS equation 5).

    Each step needs fresh noise. At the last time of a diffusion its weight is zero, and silent
    cells become the mixture's; a flow keeps its sigma_min.
    """
    signal, noise_scale = path.weights(time)
    # Equation 5a is the sum, 5c the comparison, 5d the choice.
    return torch.where(mixture < threshold, signal * mixture + noise_scale * noise, noisy)


# Noise field: noise over time that overlapping windows of one recording share


@dataclass(frozen=True)
class NoiseField:
    """Normal noise over an unbounded spectrogram, the same from whichever window it is read.

    Each cell depends only on seed, step, row and absolute frame. Overlapping windows therefore
    start from the same noise where they overlap, and are separated alike.

    Attributes:
        seed: seed of the whole field, 0 or more.
    """

    seed: int

    def window(
        self,
        start_frames: Sequence[int],
        num_rows: int,
        num_frames: int,
        step: int,
        device: torch.device,
    ) -> Float[Tensor, "B R T"]:
        """Return the noise of a step (-1 for the start) in windows at the given frames.

        A window may begin before the recording, at a negative frame.
        """
        blocks: dict[int, Float32[np.ndarray, "R 64"]] = {}
        windows = np.empty((len(start_frames), num_rows, num_frames), np.float32)
        for index, start in enumerate(start_frames):
            first, offset = divmod(start, _BLOCK_FRAMES)
            numbers = range(first, -(-(start + num_frames) // _BLOCK_FRAMES))
            for number in numbers:
                if number not in blocks:
                    blocks[number] = self._block(number, num_rows, step)
            noise = np.concatenate([blocks[number] for number in numbers], axis=1)
            windows[index] = noise[:, offset : offset + num_frames]
        return torch.from_numpy(windows).to(device)

    def _block(self, number: int, num_rows: int, step: int) -> Float32[np.ndarray, "R 64"]:
        # NumPy's seed sequence takes a key of several 32-bit words; PyTorch's CPU generator keeps
        # 32 bits of a seed, too few for all steps and blocks of a long recording.
        key = (step + 1, number % 2**32)
        generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        # Row by row, so that a row does not depend on the number of rows.
        return generator.standard_normal((num_rows, _BLOCK_FRAMES), dtype=np.float32)


# Samplers
#
# A step takes an estimate D of the data, derives the noise that x and D imply, and recombines both
# at the next time: signal' D + noise_scale' noise. That is DDIM, and Euler's method in the noise
# level (`avsep.diffusion.paths`). The other samplers are this step with a better D. With x̂ the
# first estimate of a step, x̂₋ that of the step before, h and h₋ their lengths in log signal to
# noise, and x̂' a second estimate at another time:
#
# | sampler | D | source |
# |---|---|---|
# | ddim, euler | x̂ | Song et al. 2021, equation 12 |
# | ddpm | x̂, with the fresh noise of DDPM's posterior | Ho et al. 2020 |
# | dpm-solver++ | x̂ + h / 2h₋ (x̂ - x̂₋) | Lu et al. 2022, algorithm 2 |
# | heun | x̂ + ½ level / level' (x̂' - x̂), x̂' at the next time | Karras et al. 2022 |
# | midpoint | x̂ + level / level' (x̂' - x̂), x̂' half-way to the next time | |
#
# Heun averages the slopes of both estimates (noise for a diffusion, velocity for a flow), midpoint
# takes the second one; the slopes differ by (x̂' - x̂) / level'.


@dataclass(frozen=True)
class StepGuidance:
    """Changes made in each step of a sampler.

    Attributes:
        constrain: limits the data of the step, whose noise stays that of the estimate as it was.
        after_step: applied to x after the step, given its time.
    """

    constrain: Callable[[Tensor], Tensor] | None = None
    after_step: Denoiser | None = None


NO_GUIDANCE = StepGuidance()


@runtime_checkable
class Sampler(Protocol):
    """A solver from x at the noisiest time to data."""

    def __call__(
        self,
        denoise: Denoiser,
        start: Float[Tensor, "*shape"],
        path: ProbabilityPath,
        num_steps: int,
        *,
        noise: Callable[[int], Tensor],
        eta: float = 0.0,
        guidance: StepGuidance = NO_GUIDANCE,
    ) -> Float[Tensor, "*shape"]:
        """Return the data after a number of steps.

        Departure: without `guidance.constrain` (the setting `step_noise` "derived", of the minis)
        the noise of a step is what x and the limited estimate imply, and the last step ends in the
        data alone. As released, the noise is the network's own, and a flow keeps the sigma_min of
        it that its path has at 1, 80 dB below full scale.

        Args:
            denoise: the estimate of the data, given x and its time.
            start: x at the noisiest time.
            path: the path between data and noise.
            num_steps: number of steps; `count_evaluations` gives the evaluations they take.
            noise: fresh normal noise of a step, 0 for the first; called only by samplers that
                add noise.
            eta: the fresh noise of ddim as a share of ddpm's, 0 to 1; ignored by the others.
            guidance: changes of the data and of x in each step.

        Raises:
            InputError: eta outside 0..1, or a number of steps that the path does not have.
        """
        ...


def count_evaluations(sampler: str, num_steps: int) -> int:
    """Return the number of network evaluations of a sampler.

    >>> count_evaluations("heun", 4)
    7
    """
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    return {"heun": 2 * num_steps - 1, "midpoint": 2 * num_steps}.get(sampler, num_steps)


@dataclass(frozen=True)
class _Evaluation:
    """First evaluation of a step: x, the data estimate, and the estimate of the step before."""

    step: int
    noisy: Float[Tensor, "*shape"]
    data: Float[Tensor, "*shape"]
    previous_data: Float[Tensor, "*shape"] | None


class _TimeGrid:
    """Times of a sampling run and the weights (signal, noise_scale) at each of them.

    `ends_clean`: the last weights are those of clean data even where the path keeps some noise.
    """

    def __init__(self, path: ProbabilityPath, num_steps: int, *, ends_clean: bool = True) -> None:
        self.path = path
        self.num_steps = num_steps
        self.times = path.times(num_steps)
        noisy = torch.tensor(self.times[:-1], dtype=torch.float64)
        signals, noise_scales = path.signal(noisy).tolist(), path.noise_scale(noisy).tolist()
        end = (1.0, 0.0) if ends_clean else path.weights(self.times[-1])
        self.weights = [*zip(signals, noise_scales, strict=True), end]

    def is_last(self, step: int) -> bool:
        """True if a step ends in clean data."""
        return step == self.num_steps - 1


# A refinement turns the first estimate of a step into the estimate D that the step uses.
_Refinement = Callable[[_TimeGrid, Denoiser, _Evaluation], Tensor]


def _first_estimate(
    grid: _TimeGrid, denoise: Denoiser, evaluation: _Evaluation
) -> Float[Tensor, "*shape"]:
    return evaluation.data


def _extrapolate(
    grid: _TimeGrid, denoise: Denoiser, evaluation: _Evaluation
) -> Float[Tensor, "*shape"]:
    # First order in the first step, which has no estimate before it, and in the last, whose length
    # in log signal to noise is infinite.
    data = evaluation.data
    if evaluation.previous_data is None or grid.is_last(evaluation.step):
        return data
    steps = slice(evaluation.step - 1, evaluation.step + 2)
    previous, current, following = map(_half_log_snr, grid.weights[steps])
    ratio = (following - current) / (2 * (current - previous))
    return data + ratio * (data - evaluation.previous_data)


def _heun(grid: _TimeGrid, denoise: Denoiser, evaluation: _Evaluation) -> Float[Tensor, "*shape"]:
    # The last step is Euler's, as in EDM: at clean data there is no noise to derive.
    if grid.is_last(evaluation.step):
        return evaluation.data
    time = grid.times[evaluation.step + 1]
    return _evaluate_again(grid, denoise, evaluation, time, weight=0.5)


def _midpoint(
    grid: _TimeGrid, denoise: Denoiser, evaluation: _Evaluation
) -> Float[Tensor, "*shape"]:
    times = grid.times[evaluation.step : evaluation.step + 2]
    current, following = map(grid.path.noise_level, times)
    time = grid.path.time_at((current + following) / 2)
    return _evaluate_again(grid, denoise, evaluation, time, weight=1.0)


def _evaluate_again(
    grid: _TimeGrid, denoise: Denoiser, evaluation: _Evaluation, time: float, weight: float
) -> Float[Tensor, "*shape"]:
    """Return D from a second evaluation at another time, with the table's factor as weight."""
    path, data = grid.path, evaluation.data
    weights = grid.weights[evaluation.step], path.weights(time)
    noisy_weight, data_weight, _ = _step_weights(*weights, eta=0.0)
    second = denoise(noisy_weight * evaluation.noisy + data_weight * data, time)
    ratio = path.noise_level(grid.times[evaluation.step]) / path.noise_level(time)
    return data + weight * ratio * (second - data)


def _make_sampler(refine: _Refinement, fixed_eta: float | None = 0.0) -> Sampler:
    """Build a sampler; with `fixed_eta` None it uses the caller's eta."""

    def run(
        denoise: Denoiser,
        start: Float[Tensor, "*shape"],
        path: ProbabilityPath,
        num_steps: int,
        *,
        noise: Callable[[int], Tensor],
        eta: float = 0.0,
        guidance: StepGuidance = NO_GUIDANCE,
    ) -> Float[Tensor, "*shape"]:
        if not 0 <= eta <= 1:
            raise InputError(f"eta {eta} must be 0 (no fresh noise) to 1 (as ddpm)")
        constrain, after_step = guidance.constrain, guidance.after_step
        grid = _TimeGrid(path, num_steps, ends_clean=constrain is None)
        noisy, previous_data = start, None
        for step in range(num_steps):
            data = denoise(noisy, grid.times[step])
            evaluation = _Evaluation(step, noisy, data, previous_data)
            refined = refine(grid, denoise, evaluation)
            noisy_weight, data_weight, noise_weight = _step_weights(
                *grid.weights[step : step + 2], eta=eta if fixed_eta is None else fixed_eta
            )
            if constrain is not None:
                # x of the limited data and the same noise. At the noisiest time of a diffusion the
                # estimate is a thousand times x, so it is weighted before anything is added.
                limited = constrain(refined)
                noisy = noisy + grid.weights[step][0] * (limited - refined)
                refined = limited
            # Equation 3 of DAVIS: the mean, and the fresh noise of its variance.
            noisy = noisy_weight * noisy + data_weight * refined
            if noise_weight > 0:
                noisy = noisy + noise_weight * noise(step)
            if after_step is not None:
                noisy = after_step(noisy, grid.times[step + 1])
            previous_data = data
        return noisy

    return run


SAMPLERS: dict[str, Sampler] = {
    "ddpm": _make_sampler(_first_estimate, fixed_eta=1.0),
    "ddim": _make_sampler(_first_estimate, fixed_eta=None),
    "dpm-solver++": _make_sampler(_extrapolate),
    "heun": _make_sampler(_heun),
    "euler": _make_sampler(_first_estimate),
    "midpoint": _make_sampler(_midpoint),
}


# Samplers whose steps use the estimate of x alone.
_FIRST_ORDER = ("ddpm", "ddim", "euler")


def _step_weights(
    current: tuple[float, float], following: tuple[float, float], eta: float
) -> tuple[float, float, float]:
    """Return the weights of x, the data estimate and fresh noise in x at the next time.

    Song et al. 2021, equations 12 and 16, for any signal and noise scale: fresh noise has eta
    times the deviation of DDPM's posterior, the rest of the noise is that contained in x.
    """
    (signal, noise_scale), (next_signal, next_noise_scale) = current, following
    ratio = signal * next_noise_scale / (next_signal * noise_scale)
    noise_weight = eta * next_noise_scale * math.sqrt(1 - ratio**2)
    # 1 - eta² + (eta ratio)² is 1 - (eta sqrt(1 - ratio²))², written without cancellation.
    noisy_weight = next_noise_scale * math.sqrt(1 - eta**2 + (eta * ratio) ** 2) / noise_scale
    return noisy_weight, next_signal - signal * noisy_weight, noise_weight


def _half_log_snr(weights: tuple[float, float]) -> float:
    """Return the step variable of DPM-Solver; -inf at the start of a flow, where signal is 0."""
    signal, noise_scale = weights
    return math.log(signal / noise_scale) if signal > 0 else -math.inf
