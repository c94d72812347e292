"""What every test stands on: shapes checked while tests run, one thread a worker, no network."""

import gc
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# One thread a worker, for numpy's and torch's algebra alike; set before either is loaded.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["COLUMNS"] = "120"

import hypothesis
import pytest
from jaxtyping import install_import_hook

# A machine that does something else beside is no fault of an example.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

# Every call into these packages is checked against its annotated shapes and types.
CHECKED = [
    "records", "devices", "sound", "media", "vision", "toyband", "data", "cues", "layers",
    "diffusion", "models",
    "checkpoint", "pages", "evaluation", "training", "separation",
]  # fmt: skip
install_import_hook([f"avsep.{name}" for name in CHECKED], "shape_checks.check")

import torch  # noqa: E402 (after the hook, so that nothing of ours is imported before it)

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of garbage collection: it stays, and is a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def golden() -> dict:
    """Values that any right implementation reproduces."""
    path = Path(__file__).parent / "golden" / "reference.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def i3d_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of I3D at full size, in the layout of FAME."""
    from vision.i3d_weights import published

    path = tmp_path_factory.mktemp("i3d") / "I3D.pth.tar"
    torch.save({"state_dict": published("fame")}, path)
    return path


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that opens a connection fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a test tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Run avsep with arguments, as a shell would."""
    from avsep.cli import main

    def command(*arguments: str | Path) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["avsep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return command
