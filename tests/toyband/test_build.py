"""Test making many clips: stopping, resuming, and one clear error for what cannot be made."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from avsep.errors import InputError
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.folder import ClipPaths
from avsep.toyband.material import Material
from avsep.toyband.pictures.performers import PictureSettings
from interruptible import accept_sigint

SMALL = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
SETTINGS = ToybandSettings(
    clip_seconds=1, pictures=SMALL, num_performers=(1,), offscreen_player_probability=0
)


def make(folder: Path, num_clips: int = 1, seed: int = 0, **changes: object) -> list[str]:
    settings = SETTINGS.model_copy(update=changes)
    return list(make_toyband(folder, num_clips, seed, settings, Material.read(), num_workers=1))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_an_unfinished_clip_is_removed_and_made_again(tmp_path: Path) -> None:
    make(tmp_path / "uninterrupted", 2)
    folder = tmp_path / "stopped"
    make(folder, 1)
    beside = ClipPaths(folder, "000002").clip_folder
    beside.mkdir()
    (beside / ".0a1b2c.part").write_bytes(b"half a video")
    (beside / "000002.mp4").write_bytes(b"a video whose clip was not done")
    make(folder, 2)
    assert digests(folder) == digests(tmp_path / "uninterrupted")


@pytest.mark.slow
def test_a_clip_that_cannot_be_written_is_named_and_leaves_no_video(tmp_path: Path) -> None:
    make(tmp_path, 1)
    (tmp_path / "000002").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write clip 000002 into '.*': .*Not a directory"):
        make(tmp_path, 2)
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["000001.mp4"]


@pytest.mark.slow
def test_too_few_instruments_are_an_error_before_anything_is_written(tmp_path: Path) -> None:
    tuba = {"categories": ("tuba",), "num_performers": (1, 1, 1, 1, 2)}
    with pytest.raises(InputError, match="2 different instruments are needed and there are 1"):
        make(tmp_path / "band", 1, **tuba)
    assert not (tmp_path / "band").exists()
    with pytest.raises(
        InputError, match="num_performers and set offscreen_player_probability to 0"
    ):
        make(tmp_path / "band", 1, categories=("tuba",), offscreen_player_probability=0.01)
    assert make(tmp_path / "band", 1, **tuba, same_category_probability=1.0) == ["000001"]


@pytest.mark.slow
def test_a_recipe_without_clips_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "toyband.toml").write_bytes(b"\xff of a run that made nothing")
    make(tmp_path, 1, seed=3)
    assert (tmp_path / "toyband.toml").read_text().startswith("# Made with --seed 3 ")
    with pytest.raises(InputError, match="holds clips of another seed, recipe or material"):
        make(tmp_path, 1, seed=4)


@pytest.mark.parametrize("name", ["x" * 300, "letter.txt", "letter.txt/band"])
def test_folders_that_cannot_be_are_one_clear_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="cannot make the folder"):
        make(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "rate_hz"), [(64, 64, 1), (101, 67, 29.97), (1024, 64, 2), (64, 720, 3)]
)
def test_odd_pictures_become_clips(tmp_path: Path, width: int, height: int, rate_hz: float) -> None:
    pictures = PictureSettings(width_pixels=width, height_pixels=height, frame_rate_hz=rate_hz)
    # With this seed a distractor is drawn on the floor, which is outside of the widest picture.
    assert make(tmp_path, 1, seed=0, pictures=pictures, num_performers=(3,)) == ["000001"]


@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_broken_note_ends_the_run_with_its_name(tmp_path: Path, num_workers: int) -> None:
    (tmp_path / "notes" / "violin").mkdir(parents=True)
    broken = np.full(4000, np.nan, dtype=np.float32)
    soundfile.write(tmp_path / "notes" / "violin" / "060_000.wav", broken, 44_100, "FLOAT")
    material = Material.read(sounds=tmp_path / "notes")
    clips = make_toyband(tmp_path / "band", 4, 0, SETTINGS, material, num_workers=num_workers)
    with pytest.raises(InputError, match=r"060_000\.wav is silent or not finite"):
        list(clips)
    assert not list((tmp_path / "band").glob("*.mp4"))


def start_run(folder: Path) -> subprocess.Popen[str]:
    """Start a process with two workers, and return it when its first clip is complete."""
    code = (
        "import sys; from avsep.cli import main; "
        "sys.argv = ['avsep', 'toyband', sys.argv[1], '--clips=12', '--workers=2', "
        "'--set=pictures.width_pixels=96', '--set=pictures.height_pixels=64']; "
        "(__name__ == '__main__') and main()"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=accept_sigint,
    )
    deadline = time.monotonic() + 60
    while not list(folder.glob("*.mp4")):
        assert run.poll() is None and time.monotonic() < deadline, "no clip was made"
        time.sleep(0.05)
    return run


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="signals to a group of processes")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_ends_its_workers_and_can_be_resumed(
    tmp_path: Path, how: signal.Signals
) -> None:
    run = start_run(tmp_path / "stopped")
    if how == signal.SIGKILL:  # to the parent process alone, not to its workers
        os.kill(run.pid, how)
    else:  # to the process group, as a terminal does
        os.killpg(run.pid, how)
    # Reading ends only when every worker has ended, because workers inherit both pipes.
    _, errors = run.communicate(timeout=20)
    assert run.returncode == (-9 if how == signal.SIGKILL else 130)
    assert "Traceback" not in errors
    num_complete = len(list((tmp_path / "stopped").glob("*.mp4")))
    assert 1 <= num_complete < 12
    settings = ToybandSettings(pictures=PictureSettings(width_pixels=96, height_pixels=64))
    for name in ("stopped", "uninterrupted"):
        list(make_toyband(tmp_path / name, 12, 0, settings, Material.read(), num_workers=1))
    assert digests(tmp_path / "stopped") == digests(tmp_path / "uninterrupted")
