"""Convert and check the waveforms that metrics compare."""

from collections.abc import Sequence
from numbers import Integral
from typing import cast

import numpy as np
import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from avsep.errors import InputError

Waveforms = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."] | Sequence[object]
AnyTensor = Shaped[Tensor, "..."]
# Energies of norms below this, or above its inverse, may under- or overflow in float64.
_MIN_NORM = 1e-100


def as_tensors(references: Waveforms, estimates: Waveforms) -> tuple[AnyTensor, AnyTensor]:
    """Return both as tensors on one device: that of a CUDA tensor among them, else the CPU.

    Nothing is copied that is there already.

    Raises:
        InputError: no array of real numbers, or a tensor without dense samples.
    """
    truth, guess = _as_tensor(references, "references"), _as_tensor(estimates, "estimates")
    device = next((x.device for x in (guess, truth) if x.is_cuda), torch.device("cpu"))
    return truth.to(device), guess.to(device)


def _as_tensor(waveforms: Waveforms, name: str) -> AnyTensor:
    """Return real numbers as a tensor, on their device unless it has no float64."""
    try:
        if isinstance(waveforms, list | tuple) and waveforms and isinstance(waveforms[0], Tensor):
            waveforms = torch.stack([cast(Tensor, row).detach() for row in waveforms])
        if isinstance(waveforms, Tensor):
            tensor = waveforms.detach()
        else:
            tensor = _from_array(np.asarray(waveforms))
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"{name} are no array of numbers [..., sources, samples] ({error})"
        ) from error
    if tensor.is_meta or tensor.is_quantized or tensor.layout is not torch.strided:
        raise InputError(f"{name} are a tensor that is meta, quantized or sparse; give a dense one")
    if tensor.is_complex():
        raise InputError(f"{name} are complex numbers; BSS Eval takes real waveforms")
    return tensor.cpu() if tensor.device.type == "mps" else tensor  # Apple GPUs lack float64


def _from_array(array: Shaped[np.ndarray, "..."]) -> AnyTensor:
    """Convert an array to a tensor, without a copy where PyTorch supports a view."""
    # Dates and raw bytes: NumPy would convert them to floats without an error.
    if array.dtype.kind in "mMV":
        raise TypeError(f"{array.dtype} are no samples")
    if array.dtype.kind not in "fiu" or array.dtype.itemsize > 8:
        array = array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)
    # PyTorch has no views of read-only arrays or of negative strides.
    is_plain = array.flags.writeable and all(step >= 0 for step in array.strides)
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=not is_plain))


class UndefinedScoreError(Exception):
    """Error for samples without a defined score; `check_values` finds and names them."""


def rescale_extremes(
    waveforms: Float64[Tensor, "*B N"], *, may_be_silent: bool = True
) -> Float64[Tensor, "*B N"]:
    """Divide all waveforms by their peaks if the square of one may under- or overflow.

    Raises:
        UndefinedScoreError: samples are NaN or infinite, or, unless `may_be_silent`, all zeros.
    """
    # The usual case costs one pass over the samples: a NaN fails both comparisons.
    norm = torch.linalg.vector_norm(waveforms, dim=-1)
    if bool(((norm > _MIN_NORM) & (norm < 1 / _MIN_NORM)).all()):
        return waveforms
    peak = torch.linalg.vector_norm(waveforms, ord=torch.inf, dim=-1, keepdim=True)
    if not peak.isfinite().all() or not (may_be_silent or (peak > 0).all()):
        raise UndefinedScoreError
    return waveforms / torch.where(peak > 0, peak, 1.0)


def unit_energy(waveforms: Float64[Tensor, "*B N"]) -> Float64[Tensor, "*B N"]:
    """Scale each waveform to energy 1; zeros stay zeros."""
    # By the peak first, so that squares of soft sound do not underflow.
    for order in (torch.inf, 2):
        norm = torch.linalg.vector_norm(waveforms, ord=order, dim=-1, keepdim=True)
        waveforms = waveforms / torch.where(norm > 0, norm, 1.0)
    return waveforms


def check_shapes(references: AnyTensor, estimates: AnyTensor, axes: str, taps: int) -> None:
    """Raise an InputError for shapes that cannot be scored.

    Args:
        references, estimates: tensors whose last axes are `axes`, after any that broadcast.
        axes: "sources, samples" or "sources, channels, samples".
        taps: length of the filters of the score, 1 for none.
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
    # From this many samples on, the projection cannot fit every estimate exactly.
    num_filtered = int(np.prod(shape[-num_axes:-1]))
    num_needed = (num_filtered - 1) * taps + 2 if num_filtered > 1 else 1
    if shape[-1] < num_needed:
        raise InputError(
            f"{shape[-1]} samples are too short: filters of {taps} taps on {num_filtered} "
            f"sources fit anything exactly; {num_needed} samples or more are needed"
        )


def check_values(references: AnyTensor, estimates: AnyTensor) -> None:
    """Raise an InputError for NaN or infinite samples, or a reference of zeros."""
    check_finite(references, estimates)
    check_not_silent(references)


def check_finite(references: AnyTensor, estimates: AnyTensor) -> None:
    """Raise an InputError that names the first waveform with NaN or infinite samples."""
    for name, waveforms in (("reference", references), ("estimate", estimates)):
        if waveforms.is_floating_point() and not waveforms.isfinite().all():
            first = (~waveforms.isfinite()).any(-1).nonzero()[0].tolist()
            raise InputError(f"{name} {_at(first)} holds NaN or infinite samples; repair it")


def check_not_silent(references: AnyTensor) -> None:
    """Raise an InputError that names the first reference of zeros."""
    silent = (references == 0).all(-1)
    if silent.any():
        raise InputError(
            f"reference {_at(silent.nonzero()[0].tolist())} is silent: no score is defined "
            "against it; leave this mixture out"
        )


def _at(index: list[int]) -> str:
    """Return an index as text, counted from 0: 1 for a source, or [3, 1] in a batch."""
    return str(index[0]) if len(index) == 1 else str(index)
