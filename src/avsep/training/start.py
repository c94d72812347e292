"""Weights that a training starts from: parts of the model from files, or a whole checkpoint."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from avsep.checkpoint import load_model
from avsep.errors import InputError, unknown_name
from avsep.models import MODELS
from avsep.training.recipe import TrainRecipe, model_settings
from avsep.vision.image_encoder import SmallImageEncoder, load_image_encoder
from avsep.vision.resnet18 import ResNet18Dilated

SHIPPED_ENCODER = "image-encoder-mini"
IMAGENET = "imagenet"


def make_model(recipe: TrainRecipe, init: str | Path | None = None) -> Any:
    """The recipe's model with the weights it starts from.

    `init` is a checkpoint to go on from; the parts whose weights the recipe names take those.
    """
    import torch

    # The weights that nothing is loaded into hang on the recipe's seed alone.
    torch.manual_seed(recipe.training.seed)
    model = MODELS[recipe.model](model_settings(recipe, "of this run"))
    if init is not None:
        _take_over(model, init)
    for part, source in recipe.weights.items():
        fill(_part(model, part), source)
    return model


def fill(part: nn.Module, source: str) -> None:
    """Load a file into a part of a model.

    `image-encoder-mini` and `imagenet` name the weights of the two image encoders. Raises
    InputError for a file that does not fit.
    """
    if isinstance(part, ResNet18Dilated):
        part.load_imagenet(None if source == IMAGENET else source)
    elif isinstance(part, SmallImageEncoder):
        found = load_image_encoder(None if source == SHIPPED_ENCODER else Path(source))
        if found.settings != part.settings:
            raise InputError(
                f"the image encoder '{source}' was made with other settings than the model's: "
                f"{_difference(part.settings.model_dump(), found.settings.model_dump())}"
            )
        part.load_state_dict(found.state_dict())
    else:
        try:
            part.load_state_dict(load_file(source))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"cannot start from '{source}': {reason}") from error


def _part(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        known = [part for part, _ in model.named_modules() if part and part.count(".") < 2]
        raise unknown_name("part of the model", name, known) from error


def _take_over(model: nn.Module, init: str | Path) -> None:
    found = load_model(init)
    wanted: Any = model.settings
    if found.settings.categories != wanted.categories:
        raise InputError(
            f"--init '{init}' knows other categories than the recipe's model: "
            f"{', '.join(found.settings.categories)}"
        )
    try:
        model.load_state_dict(found.state_dict())
    except RuntimeError as error:
        given, here = found.settings.model_dump(), wanted.model_dump()
        raise InputError(
            f"--init '{init}' has another shape than the recipe's model: {_difference(here, given)}"
        ) from error


def _difference(wanted: dict[str, Any], given: dict[str, Any]) -> str:
    """The first setting in which two differ."""
    for name, value in wanted.items():
        if given.get(name) != value:
            return f"{name} is {given.get(name)}, needed is {value}"
    return "the same settings, other tensors"
