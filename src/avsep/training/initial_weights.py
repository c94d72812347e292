"""Weights that a training starts from: parts of the model from files, or a whole checkpoint."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from avsep.checkpoint import find_checkpoint, load_model
from avsep.errors import InputError, unknown_name
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.training.recipe import TrainRecipe, model_settings
from avsep.vision.clip_encoder import ClipImageEncoder, load_clip
from avsep.vision.image_encoder import SmallImageEncoder, load_image_encoder
from avsep.vision.resnet18 import ResNet18

SHIPPED_ENCODER = "image-encoder-mini"
IMAGENET = "imagenet"


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a checkpoint and of the model, by their names.

    Attributes:
        taken: of the same name and shape.
        widened: the checkpoint's entries in their place, zero or as initialised beside them.
        fresh: only the model has them; they stay as initialised.
        left: only the checkpoint has them.
    """

    taken: tuple[str, ...]
    widened: tuple[str, ...]
    fresh: tuple[str, ...]
    left: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All names."""
        return asdict(self)

    def summary(self) -> str:
        """How many of each."""
        return (
            f"{len(self.taken)} tensors taken over, {len(self.widened)} widened, "
            f"{len(self.fresh)} begin anew, {len(self.left)} of the checkpoint are not used"
        )


def make_model(
    recipe: TrainRecipe, tell: Callable[[LoadReport], None] | None = None
) -> SeparationModel:
    """The recipe's model with the weights it starts from.

    They are those of its checkpoint `init`, of which `tell` is told what was taken; the parts whose
    weights the recipe names take those.
    """
    # The weights that nothing is loaded into hang on the recipe's seed alone.
    torch.manual_seed(recipe.training.seed)
    model = MODELS[recipe.model](model_settings(recipe, "of this run"))
    if recipe.init is not None:
        taken = _take_over(model, recipe.init, recipe.init_sha256)
        if tell is not None:
            tell(taken)
    for part, source in recipe.weights.items():
        fill(_part(model, part), source)
    return model


def resolved(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with whole paths, and the digest of the checkpoint it begins with."""
    changed: dict[str, Any] = {
        "data": tuple(str(Path(name).resolve()) for name in recipe.data),
        "weights": {part: _whole(source) for part, source in recipe.weights.items()},
    }
    if recipe.init is not None:
        changed["init"] = _whole(recipe.init)
        changed["init_sha256"] = recipe.init_sha256 or _digest(find_checkpoint(recipe.init))
    return recipe.model_copy(update=changed)


def take_checkpoint(model: SeparationModel, path: Path) -> None:
    """Give a model all weights, frozen ones too, of a checkpoint that its training goes on from."""
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    own = {name.removeprefix("model."): value for name, value in state.items()}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(
            f"'{path}' does not fit the recipe of its run: bring the run's recipe.toml back as it "
            "was, or begin another run"
        ) from error


def fill(part: nn.Module, source: str) -> None:
    """Load a file into a part of a model.

    `image-encoder-mini`, `imagenet` and the hub's `owner/name` of a CLIP name the weights of the
    image encoders. Raises InputError for a file that does not fit.
    """
    if isinstance(part, ResNet18):
        part.load_imagenet(None if source == IMAGENET else source)
    elif isinstance(part, SmallImageEncoder | ClipImageEncoder):
        if isinstance(part, ClipImageEncoder):
            found = load_clip(source)
        else:
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


def _whole(source: str) -> str:
    """The whole path of a file, or of a folder in the form of a hub; a name that is none stays."""
    is_local = Path(source).is_file() or (Path(source) / "config.json").is_file()
    return str(Path(source).resolve()) if is_local else source


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _take_over(model: SeparationModel, init: str, sha256: str | None) -> LoadReport:
    path = find_checkpoint(init)
    if sha256 is not None and (found_sha256 := _digest(path)) != sha256:
        raise InputError(
            f"'{init}' is not the checkpoint this recipe began with: its sha256 is "
            f"{found_sha256[:12]}…, not {sha256[:12]}…; bring that file back, or begin another "
            f"run with --init {init}"
        )
    found = load_model(path)
    given, wanted = found.settings, model.settings
    if given.categories != wanted.categories:
        raise InputError(
            f"--init '{init}' knows other categories than the recipe's model: "
            f"{', '.join(given.categories)}"
        )
    try:
        model.load_state_dict(found.state_dict())
        return LoadReport(tuple(found.state_dict()), (), (), ())
    except RuntimeError as error:
        if type(found) is type(model) and model.widenable_tensors:
            return _take_what_fits(model, found.state_dict(), init)
        differing = _difference(wanted.model_dump(), given.model_dump())
        if type(found) is not type(model):
            differing = f"a {type(found).__name__}, needed is a {type(model).__name__}"
        raise InputError(
            f"--init '{init}' has another shape than the recipe's model: {differing}"
        ) from error


def _take_what_fits(
    model: SeparationModel, given: dict[str, Shaped[Tensor, "..."]], init: str
) -> LoadReport:
    """Take over what a network of the same kind has that hears or sees less (LAVSS, section 3.4).

    Raises InputError for a tensor of another width.
    """
    own = model.state_dict()
    shared = [name for name in own if name in given]
    widened = [name for name in shared if own[name].shape != given[name].shape]
    for name in widened:
        if name not in model.widenable_tensors or not _is_wider(own[name], given[name]):
            raise InputError(
                f"--init '{init}' has another shape than the recipe's model: '{name}' is "
                f"{_sides(given[name])}, needed is {_sides(own[name])}"
            )
    filled = {name: _widened(own[name], given[name]) for name in shared}
    model.load_state_dict(own | filled)
    return LoadReport(
        taken=tuple(name for name in shared if name not in widened),
        widened=tuple(widened),
        fresh=tuple(name for name in own if name not in given),
        left=tuple(name for name in given if name not in own),
    )


def _input_axis(tensor: Shaped[Tensor, "..."]) -> int:
    """Which axis counts the maps that go in: of a kernel the second, of a vector its only one."""
    return 1 if tensor.ndim > 1 else 0


def _is_wider(own: Shaped[Tensor, "..."], given: Shaped[Tensor, "..."]) -> bool:
    """Whether two differ only in that ours is for more maps that go in."""
    axis = _input_axis(own)
    same = list(own.shape)
    if given.ndim == own.ndim:
        same[axis] = given.shape[axis]
    return list(given.shape) == same and given.shape[axis] < own.shape[axis]


def _widened(own: Shaped[Tensor, "..."], given: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The given values; a kernel hears nothing at first of maps that were not there."""
    if own.shape == given.shape:
        return given
    axis = _input_axis(own)
    result = torch.zeros_like(own) if own.ndim > 1 else own.clone()
    result.narrow(axis, 0, given.shape[axis]).copy_(given)
    return result


def _sides(tensor: Shaped[Tensor, "..."]) -> str:
    return " x ".join(map(str, tensor.shape))


def _difference(wanted: dict[str, Any], given: dict[str, Any]) -> str:
    """The first setting in which two differ."""
    for name, value in wanted.items():
        if given.get(name) != value:
            return f"{name} is {given.get(name)}, needed is {value}"
    return "the same settings, other tensors"
