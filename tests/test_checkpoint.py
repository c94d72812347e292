"""Checkpoints: models and cards are restored, half precision, and messages for bad files."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from avsep.checkpoint import load_model, read_card, save_checkpoint, shipped_names
from avsep.errors import InputError
from tiny_models import CATEGORIES, tiny_batch, tiny_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of a tiny DGFNet."""
    path = tmp_path / "tiny.safetensors"
    metadata = {"step": 7, "validation": {"sdr_db": 1.5}}
    save_checkpoint(tiny_model("dgfnet"), path, model_name="dgfnet", metadata=metadata)
    return path


def changed(path: Path, weights: dict | None = None, **card: object) -> Path:
    """Replace the weights or entries of the card of a checkpoint."""
    with safe_open(path, framework="pt") as file:
        content = json.loads(file.metadata()["avsep"]) | card
    tensors = load_file(path) if weights is None else weights
    save_file(tensors, path, metadata={"avsep": json.dumps(content)})
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dgfnet", "iquery"])
def test_a_loaded_model_separates_like_the_saved_one(name: str, tmp_path: Path) -> None:
    model, batch = tiny_model(name), tiny_batch()
    save_checkpoint(model.train(), tmp_path / "m.safetensors", model_name=name, metadata={})
    loaded = load_model(tmp_path / "m.safetensors")
    assert not loaded.training
    assert loaded.settings == model.settings
    with torch.no_grad():
        magnitudes = [m.separate(batch).magnitudes for m in (model.eval(), loaded)]
    assert torch.equal(*magnitudes)


def test_the_card_has_settings_and_metadata(path: Path) -> None:
    card = read_card(str(path))
    assert (card.model, card.categories) == ("dgfnet", CATEGORIES)
    assert card.settings["attention_groups"] == 4
    assert card.metadata == {"step": 7, "validation": {"sdr_db": 1.5}}


@pytest.mark.slow
def test_half_stores_matrices_in_half_and_vectors_whole(tmp_path: Path, path: Path) -> None:
    half = tmp_path / "half.safetensors"
    model = tiny_model("dgfnet")
    save_checkpoint(model, half, model_name="dgfnet", metadata={}, half=True)
    for name, value in load_file(half).items():
        expected = model.state_dict()[name]
        if expected.is_floating_point() and expected.ndim > 1:
            assert value.dtype == torch.float16
        else:
            assert torch.equal(value, expected)
    loaded = load_model(half)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    with torch.no_grad():
        whole, rounded = (m.separate(tiny_batch()).magnitudes for m in (model, loaded))
    # Eleven bits of a weight, through some twenty layers.
    assert torch.allclose(whole, rounded, rtol=0, atol=0.02 * float(whole.max()))


def test_weights_too_large_for_half_are_refused(tmp_path: Path) -> None:
    model = tiny_model("dgfnet")
    model.transformer.queries.weight.data[0, 0] = 1e6
    with pytest.raises(InputError, match=r"'transformer.queries.weight' is too large for float16"):
        save_checkpoint(
            model, tmp_path / "m.safetensors", model_name="dgfnet", metadata={}, half=True
        )
    assert not list(tmp_path.iterdir())


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(InputError, match=r"unknown model 'dgfnet-maxi'.* known: ") as error:
        load_model("dgfnet-maxi")
    assert all(name in str(error.value) for name in shipped_names())
    assert "image-encoder-mini" not in shipped_names()  # weights, but of no model


def test_files_that_cannot_be_read_are_a_one_line_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.safetensors' is not a file; give a checkpoint"):
        load_model(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(InputError, match=r"text.safetensors' is no safetensors file, or a damaged"):
        load_model(tmp_path / "text.safetensors")
    save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"holds tensors but is no checkpoint of avsep"):
        load_model(tmp_path / "x.safetensors")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut.safetensors' is no safetensors file, or a damaged"):
        load_model(cut)


@pytest.mark.slow
def test_settings_and_weights_must_agree(path: Path) -> None:
    weights = load_file(path)
    lacking = {name: v for name, v in weights.items() if name != "fusion.weigh_audio.bias"}
    with pytest.raises(InputError, match=r"it lacks 1 tensors, such as 'fusion.weigh_audio.bias'"):
        load_model(changed(path, lacking))
    with pytest.raises(InputError, match=r"it holds unknown 1 tensors, such as 'third_eye'"):
        load_model(changed(path, weights | {"third_eye": torch.ones(1)}))
    odd = weights | {"fusion.weigh_audio.bias": torch.ones(3)}
    with pytest.raises(InputError, match=r"'fusion.weigh_audio.bias' is \(3,\), needed is \(16,\)"):
        load_model(changed(path, odd))


def test_cards_of_other_versions_are_errors(path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown setting 'colour'"):
        load_model(changed(path, settings={"colour": "blue"}))
    with pytest.raises(InputError, match=r"unknown model of '.*' 'dgfnet9'; did you mean 'dgfnet'"):
        load_model(changed(path, model="dgfnet9"))


def test_a_hub_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        InputError, match=r"'somebody/dgfnet' is no file, and downloading it .*pip install"
    ):
        load_model("somebody/dgfnet")
