"""What README and docs tell people to type works, offline, in the order in which it is read."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# A word in capitals stands for something of the reader's: such a line is a pattern, not a command.
PLACEHOLDER = re.compile(r"\b(DIR|FILE|NAME|OUT|N|S)\b")
ALONE = ("models", "doctor")


def commands(page: Path) -> list[str]:
    """Every complete avsep command of a page."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"`(avsep [^`\n]+)`", text)
    for block in re.findall(r"```\n(.*?)```", text, flags=re.S):
        for line in block.splitlines():
            match = re.match(r"(?:\.venv/bin/)?(avsep [^#]+)", line.strip())
            if match:
                found.append(match[1].strip())
    # A name alone is a command's name in a sentence, but for the two that need no more.
    complete = [line for line in found if len(line.split()) > 2 or line.split()[1] in ALONE]
    return [command for command in complete if not PLACEHOLDER.search(command)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, but for the sound files that `avsep score` is shown with."""
    folder = tmp_path_factory.mktemp("reader")
    generator = np.random.default_rng(0)
    for names in (("a", "x"), ("b", "y")):
        truth = 0.1 * generator.standard_normal(16000)
        for name, noise in zip(names, (0, 0.01), strict=True):
            waveform = truth + noise * generator.standard_normal(16000)
            soundfile.write(folder / f"{name}.wav", waveform, 16000)
    return folder


@pytest.mark.slow
def test_every_command_runs(folder: Path) -> None:
    lines = [line for page in PAGES for line in commands(page)]
    assert len(lines) >= 6, f"too few commands found: {lines}"
    for line in dict.fromkeys(lines):
        words = shlex.split(line)
        program = [sys.executable, "-c", "from avsep.cli import main; main()", *words[1:]]
        done = subprocess.run(program, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (folder / "out" / "demo" / "report.html").stat().st_size > 100_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples_run(page: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
        subprocess.run([sys.executable, "-c", block], check=True, capture_output=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_nothing_private_is_committed() -> None:
    """No path of a machine, and no folder that only its authors have, stands in a tracked file."""
    listed = subprocess.run(
        ["git", "grep", "-lE", r"(\.\./shared|/work/|/home/[a-z]|/root/)", "--", ".", ":!tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert listed.stdout == ""
