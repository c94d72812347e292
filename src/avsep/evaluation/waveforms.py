"""Waveforms to be scored: taken from arrays or tensors, and every fault of theirs told."""

from collections.abc import Sequence
from numbers import Integral
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from avsep.errors import InputError

Waveforms = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."] | Sequence[object]
Given = Shaped[Tensor, "..."]
# Squares of what is smaller, or larger than one over it, might be lost.
_LEAST_NORM = 1e-100


def as_tensors(references: Waveforms, estimates: Waveforms) -> tuple[Given, Given]:
    """Both on one device: that of a CUDA tensor among them, else the CPU; nothing is copied."""
    truth, guess = _as_tensor(references, "references"), _as_tensor(estimates, "estimates")
    device = next((x.device for x in (guess, truth) if x.is_cuda), torch.device("cpu"))
    return truth.to(device), guess.to(device)


def _as_tensor(given: Waveforms, name: str) -> Given:
    """One of both as real numbers, still on its device unless that has no float64."""
    try:
        if isinstance(given, list | tuple) and given and isinstance(given[0], Tensor):
            given = torch.stack([cast(Tensor, row).detach() for row in given])
        found = given.detach() if isinstance(given, Tensor) else _from_array(np.asarray(given))
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{name} are no array of numbers [..., sources, samples] ({error})"
        ) from error
    if found.is_meta or found.is_quantized or found.layout is not torch.strided:
        raise InputError(f"{name} are a tensor that is meta, quantized or sparse; give a dense one")
    if found.is_complex():
        raise InputError(f"{name} are complex numbers; BSS Eval takes real waveforms")
    return found.cpu() if found.device.type == "mps" else found


def _from_array(array: Shaped[np.ndarray, "..."]) -> Given:
    """An array as a tensor; a view where PyTorch can have one."""
    if array.dtype.kind in "mMV":
        raise TypeError(f"{array.dtype} are no samples")
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
    # What may not be written, or runs backwards, PyTorch takes as a copy alone.
    is_plain = array.flags.writeable and all(step >= 0 for step in array.strides)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=not is_plain))


class NoScoreError(Exception):
    """Samples that have no score are among these; `check_values` says which."""


def evened(waveforms: Float64[Tensor, "*B N"], *, may_be_silent: bool = True) -> Given:
    """Waveforms that can be squared: those of extreme levels are divided by their peak.

    Raises NoScoreError for NaN, infinite samples and, where there may be none, zeros throughout.
    """
    norm = torch.linalg.vector_norm(waveforms, dim=-1)
    if bool(((norm > _LEAST_NORM) & (norm < 1 / _LEAST_NORM)).all()):
        return waveforms
    peak = torch.linalg.vector_norm(waveforms, ord=torch.inf, dim=-1, keepdim=True)
    if not peak.isfinite().all() or not (may_be_silent or (peak > 0).all()):
        raise NoScoreError
    return waveforms / torch.where(peak > 0, peak, 1.0)


def unit_energy(waveforms: Float64[Tensor, "*B N"]) -> Float64[Tensor, "*B N"]:
    """Each waveform scaled to energy 1, by its peak first lest squares underflow; zeros stay."""
    for order in (torch.inf, 2):
        norm = torch.linalg.vector_norm(waveforms, ord=order, dim=-1, keepdim=True)
        waveforms = waveforms / torch.where(norm > 0, norm, 1.0)
    return waveforms


def check_shapes(references: Given, estimates: Given, axes: str, taps: int) -> None:
    """Raise an InputError for shapes that cannot be scored.

    Args:
        references, estimates: of these axes at the end, and any before that broadcast.
        axes: "sources, samples" or "sources, channels, samples".
        taps: of the filters.
    """
    shape, other = list(references.shape), list(estimates.shape)
    num_axes = axes.count(",") + 1
    if len(shape) < num_axes or len(other) < num_axes or 0 in shape or 0 in other:
        raise InputError(
            f"references have shape {shape}, estimates {other}: they must be [..., {axes}], with "
            "at least one of each"
        )
    try:
        torch.broadcast_shapes(references.shape[:-num_axes], estimates.shape[:-num_axes])
        fits = shape[-num_axes:] == other[-num_axes:]
    except RuntimeError:
        fits = False
    if not fits:
        raise InputError(
            f"references have shape {shape}, estimates {other}; both must have one shape "
            f"[..., {axes}], or more axes at the front that broadcast: cut the longer ones"
        )
    if not isinstance(taps, Integral) or taps < 1:
        raise InputError(
            f"filter_taps is {taps!r}; it must be a whole number, 1 or more (the field uses 512)"
        )
    num_filtered = int(np.prod(shape[-num_axes:-1]))
    num_needed = (num_filtered - 1) * taps + 2 if num_filtered > 1 else 1
    if shape[-1] < num_needed:
        raise InputError(
            f"{shape[-1]} samples are too short: filters of {taps} taps on {num_filtered} "
            f"sources fit anything exactly; {num_needed} samples or more are needed"
        )


def check_values(references: Given, estimates: Given) -> None:
    """Raise an InputError for samples that have no score: NaN, infinite, references of zeros."""
    check_finite(references, estimates)
    check_sounding(references)


def check_finite(references: Given, estimates: Given) -> None:
    """Raise an InputError that names the first waveform with NaN or infinite samples."""
    for name, given in (("reference", references), ("estimate", estimates)):
        if given.is_floating_point() and not given.isfinite().all():
            first = (~given.isfinite()).any(-1).nonzero()[0].tolist()
            raise InputError(f"{name} {_index(first)} holds NaN or infinite samples; repair it")


def check_sounding(references: Given) -> None:
    """Raise an InputError that names the first reference of zeros."""
    silent = (references == 0).all(-1)
    if silent.any():
        raise InputError(
            f"reference {_index(silent.nonzero()[0].tolist())} is silent: no score is defined "
            "against it; leave this mixture out"
        )


def _index(index: list[int]) -> str:
    """An index as it is typed, counted from 0: source 1, or [3, 1] in a batch."""
    return str(index[0]) if len(index) == 1 else str(index)
