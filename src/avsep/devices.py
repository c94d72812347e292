"""Devices by the names that PyTorch has for them, records moved there, and work on one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from avsep.errors import InputError


def find_device(name: str) -> torch.device:
    """The device of a name; auto is the accelerator where there is one, else the CPU.

    Raises InputError for a name that is none, and for a device that is not there.
    """
    if name == "auto":
        found = (
            torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        )
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"device '{name}' cannot be used ({why}); try --device auto") from error
    return device


def to_device(record: Any, device: torch.device) -> Any:
    """A record with all tensors in it on a device."""
    if isinstance(record, Tensor):
        return record.to(device, non_blocking=True)
    if is_dataclass(record) and not isinstance(record, type):
        moved = {f.name: to_device(getattr(record, f.name), device) for f in fields(record)}
        return replace(record, **moved)
    return record


def supports_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16, so that it is faster than float32 there."""
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    asked = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    return asked is not None and asked(including_emulation=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for PyTorch's algebra and NumPy's: sums then come out the same everywhere.

    On a machine with much to do it is faster too: threads that share small sums wait for one
    another.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)
