"""Schedules against golden values, their definitions and diffusers' own tables."""

import math

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from avsep.diffusion.paths import MAXIMUM_BETA, SCHEDULES


def test_the_sigmoid_schedule_is_davis(golden: dict) -> None:
    beta = SCHEDULES["sigmoid"](1000)
    for index, value in golden["davis"]["beta"].items():
        assert float(beta[int(index)]) == pytest.approx(value, rel=1e-12)
    assert float(beta.sum()) == pytest.approx(golden["davis"]["sum_beta"], rel=1e-12)


def test_linear_betas_are_those_of_diffusers() -> None:
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear").betas
    # Theirs are float32.
    torch.testing.assert_close(SCHEDULES["linear"](1000).float(), theirs, rtol=1e-6, atol=0)


def test_cosine_betas_are_those_of_diffusers() -> None:
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2").betas
    torch.testing.assert_close(SCHEDULES["cosine"](1000).float(), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("num_times", [1, 10, 50, 1000])
def test_betas_are_between_zero_and_the_maximum(name: str, num_times: int) -> None:
    beta = SCHEDULES[name](num_times)
    assert beta.shape == (num_times,) and beta.dtype == torch.float64
    assert (beta > 0).all() and (beta <= MAXIMUM_BETA).all()


def test_fewer_linear_times_take_away_as_much() -> None:
    """The sum of the betas, for small ones minus the logarithm of alpha-bar, stays the same."""
    sums = [float(SCHEDULES["linear"](num_times).sum()) for num_times in (250, 1000)]
    assert math.isclose(*sums, rel_tol=1e-9)
