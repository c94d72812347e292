"""Load the initial weights of a training: a whole checkpoint, or parts of the model from files."""

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
from avsep.devices import same_random_state
from avsep.errors import InputError, unknown_name
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.training.recipe import TrainRecipe, model_settings
from avsep.vision.clip_encoder import ClipImageEncoder, load_clip
from avsep.vision.image_encoder import SmallImageEncoder, load_image_encoder
from avsep.vision.resnet18 import ResNet18

# Names that a recipe may give instead of a file.
SHIPPED_ENCODER = "image-encoder-mini"
IMAGENET = "imagenet"


@dataclass(frozen=True)
class LoadReport:
    """Names of the tensors of a model and of the checkpoint it starts from.

    Attributes:
        loaded: in both, with the same shape.
        widened: in both, with more input maps in the model; the new ones are zero in kernels and
            as initialised in vectors.
        initialised: in the model only; they stay as initialised.
        unused: in the checkpoint only.
    """

    loaded: tuple[str, ...]
    widened: tuple[str, ...]
    initialised: tuple[str, ...]
    unused: tuple[str, ...]

    def has_loaded(self, part: str) -> bool:
        """Return True if no tensor of a part of the model stayed as initialised."""
        return not any(name.startswith(f"{part}.") for name in self.initialised)

    def as_json(self) -> dict[str, Any]:
        """Return all names, as load-report.json has them."""
        return asdict(self)

    def summary(self) -> str:
        """Return the numbers of tensors in words."""
        return (
            f"{len(self.loaded)} tensors loaded, {len(self.widened)} widened, "
            f"{len(self.initialised)} newly initialised, {len(self.unused)} of the checkpoint "
            "not used"
        )


@same_random_state()
def make_model(
    recipe: TrainRecipe, on_load: Callable[[LoadReport], None] | None = None
) -> SeparationModel:
    """Make the recipe's model with its initial weights.

    Args:
        recipe: its checkpoint `init` is loaded first, then those parts under `weights` that the
            checkpoint lacks.
        on_load: called with the report of `init`, if the recipe has one.

    Raises:
        InputError: a file is missing or does not fit the model.
    """
    # Weights that nothing is loaded into depend on the recipe's seed alone.
    torch.manual_seed(recipe.training.seed)
    model = MODELS[recipe.model](model_settings(recipe, "of this run"))
    report = None
    if recipe.init is not None:
        report = _load_init(model, recipe.init, recipe.init_sha256)
        if on_load is not None:
            on_load(report)
    for part, source in recipe.weights.items():
        module = _find_part(model, part)
        if report is None or not report.has_loaded(part):
            load_part(module, source)
    return model


def resolved(recipe: TrainRecipe) -> TrainRecipe:
    """Return the recipe with absolute paths and the digest of its initial checkpoint."""
    changes: dict[str, Any] = {
        "data": tuple(str(Path(name).resolve()) for name in recipe.data),
        "weights": {part: _absolute(source) for part, source in recipe.weights.items()},
    }
    if recipe.init is not None:
        changes["init"] = _absolute(recipe.init)
        changes["init_sha256"] = recipe.init_sha256 or _digest(find_checkpoint(recipe.init))
    return recipe.model_copy(update=changes)


def load_checkpoint(model: SeparationModel, path: Path) -> None:
    """Load all weights, frozen ones too, of a checkpoint that a training resumes from.

    Raises:
        InputError: the weights do not fit the model.
    """
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    # Lightning saves the task, whose attribute the model is.
    weights = {name.removeprefix("model."): value for name, value in state.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"'{path}' does not fit the recipe of its run: restore the run's recipe.toml as it "
            "was, or begin another run"
        ) from error


def load_part(part: nn.Module, source: str) -> None:
    """Load a file into a part of a model.

    Args:
        part: an image encoder, or any other module.
        source: a file; for image encoders also `image-encoder-mini`, `imagenet`, or `owner/name`
            of a CLIP on a model hub.

    Raises:
        InputError: the file cannot be read or does not fit.
    """
    if isinstance(part, ResNet18):
        part.load_imagenet(None if source == IMAGENET else source)
    elif isinstance(part, SmallImageEncoder | ClipImageEncoder):
        if isinstance(part, ClipImageEncoder):
            encoder = load_clip(source)
        else:
            encoder = load_image_encoder(None if source == SHIPPED_ENCODER else Path(source))
        # Settings are compared, not shapes: other categories in equal number have equal shapes.
        if encoder.settings != part.settings:
            raise InputError(
                f"the image encoder '{source}' was made with other settings than the model's: "
                f"{_difference(part.settings.model_dump(), encoder.settings.model_dump())}"
            )
        part.load_state_dict(encoder.state_dict())
    else:
        try:
            part.load_state_dict(load_file(source))
        except (OSError, SafetensorError, RuntimeError) as error:
            # PyTorch lists every missing tensor; the first few say enough.
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"cannot start from '{source}': {reason}") from error


