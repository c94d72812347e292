"""Test devices: lookup by name, moving records, bfloat16 support."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from avsep.devices import find_device, supports_bfloat16, to_device
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
