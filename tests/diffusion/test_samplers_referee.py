"""Samplers against those of diffusers: the same betas, times, noise and nonlinear denoiser."""

from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from torch import Tensor

from avsep.diffusion.paths import DiffusionPath, FlowPath, ProbabilityPath
from avsep.diffusion.sampling import SAMPLERS

# Its schedulers convert tensors to NumPy arrays by the protocol of NumPy 1.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SHAPE = (2, 3, 4)
SCHEDULES = ["sigmoid", "cosine", "linear"]
# Tolerances for schedulers that compute in float64, and for those that round to float32.
EXACT, ROUNDED = {"atol": 1e-9, "rtol": 1e-9}, {"atol": 1e-4, "rtol": 1e-4}


def crooked(noisy: Tensor, time: float) -> Tensor:
    return torch.tanh(0.8 * noisy - 0.2) * (0.6 + 0.4 * time / 1000)


def start() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def ours(name: str, path: ProbabilityPath, num_steps: int, **more: Any) -> Tensor:
    """Run our sampler with fresh noise drawn as diffusers draws it."""
    generator = torch.Generator().manual_seed(7)

    def noise(step: int) -> Tensor:
        return torch.randn(SHAPE, generator=generator, dtype=torch.float64)

    return SAMPLERS[name](crooked, start(), path, num_steps, noise=noise, **more)


def scheduler(kind: type, path: DiffusionPath, **settings: Any) -> Any:
    """Build a scheduler of diffusers with our betas, replacing its float32 table by ours."""
    theirs = kind(
        num_train_timesteps=path.num_times,
        trained_betas=path.beta.numpy(),
        prediction_type="sample",
        **settings,
    )
    theirs.alphas_cumprod = path.alpha_bar
    theirs.one = theirs.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    return theirs


@pytest.mark.parametrize("num_steps", [1, 10, 15])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddpm(schedule: str, num_steps: int) -> None:
    path = DiffusionPath(schedule)
    theirs = scheduler(DDPMScheduler, path, clip_sample=False)
    theirs.set_timesteps(timesteps=[int(time) for time in path.times(num_steps)[:-1]])
    noisy, generator = start(), torch.Generator().manual_seed(7)
    for time in theirs.timesteps.tolist():
        noisy = theirs.step(crooked(noisy, time), time, noisy, generator=generator).prev_sample
    # After the last step at a time above 0 theirs adds noise of deviation 1e-10.
    torch.testing.assert_close(ours("ddpm", path, num_steps), noisy, **EXACT)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("num_steps", [1, 2, 10, 20])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim(schedule: str, num_steps: int, eta: float) -> None:
    """For numbers of steps that divide 1000, where both have the same times."""
    path = DiffusionPath(schedule)
    theirs = scheduler(DDIMScheduler, path, clip_sample=False, timestep_spacing="trailing")
    theirs.set_timesteps(num_steps)
    times = theirs.timesteps.tolist()
    assert tuple(times) == path.times(num_steps)[:-1]
    noisy, generator = start(), torch.Generator().manual_seed(7)
    for time in times:
        noisy = theirs.step(
            crooked(noisy, time), time, noisy, eta=eta, generator=generator
        ).prev_sample
    torch.testing.assert_close(ours("ddim", path, num_steps, eta=eta), noisy, **EXACT)


@pytest.mark.parametrize("num_steps", [1, 2, 10, 15, 20])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_dpm_solver(schedule: str, num_steps: int) -> None:
    path = DiffusionPath(schedule)
    theirs = scheduler(
        DPMSolverMultistepScheduler, path,
        algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero",
    )  # fmt: skip
    theirs.set_timesteps(timesteps=[int(time) for time in path.times(num_steps)[:-1]])
    noisy = start()
    for time in theirs.timesteps:
        noisy = theirs.step(crooked(noisy, float(time)), time, noisy).prev_sample
    torch.testing.assert_close(ours("dpm-solver++", path, num_steps), noisy, **ROUNDED)


@pytest.mark.parametrize("num_steps", [1, 10, 20])
@pytest.mark.parametrize("schedule", ["sigmoid", "linear"])
def test_heun(schedule: str, num_steps: int) -> None:
    """Theirs works on x / signal, 1800 at first; its float32 sigmas are replaced by float64."""
    path = DiffusionPath(schedule)
    theirs = HeunDiscreteScheduler(
        num_train_timesteps=path.num_times,
        trained_betas=path.beta.numpy(),
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(num_steps)
    levels = [path.noise_level(time) for time in [*theirs.timesteps.tolist(), -1]]
    sigmas = torch.tensor(levels, dtype=torch.float64)
    torch.testing.assert_close(theirs.sigmas[1:].double(), sigmas[1:], atol=0, rtol=1e-3)
    theirs.sigmas = sigmas
    scaled = start() / path.weights(999)[0]
    for time in theirs.timesteps:
        signal, noise_scale = path.weights(float(time))
        noise = (scaled - crooked(signal * scaled, float(time))) * (signal / noise_scale)
        scaled = theirs.step(noise, time, scaled).prev_sample
    torch.testing.assert_close(ours("heun", path, num_steps), scaled, **EXACT)


@pytest.mark.parametrize("num_steps", [1, 2, 15])
def test_euler_on_a_flow(num_steps: int) -> None:
    """Theirs counts from data to noise and keeps no noise at the end."""
    path, theirs = FlowPath(sigma_min=0.0), FlowMatchEulerDiscreteScheduler()
    times = path.times(num_steps)[:-1]
    theirs.set_timesteps(sigmas=[1 - time for time in times])
    noisy = start()
    for time, at in zip(times, theirs.timesteps, strict=True):
        velocity = (noisy - crooked(noisy, time)) / (1 - time)
        noisy = theirs.step(velocity, at, noisy).prev_sample
    torch.testing.assert_close(ours("euler", path, num_steps), noisy, **ROUNDED, check_dtype=False)
