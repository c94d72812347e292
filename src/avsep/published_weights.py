"""Read published weight files without running code in them and load them into a model."""

import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Shaped
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from avsep.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)
StateDict = dict[str, Shaped[Tensor, "..."]]

# Keys under which training programs store the weights beside the optimizer state.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# DataParallel puts this before every name.
_PARALLEL_PREFIX = "module."
_NUM_NAMES_SHOWN = 3


def read_weights(path: str | os.PathLike[str]) -> StateDict:
    """Read the tensors of a file: .safetensors, or a PyTorch state dict, bare or wrapped.

    PyTorch files are read with `weights_only=True`: files that would run code are refused.

    Raises:
        InputError: the file is missing or damaged, holds other objects, or no weights.
    """
    path = Path(path)
    content = _read_content(path)
    for name in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping):
        raise InputError(f"'{path}' holds no state dict; give a file of weights")
    weights = {
        str(name).removeprefix(_PARALLEL_PREFIX): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }
    if not weights:
        raise InputError(f"'{path}' holds no weights; give a PyTorch state dict or .safetensors")
    return weights


def read_all_tensors(path: str | os.PathLike[str]) -> StateDict:
    """Read every tensor of a file; those of nested dicts have the names of all levels, dotted.

    Raises:
        InputError: as `read_weights`.
    """
    path = Path(path)
    tensors: StateDict = {}
    _collect(_read_content(path), "", tensors)
    if not tensors:
        raise InputError(f"'{path}' holds no weights; give a PyTorch state dict or .safetensors")
    return tensors


def read_shipped(
    path: Path, settings: type[Settings], kind: str, tool: str
) -> tuple[Settings, StateDict]:
    """Read the settings and weights of a network that the package ships.

    Args:
        path: .safetensors with the settings as JSON in its metadata.
        settings: type of the settings.
        kind: the network in words, such as "a namer", for messages.
        tool: program that writes such files.

    Raises:
        InputError: no such file, damaged, or without settings of this type.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("settings", "")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return settings.model_validate_json(text), weights
    except (OSError, SafetensorError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot read '{path}' as {kind}: {reason}; give a file that {tool} wrote"
        ) from error


def fit(model: nn.Module, weights: Mapping[str, Shaped[Tensor, "..."]], origin: str) -> None:
    """Load weights into a model with exactly these names and shapes.

    Raises:
        InputError: names missing or unknown, or of another shape; the message begins with
            `origin`.
    """
    expected = model.state_dict()
    # Batch counters may be missing: batch norms of PyTorch below 0.4.1 had none.
    problems = {
        "missing": [
            name
            for name in expected
            if name not in weights and not name.endswith("num_batches_tracked")
        ],
        "unknown": [name for name in weights if name not in expected],
        "of another shape": [
            f"{name} ({_shape(weights[name])}, needed {_shape(expected[name])})"
            for name in expected
            if name in weights and weights[name].shape != expected[name].shape
        ],
    }
    parts = [f"{problem}: {_shorten(names)}" for problem, names in problems.items() if names]
    if parts:
        raise InputError(f"{origin} does not fit {type(model).__name__}; {'; '.join(parts)}")
    model.load_state_dict(weights, strict=False)


def without(weights: Mapping[str, Shaped[Tensor, "..."]], prefixes: Sequence[str]) -> StateDict:
    """Return the weights except names with a prefix, such as heads and training-only parts."""
    return {name: w for name, w in weights.items() if not name.startswith(tuple(prefixes))}


def weights_digest(model: nn.Module) -> str:
    """Return a digest of all weights of a model and their names."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {_shape(weight)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _read_content(path: Path) -> object:
    if not path.is_file():
        raise InputError(
            f"'{path}' is not a file; give the path of the weights that you downloaded"
        )
    if path.suffix != ".safetensors":
        return _load_safely(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise InputError(f"'{path}' is damaged ({error}); download it again") from error


def _collect(content: object, prefix: str, tensors: StateDict) -> None:
    """Add the tensors of nested dicts and lists to `tensors`."""
    if isinstance(content, Tensor):
        tensors[prefix.removesuffix(".")] = content
    elif isinstance(content, Mapping):
        for name, value in content.items():
            _collect(value, f"{prefix}{name}.", tensors)
    elif isinstance(content, list | tuple):
        for index, value in enumerate(content):
            _collect(value, f"{prefix}{index}.", tensors)


def _load_safely(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # PyTorch warns about old formats before it reads them; a failure is reported below.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    # Arbitrary bytes raise many kinds of errors, depending on which reader they resemble.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read as weights: it is damaged, not a PyTorch file, or holds "
            "objects beside tensors, which are never run; download it again, or save its state "
            "dict alone"
        ) from error


def _shorten(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_NUM_NAMES_SHOWN])
    rest = len(names) - _NUM_NAMES_SHOWN
    return f"{listed} and {rest} more" if rest > 0 else listed


def _shape(tensor: Shaped[Tensor, "..."]) -> str:
    return " x ".join(map(str, tensor.shape)) or "a scalar"
