"""Weights that others published: read without running anything in them, fitted name by name."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from avsep.errors import InputError

StateDict = dict[str, Shaped[Tensor, "..."]]

# Under these names a training program keeps the weights beside its optimizer.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
# Put before every name when training ran on several GPUs.
_PARALLEL_PREFIX = "module."
_NUM_NAMES_SHOWN = 3


def read_weights(path: str | os.PathLike[str]) -> StateDict:
    """Names and tensors of a file: .safetensors, or a PyTorch state dict, bare or wrapped.

    PyTorch files are read with `weights_only=True`: what would run code is refused.

    Raises:
        InputError: missing, damaged, holding more than weights, or no weights at all.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"'{path}' is not a file; give the path of the weights that you downloaded"
        )
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"'{path}' is damaged ({error}); download it again") from error
    content = _load_safely(path)
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


def fit(model: nn.Module, weights: Mapping[str, Shaped[Tensor, "..."]], origin: str) -> None:
    """Put weights into a model that has just these names and shapes.

    Counters of batches may be missing: PyTorch below 0.4.1 had none.

    Raises:
        InputError: names missing or unknown, or of another shape; it begins with `origin`.
    """
    wanted = model.state_dict()
    complaints = {
        "missing": [
            name
            for name in wanted
            if name not in weights and not name.endswith("num_batches_tracked")
        ],
        "unknown": [name for name in weights if name not in wanted],
        "of another shape": [
            f"{name} ({_shape(weights[name])}, needed {_shape(wanted[name])})"
            for name in wanted
            if name in weights and weights[name].shape != wanted[name].shape
        ],
    }
    found = [f"{what}: {_some(names)}" for what, names in complaints.items() if names]
    if found:
        raise InputError(f"{origin} does not fit {type(model).__name__}; {'; '.join(found)}")
    model.load_state_dict(weights, strict=False)


def without(weights: Mapping[str, Shaped[Tensor, "..."]], prefixes: Sequence[str]) -> StateDict:
    """The weights but for those whose names begin so: heads and what only training needed."""
    return {name: w for name, w in weights.items() if not name.startswith(tuple(prefixes))}


def _load_safely(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            # PyTorch warns of files that it may not read; whether it can is told right after.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    # Bytes that are no weights fail in whatever way they happen to be read.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read as weights: it is damaged, not PyTorch's, or holds objects "
            "beside tensors, which are never run; download it again, or save its state dict alone"
        ) from error


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NUM_NAMES_SHOWN])
    rest = len(names) - _NUM_NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _shape(tensor: Shaped[Tensor, "..."]) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"
