"""One optimizer for all groups of parameters, each group with its own rate, decay and schedule.

The papers train one group with Adam and another with AdamW. AdamW without weight decay takes the
very steps of Adam, so that one optimizer with two groups is both (a test holds it to that), and
mixed precision, clipping and resuming stay those of one optimizer. Sound of Pixels has SGD.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from avsep.training.recipe import OptimizerSettings

MOMENTUM = 0.9  # of SGD


def make_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]],
    settings: Mapping[str, OptimizerSettings],
    kind: Literal["adamw", "sgd"] = "adamw",
) -> Optimizer:
    """It has a named group for each of the model's; groups without parameters are left out."""
    given = [
        {
            "name": name,
            "params": list(parameters),
            "lr": settings[name].learning_rate,
            "weight_decay": settings[name].weight_decay,
        }
        for name, parameters in groups.items()
        if parameters
    ]
    return SGD(given, momentum=MOMENTUM) if kind == "sgd" else AdamW(given)


def make_schedule(
    optimizer: Optimizer,
    settings: Mapping[str, OptimizerSettings],
    steps_per_epoch: float,
    num_steps: int,
) -> LambdaLR:
    """The rates of all groups; `step()` it after every optimizer step."""
    shares = [
        rate_share(settings[group["name"]], steps_per_epoch, num_steps)
        for group in optimizer.param_groups
    ]
    return LambdaLR(optimizer, shares)


def rate_share(
    settings: OptimizerSettings, steps_per_epoch: float, num_steps: int
) -> Callable[[int], float]:
    """Step -> factor of the learning rate: the warm-up times the schedule."""
    milestones = [round(epoch * steps_per_epoch) for epoch in settings.milestones_epochs]
    warmup = settings.warmup_steps

    def share(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "cosine":
            done = (step - warmup) / max(1, num_steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return settings.factor ** bisect_right(milestones, step)

    return share
