"""Save and load a trained model as one safetensors file with its model card."""

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
from safetensors.torch import load_file, save
from torch import Tensor, nn

from avsep.devices import own_settings, same_random_state
from avsep.errors import InputError, unknown_name
from avsep.media.atomic import write_atomic
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.recipe import check_settings

SUFFIX = ".safetensors"
# The file name that hubs expect in a repository.
HUB_FILE = "model.safetensors"
_SHIPPED = Path(str(files("avsep"))) / "weights"
# Key of the model card, as JSON, among the metadata of a safetensors file.
_KEY = "avsep"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelCard:
    """Description of a model, stored in its checkpoint.

    Attributes:
        model: name in MODELS.
        settings: all settings of the model.
        categories: categories of the model, in the order of their indices.
        metadata: provenance: recipe, data, step, validation scores, commit.
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
    """Write a model and its card into one file, atomically.

    Args:
        model: a model of MODELS, with its settings.
        path: the file; it is replaced only when the new one is complete.
        model_name: name in MODELS.
        metadata: provenance, as JSON values.
        half: store matrices and kernels in float16, for shipping. Vectors (biases, norms and their
            statistics) and counters keep their dtype.

    Raises:
        InputError: `half`, and a weight is too large for float16.
    """
    card = {
        "model": model_name,
        "settings": model.settings.model_dump(mode="json"),
        "categories": list(model.settings.categories),
        "metadata": dict(metadata),
    }
    weights = {name: _to_storage(name, value, half) for name, value in model.state_dict().items()}
    write_atomic(path, save(weights, metadata={_KEY: json.dumps(card)}))


@own_settings()
@same_random_state()
def load_model(name_or_path: str | Path, device: str | torch.device = "cpu") -> SeparationModel:
    """Load a trained model in eval mode and float32.

    Args:
        name_or_path: name of a shipped model, path of a checkpoint, or `owner/name` of a hub.
        device: where the model is put.

    Raises:
        InputError: an unknown name (the message lists the shipped ones), a file that is not a
            checkpoint, an unknown model, weights that do not fit, or a failed download.
    """
    path = find_checkpoint(name_or_path)
    card = read_card(path)
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise InputError(f"'{path}' is damaged: {error}; train or download it again") from error
    if card.model not in MODELS:
        raise unknown_name(f"model of '{path}'", card.model, MODELS)
    cls = MODELS[card.model]
    model = cls(check_settings(card.settings, cls.Settings, f"'{path}'"))
    # Checked here because the message of `load_state_dict` has a line per tensor.
    _check_fit(model, weights, path)
    # Copies into the model's float32 parameters, whatever the stored dtype.
    model.load_state_dict(weights)
    return model.to(device).eval()


def read_card(name_or_path: str | Path) -> ModelCard:
    """Read the card of a checkpoint without its weights.

    Raises:
        InputError: as `load_model`.
    """
    path = find_checkpoint(name_or_path)
    return _card(path, _open(path).metadata())


def is_checkpoint(path: Path) -> bool:
    """Return True if a file is a checkpoint of avsep."""
    try:
        read_card(path)
    except InputError:
        return False
    return True


def shipped_names() -> list[str]:
    """Return the names of the models in the package."""
    names = sorted(path.name.removesuffix(SUFFIX) for path in _SHIPPED.glob(f"*{SUFFIX}"))
    # The weights of the image encoders are in the same folder and have no model card.
    return [
        name for name in names if _KEY in (_open(_SHIPPED / f"{name}{SUFFIX}").metadata() or {})
    ]


def find_checkpoint(name_or_path: str | Path) -> Path:
    """Return the checkpoint file of a shipped name, a path or a hub id.

    Raises:
        InputError: as `load_model`.
    """
    name = str(name_or_path)
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix == SUFFIX or isinstance(name_or_path, Path):
        raise InputError(f"'{path}' is not a file; give a checkpoint that `avsep train` wrote")
    shipped = _SHIPPED / f"{name}{SUFFIX}"
    # Only a bare name can be a shipped model, not a path that ends in one.
    if path.name == name and shipped.is_file():
        return shipped
    if _HUB_ID.fullmatch(name):
        return _from_hub(name)
    raise unknown_name("model", name, shipped_names())


def _from_hub(name: str) -> Path:
    """Download the checkpoint of a hub's `owner/name`, or find it in the hub's cache."""
    try:
        hub = import_module("huggingface_hub")
    except ImportError as error:
        raise InputError(
            f"'{name}' is no file, and downloading it from a hub needs a package: "
            "pip install huggingface_hub"
        ) from error
    try:
        return Path(hub.hf_hub_download(name, HUB_FILE))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot download '{name}' from the hub ({str(error).splitlines()[0]}); give a path, "
            f"or a shipped model: {', '.join(shipped_names()) or 'none'}"
        ) from error


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"'{path}' is no safetensors file, or a damaged one ({error}); give a checkpoint that "
            "`avsep train` wrote"
        ) from error


def _card(path: Path, metadata: dict[str, str] | None) -> ModelCard:
    try:
        content = json.loads((metadata or {})[_KEY])
        return ModelCard(
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
    """Check the names and shapes of weights against the model's."""
    expected = model.state_dict()
    for kind, names in (
        ("lacks", sorted(expected.keys() - weights.keys())),
        ("holds unknown", sorted(weights.keys() - expected.keys())),
    ):
        if names:
            raise InputError(
                f"'{path}' does not fit its own settings: it {kind} {len(names)} tensors, such as "
                f"'{names[0]}'; it was made by another version, or changed"
            )
    for name, value in expected.items():
        if value.shape != weights[name].shape:
            raise InputError(
                f"'{path}' does not fit its own settings: '{name}' is "
                f"{tuple(weights[name].shape)}, needed is {tuple(value.shape)}; it was made by "
                "another version, or changed"
            )


def _to_storage(name: str, value: Shaped[Tensor, "..."], half: bool) -> Shaped[Tensor, "..."]:
    value = value.detach().cpu()
    # Vectors are few, and batch norm statistics can exceed float16's range.
    if half and value.is_floating_point() and value.ndim > 1:
        value = value.half()
        if not torch.isfinite(value).all():
            raise InputError(f"'{name}' is too large for float16: save it in full precision")
    # A copy of its own: safetensors refuses tensors that share memory or are not contiguous.
    return value.clone(memory_format=torch.contiguous_format)
