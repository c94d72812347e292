"""A running average of the weights: what is validated and saved instead of the last step's."""

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from avsep.training.task import SeparationTask, StepCallback


class RunningAverage(StepCallback):
    """Exponential moving average of parameters and buffers, kept in the checkpoint.

    The decay rises with the steps, min(decay, (1 + n) / (10 + n)), so that the random weights of
    the beginning are soon forgotten. With decay 0 there is no average: `model` is the one trained.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: AveragedModel | None = None
        self._trained: nn.Module | None = None

    @property
    def model(self) -> nn.Module:
        """The model to validate and to save."""
        assert self._trained is not None, "there is no model before the training begins"
        return self._trained if self._average is None else self._average.module

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin with the weights as they are."""
        self._trained = pl_module.model  # type: ignore[assignment]
        assert isinstance(self._trained, nn.Module), "the task holds its model"
        if self.decay:
            self._average = AveragedModel(self._trained, multi_avg_fn=self._blend, use_buffers=True)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the model to its device."""
        if self._average is not None:
            self._average.to(pl_module.device)

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Take the weights of this step in."""
        if self._average is not None and self._trained is not None:
            self._average.update_parameters(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """The average, for the checkpoint."""
        return {} if self._average is None else dict(self._average.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The average of a checkpoint."""
        if self._average is not None and state_dict:
            self._average.load_state_dict(state_dict)

    @torch.no_grad()
    def _blend(self, average: PARAM_LIST, current: PARAM_LIST, num_averaged: Tensor | int) -> None:
        num_before = int(num_averaged)
        decay = min(self.decay, (1 + num_before) / (10 + num_before))
        for kept, seen in zip(average, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(seen, 1 - decay)
            else:  # counters of batches
                kept.copy_(seen)
