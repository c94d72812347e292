"""Find PyTorch devices by name, move records to them, and share cores among threads."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from avsep.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

# The limit of a container's processor time: microseconds of it, or "max", in each period.
_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def find_device(name: str) -> torch.device:
    """Return the device with a name; "auto" is the accelerator if there is one, else the CPU.

    Raises:
        InputError: PyTorch does not have the name, or the machine does not have the device.
    """
    if name == "auto":
        is_available = torch.accelerator.is_available()
        accelerator = torch.accelerator.current_accelerator() if is_available else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        # The name alone is no proof: torch.device accepts one that this machine does not have.
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device '{name}' cannot be used ({reason}); try --device auto") from error
    return device


def to_device(record: Any, device: torch.device) -> Any:
    """Return a record with all its tensors, of nested records too, on a device."""
    if isinstance(record, Tensor):
        # Asynchronous where the tensor is in pinned memory, as from the training data loader.
        return record.to(device, non_blocking=True)
    if is_dataclass(record) and not isinstance(record, type):
        moved = {f.name: to_device(getattr(record, f.name), device) for f in fields(record)}
        return replace(record, **moved)
    return record


def supports_bfloat16(device: torch.device) -> bool:
    """Return True if a device computes bfloat16 natively, so that it is faster than float32."""
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        # x86 has two sets of such instructions; "bf16" is that of ARM.
        return bool(features.get("avx512_bf16") or features.get("amx_bf16") or features.get("bf16"))
    is_supported = getattr(torch.get_device_module(device), "is_bf16_supported", None)
    # CUDA counts emulation as support by default, on GPUs where it is slower than float32.
    return is_supported is not None and is_supported(including_emulation=False)


@contextmanager
def own_settings() -> Iterator[None]:
    """Compute as if PyTorch and NumPy were just imported, whatever the calling program has set.

    Set aside are the default dtype and device, autocast, inference mode, disabled gradients, and
    NumPy's reaction to floating-point errors; all are restored at the end.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))  # enables gradients too
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        # Only where it differs: PyTorch calls a Python function at every operation then.
        if torch.get_default_device() != torch.device("cpu"):
            stack.enter_context(torch.device("cpu"))
        for device in _device_types():
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        # The one setting that all threads share: it is not touched without need.
        if dtype != torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def same_random_state() -> Iterator[None]:
    """Restore the global random state of the CPU at the end: making a network draws its weights.

    Not for long computations: a thread of the calling program would draw the same numbers twice.
    """
    with torch.random.fork_rng(devices=[]):
        yield


def _device_types() -> set[str]:
    """Return the types of devices that this machine has."""
    accelerator = torch.accelerator.current_accelerator()
    return {"cpu"} if accelerator is None else {"cpu", accelerator.type}


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch and NumPy to one thread, so that sums do not depend on the number of cores.

    With one worker process per core it is faster too: threads that share small operations mostly
    wait for each other.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(num_threads)


def limit_threads(num_threads: int) -> None:
    """Limit PyTorch and NumPy in this process to a number of threads, for good.

    A lower limit, as by OMP_NUM_THREADS, stays.
    """
    num_threads = min(num_threads, torch.get_num_threads())
    torch.set_num_threads(num_threads)
    threadpool_limits(limits=num_threads)


def available_cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    It may be fewer than the machine has: by the process's affinity, or in a container.
    """
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS and Windows
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    # No such file outside of containers, and "max" in one without a limit.
    with suppress(OSError, ValueError):
        quota, period = _CGROUP_LIMIT.read_text(encoding="ascii").split()
        num_cores = min(num_cores, int(quota) // int(period))
    return max(1, num_cores)


def map_on_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """Return the results of independent work on CPU tensors, in order.

    As many threads as PyTorch would use, but each takes whole items: threads that share small
    operations wait for each other after each of them, and far longer beside another process.
    """
    num_threads = min(torch.get_num_threads(), available_cores(), len(items))
    with _single_operations:
        if num_threads < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(num_threads) as pool:
            return list(pool.map(work, items))


class _SingleOperations:
    """Limit PyTorch's operations to one thread while any thread is within."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._num_within = 0
        self._num_threads = 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._num_within:
                self._num_threads = torch.get_num_threads()
                torch.set_num_threads(1)
            self._num_within += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._num_within -= 1
            if not self._num_within:
                torch.set_num_threads(self._num_threads)


_single_operations = _SingleOperations()