def _find_part(model: SeparationModel, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        # Suggestions stay readable: names of modules one or two levels deep.
        names = [part for part, _ in model.named_modules() if part and part.count(".") < 2]
        raise unknown_name("part of the model", name, names) from error


def _absolute(source: str) -> str:
    """Return the absolute path of a file or of a local hub folder; other names as they are."""
    is_local = Path(source).is_file() or (Path(source) / "config.json").is_file()
    return str(Path(source).resolve()) if is_local else source


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_init(model: SeparationModel, init: str, sha256: str | None) -> LoadReport:
    """Load the checkpoint that a training starts from."""
    path = find_checkpoint(init)
    if sha256 is not None and (file_sha256 := _digest(path)) != sha256:
        raise InputError(
            f"'{init}' is not the checkpoint this recipe began with: its sha256 is "
            f"{file_sha256[:12]}…, not {sha256[:12]}…; bring that file back, or begin another "
            f"run with --init {init}"
        )
    source = load_model(path)
    if source.settings.categories != model.settings.categories:
        raise InputError(
            f"--init '{init}' has other categories than the recipe's model: "
            f"{', '.join(source.settings.categories)}"
        )
    weights = source.state_dict()
    try:
        model.load_state_dict(weights)
        return LoadReport(loaded=tuple(weights), widened=(), initialised=(), unused=())
    except RuntimeError as error:
        if type(source) is type(model) and model.widenable_tensors:
            return _load_widened(model, weights, init)
        difference = _difference(model.settings.model_dump(), source.settings.model_dump())
        if type(source) is not type(model):
            difference = f"a {type(source).__name__}, needed is a {type(model).__name__}"
        raise InputError(
            f"--init '{init}' has another shape than the recipe's model: {difference}"
        ) from error


# From a network with fewer inputs, such as one channel without spatial cues (LAVSS, section 3.4)


def _load_widened(
    model: SeparationModel, source: dict[str, Shaped[Tensor, "..."]], init: str
) -> LoadReport:
    """Load the weights of a network of the same kind with fewer input maps or fewer parts.

    Raises:
        InputError: a tensor differs in another axis than its input maps.
    """
    target = model.state_dict()
    shared = [name for name in target if name in source]
    widened = [name for name in shared if target[name].shape != source[name].shape]
    for name in widened:
        if name not in model.widenable_tensors or not _is_wider(target[name], source[name]):
            raise InputError(
                f"--init '{init}' has another shape than the recipe's model: '{name}' is "
                f"{_shape_text(source[name])}, needed is {_shape_text(target[name])}"
            )
    weights = {name: _widen(target[name], source[name]) for name in shared}
    model.load_state_dict(target | weights)
    return LoadReport(
        loaded=tuple(name for name in shared if name not in widened),
        widened=tuple(widened),
        initialised=tuple(name for name in target if name not in source),
        unused=tuple(name for name in source if name not in target),
    )


def _input_axis(tensor: Shaped[Tensor, "..."]) -> int:
    """Return the axis of the input maps: the second of a kernel, the only one of a vector."""
    return 1 if tensor.ndim > 1 else 0


def _is_wider(target: Shaped[Tensor, "..."], source: Shaped[Tensor, "..."]) -> bool:
    """Return True if the only difference is that the target has more input maps."""
    axis = _input_axis(target)
    shape = list(target.shape)
    if source.ndim == target.ndim:
        shape[axis] = source.shape[axis]
    return list(source.shape) == shape and source.shape[axis] < target.shape[axis]


def _widen(target: Shaped[Tensor, "..."], source: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return the source's values, with input maps added up to the target's shape."""
    if target.shape == source.shape:
        return source
    axis = _input_axis(target)
    # Zero weights in kernels: at first the output is that of the source, whatever the new maps
    # hold. Vectors belong to a batch norm, whose initial scale and variance of 1 suit a new map.
    result = torch.zeros_like(target) if target.ndim > 1 else target.clone()
    result.narrow(axis, 0, source.shape[axis]).copy_(source)
    return result


def _shape_text(tensor: Shaped[Tensor, "..."]) -> str:
    return " x ".join(map(str, tensor.shape))


def _difference(target: dict[str, Any], source: dict[str, Any]) -> str:
    """Describe the first setting that differs."""
    for name, value in target.items():
        if source.get(name) != value:
            return f"{name} is {source.get(name)}, needed is {value}"
    return "the same settings, other tensors"
