"""A trained model as one file: weights in safetensors, and beside them what is known of them."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avsep.errors import InputError, unknown_name
from avsep.media.atomic import write_atomic
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.recipe import check_settings

SUFFIX = ".safetensors"
HUB_FILE = "model.safetensors"
_SHIPPED = Path(str(files("avsep"))) / "weights"
_KEY = "avsep"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Card:
    """What a checkpoint says of itself.

    Attributes:
        model: the name in MODELS.
        settings: all settings of the model.
        categories: those it tells apart, in the order of their indices.
        metadata: where it comes from: recipe, data, step, validation figures, commit.
    """

    model: str
    settings: dict[str, Any]
    categories: tuple[str, ...]
    metadata: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    model: SeparationModel,
    path: str | Path,
    *,
    model_name: str,
    metadata: Mapping[str, Any],
    half: bool = False,
) -> None:
    """Write a model into one file, whole or not at all.

    With `half` matrices and kernels are stored in float16, for shipping; vectors (biases, norms
    and their statistics) and counters stay as they are. InputError where float16 cannot hold one.
    """
    card = {
        "model": model_name,
        "settings": model.settings.model_dump(mode="json"),
        "categories": list(model.settings.categories),
        "metadata": dict(metadata),
    }
    weights = {name: _stored(name, value, half) for name, value in model.state_dict().items()}
    write_atomic(path, save(weights, metadata={_KEY: json.dumps(card)}))


def load_model(name_or_path: str | Path, device: str | torch.device = "cpu") -> SeparationModel:
    """A trained model in eval mode and float32: a shipped name, a file, `owner/name` of a hub.

    Raises:
        InputError: an unknown name (the known are listed), a file that is not a checkpoint, a
            model this version has not, weights that do not fit, a hub that does not answer.
    """
    path = find_checkpoint(name_or_path)
    weights, card = _read(path)
    if card.model not in MODELS:
        raise unknown_name(f"model of '{path}'", card.model, MODELS)
    cls = MODELS[card.model]
    model = cls(check_settings(card.settings, cls.Settings, f"'{path}'"))
    _check_fit(model, weights, path)
    model.load_state_dict(weights)
    return model.to(device).eval()


def read_card(name_or_path: str | Path) -> Card:
    """What a checkpoint says of itself, without its weights; errors are those of `load_model`."""
    path = find_checkpoint(name_or_path)
    return _card(path, _open(path).metadata())


def shipped_names() -> list[str]:
    """The names of the models in the package."""
    found = sorted(path.name.removesuffix(SUFFIX) for path in _SHIPPED.glob(f"*{SUFFIX}"))
    return [
        name for name in found if _KEY in (_open(_SHIPPED / f"{name}{SUFFIX}").metadata() or {})
    ]


def find_checkpoint(name_or_path: str | Path) -> Path:
    """The file that a name, a path or an id of a hub means; errors are those of `load_model`."""
    name = str(name_or_path)
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == SUFFIX or isinstance(name_or_path, Path):
        raise InputError(f"'{path}' is not a file; give a checkpoint that `avsep train` wrote")
    shipped = _SHIPPED / f"{name}{SUFFIX}"
    if path.name == name and name in shipped_names():
        return shipped
    if _HUB_ID.fullmatch(name):
        return _from_hub(name)
    raise unknown_name("model", name, shipped_names())


def _from_hub(name: str) -> Path:
    """The file of a hub's `owner/name`, downloaded once."""
    try:
        hub = import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(
            f"'{name}' is no file here, and to ask a hub for it needs a package: "
            "pip install huggingface_hub"
        ) from error
    try:
        return Path(hub.hf_hub_download(name, HUB_FILE))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{name}' could not be had from the hub ({str(error).splitlines()[0]}); give a path, "
            f"or a shipped model: {', '.join(shipped_names()) or 'none'}"
        ) from error


def _read(path: Path) -> tuple[dict[str, Shaped[Tensor, "..."]], Card]:
    file = _open(path)
    card = _card(path, file.metadata())
    try:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"'{path}' is damaged: {error}; train or download it again") from error
    return weights, card


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{path}' is no safetensors file, or a damaged one ({error}); give a checkpoint that "
            "`avsep train` wrote"
        ) from error


def _card(path: Path, metadata: dict[str, str] | None) -> Card:
    try:
        content = json.loads((metadata or {})[_KEY])
        return Card(
            str(content["model"]),
            dict(content["settings"]),
            tuple(content["categories"]),
            dict(content["metadata"]),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"'{path}' holds tensors but is no checkpoint of avsep; give one that `avsep train` "
            "wrote"
        ) from error


def _check_fit(model: nn.Module, weights: dict[str, Shaped[Tensor, "..."]], path: Path) -> None:
    """See that names and shapes are the model's; the first that is not is named."""
    wanted = model.state_dict()
    for kind, names in (
        ("lacks", [name for name in wanted if name not in weights]),
        ("holds unknown", [name for name in weights if name not in wanted]),
    ):
        if names:
            raise InputError(
                f"'{path}' does not fit its own settings: it {kind} {len(names)} tensors, such as "
                f"'{names[0]}'; it was made by another version, or changed"
            )
    for name, value in wanted.items():
        if value.shape != weights[name].shape:
            raise InputError(
                f"'{path}' does not fit its own settings: '{name}' is "
                f"{tuple(weights[name].shape)}, needed is {tuple(value.shape)}"
            )


def _stored(name: str, value: Shaped[Tensor, "..."], half: bool) -> Shaped[Tensor, "..."]:
    value = value.detach().cpu()
    if half and value.is_floating_point() and value.ndim > 1:
        value = value.half()
        if not torch.isfinite(value).all():
            raise InputError(f"'{name}' is too large for float16: save it in full precision")
    return value.clone(memory_format=torch.contiguous_format)
