"""A session: what the options say reaches the steps they are for."""

import multiprocessing
from pathlib import Path

import pytest

from avsep.training.session import Options, Session
from training.tiny_band import make_band, write_tiny_recipe


def test_workers_govern_the_preparation_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_band(tmp_path / "band", 6)
    write_tiny_recipe(tmp_path / "tiny.toml")
    monkeypatch.setattr("avsep.training.library._FEW_CLIPS", 0)  # else so few need no process
    options = Options(
        str(tmp_path / "tiny.toml"), [str(tmp_path / "band")], folder=tmp_path / "run",
        num_workers=0, cache=tmp_path / "cache",
    )  # fmt: skip
    prepared = Session(options).prepare()
    next(prepared)
    assert multiprocessing.active_children() == []
    assert len(list(prepared)) == 5
