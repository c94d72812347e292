"""Test devices: lookup by name, moving records, bfloat16 support."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from threading import Barrier, get_ident
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from avsep.devices import (
    available_cores,
    find_device,
    map_on_threads,
    one_thread,
    supports_bfloat16,
    to_device,
)
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


# Independent work on several threads


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_each_thread_takes_whole_items_with_operations_of_one_thread(
    monkeypatch: pytest.MonkeyPatch, three_threads: None
) -> None:
    monkeypatch.setattr("avsep.devices.available_cores", lambda: 2)
    together = Barrier(2, timeout=30)

    def work(item: int) -> tuple[int, int]:
        if item < 2:
            together.wait()  # returns only where two items are worked on at a time
        return item, torch.get_num_threads()

    assert map_on_threads(work, range(5)) == [(item, 1) for item in range(5)]
    assert torch.get_num_threads() == 3


def test_one_item_or_one_thread_needs_no_other_thread(three_threads: None) -> None:
    def work(_: int) -> int:
        return get_ident()

    assert map_on_threads(work, range(1)) == [get_ident()]
    assert map_on_threads(work, range(0)) == []
    torch.set_num_threads(1)
    assert map_on_threads(work, range(4)) == [get_ident()] * 4


def test_threads_are_as_before_after_an_error_and_after_nested_work(three_threads: None) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("of the work")

    with pytest.raises(RuntimeError, match="of the work"):
        map_on_threads(fail, range(4))
    assert torch.get_num_threads() == 3
    inner = map_on_threads(lambda _: map_on_threads(lambda item: item, range(3)), range(3))
    assert inner == [[0, 1, 2]] * 3 and torch.get_num_threads() == 3


def test_cores_of_an_affinity_and_of_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr("avsep.devices._CGROUP_LIMIT", limit)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores() == 8  # no such file
    for text, expected in {
        "max 100000\n": 8, "300000 100000\n": 3, "50000 100000\n": 1, "1600000 100000\n": 8,
        "": 8,
    }.items():  # fmt: skip
        limit.write_text(text)
        assert available_cores() == expected, text
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert available_cores() == 1
