"""Train a tiny DGFNet on noise, for the tests; as a script, a training that a test kills."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from avsep.models import MODELS
from avsep.records import Batch, Cues
from avsep.training.callbacks import ProgressCallback
from avsep.training.datamodule import ClipLists, DataModule
from avsep.training.recipe import OptimizerSettings, TrainingSettings, TrainRecipe, fill_in_defaults
from avsep.training.run import RunFolder, TrainingRun
from tiny_models import TINY, tiny_batch, tiny_model


class NoiseMixtures(Dataset[Batch]):
    """Mixtures of noise; each depends on its index alone."""

    def __getitem__(self, index: int) -> Batch:
        return tiny_batch(num_items=1, seed=index)

    def collate(self, items: list[Batch]) -> Batch:
        def joined(records: list[Any], name: str) -> Any:
            values = [getattr(record, name) for record in records]
            return None if values[0] is None else torch.cat(values)

        cues = [item.cues for item in items]
        return Batch(
            joined(items, "mixture"),
            joined(items, "sources"),
            Cues(**{field.name: joined(cues, field.name) for field in fields(Cues)}),
        )


class NoiseData(DataModule):
    """Noise instead of clips, as if of eight sources."""

    num_sources = 8

    def __init__(self, recipe: TrainRecipe, num_workers: int | None = None) -> None:
        super().__init__(recipe, num_workers=num_workers, lists=ClipLists())
        self.mixtures = NoiseMixtures()
        self.validation = [
            self.mixtures.collate([self.mixtures[10**6 + index] for index in range(2)])
        ]


def noise_recipe(**training: object) -> TrainRecipe:
    """Return a recipe of the tiny DGFNet, four steps long unless changed."""
    settings = TrainingSettings(
        **{
            "batch_size": 2, "max_steps": 4, "ema_decay": 0.9, "num_validation": 2,
            "validate_every_steps": 3, "num_samples": 1, "log_every_steps": 2, "num_workers": 0,
            "gradient_clip": 5.0,
        }
        | training
    )  # fmt: skip
    optimizers = {
        "transformer": OptimizerSettings(learning_rate=1e-3, weight_decay=1e-2),
        "rest": OptimizerSettings(learning_rate=1e-3, schedule="cosine", warmup_steps=2),
    }
    tiny = MODELS["dgfnet"].Settings(**TINY["dgfnet"]).model_dump(mode="json", exclude_none=True)
    recipe = TrainRecipe(model="dgfnet", settings=tiny, training=settings, optimizers=optimizers)
    return fill_in_defaults(recipe, "noise")


def noise_run(
    folder: Path, *, device: str = "cpu", num_workers: int | None = None, **training: object
) -> TrainingRun:
    """Return the run in a folder, begun if the folder is new."""
    run_folder, recipe = RunFolder(folder), noise_recipe(**training)
    if not run_folder.recipe.exists():
        run_folder.begin(recipe)
    run = TrainingRun(recipe, run_folder, NoiseData(recipe, num_workers), device=device)
    run.model = tiny_model("dgfnet").train()
    return run


if __name__ == "__main__":
    torch.set_num_threads(1)
    noise_run(
        Path(sys.argv[1]), num_workers=int(sys.argv[2]), max_steps=30, checkpoint_every_steps=4
    ).train(ProgressCallback())
