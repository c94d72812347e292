"""Validate a model during its training: the same mixtures each time, scored by BSS Eval."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from lightning.pytorch import Trainer
from torch import Tensor

from avsep.checkpoint import save_checkpoint
from avsep.devices import to_device
from avsep.evaluation.baselines import waveforms
from avsep.evaluation.protocol import PairScores, score_pairs, summarise
from avsep.models.base import SeparationModel
from avsep.records import Batch, Separation
from avsep.training.callbacks import (
    MetricsLogger,
    ProgressCallback,
    RunningAverage,
    StepTimer,
    show_samples,
)
from avsep.training.recipe import TrainRecipe
from avsep.training.task import SeparationTask, StepCallback

# The metric by which the best model is chosen.
BEST = "validation/sdr_db"


class Validation(StepCallback):
    """Validate the averaged model every few steps, log its scores, and save the best one."""

    def __init__(
        self,
        batches: Sequence[Batch],
        average: RunningAverage,
        logger: MetricsLogger,
        progress: ProgressCallback,
        timer: StepTimer,
        target: Path,
        metadata: dict[str, Any],
    ) -> None:
        """Validate on `batches`; the best model is written to `target` with `metadata`."""
        self.batches = batches
        self.average = average
        self.logger = logger
        self.progress = progress
        self.timer = timer
        self.target = target
        self.metadata = metadata
        self.best_sdr_db = -math.inf

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Validate if it is time: every `validate_every_steps`, and at the end."""
        recipe = task.recipe
        step, every = trainer.global_step, recipe.training.validate_every_steps
        if step % every and step != trainer.max_steps:
            return
        with self.timer.paused():
            self._validate(step, recipe, task.device)

    def _validate(self, step: int, recipe: TrainRecipe, device: torch.device) -> None:
        metrics = validate(self.average.model, self.batches, device)
        is_best = metrics[BEST] > self.best_sdr_db
        self.logger.write(step, metrics)
        self._show(step, recipe.training.num_samples, device)
        # Compared by `>`: of equal scores the first model stays, and NaN is never the best.
        if is_best:
            self.best_sdr_db = metrics[BEST]
            metadata = self.metadata | {"step": step, "validation": metrics}
            save_checkpoint(
                self.average.model, self.target, model_name=recipe.model, metadata=metadata
            )
        self.progress.on_validation(step, metrics, is_best)

    def state_dict(self) -> dict[str, Any]:
        """Return the best SDR so far, for a checkpoint."""
        return {"best_sdr_db": self.best_sdr_db}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best SDR up to a checkpoint."""
        self.best_sdr_db = state_dict["best_sdr_db"]

    @torch.no_grad()
    def _show(self, step: int, num_samples: int, device: torch.device) -> None:
        """Write the first mixtures to TensorBoard, the same at every validation."""
        model = self.average.model
        was_training = model.training
        model.eval()
        for batch in self.batches:
            if num_samples <= 0:
                break
            samples = to_device(_first_items(batch, num_samples), device)
            show_samples(self.logger, step, samples, model.separate(samples), model.front_end)
            num_samples -= len(samples.mixture)
        model.train(was_training)


@torch.no_grad()
def validate(
    model: SeparationModel, batches: Sequence[Batch], device: torch.device
) -> dict[str, float]:
    """Compute mean losses and mean SDR, SIR and SAR over validation batches.

    A model that reads a category and can predict it is scored twice: `validation/sdr_db` with it
    given, and `validation/sdr_predicted_db` with it predicted from the picture. The second run also
    has `validation/category_accuracy`, the share of sources whose prediction is right.
    """
    # The average's modules are in the mode they were copied in: restored, not assumed.
    was_training = model.training
    model.eval()
    values: dict[str, list[float]] = {}  # one value a batch
    scores: dict[str, list[PairScores]] = {"": [], "_predicted": []}
    for batch in batches:
        batch = to_device(batch, device)
        for name, value in model.losses(batch).items():
            values.setdefault(f"validation/loss_{name}", []).append(float(value))
        separations = {"": model.separate(batch)}
        predicts = model.predicts_category and "category" in model.required_cues
        if predicts and batch.cues.category is not None:
            # The case of a user who gives no labels.
            unlabelled = replace(batch, cues=replace(batch.cues, category=None))
            separations["_predicted"] = model.separate(unlabelled)
            accuracy = _category_accuracy(separations["_predicted"], batch.cues.category)
            values.setdefault("validation/category_accuracy", []).append(accuracy)
        for suffix, separation in separations.items():
            gate = separation.metadata.get("gate")
            if isinstance(gate, Tensor):
                values.setdefault("validation/gate_mean", []).append(float(gate.mean()))
            scores[suffix] += _score(model, batch, separation)
    model.train(was_training)
    metrics = {name: float(np.mean(means)) for name, means in values.items()}
    for suffix, pairs in scores.items():
        if pairs:
            summary = summarise(pairs)
            metrics[f"validation/sdr{suffix}_db"] = summary.sdr_db
            metrics[f"validation/sir{suffix}_db"] = summary.sir_db
            metrics[f"validation/sar{suffix}_db"] = summary.sar_db
    return metrics


def _category_accuracy(separation: Separation, category: Int64[Tensor, "B S"]) -> float:
    predicted = separation.metadata["category"]
    assert isinstance(predicted, Tensor), "a model that reads categories reports those it used"
    return float((predicted == category).float().mean())


def _score(model: SeparationModel, batch: Batch, separation: Separation) -> list[PairScores]:
    """Score the estimates of each mixture of a batch."""
    assert batch.sources is not None, "validation batches have references"
    num_samples = batch.mixture.shape[-1]
    estimates = waveforms(separation, model.front_end, num_samples).cpu().numpy()  # B S C N
    references = batch.sources.cpu().numpy()
    # Validation does not group its scores: names of mixtures and categories are not needed.
    categories = ("",) * references.shape[1]
    return [
        score_pairs("", categories, reference, estimate[None])[0]
        for reference, estimate in zip(references, estimates, strict=True)
    ]


def _first_items(batch: Batch, num_items: int) -> Batch:
    """Return the first items of a batch."""
    cues = {k: None if v is None else v[:num_items] for k, v in vars(batch.cues).items()}
    sources = None if batch.sources is None else batch.sources[:num_items]
    return Batch(batch.mixture[:num_items], sources, replace(batch.cues, **cues))
