"""The recipe of a training: model, data, mixing, optimizers and the settings of the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from avsep.data.mixing import MixingSettings
from avsep.errors import InputError, unknown_name
from avsep.models import MODELS
from avsep.models.base import ModelSettings
from avsep.recipe import check_settings, load_recipe

# Value of `command` in the TOML files of this kind.
COMMAND = "train"


class OptimizerSettings(BaseModel):
    """The optimizer of one group of parameters; AdamW without weight decay is exactly Adam."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-4, gt=0, description="before any schedule")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled in AdamW; added to the gradient in SGD"
    )
    schedule: Literal["steps", "cosine"] = Field(
        default="steps",
        description="steps: times `factor` at each milestone; cosine: half a cosine down to zero",
    )
    milestones_epochs: tuple[float, ...] = Field(
        default=(), description="epochs at whose end the rate falls; fractions are allowed"
    )
    factor: float = Field(
        default=0.1, gt=0, le=1, description="factor of the rate at each milestone"
    )
    warmup_steps: int = Field(
        default=0, ge=0, description="steps over which the rate rises linearly to its full value"
    )


class TrainingSettings(BaseModel):
    """Length, batches, precision and logging of a run; the defaults are the paper's numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=20, ge=1, description="mixtures in a step")
    epochs: float = Field(
        default=100.0,
        gt=0,
        description="an epoch has `mixing.repeats` mixtures that begin with each source",
    )
    max_steps: int | None = Field(
        default=None, ge=1, description="length in steps, instead of `epochs`"
    )
    seed: int = Field(
        default=0, ge=0, description="random seed of the initial weights and of the mixtures"
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw",
        description="optimizer of all groups: AdamW, or SGD with momentum 0.9 (Sound of Pixels)",
    )
    precision: Literal["32", "bf16-mixed", "16-mixed"] = Field(
        default="32", description="numerical precision of training steps; validation is in 32"
    )
    gradient_clip: float | None = Field(
        default=None, gt=0, description="largest norm of the gradient; none: not clipped"
    )
    ema_decay: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="decay of the weight average that is validated and saved; 0: no average",
    )
    validation_share: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="share of the clips to validate with, where the data has no list of them",
    )
    num_validation: int = Field(
        default=100, ge=1, description="mixtures of each validation, always the same"
    )
    validate_every_steps: int = Field(
        default=1000, ge=1, description="steps between validations; there is also one at the end"
    )
    num_samples: int = Field(
        default=3, ge=0, description="validation mixtures written to TensorBoard"
    )
    log_every_steps: int = Field(default=20, ge=1, description="steps between rows of metrics.csv")
    checkpoint_every_minutes: float = Field(
        default=10.0, gt=0, description="minutes between checkpoints: the most that a crash loses"
    )
    checkpoint_every_steps: int | None = Field(
        default=None, ge=1, description="steps between further checkpoints"
    )
    num_workers: int = Field(default=4, ge=0, description="processes that mix; 0: the main one")
    channels_last: bool = Field(
        default=False, description="memory layout that is faster on many GPUs"
    )
    compile: bool = Field(
        default=False, description="torch.compile: faster after some minutes of compilation"
    )


class TrainRecipe(BaseModel):
    """Every setting of `avsep train`; with the same data it reproduces the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="a name of avsep.MODELS")
    data: tuple[str, ...] = Field(default=(), description="folders of clips; --data replaces them")
    data_sha256: str | None = Field(
        default=None, description="digest of the clips to train on, written by a run"
    )
    # Any, as the class that checks it depends on `model`: `model_settings` makes it.
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="settings of the model; the default of each is the paper's",
    )
    weights: dict[str, str] = Field(
        default_factory=dict,
        description="part of the model -> file of its initial weights, or their name",
    )
    init: str | None = Field(
        default=None, description="checkpoint to start from: a name or a path; --init replaces it"
    )
    init_sha256: str | None = Field(
        default=None,
        description="digest of that file, written by a run, which refuses another file",
    )
    mixing: MixingSettings = MixingSettings()
    training: TrainingSettings = TrainingSettings()
    optimizers: dict[str, OptimizerSettings] = Field(
        default_factory=dict, description="group of the model's parameters -> its optimizer"
    )


def load_training(name_or_path: str | Path, overrides: Sequence[str] = ()) -> TrainRecipe:
    """Load a recipe with overrides; every setting of the model is filled in and checked.

    Raises:
        InputError: of `load_recipe`, an unknown model, or a setting that the model does not have.
    """
    return fill_in_defaults(
        load_recipe(name_or_path, COMMAND, TrainRecipe, overrides), name_or_path
    )


def fill_in_defaults(recipe: TrainRecipe, origin: str | Path) -> TrainRecipe:
    """Return the recipe with all settings of its model; `origin` is the name in errors."""
    checked = model_settings(recipe, origin)
    resize_pixels, crop_pixels = recipe.mixing.resize_pixels, checked.crops.crop_pixels
    if resize_pixels is not None and resize_pixels < crop_pixels:
        raise InputError(
            f"recipe '{origin}': mixing.resize_pixels {resize_pixels} is below the "
            f"{crop_pixels} of settings.crops.crop_pixels, which are cut out of it"
        )
    # TOML has no null: a setting that is none is left out, and its default is none as well.
    settings = checked.model_dump(mode="json", exclude_none=True)
    return recipe.model_copy(update={"settings": settings})


def model_settings(recipe: TrainRecipe, origin: str | Path) -> ModelSettings:
    """Return the settings object of the recipe's model, checked."""
    if recipe.model not in MODELS:
        raise unknown_name("model", recipe.model, MODELS)
    where = f"recipe '{origin}', [settings]"
    return check_settings(recipe.settings, MODELS[recipe.model].Settings, where)


def check_groups(recipe: TrainRecipe, groups: Sequence[str]) -> None:
    """Check that the recipe has an optimizer for each group of parameters, and no other.

    Raises:
        InputError: an optimizer is missing, or its group is unknown.
    """
    for name in recipe.optimizers:
        if name not in groups:
            raise unknown_name("group of parameters", name, groups)
    missing = [name for name in groups if name not in recipe.optimizers]
    if missing:
        raise InputError(
            f"the recipe has no optimizer for the parameters '{missing[0]}': "
            f"write [optimizers.{missing[0]}] with its learning_rate"
        )
