"""Test devices: lookup by name, moving records, bfloat16 support."""

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from avsep.devices import find_device, one_thread, supports_bfloat16, to_device
from avsep.errors import InputError
from tiny_models import tiny_batch


def test_devices_by_name() -> None:
    assert find_device("cpu").type == "cpu"
    assert find_device("auto").type in {"cpu", "cuda", "mps", "xpu"}
    with pytest.raises(InputError, match=r"device 'abacus' cannot be used .*; try --device auto"):
        find_device("abacus")


def test_a_record_is_moved_whole() -> None:
    moved = to_device(tiny_batch(num_items=1, seed=0), torch.device("meta"))
    assert moved.mixture.is_meta and moved.sources.is_meta and moved.cues.crops.is_meta


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),  # of ARM
        ({"avx512_bf16": False, "avx512_f": True, "avx2": True}, False),
        ({}, False),
    ],
)
def test_processors_with_instructions_for_bfloat16(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert supports_bfloat16(torch.device("cpu")) is expected


def test_emulated_bfloat16_of_an_accelerator_does_not_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def emulates(including_emulation: bool = True) -> bool:
        return including_emulation

    def has_units(including_emulation: bool = True) -> bool:
        return True

    modules: list[tuple[Any, bool]] = [
        (SimpleNamespace(is_bf16_supported=emulates), False),
        (SimpleNamespace(is_bf16_supported=has_units), True),
        (SimpleNamespace(), False),
    ]
    for module, expected in modules:
        monkeypatch.setattr(torch, "get_device_module", lambda device, found=module: found)
        assert supports_bfloat16(torch.device("cuda")) is expected


def num_threads() -> tuple[int, list[int]]:
    """Return the threads of PyTorch, and of every BLAS library that is loaded."""
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return torch.get_num_threads(), blas


def test_one_thread_of_pytorch_and_blas_and_as_many_as_before_afterwards() -> None:
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with threadpool_limits(limits=2, user_api="blas"):
            before = num_threads()
            assert before[0] == 2 and before[1] and set(before[1]) == {2}
            with one_thread():
                inside = num_threads()
            assert num_threads() == before
            with pytest.raises(RuntimeError), one_thread():
                raise RuntimeError
            assert num_threads() == before
    finally:
        torch.set_num_threads(torch_threads)
    assert inside == (1, [1] * len(before[1]))


def test_threads_of_pytorch_are_limited_where_threadpoolctl_does_not_find_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not every build of PyTorch has the OpenMP threads that threadpoolctl limits."""
    monkeypatch.setattr("avsep.devices.threadpool_limits", lambda limits: nullcontext())
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            inside = torch.get_num_threads()
        assert (inside, torch.get_num_threads()) == (1, 2)
    finally:
        torch.set_num_threads(torch_threads)
