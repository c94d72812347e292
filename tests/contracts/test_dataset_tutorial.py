"""The tutorial of docs/adding-a-dataset.md, followed to the letter in a copy of the package."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "adding-a-dataset.md").read_text(encoding="utf-8")
# Makes the tiny folder with the function that the tutorial adds to the tests.
MAKE = (
    "import sys; sys.path.insert(0, 'tests'); from pathlib import Path; "
    "from contracts.test_datasets import TINY_FOLDERS; TINY_FOLDERS['solo-videos'](Path('solos'))"
)


def add_lines(path: Path, diff: str) -> None:
    """Insert the added lines of a diff below the line that it shows above them."""
    above, *added = diff.splitlines()
    assert above.startswith(" ") and all(line.startswith("+") for line in added)
    text = path.read_text(encoding="utf-8")
    assert text.count(f"\n{above[1:]}\n") == 1, f"'{path.name}' has no line '{above[1:]}'"
    new = "\n".join([above[1:], *(line[1:] for line in added)])
    path.write_text(text.replace(f"\n{above[1:]}\n", f"\n{new}\n"), encoding="utf-8")


def run(place: Path, *arguments: str) -> str:
    """Run Python in the copy and return its output."""
    environment = os.environ | {"PYTHONPATH": str(place / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=place, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_a_data_set_costs_three_places(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "avsep", tmp_path / "src" / "avsep", ignore=ignored)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    (module,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    name = re.search(r"`(src/avsep/data/\w+\.py)`", PAGE)
    assert name is not None
    (tmp_path / name[1]).write_text(module, encoding="utf-8")
    diffs = re.findall(r"```diff\n(.*?)```", PAGE, flags=re.S)
    places = ["src/avsep/data/__init__.py"] + ["tests/contracts/test_datasets.py"] * 2
    for place, diff in zip(places, diffs, strict=True):
        assert f"`{place}`" in PAGE
        add_lines(tmp_path / place, diff)

    words = ["-q", "-k", "solo-videos or names", "tests/contracts/test_datasets.py"]
    contract = run(tmp_path, "-m", "pytest", *words)
    assert " passed" in contract and "failed" not in contract
    run(tmp_path, "-c", MAKE)
    *_, commands = re.findall(r"```\n(avsep .*?)```", PAGE, flags=re.S)
    outputs = [
        run(tmp_path, "-m", *command.replace("DIR", "solos").split())
        for command in commands.splitlines()
    ]
    check, evaluation, dry_run = outputs
    assert "solos: all is well, 1 note; 7 clips" in check
    assert "mixture" in evaluation and "SDR" in evaluation
    assert re.search(r"3 .* to train on.*, 2 to validate with", dry_run)
