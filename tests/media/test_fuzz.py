"""Corrupted bytes never crash or hang a decoder: each file in a child process with a time limit."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from media.making import Track, Video, make, noise
from media.test_truncation import FILES

_SECONDS_FOR_ALL = 60
_CASES = 25  # of each file in the quick tests
_SLOW_CASES = 205
_CODE = """
import sys
import faulthandler
from pathlib import Path
import numpy as np
from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.frames import FrameSettings, read_frames
from avsep.media.probe import probe
from media.test_awkward_files import tamper

faulthandler.enable()
folder, begin, end = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
skip = FrameSettings(on_damage="skip", longest_side_pixels=32)
readers = (
    lambda source: read_audio(source, on_damage="skip", align="picture"),
    lambda source: read_audio(source, track="mix"),
    lambda source: read_frames(source, [0.0, 1.9], skip),
    probe,
)
for path in sorted(folder.iterdir()):
    content = path.read_bytes()
    for seed in range(begin, end):
        # Told before it is read: after a crash it is the last line.
        print(path.name, seed, flush=True)
        changed = tamper(content, np.random.default_rng([seed, int(path.stem)]))
        for read in readers:
            try:
                read(changed)
            except InputError as error:
                assert "\\n" not in str(error), error
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second in each container; the files are numbered."""
    folder = tmp_path_factory.mktemp("whole")
    shades = np.random.default_rng(0).integers(0, 256, (8, 48, 64, 3), dtype=np.uint8)
    for number, (ending, codec, picture_codec, options) in enumerate(FILES.values()):
        rate_hz = 48000 if codec in ("libopus", "mp2") else 16000
        videos = []
        if picture_codec is not None:
            fast = {"preset": "ultrafast", "g": "4"} if picture_codec == "libx264" else {"g": "4"}
            videos = [Video(list(shades), Fraction(16), picture_codec, options=fast)]
        track = Track(noise(2, rate_hz // 2), rate_hz, "stereo", codec)
        make(folder / f"{number:02}{ending}", videos, [track], options)
    return folder


def _run(folder: Path, begin: int, end: int, limit_seconds: float) -> None:
    command = [sys.executable, "-c", _CODE, str(folder), str(begin), str(end)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_seconds)
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"no end within {limit_seconds} s at (file, seed) {_last_line(error.stdout)}")
    assert _last_line(done.stdout) == "done", (
        f"ended by {done.returncode} at (file, seed) {_last_line(done.stdout)}: "
        f"{done.stderr[-3000:]}"
    )


def _last_line(output: str | bytes | None) -> str:
    text = output.decode() if isinstance(output, bytes) else output or "none"
    return text.strip().splitlines()[-1]


def test_corrupted_files_are_read_or_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    _run(folder, 0, _CASES, _SECONDS_FOR_ALL)


@pytest.mark.slow
def test_many_corrupted_files_are_read_or_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    for begin in range(_CASES, _SLOW_CASES, 20):
        _run(folder, begin, begin + 20, 2 * _SECONDS_FOR_ALL)
