"""The tutorial of docs/adding-a-model.md, followed to the letter in a copy of the package."""

import re
import shutil
from pathlib import Path

import pytest

from contracts.test_dataset_tutorial import add_lines, run
from training.tiny_band import make_band

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
NAME = "film-mask"
# Two steps on two-second clips: enough to run every part of the model, not to learn.
SMALL = """
training.max_steps=2 training.batch_size=2 training.num_workers=0 training.num_validation=2
training.validation_share=0.5
"""


def copy_package(folder: Path) -> None:
    """Copy the package, and of the tests what the contract of models needs."""
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("src/avsep", "tests/contracts"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("conftest.py", "shape_checks.py", "tiny_models.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    shutil.copy(ROOT / "pyproject.toml", folder)


def follow_tutorial(folder: Path) -> None:
    """Write the module and the recipe of the page, and add its lines."""
    for kind, pattern in (
        ("python", r"`(src/avsep/models/\w+\.py)`"),
        ("toml", r"`(src/avsep/recipes/[\w-]+\.toml)`"),
    ):
        (text,) = re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.S)
        place = re.search(pattern, PAGE)
        assert place is not None
        assert not (folder / place[1]).exists(), f"{place[1]} is in the package already"
        (folder / place[1]).write_text(text, encoding="utf-8")
    diffs = re.findall(r"```diff\n(.*?)```", PAGE, flags=re.S)
    places = ["src/avsep/models/__init__.py", "tests/tiny_models.py"]
    for name, diff in zip(places, diffs, strict=True):
        assert f"`{name}`" in PAGE
        add_lines(folder / name, diff)


@pytest.mark.slow
def test_a_model_costs_four_places(tmp_path: Path) -> None:
    copy_package(tmp_path)
    follow_tutorial(tmp_path)

    contract = run(tmp_path, "-m", "pytest", "-q", "-k", NAME, "tests/contracts/test_models.py")
    assert " passed" in contract and "failed" not in contract

    make_band(tmp_path / "band", 6)
    *_, commands = re.findall(r"```\n(avsep .*?)```", PAGE, flags=re.S)
    train, evaluate, separate = (
        ["-m", *command.replace('"', "").split()] for command in commands.splitlines()
    )
    overrides = [word for setting in SMALL.split() for word in ("--set", setting)]
    places = {"DIR": "band", "FILE": "band/000001.mp4", "OUT": "stems"}
    train, evaluate, separate = (
        [places.get(word, word) for word in words] for words in (train, evaluate, separate)
    )
    assert "best model" in run(tmp_path, *train, "--cache", "cache", *overrides)
    assert "SDR" in run(tmp_path, *evaluate, "--limit", "2")
    run(tmp_path, *separate)
    assert (tmp_path / "stems" / "000001" / "manifest.json").is_file()
