"""Devices by the names that PyTorch has for them, and records moved from one to another."""

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
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
