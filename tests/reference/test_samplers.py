"""Samplers meet x of the released ones after every step, with the same networks and noise."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from avsep.diffusion.paths import DiffusionPath, FlowPath, recover_data
from avsep.diffusion.sampling import SamplingSettings, sample
from avsep.models.davis.model import DAVISFlowSettings, DAVISSettings
from reference.released import assert_meets, given, golden

DDIM, EULER = golden("davis-ddim"), golden("davis-flow-euler")
SIGMA_MIN = 1e-4


def assert_x(states: list[Tensor], run: dict[str, Any]) -> None:
    """Meet x at the start and after each step, as closely as float32 is exact (of the file)."""
    assert len(states) == len(run["x"])
    for x, expected in zip(states, run["x"], strict=True):
        exact = run["float64_max_abs_difference"] / expected["std"]
        assert_meets(x[:, None], expected, tolerance=max(1e-5, 1.1 * exact))


def bend(noisy: Tensor, mixture: Tensor) -> Tensor:
    """Return what the networks of both files have in common, before their tanh."""
    return 1.3 * noisy + 0.7 * mixture - 0.4


def sample_ddim(run: dict[str, Any], **changes: object) -> list[Tensor]:
    """Return x at the start and after each step of the paper's sampler, in float64."""
    settings = DAVISSettings().sampling.model_copy(
        update={"silence": "released" if run["silence"] else "off", **changes}
    )
    clean, mixture = (given(DDIM["inputs"][name])[:, 0].double() for name in ("x0", "mixture"))
    path, states = DiffusionPath(), []

    def estimate(noisy: Tensor, time: float) -> Tensor:
        states.append(noisy)
        alpha_bar = path.alpha_bar[int(time)]
        predicted = (noisy - alpha_bar.sqrt() * clean) / (1 - alpha_bar).sqrt()
        predicted = predicted + run["error"] * torch.tanh(bend(noisy, mixture) + time / 2000)
        return recover_data("noise", predicted, noisy, torch.full((2,), time).double(), path)

    end = sample(settings, estimate, mixture, path, noises(DDIM["inputs"]["noises"]))
    return [*states, end]


def noises(rule: dict[str, Any]) -> Callable[[int], Tensor]:
    """Return the noise of an index: -1 the start, 0 the first step."""
    return lambda step: given(rule | {"t": 3101 + step})[:, 0].double()


@pytest.mark.parametrize("name", DDIM["runs"])
def test_ddim(name: str) -> None:
    assert_x(sample_ddim(DDIM["runs"][name]), DDIM["runs"][name])


def test_noise_derived_from_changed_data_is_another_sampler() -> None:
    """By up to 1.85 within the steps and 0.03 of 0..1 at the end; the minis are sampled by it."""
    run = DDIM["runs"]["error_0.3_silence_on"]
    both = zip(sample_ddim(run, step_noise="derived"), sample_ddim(run), strict=True)
    differences = [float((ours - released).abs().max()) for ours, released in both]
    assert max(differences) == pytest.approx(1.85, abs=0.01)
    assert differences[-1] == pytest.approx(0.033, abs=0.001)


def test_schedule() -> None:
    path, schedule = DiffusionPath(), DDIM["schedule"]
    assert path.times(15) == tuple(schedule["times"])
    assert_meets(path.alpha_bar, schedule["alphas_cumprod"], tolerance=1e-5)
    assert_meets(path.beta, schedule["betas"], tolerance=1e-5)


def sample_euler(run: dict[str, Any], settings: SamplingSettings) -> list[Tensor]:
    """Return x at the start and after each step, in float32."""
    clean, mixture, start = (
        given(EULER["inputs"][name])[:, 0] for name in ("x1", "mixture", "start")
    )
    path, states, times = FlowPath(SIGMA_MIN), [], []

    def estimate(noisy: Tensor, time: float) -> Tensor:
        states.append(noisy)
        times.append(1000 * time)
        velocity = (clean - (1 - SIGMA_MIN) * noisy) / (1 - (1 - SIGMA_MIN) * time)
        velocity = velocity + run["error"] * torch.tanh(bend(noisy, mixture))
        return recover_data("velocity", velocity, noisy, torch.full((2,), time), path)

    end = sample(settings, estimate, mixture, path, lambda step: start)
    assert times == run["times_given_to_the_network"]
    return [*states, end]


@pytest.mark.parametrize("name", EULER["runs"])
def test_euler_of_davis_flow(name: str) -> None:
    """No clamp: with an error of 2.5 the estimates leave -1..1."""
    run = EULER["runs"][name]
    assert_x(sample_euler(run, DAVISFlowSettings().sampling), run)


def test_a_clamp_would_be_another_sampler() -> None:
    run = EULER["runs"]["error_2.5"]
    clamped = DAVISFlowSettings().sampling.model_copy(update={"clamp_estimate": True})
    with pytest.raises(AssertionError, match="of std"):
        assert_x(sample_euler(run, clamped), run)
