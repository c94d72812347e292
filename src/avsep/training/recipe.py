"""What a training is told: model, data, mixing, optimizers and the run itself, as one recipe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from avsep.data.mixing import MixingSettings
from avsep.errors import InputError, unknown_name
from avsep.models import MODELS
from avsep.models.base import ModelSettings
from avsep.recipe import check_settings, load_recipe

COMMAND = "train"


class OptimizerSettings(BaseModel):
    """How one group of parameters learns; AdamW without weight decay is Adam, exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(default=1e-4, gt=0, description="before any schedule")
    weight_decay: float = Field(
        default=0.0, ge=0, description="decoupled by AdamW; by SGD of the gradient"
    )
    schedule: Literal["steps", "cosine"] = Field(
        default="steps", description="times `factor` at each milestone, or a cosine down to zero"
    )
    milestones_epochs: tuple[float, ...] = Field(
        default=(), description="epochs at whose end the rate falls"
    )
    factor: float = Field(default=0.1, gt=0, le=1, description="of the rate at each milestone")
    warmup_steps: int = Field(default=0, ge=0, description="steps over which the rate rises from 0")


class TrainingSettings(BaseModel):
    """The run: how long, how large the batches, how often it looks up; numbers of the paper."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(default=20, ge=1, description="mixtures in a step")
    epochs: float = Field(
        default=100.0,
        gt=0,
        description="an epoch begins `mixing.repeats` mixtures with each source",
    )
    max_steps: int | None = Field(default=None, ge=1, description="the end, instead of `epochs`")
    seed: int = Field(default=0, ge=0, description="of the first weights and of the mixtures")
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw",
        description="of all groups: AdamW, or SGD with a momentum of 0.9 (Sound of Pixels)",
    )
    precision: Literal["32", "bf16-mixed", "16-mixed"] = Field(
        default="32", description="of the network while it trains; it is validated in 32"
    )
    gradient_clip: float | None = Field(
        default=None, gt=0, description="largest norm of the gradient; none: as it comes"
    )
    ema_decay: float = Field(
        default=0.0, ge=0, lt=1, description="of the running average that is validated and saved"
    )
    validation_share: float = Field(
        default=0.05, gt=0, lt=1, description="of the clips, where no list says which"
    )
    num_validation: int = Field(
        default=100, ge=1, description="mixtures scored at each validation, always the same"
    )
    validate_every_steps: int = Field(default=1000, ge=1, description="and once at the end")
    num_samples: int = Field(
        default=3, ge=0, description="validation mixtures to listen to and look at in TensorBoard"
    )
    log_every_steps: int = Field(default=20, ge=1, description="rows of metrics.csv")
    checkpoint_every_minutes: float = Field(
        default=10.0, gt=0, description="how much work a crash may cost"
    )
    checkpoint_every_steps: int | None = Field(
        default=None, ge=1, description="beside those by the clock"
    )
    num_workers: int = Field(default=4, ge=0, description="processes that mix; 0: the main one")
    channels_last: bool = Field(default=False, description="memory layout, quicker on many GPUs")
    compile: bool = Field(default=False, description="torch.compile; quicker after some minutes")


class TrainRecipe(BaseModel):
    """The whole of `avsep train`; with the data it makes the same weights again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="a name of avsep.MODELS")
    data: tuple[str, ...] = Field(default=(), description="folders of clips; --data replaces them")
    data_sha256: str | None = Field(
        default=None, description="digest of the clips to train on, written down by a run"
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, description="the model's own; what is left out is the paper's"
    )
    weights: dict[str, str] = Field(
        default_factory=dict,
        description="part of the model -> file it starts from, or the name of shipped weights",
    )
    init: str | None = Field(
        default=None, description="checkpoint to begin with: a name or a path; --init replaces it"
    )
    init_sha256: str | None = Field(
        default=None, description="digest of that file; a run writes it down and holds to it"
    )
    mixing: MixingSettings = MixingSettings()
    training: TrainingSettings = TrainingSettings()
    optimizers: dict[str, OptimizerSettings] = Field(
        default_factory=dict, description="one for each of the model's groups of parameters"
    )


def load_training(name_or_path: str | Path, overrides: Sequence[str] = ()) -> TrainRecipe:
    """A recipe with overrides, every setting of the model written out and checked.

    Raises InputError as `load_recipe` does, and for an unknown model or a setting it has not.
    """
    return written_out(load_recipe(name_or_path, COMMAND, TrainRecipe, overrides), name_or_path)


def written_out(recipe: TrainRecipe, origin: str | Path) -> TrainRecipe:
    """The recipe with all settings of its model, defaults included; `origin` is for errors."""
    settings = model_settings(recipe, origin).model_dump(mode="json", exclude_none=True)
    return recipe.model_copy(update={"settings": settings})


def model_settings(recipe: TrainRecipe, origin: str | Path) -> ModelSettings:
    """The settings object of the recipe's model."""
    if recipe.model not in MODELS:
        raise unknown_name("model", recipe.model, MODELS)
    where = f"recipe '{origin}', [settings]"
    return check_settings(recipe.settings, MODELS[recipe.model].Settings, where)


def check_groups(recipe: TrainRecipe, groups: Sequence[str]) -> None:
    """See that every group of the model's parameters has its optimizer, and no other is named."""
    for name in recipe.optimizers:
        if name not in groups:
            raise unknown_name("group of parameters", name, groups)
    missing = [name for name in groups if name not in recipe.optimizers]
    if missing:
        raise InputError(
            f"the recipe has no optimizer for the parameters '{missing[0]}': "
            f"write [optimizers.{missing[0]}] with its learning_rate"
        )
