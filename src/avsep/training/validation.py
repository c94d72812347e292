"""Validation while training: the same mixtures each time, scored by BSS Eval."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import Trainer

from avsep.checkpoint import save_checkpoint
from avsep.devices import to_device
from avsep.evaluation.baselines import waveforms
from avsep.evaluation.protocol import PairScores, score_pairs, summarise
from avsep.models.base import SeparationModel
from avsep.records import Batch
from avsep.training.callbacks import (
    Clock,
    MetricsLogger,
    ProgressCallback,
    RunningAverage,
    show_samples,
)
from avsep.training.recipe import TrainRecipe
from avsep.training.task import SeparationTask, StepCallback

BEST = "validation/sdr_db"


class Validation(StepCallback):
    """Scores the averaged model every so often, writes it down, and keeps the best in a file."""

    def __init__(
        self,
        batches: Sequence[Batch],
        average: RunningAverage,
        journal: MetricsLogger,
        listener: ProgressCallback,
        clock: Clock,
        target: Path,
        metadata: dict[str, Any],
    ) -> None:
        self.batches = batches
        self.average = average
        self.journal = journal
        self.listener = listener
        self.clock = clock
        self.target = target
        self.metadata = metadata
        self.best_sdr_db = -math.inf

    def after_step(
        self, trainer: Trainer, task: SeparationTask, losses: dict[str, torch.Tensor]
    ) -> None:
        """Validate when it is time."""
        recipe = task.recipe
        step, every = trainer.global_step, recipe.training.validate_every_steps
        if step % every and step != trainer.max_steps:
            return
        with self.clock.paused():
            self._validate(step, recipe, task.device)

    def _validate(self, step: int, recipe: TrainRecipe, device: torch.device) -> None:
        figures = validate(self.average.model, self.batches, device)
        is_best = figures[BEST] > self.best_sdr_db
        self.journal.write(step, figures)
        self._show(step, recipe.training.num_samples, device)
        if is_best:
            self.best_sdr_db = figures[BEST]
            metadata = self.metadata | {"step": step, "validation": figures}
            save_checkpoint(
                self.average.model, self.target, model_name=recipe.model, metadata=metadata
            )
        self.listener.validated(step, figures, is_best)

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far, for the checkpoint."""
        return {"best_sdr_db": self.best_sdr_db}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The best figure up to a checkpoint."""
        self.best_sdr_db = state_dict["best_sdr_db"]

    @torch.no_grad()
    def _show(self, step: int, num_samples: int, device: torch.device) -> None:
        model = self.average.model
        was_training = model.training
        model.eval()
        for batch in self.batches:
            if num_samples <= 0:
                break
            few = to_device(_first(batch, num_samples), device)
            show_samples(self.journal, step, few, model.separate(few), model.front_end)
            num_samples -= len(few.mixture)
        model.train(was_training)


@torch.no_grad()
def validate(
    model: SeparationModel, batches: Sequence[Batch], device: torch.device
) -> dict[str, float]:
    """Mean SDR, SIR and SAR with the category told and from the picture alone, and the losses.

    `validation/sdr_db` is the SDR with the category told, where the model reads one.
    """
    was_training = model.training
    model.eval()
    figures: dict[str, list[float]] = {}
    told: list[PairScores] = []
    seen: list[PairScores] = []
    for batch in batches:
        here = to_device(batch, device)
        for name, value in model.losses(here).items():
            figures.setdefault(f"validation/loss_{name}", []).append(float(value))
        told += _scores(model, here, figures)
        if "category" in model.required_cues:
            blind = replace(here, cues=replace(here.cues, category=None))
            seen += _scores(model, blind, figures, here.cues.category)
    model.train(was_training)
    found = {name: float(np.mean(values)) for name, values in figures.items()}
    for name, pairs in (("", told), ("_from_picture", seen)):
        if pairs:
            summary = summarise(pairs)
            found[f"validation/sdr{name}_db"] = summary.sdr_db
            found[f"validation/sir{name}_db"] = summary.sir_db
            found[f"validation/sar{name}_db"] = summary.sar_db
    return found


def _scores(
    model: SeparationModel,
    batch: Batch,
    figures: dict[str, list[float]],
    truth: torch.Tensor | None = None,
) -> list[PairScores]:
    """The scores of a batch's mixtures; the gate, and how many categories were right, beside."""
    assert batch.sources is not None, "validation knows the truth"
    answer = model.separate(batch)
    if truth is not None:
        used = cast("torch.Tensor", answer.metadata["category"])
        right = (used == truth).float().mean()
        figures.setdefault("validation/category_right", []).append(float(right))
    gate = answer.metadata.get("gate")
    if isinstance(gate, torch.Tensor):
        figures.setdefault("validation/gate_mean", []).append(float(gate.mean()))
    num_samples = batch.mixture.shape[-1]
    estimates = waveforms(answer, model.front_end, num_samples).cpu().numpy()
    references = batch.sources.cpu().numpy()
    names = ("",) * references.shape[1]
    return [
        score_pairs("", names, truth, guess[None])[0]
        for truth, guess in zip(references, estimates, strict=True)
    ]


def _first(record: Any, num_items: int) -> Any:
    """The first items of a batch."""
    cues = {k: None if v is None else v[:num_items] for k, v in vars(record.cues).items()}
    sources = None if record.sources is None else record.sources[:num_items]
    return Batch(record.mixture[:num_items], sources, replace(record.cues, **cues))
