"""Devices by name, and records on them."""

import pytest
import torch

from avsep.devices import find_device, to_device
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
