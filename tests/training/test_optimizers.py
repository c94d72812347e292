import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from avsep.training.recipe import OptimizerSettings
from avsep.training.task import make_optimizer, make_schedule, rate_share

PAPER = {
    "transformer": OptimizerSettings(weight_decay=1e-4, milestones_epochs=(8,)),
    "rest": OptimizerSettings(milestones_epochs=(3, 5)),
}


def network() -> nn.ModuleDict:
    return nn.ModuleDict({"transformer": nn.Linear(5, 5), "rest": nn.Linear(5, 3)})


def learn(model: nn.ModuleDict, generator: torch.Generator) -> None:
    model.zero_grad()
    heard = torch.randn(4, 5, generator=generator)
    model["rest"](model["transformer"](heard).relu()).square().mean().backward()


def test_one_adamw_takes_the_steps_of_the_papers_two_optimizers() -> None:
    """DGFNet, section 4.1: AdamW for the transformer, Adam without decay for the rest."""
    torch.manual_seed(0)
    ours, theirs = (copy.deepcopy(model) for model in [network()] * 2)
    one = make_optimizer({name: list(p.parameters()) for name, p in ours.items()}, PAPER)
    schedule = make_schedule(one, PAPER, steps_per_epoch=4, num_steps=40)
    two = [
        torch.optim.AdamW(theirs["transformer"].parameters(), lr=1e-4, weight_decay=1e-4),
        torch.optim.Adam(theirs["rest"].parameters(), lr=1e-4),
    ]
    milestones = [[32], [12, 20]]
    schedules = [
        torch.optim.lr_scheduler.MultiStepLR(optimizer, at, 0.1)
        for optimizer, at in zip(two, milestones, strict=True)
    ]
    for step in range(40):
        learn(ours, torch.Generator().manual_seed(step))
        learn(theirs, torch.Generator().manual_seed(step))
        for stepped in (one, schedule, *two, *schedules):
            stepped.step()
    for name, value in ours.state_dict().items():
        # The rates are products of 0.1 in one order or another: a last bit of float64.
        assert torch.allclose(value, theirs.state_dict()[name], rtol=0, atol=1e-9)


def test_adamw_without_decay_is_adam_to_the_bit() -> None:
    ours, theirs = (copy.deepcopy(model) for model in [network()] * 2)
    settings = {name: OptimizerSettings(learning_rate=1e-2) for name in ours}
    one = make_optimizer({name: list(p.parameters()) for name, p in ours.items()}, settings)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2)
    for step in range(20):
        learn(ours, torch.Generator().manual_seed(step))
        learn(theirs, torch.Generator().manual_seed(step))
        one.step()
        adam.step()
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())


def test_rates_fall_at_the_ends_of_epochs() -> None:
    share = rate_share(PAPER["rest"], steps_per_epoch=10.0, num_steps=100)
    assert [share(step) for step in (0, 29)] == [1, 1]
    assert [share(step) for step in (30, 49, 50, 99)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


@given(warmup=st.integers(0, 50), num_steps=st.integers(51, 500))
def test_a_cosine_rises_then_falls_to_nothing(warmup: int, num_steps: int) -> None:
    settings = OptimizerSettings(schedule="cosine", warmup_steps=warmup)
    share = rate_share(settings, 1.0, num_steps)
    shares = [share(step) for step in range(num_steps + 1)]
    assert shares[:warmup] == sorted(shares[:warmup])
    assert shares[warmup] == 1
    assert shares[warmup:] == sorted(shares[warmup:], reverse=True)
    assert shares[-1] == pytest.approx(0, abs=1e-12)


def test_groups_without_parameters_are_left_out() -> None:
    optimizer = make_optimizer({"transformer": [], "rest": [nn.Parameter(torch.ones(2))]}, PAPER)
    assert [group["name"] for group in optimizer.param_groups] == ["rest"]


def test_sgd_takes_the_steps_of_sound_of_pixels() -> None:
    """Momentum of 0.9 and weight decay of the gradient (REFERENCE 4)."""
    ours, theirs = (copy.deepcopy(model) for model in [network()] * 2)
    settings = {name: OptimizerSettings(learning_rate=1e-2, weight_decay=1e-4) for name in ours}
    one = make_optimizer({n: list(p.parameters()) for n, p in ours.items()}, settings, "sgd")
    speed = {name: torch.zeros_like(value) for name, value in theirs.named_parameters()}
    for step in range(5):
        learn(ours, torch.Generator().manual_seed(step))
        learn(theirs, torch.Generator().manual_seed(step))
        one.step()
        with torch.no_grad():
            for name, value in theirs.named_parameters():
                assert value.grad is not None, "all of it learns"
                speed[name] = 0.9 * speed[name] + value.grad + 1e-4 * value
                value -= 1e-2 * speed[name]
    for name, value in ours.named_parameters():
        torch.testing.assert_close(value, theirs.get_parameter(name))
