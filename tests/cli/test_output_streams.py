"""Test commands whose stdout or stderr is closed, full, or read by a program that has ended."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avsep.checkpoint import save_checkpoint
from media.making import noise
from separation.brightness import two_tone, video
from tiny_models import tiny_model

FULL = Path("/dev/full")
NO_SPACE = "avsep: the output could not be written to stdout: No space left on device\n"


def closed(*numbers: int) -> dict[str, Any]:
    """Start a command with these of stdin (0), stdout (1) and stderr (2) closed."""

    def close() -> None:
        for number in numbers:
            os.close(number)

    return {"preexec_fn": close}


def start(words: list[str], **streams: Any) -> subprocess.CompletedProcess[str]:
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, "-m", "avsep", *words]
    return subprocess.run(command, text=True, check=False, **options)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two videos and a tiny model."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("a.mkv", "b.mkv"):
        video(folder / name, two_tone(0.25, 0.5, 25), noise(1, 8000))
    save_checkpoint(
        tiny_model("dgfnet"), folder / "m.safetensors", model_name="dgfnet", metadata={}
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closed", "all closed", "full", "broken pipe"])
def test_stems_of_every_video_are_written_whoever_reads(kind: str, place: Path) -> None:
    out = place / f"out of {kind}"
    videos = [str(place / "a.mkv"), str(place / "b.mkv")]
    model = str(place / "m.safetensors")
    words = ["separate", *videos, "--object", "harp@", "--model", model, "-o", str(out)]
    status, error = 0, ""
    if kind == "closed":
        done = start(words, **closed(1))
    elif kind == "all closed":
        done = start(words, **closed(0, 1, 2))
    elif kind == "full":
        with FULL.open("w") as full:
            done = start(words, stdout=full)
        status, error = 2, NO_SPACE
    else:
        reads, writes = os.pipe()
        os.close(reads)
        done = start(words, stdout=writes)
        os.close(writes)
        status = 141
    assert (done.returncode, done.stderr) == (status, error)
    for name in ("a", "b"):
        files = {path.name for path in (out / name).iterdir()}
        assert {"01-harp.wav", "residual.wav", "manifest.json", "report.html"} <= files
    # Nothing that was meant for a closed stream went into the first file with its number.
    assert (out / "a" / "01-harp.wav").read_bytes().startswith(b"RIFF")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "streams", "status", "error"),
    [
        (["models"], closed(1), 0, ""),
        (["--help"], closed(1), 0, ""),
        (["--version"], closed(0, 1), 0, ""),
        (["models", "--json"], closed(2), 0, ""),
        (["separte"], closed(2), 2, ""),
        (["check", "nowhere"], closed(1), 2, "avsep: 'nowhere' does not exist"),
    ],
)
def test_closed_streams_are_no_fault(
    words: list[str], streams: dict[str, Any], status: int, error: str
) -> None:
    done = start(words, **streams)
    assert done.returncode == status
    assert done.stderr.startswith(error) and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == bool(error)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["models", "--json"], ["--help"], ["--version"]])
def test_a_full_disk_is_told(words: list[str]) -> None:
    with FULL.open("w") as full:
        done = start(words, stdout=full)
    assert (done.returncode, done.stderr) == (2, NO_SPACE)


@pytest.mark.slow
def test_errors_that_cannot_be_written_leave_the_exit_code() -> None:
    with FULL.open("w") as full:
        assert start(["check", "nowhere"], stderr=full).returncode == 2


def test_a_terminal_and_a_stream_without_file_are_left_alone(
    capsys: pytest.CaptureFixture[str], run: Callable
) -> None:
    before = sys.stdout
    assert run("--version").code == 0
    assert sys.stdout is before
