"""Test TrainingRun: errors before anything is written, and the number of workers."""

import multiprocessing
from pathlib import Path

import pytest

from avsep.errors import InputError
from avsep.training.run import TrainingOptions, TrainingRun
from training.tiny_band import make_band, write_tiny_recipe


def options_in(folder: Path, *overrides: str) -> TrainingOptions:
    return TrainingOptions(
        str(folder / "tiny.toml"), [str(folder / "band")], list(overrides), folder=folder / "run",
        num_workers=0, cache=folder / "cache",
    )  # fmt: skip


def test_a_training_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    """The same command can then be given again, with another setting."""
    make_band(tmp_path / "band", 6)
    write_tiny_recipe(tmp_path / "tiny.toml")
    with pytest.raises(InputError, match="with the 1 clips to validate with"):
        TrainingRun.from_options(options_in(tmp_path, "training.validation_share=0.1"))
    assert not (tmp_path / "run").exists() and not (tmp_path / "cache").exists()
    TrainingRun.from_options(options_in(tmp_path)).begin()
    assert (tmp_path / "run" / "recipe.toml").is_file()


@pytest.mark.slow
def test_the_number_of_workers_holds_for_caching_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_band(tmp_path / "band", 6)
    write_tiny_recipe(tmp_path / "tiny.toml")
    monkeypatch.setattr(
        "avsep.cues.cache._FEW_CLIPS", 0
    )  # else no worker is started for so small a list
    clip_names = TrainingRun.from_options(options_in(tmp_path)).prepare()
    next(clip_names)
    assert multiprocessing.active_children() == []
    assert len(list(clip_names)) == 5
