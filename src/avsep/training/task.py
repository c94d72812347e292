"""The Lightning module of a training: losses, optimizer and learning rates of a recipe."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from avsep.models.base import SeparationModel
from avsep.records import Batch
from avsep.training.recipe import OptimizerSettings, TrainRecipe

# Of SGD, as Sound of Pixels' released code has it.
MOMENTUM = 0.9


@dataclass(frozen=True)
class Length:
    """The length of a training."""

    num_steps: int
    steps_per_epoch: float


class SeparationTask(LightningModule):
    """The training of any `SeparationModel` by a recipe: losses, optimizer and schedule."""

    def __init__(self, model: SeparationModel, recipe: TrainRecipe, length: Length) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.length = length
        self._losses = model.losses
        if recipe.training.compile:
            self._losses = torch.compile(self._losses)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, and its schedule, stepped after every step."""
        groups = self.model.parameter_groups()
        optimizer = make_optimizer(groups, self.recipe.optimizers, self.recipe.training.optimizer)
        schedule = make_schedule(
            optimizer, self.recipe.optimizers, self.length.steps_per_epoch, self.length.num_steps
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Compute the losses of a batch; random draws in them depend on seed and step alone."""
        # Seeded anew at every step, so that a resumed run draws what one without a stop draws.
        torch.manual_seed((self.recipe.training.seed * 2**32 + self.global_step) % 2**63)
        losses = self._losses(batch)
        return {
            "loss": losses["total"],
            "losses": {name: value.detach() for name, value in losses.items()},
        }


class StepCallback(Callback):
    """A callback after every step; those of a trainer are called in the order of its list."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Call `after_step` with the losses of the step."""
        assert isinstance(pl_module, SeparationTask), "it is used with this task alone"
        self.after_step(trainer, pl_module, outputs["losses"])

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Act on a finished step; `losses` are those of its batch."""


# Optimizer and learning rates
#
# The papers train one group of parameters with Adam and another with AdamW. AdamW without weight
# decay takes exactly the steps of Adam (tests/training/test_optimizers.py), so one optimizer with
# two groups does both, and mixed precision, clipping and resuming have one optimizer to handle.


def make_optimizer(
    groups: Mapping[str, Sequence[nn.Parameter]],
    settings: Mapping[str, OptimizerSettings],
    kind: Literal["adamw", "sgd"] = "adamw",
) -> Optimizer:
    """Make one optimizer with a named group for each of the model's groups.

    A group without parameters is left out: a frozen part has none.
    """
    parameter_groups = [
        {
            "name": name,
            "params": list(parameters),
            "lr": settings[name].learning_rate,
            "weight_decay": settings[name].weight_decay,
        }
        for name, parameters in groups.items()
        if parameters
    ]
    if kind == "sgd":
        return SGD(parameter_groups, momentum=MOMENTUM)
    return AdamW(parameter_groups)


def make_schedule(
    optimizer: Optimizer,
    settings: Mapping[str, OptimizerSettings],
    steps_per_epoch: float,
    num_steps: int,
) -> LambdaLR:
    """Make the learning rate schedule of all groups, to be stepped after each optimizer step."""
    factors = [
        rate_factor(settings[group["name"]], steps_per_epoch, num_steps)
        for group in optimizer.param_groups
    ]
    return LambdaLR(optimizer, factors)


def rate_factor(
    settings: OptimizerSettings, steps_per_epoch: float, num_steps: int
) -> Callable[[int], float]:
    """Return the function step -> factor of the learning rate: warm-up, then the schedule."""
    milestones = [round(epoch * steps_per_epoch) for epoch in settings.milestones_epochs]
    warmup = settings.warmup_steps

    def factor(step: int) -> float:
        if step < warmup:
            # Step 0 is the first that is taken: at step / warmup it would change nothing.
            return (step + 1) / warmup
        if settings.schedule == "cosine":
            progress = (step - warmup) / max(1, num_steps - warmup)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return settings.factor ** bisect_right(milestones, step)

    return factor
