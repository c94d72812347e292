"""Sample from a diffusion or flow model: settings, noise, silence guidance and samplers."""

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

# Silence mask-guided sampling (DAVIS, section 3.5): what is silent in the mixture stays silent


def clamp_silence(
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
    path: ProbabilityPath,
    time: float,
    noise: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape"]:
    """A step's x, but the mixture noised to its time where the mixture is below the threshold.

    The noise is to be drawn anew for each step. At the last time of diffusion it has no weight, and
    silent cells become the mixture's.
    """
    signal, noise_scale = path.weights(time)
    return torch.where(mixture < threshold, signal * mixture + noise_scale * noise, noisy)


# Samplers of one signature: from noise to data in a few looks of a network A step takes an
# estimate D of the data, reads off the noise that x and D imply, and puts both together at the
# next time: signal' D + spread' noise. That is DDIM, and Euler's method in the noise level
# (`avsep.diffusion.paths`). The others are this step with a better D. With x̂ the first look:
#
# | sampler | D | source |
# |---|---|---|
# | ddim, euler | x̂ | Song et al. 2021, equation 12 |
# | ddpm | x̂, and as much of the noise drawn anew as DDPM's posterior does | Ho et al. 2020 |
# | dpm-solver++ | x̂ + h / 2h₋ (x̂ - x̂₋), of the step before | Lu et al. 2022, algorithm 2 |
# | heun | x̂ + ½ level / level' (x̂' - x̂), a 2nd look at the next time | Karras et al. 2022 |
# | midpoint | x̂ + level / level' (x̂' - x̂), a second look half-way | |
#
# The last row but one follows from averaging the slopes (noise for diffusion, the velocity for a
# flow) of both looks, the last from taking the second's alone: they differ by (x̂' - x̂) / level'.


Denoiser = Callable[[Tensor, float], Tensor]


@runtime_checkable
class Sampler(Protocol):
    """From x at the noisiest time to data."""

    def __call__(
        self,
        denoise: Denoiser,
        start: Float[Tensor, "*shape"],
        path: ProbabilityPath,
        num_steps: int,
        *,
        noise: Callable[[int], Tensor],
        eta: float = 0.0,
        after_step: Denoiser | None = None,
    ) -> Float[Tensor, "*shape"]:
        """The data at the end of a number of steps.

        Departure: the last step lands on the data alone. A flow as released keeps the sigma_min of
        the starting noise that its path has at 1, 80 dB below full scale.

        Args:
            denoise: the estimate of the data, given x and its time.
            start: x at the noisiest time.
            path: how data becomes noise.
            num_steps: steps in all; `evaluations` tells how many looks they take.
            noise: fresh normal noise of a step, 0 for the first; asked where it is used alone.
            eta: the part of the noise that ddim draws anew, 0 to 1, which is ddpm's; others take
                no notice.
            after_step: what is done to x after each step but the last, given its time.

        Raises InputError for an eta outside 0..1 and a number of steps that the path has not.
        """
        ...


def evaluations(sampler: str, num_steps: int) -> int:
    """How often a sampler asks the network in so many steps."""
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", sampler, SAMPLERS)
    return {"heun": 2 * num_steps - 1, "midpoint": 2 * num_steps}.get(sampler, num_steps)


@dataclass(frozen=True)
class _Evaluation:
    """One step's first look: x, its estimate of the data, and the estimate of the step before."""

    step: int
    noisy: Float[Tensor, "*shape"]
    data: Float[Tensor, "*shape"]
    data_before: Float[Tensor, "*shape"] | None


class _TimeGrid:
    """The times of one sampling and the weights of data and noise there, with clean data last."""

    def __init__(self, path: ProbabilityPath, num_steps: int) -> None:
        self.path = path
        self.num_steps = num_steps
        self.times = path.times(num_steps)
        noisy = torch.tensor(self.times[:-1], dtype=torch.float64)
        signals, spreads = path.signal(noisy).tolist(), path.noise_scale(noisy).tolist()
        self.weights = [*zip(signals, spreads, strict=True), (1.0, 0.0)]

    def is_last(self, step: int) -> bool:
        """Whether a step ends in clean data."""
        return step == self.num_steps - 1


def _single_look(
    course: _TimeGrid, denoise: Denoiser, look: _Evaluation
) -> Float[Tensor, "*shape"]:
    return look.data


def _extrapolated(
    course: _TimeGrid, denoise: Denoiser, look: _Evaluation
) -> Float[Tensor, "*shape"]:
    """First order in the first step, with none before it, and in the last, which has no length."""
    if look.data_before is None or course.is_last(look.step):
        return look.data
    before, here, there = map(_half_log_snr, course.weights[look.step - 1 : look.step + 2])
    return look.data + (there - here) / (2 * (here - before)) * (look.data - look.data_before)


def _heun(course: _TimeGrid, denoise: Denoiser, look: _Evaluation) -> Float[Tensor, "*shape"]:
    """The last step is Euler's, as in EDM: there is no noise to read off clean data."""
    if course.is_last(look.step):
        return look.data
    return _looked_twice(course, denoise, look, course.times[look.step + 1], weight=0.5)


def _midpoint(course: _TimeGrid, denoise: Denoiser, look: _Evaluation) -> Float[Tensor, "*shape"]:
    here, there = map(course.path.noise_level, course.times[look.step : look.step + 2])
    halfway = course.path.time_at((here + there) / 2)
    return _looked_twice(course, denoise, look, halfway, weight=1.0)


def _looked_twice(
    course: _TimeGrid, denoise: Denoiser, look: _Evaluation, time: float, weight: float
) -> Float[Tensor, "*shape"]:
    path, here = course.path, course.weights[look.step]
    keep, take, _ = _mix(here, path.weights(time), eta=0.0)
    second = denoise(keep * look.noisy + take * look.data, time)
    ratio = path.noise_level(course.times[look.step]) / path.noise_level(time)
    return look.data + weight * ratio * (second - look.data)


def _sampler(
    refine: Callable[[_TimeGrid, Denoiser, _Evaluation], Tensor], fixed_eta: float | None = 0.0
) -> Sampler:
    def sample(
        denoise: Denoiser,
        start: Float[Tensor, "*shape"],
        path: ProbabilityPath,
        num_steps: int,
        *,
        noise: Callable[[int], Tensor],
        eta: float = 0.0,
        after_step: Denoiser | None = None,
    ) -> Float[Tensor, "*shape"]:
        if not 0 <= eta <= 1:
            raise InputError(f"eta {eta} must be 0 (no fresh noise) to 1 (as ddpm)")
        course = _TimeGrid(path, num_steps)
        noisy, data_before = start, None
        for step in range(num_steps):
            look = _Evaluation(step, noisy, denoise(noisy, course.times[step]), data_before)
            data = refine(course, denoise, look)
            keep, take, fresh = _mix(
                *course.weights[step : step + 2], eta=eta if fixed_eta is None else fixed_eta
            )
            noisy = keep * noisy + take * data
            if fresh > 0:
                noisy = noisy + fresh * noise(step)
            if after_step is not None and not course.is_last(step):
                noisy = after_step(noisy, course.times[step + 1])
            data_before = look.data
        return noisy

    return sample


SAMPLERS: dict[str, Sampler] = {
    "ddpm": _sampler(_single_look, fixed_eta=1.0),
    "ddim": _sampler(_single_look, fixed_eta=None),
    "dpm-solver++": _sampler(_extrapolated),
    "heun": _sampler(_heun),
    "euler": _sampler(_single_look),
    "midpoint": _sampler(_midpoint),
}


def _mix(
    here: tuple[float, float], there: tuple[float, float], eta: float
) -> tuple[float, float, float]:
    """How much of x, of the data's estimate and of fresh noise makes x at the next time.

    Song et al. 2021, equations 12 and 16, for any signal and spread: of the noise that is there,
    eta times the posterior's deviation is fresh; what is left keeps to the noise that x holds.
    """
    (signal, noise_scale), (next_signal, next_spread) = here, there
    ratio = signal * next_spread / (next_signal * noise_scale)
    fresh = eta * next_spread * math.sqrt(1 - ratio**2)
    keep = next_spread * math.sqrt(1 - eta**2 + (eta * ratio) ** 2) / noise_scale
    return keep, next_signal - signal * keep, fresh


def _half_log_snr(weights: tuple[float, float]) -> float:
    """The step variable of DPM-Solver, without bound at a flow's start."""
    signal, noise_scale = weights
    return math.log(signal / noise_scale) if signal > 0 else -math.inf


# Numbers of steps that no sampler counts to: equation 5 draws noise of its own.
_SILENCE_STEPS = 1_000_000


class SamplingSettings(BaseModel):
    """How an answer is drawn; the defaults are those of DAVIS' released code on MUSIC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: str = Field(default="ddim", description="a name of diffusion's SAMPLERS")
    num_steps: int = Field(default=15, ge=1, description="from noise to sound")
    eta: float = Field(default=1.0, ge=0, le=1, description="fresh noise in the steps of ddim")
    silence: Literal["off", "released", "equation-5"] = Field(
        default="released",
        description="silent cells of the mixture take its value: in the estimate of the clean "
        "sound, as released, or in what is still noisy (equation 5)",
    )
    silence_threshold: float = Field(
        default=0.002, ge=0, description="a represented mixture below it is silent (Table 4)"
    )
    reduced_precision: bool = Field(
        default=False,
        description="most convolutions in bfloat16, and TF blocks' projections, on devices with "
        "instructions for it",
    )

    @model_validator(mode="after")
    def _known(self) -> "SamplingSettings":
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler '{self.sampler}' is none of {', '.join(SAMPLERS)}")
        return self

    @property
    def evaluations(self) -> int:
        """How often the network is asked."""
        return evaluations(self.sampler, self.num_steps)


def sample(
    settings: SamplingSettings,
    estimate: Denoiser,
    mixture: Float[Tensor, "N R T"],
    path: ProbabilityPath,
    noise: Callable[[int], Float[Tensor, "N R T"]],
) -> Float[Tensor, "N R T"]:
    """Clean sounds as they are represented.

    Args:
        settings: of the sampling.
        estimate: the clean sounds, given noisy ones and their time.
        mixture: as it is represented, once for each source.
        path: from data to noise.
        noise: normal noise of each step; -1 is the start.
    """
    threshold = settings.silence_threshold

    def denoise(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
        found = estimate(noisy, time)
        is_on = settings.silence == "released"
        return clamp_silence(found, mixture, threshold) if is_on else found

    steps = iter(range(_SILENCE_STEPS, 2 * _SILENCE_STEPS))

    def silenced(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
        return equation_5(noisy, mixture, threshold, path, time, noise(next(steps)))

    return SAMPLERS[settings.sampler](
        denoise,
        noise(-1),
        path,
        settings.num_steps,
        noise=noise,
        eta=settings.eta,
        after_step=silenced if settings.silence == "equation-5" else None,
    )


# Noise for samplers: a field over time, which windows of one long sound share


_BLOCK_FRAMES = 64


@dataclass(frozen=True)
class NoiseField:
    """Normal noise over an endless spectrogram, the same from wherever it is looked at.

    A cell hangs on seed, step, row and its frame from the start of the whole sound alone.
    Windows that overlap therefore start from, and are given, the same noise where they do, and
    separate it alike. NumPy makes it: PyTorch's generator for the CPU keeps 32 bits of a seed, too
    few to tell all blocks of a long sound apart.

    Attributes:
        seed: of the whole field, 0 or more.
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
        """The noise of a step (-1 for the start) in windows that begin at these frames.

        A window may begin before the sound does, at a negative frame.
        """
        blocks: dict[int, Float32[np.ndarray, "R 64"]] = {}
        windows = np.empty((len(start_frames), num_rows, num_frames), np.float32)
        for index, start in enumerate(start_frames):
            first, skipped = divmod(start, _BLOCK_FRAMES)
            places = range(first, -(-(start + num_frames) // _BLOCK_FRAMES))
            for place in places:
                if place not in blocks:
                    blocks[place] = self._block(place, num_rows, step)
            whole = np.concatenate([blocks[place] for place in places], axis=1)
            windows[index] = whole[:, skipped : skipped + num_frames]
        return torch.from_numpy(windows).to(device)

    def _block(self, place: int, num_rows: int, step: int) -> Float32[np.ndarray, "R 64"]:
        # Row after row, so that a row is the same however many follow it.
        key = (step + 1, place % 2**32)
        generator = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        return generator.standard_normal((num_rows, _BLOCK_FRAMES), dtype=np.float32)
