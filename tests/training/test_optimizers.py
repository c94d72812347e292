import copy
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from avsep.training.recipe import OptimizerSettings
from avsep.training.task import make_optimizer, make_schedule, rate_factor

PAPER = {
    "transformer": OptimizerSettings(weight_decay=1e-4, milestones_epochs=(8,)),
    "rest": OptimizerSettings(milestones_epochs=(3, 5)),
}


def network() -> nn.ModuleDict:
    return nn.ModuleDict({"transformer": nn.Linear(5, 5), "rest": nn.Linear(5, 3)})


def backward(model: nn.ModuleDict, generator: torch.Generator) -> None:
    model.zero_grad()
    inputs = torch.randn(4, 5, generator=generator)
    model["rest"](model["transformer"](inputs).relu()).square().mean().backward()


def test_one_adamw_takes_the_steps_of_the_papers_two_optimizers() -> None:
    """DGFNet, section 4.1.4: AdamW for the transformer, Adam without decay for the rest."""
    torch.manual_seed(0)
    ours, theirs = (copy.deepcopy(model) for model in [network()] * 2)
    optimizer = make_optimizer({name: list(p.parameters()) for name, p in ours.items()}, PAPER)
    schedule = make_schedule(optimizer, PAPER, steps_per_epoch=4, num_steps=40)
    two = [
        torch.optim.AdamW(theirs["transformer"].parameters(), lr=1e-4, weight_decay=1e-4),
        torch.optim.Adam(theirs["rest"].parameters(), lr=1e-4),
    ]
    milestones = [[32], [12, 20]]
    schedules = [
        torch.optim.lr_scheduler.MultiStepLR(adam, steps, 0.1)
        for adam, steps in zip(two, milestones, strict=True)
    ]
    for step in range(40):
        backward(ours, torch.Generator().manual_seed(step))
        backward(theirs, torch.Generator().manual_seed(step))
        for stepped in (optimizer, schedule, *two, *schedules):
            stepped.step()
    for name, value in ours.state_dict().items():
        # The rates are products of 0.1 in one order or another: a last bit of float64.
        assert torch.allclose(value, theirs.state_dict()[name], rtol=0, atol=1e-9)


def test_adamw_without_decay_is_adam_to_the_bit() -> None:
    ours, theirs = (copy.deepcopy(model) for model in [network()] * 2)
    settings = {name: OptimizerSettings(learning_rate=1e-2) for name in ours}
    optimizer = make_optimizer({name: list(p.parameters()) for name, p in ours.items()}, settings)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    for step in range(20):
        backward(ours, torch.Generator().manual_seed(step))
        backward(theirs, torch.Generator().manual_seed(step))
        optimizer.step()
        adam.step()
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())


def test_rates_fall_at_the_ends_of_epochs() -> None:
    factor = rate_factor(PAPER["rest"], steps_per_epoch=10.0, num_steps=100)
    assert [factor(step) for step in (0, 29)] == [1, 1]
    assert [factor(step) for step in (30, 49, 50, 99)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


@pytest.mark.slow
@given(warmup=st.integers(0, 50), num_steps=st.integers(51, 500))
def test_a_cosine_rises_in_the_warm_up_then_falls_to_zero(warmup: int, num_steps: int) -> None:
    settings = OptimizerSettings(schedule="cosine", warmup_steps=warmup)
    factor = rate_factor(settings, 1.0, num_steps)
    factors = [factor(step) for step in range(num_steps + 1)]
    assert factors[:warmup] == sorted(factors[:warmup])
    assert factors[warmup] == 1
    assert factors[warmup:] == sorted(factors[warmup:], reverse=True)
    assert factors[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("schedule", ["steps", "cosine"])
def test_the_first_step_of_a_warm_up_has_a_rate(schedule: Literal["steps", "cosine"]) -> None:
    """At a rate of 0 the first batch would change nothing."""
    settings = OptimizerSettings(learning_rate=0.5, schedule=schedule, warmup_steps=4)
    factor = rate_factor(settings, steps_per_epoch=10.0, num_steps=100)
    assert [factor(step) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    groups = {"transformer": [], "rest": [nn.Parameter(torch.ones(2))]}
    optimizer = make_optimizer(groups, {"rest": settings})
    make_schedule(optimizer, {"rest": settings}, steps_per_epoch=10.0, num_steps=100)
    assert optimizer.param_groups[0]["lr"] == 0.125


def test_groups_without_parameters_are_left_out() -> None:
    optimizer = make_optimizer({"transformer": [], "rest": [nn.Parameter(torch.ones(2))]}, PAPER)
    assert [group["name"] for group in optimizer.param_groups] == ["rest"]


def test_sgd_takes_the_steps_of_sound_of_pixels() -> None:
    """Momentum of 0.9 and weight decay of the gradient (REFERENCE 4)."""
    ours, theirs = (copy.deepcopy(model) for model in [network()] * 2)
    settings = {name: OptimizerSettings(learning_rate=1e-2, weight_decay=1e-4) for name in ours}
    optimizer = make_optimizer({n: list(p.parameters()) for n, p in ours.items()}, settings, "sgd")
    speed = {name: torch.zeros_like(value) for name, value in theirs.named_parameters()}
    for step in range(5):
        backward(ours, torch.Generator().manual_seed(step))
        backward(theirs, torch.Generator().manual_seed(step))
        optimizer.step()
        with torch.no_grad():
            for name, value in theirs.named_parameters():
                assert value.grad is not None, "every parameter has a gradient"
                speed[name] = 0.9 * speed[name] + value.grad + 1e-4 * value
                value -= 1e-2 * speed[name]
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value, theirs.get_parameter(name))
