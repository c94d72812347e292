"""The Lightning module: losses, optimizers and schedules of a recipe."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset, Sampler

from avsep.devices import to_device
from avsep.parallel import initialize_loader_worker
from avsep.records import Batch
from avsep.training.recipe import OptimizerSettings, TrainRecipe

# One optimizer for all groups of parameters, each group with its own rate, decay and schedule
# The papers train one group with Adam and another with AdamW. AdamW without weight decay takes the
# very steps of Adam, so that one optimizer with two groups is both (a test holds it to that), and
# mixed precision, clipping and resuming stay those of one optimizer. Sound of Pixels has SGD.


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


@runtime_checkable
class Mixtures(Protocol):
    """Mixtures to train on: item `index` depends on a seed and the index alone."""

    def item(self, index: int) -> Any:
        """One mixture with its truth and its cues; indices have no end."""
        ...

    def collate(self, items: list[Any]) -> Batch:
        """Items as one batch."""
        ...


@dataclass(frozen=True)
class Length:
    """How long a training is."""

    num_steps: int
    steps_per_epoch: float


class SeparationTask(LightningModule):
    """Any model of the contract under its recipe: losses, optimizer, schedule."""

    def __init__(self, model: nn.Module, recipe: TrainRecipe, length: Length) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.length = length
        self._losses: Callable[[Batch], dict[str, Tensor]] = model.losses  # type: ignore[assignment]
        if recipe.training.compile:
            self._losses = torch.compile(self._losses)

    def configure_optimizers(self) -> Any:
        """One optimizer, and its schedule stepped with it."""
        groups = self.model.parameter_groups()  # type: ignore[operator]
        optimizer = make_optimizer(groups, self.recipe.optimizers, self.recipe.training.optimizer)
        schedule = make_schedule(
            optimizer, self.recipe.optimizers, self.length.steps_per_epoch, self.length.num_steps
        )
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """The losses of a batch; what is drawn at random in them hangs on the step alone."""
        torch.manual_seed((self.recipe.training.seed * 2**32 + self.global_step) % 2**63)
        losses = self._losses(batch)
        return {
            "loss": losses["total"],
            "losses": {name: value.detach() for name, value in losses.items()},
        }

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """The batch on the device; Lightning itself does not move frozen records."""
        return to_device(batch, device)


class StepCallback(Callback):
    """Something done after every step, in the order in which the trainer is given them."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Lightning's hook, in our words."""
        assert isinstance(pl_module, SeparationTask), "it is told of no other"
        self.after_step(trainer, pl_module, outputs["losses"])

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """What there is to do, with the losses of the step's batch."""


def make_loader(
    mixtures: Mixtures, batch_size: int, first_step: int, num_workers: int
) -> DataLoader[Any]:
    """The batches from `first_step` on, without end; the number of workers changes none."""
    return DataLoader(
        _Items(mixtures),
        batch_sampler=StepBatches(batch_size, first_step),
        collate_fn=mixtures.collate,
        num_workers=num_workers,
        # A forked process may hang on locks that threads of this one held.
        multiprocessing_context="spawn" if num_workers else None,
        prefetch_factor=4 if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=initialize_loader_worker,
    )


class StepBatches(Sampler[list[int]]):
    """Indices of the mixtures of each step: step s holds s B to s B + B - 1, from any step on."""

    def __init__(self, batch_size: int, first_step: int = 0) -> None:
        self.batch_size = batch_size
        self.first_step = first_step

    def __iter__(self) -> Iterator[list[int]]:
        """Lists of indices without end."""
        step = self.first_step
        while True:
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))
            step += 1


class _Items(Dataset[Any]):
    """Mixtures as a data set of PyTorch, which asks by `[index]`."""

    def __init__(self, mixtures: Mixtures) -> None:
        self.mixtures = mixtures

    def __getitem__(self, index: int) -> Any:
        return self.mixtures.item(index)
