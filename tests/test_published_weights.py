"""Published weights: every layout is read, no code in them is run, mismatches are errors."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from avsep.errors import InputError
from avsep.published_weights import fit, read_weights, without


def tiny() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_are_read_bare_or_wrapped(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    weights = tiny().state_dict()
    saved: object = {prefix + name: weight for name, weight in weights.items()}
    if wrapper is not None:
        optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1).state_dict()
        saved = {"epoch": 3, "arch": "I3D", wrapper: saved, "optimizer": optimizer}
    torch.save(saved, tmp_path / "a.pth.tar")
    loaded = read_weights(tmp_path / "a.pth.tar")
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_files_of_old_pytorch_and_safetensors_are_read(tmp_path: Path) -> None:
    weights = tiny().state_dict()
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_file(weights, tmp_path / "a.safetensors")
    for name in ("old.pt", "a.safetensors"):
        assert torch.equal(read_weights(tmp_path / name)["0.weight"], weights["0.weight"])


class Trap:
    """Payload of a malicious file: unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    torch.save({"state_dict": tiny().state_dict(), "x": Trap(sprung)}, tmp_path / "zip.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap(sprung)))
    for name in ("zip.pt", "plain.pt"):
        with pytest.raises(InputError, match=r"objects beside tensors, which are never run; down"):
            read_weights(tmp_path / name)
        assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 torn", bytes(range(256))])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_damaged_files_are_one_clear_line(tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.\w+' .*damaged.*download it again") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_files_without_weights_and_missing_files(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds no weights; give a PyTorch state dict"):
        read_weights(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(InputError, match="holds no state dict; give a file of weights"):
        read_weights(tmp_path / "b.pt")
    for missing in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(InputError, match="is not a file; give the path of the weights"):
            read_weights(missing)


def test_fit_reports_missing_unknown_and_misshapen_names() -> None:
    weights = {name: w for name, w in tiny().state_dict().items() if name != "0.bias"}
    weights["1.weight"] = torch.ones(5)
    weights |= {f"head.{index}": torch.ones(1) for index in range(5)}
    with pytest.raises(InputError) as caught:
        fit(tiny(), weights, "'a.pt'")
    assert str(caught.value) == (
        "'a.pt' does not fit Sequential; missing: 0.bias; unknown: head.0, head.1, head.2 and 2 "
        "more; of another shape: 1.weight (5, needed 3)"
    )


def test_fit_loads_weights_without_batch_counters() -> None:
    model, weights = tiny(), tiny().state_dict()
    counters = [name for name in weights if name.endswith("num_batches_tracked")]
    assert counters
    fit(model, without(weights, counters), "here")
    assert all(torch.equal(model.state_dict()[name], weights[name]) for name in weights)
