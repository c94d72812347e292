"""Test separation on a Ray cluster, started on this machine; skipped where Ray is not installed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.checkpoint import save_checkpoint
from media.making import noise
from separation.brightness import RATE_HZ, two_tone, video
from tiny_models import tiny_model

SOURCE = Path(__file__).resolve().parents[2] / "src"
HAS_RAY = find_spec("ray") is not None
# In a process of its own: Ray opens connections, which tests may not.
CODE = """
import sys, ray
ray.init(num_cpus=2, log_to_driver=False, include_dashboard=False, logging_level="ERROR")
sys.argv[0] = "avsep"
from avsep.cli import main
main()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A model, two videos and a file that is none."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    model = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet"), model, model_name="dgfnet", metadata={})
    video(tmp_path / "in/1.mkv", two_tone(0.25, 0.5, 10), noise(1, 3000))
    # Long enough to be hit while it is separated.
    video(tmp_path / "in/sub/2.mkv", two_tone(0.25, 0.5, 10), noise(1, 120 * RATE_HZ))
    (tmp_path / "in/broken.mp4").write_text("no video")
    return tmp_path


def start(place: Path, *words: str) -> subprocess.Popen:
    arguments = ["separate", "in", "--object", "harp@", "--model", "tiny.safetensors", "--json"]
    program = ["-c", CODE] if "--cluster" in words else ["-m", "avsep"]
    return subprocess.Popen(
        [sys.executable, *program, *arguments, *words],
        cwd=place,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcomes(process: subprocess.Popen) -> dict[str, dict]:
    """Return the last event of each file, and the summary under its name."""
    text, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    events = [json.loads(line) for line in text.splitlines()]
    assert events[-1]["event"] == "summary"
    return {event.get("video", "summary"): event for event in events}


def kill_writers(folder: Path, times: int) -> None:
    """Kill the process that writes into a folder, and so each that does it again."""
    pids: set[int] = set()
    deadline = time.monotonic() + 100
    while len(pids) < times:
        assert time.monotonic() < deadline, f"{len(pids)} processes wrote into {folder}"
        for part in folder.glob(".*.part"):
            pid = int(part.name.split("-")[1])
            if pid not in pids:
                os.kill(pid, signal.SIGKILL)
                pids.add(pid)
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'avsep[cluster]'")
@pytest.mark.parametrize("times", [1, 3])
def test_a_file_whose_worker_is_killed_is_done_again(place: Path, times: int) -> None:
    process = start(place, "--cluster", "-o", "out")
    kill_writers(place / "out" / "sub", times)
    done = outcomes(process)
    assert done["in/1.mkv"]["event"] == "finished" and done["in/broken.mp4"]["event"] == "failed"
    assert done["in/1.mkv"]["folder"] == "out/1"
    if times == 3:
        assert "its worker ended 3 times" in done["in/sub/2.mkv"]["error"]
        return
    assert done["in/sub/2.mkv"]["event"] == "finished"
    assert done["in/sub/2.mkv"]["manifest"]["model"]["name"] == "tiny.safetensors"
    outcomes(start(place, "-o", "here"))
    for name in ("1/01-harp.wav", "1/residual.wav", "sub/2/01-harp.wav", "sub/2/residual.wav"):
        expected, actual = (soundfile.read(place / out / name)[0] for out in ("here", "out"))
        np.testing.assert_array_equal(expected, actual)
    summary = outcomes(start(place, "--cluster", "--resume", "-o", "out"))["summary"]
    assert (summary["done"], summary["skipped"], summary["failed"]) == (0, 2, 1)


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_it_is_named(
    run: Callable, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    words = ["--object", "harp@", "--model", "tiny.safetensors", "-o", "out", "--cluster"]
    done = run("separate", "in", *words)
    assert done.code == 2 and done.err == (
        "avsep: --cluster needs Ray, which is not installed; type: pip install 'avsep[cluster]', "
        "or leave out --cluster and give --jobs N for processes on this machine\n"
    )
    assert not (place / "out").exists()
