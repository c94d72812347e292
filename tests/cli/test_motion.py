"""Test `avsep motion`: features for clips without them, and a line for each failure."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data.prepared_folder import make_prepared

CLIPS = ("acoustic_guitar/a", "erhu/b", "violin/c")


def motion_file(folder: Path, clip: str) -> Path:
    return folder / "features" / "motion" / f"{clip}.npy"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three solos; the last two have no motion features."""
    monkeypatch.chdir(tmp_path)
    make_prepared(tmp_path / "solos")
    for clip in CLIPS[1:]:
        motion_file(tmp_path / "solos", clip).unlink()
    return tmp_path


@pytest.mark.slow
def test_it_goes_on_where_it_was(run: Callable, place: Path, i3d_file: Path) -> None:
    files = [motion_file(place / "solos", clip) for clip in CLIPS]
    before = files[0].read_bytes()
    (place / "solos" / "frames" / "violin" / "c" / "000001.png").write_bytes(b"broken")
    first = run("motion", "solos", "--weights", i3d_file)
    assert first.code == 2
    assert first.out == "motion features of 1 clips written into solos; 1 clips had them already\n"
    assert first.err.startswith("avsep: clip 'violin/c': cannot read the picture 'solos/frames/vio")
    assert first.err.count("\n") == 1
    assert files[0].read_bytes() == before and not files[2].exists()
    (place / "solos" / "frames" / "violin" / "c" / "000001.png").unlink()
    index = place / "solos" / "index.csv"
    index.write_text(index.read_text().replace("c,violin,,4,12,", "c,violin,,4,,"))
    made = files[1].stat().st_mtime_ns
    second = run("motion", "solos", "--weights", i3d_file, "--json")
    assert second.code == 0 and not second.err
    assert json.loads(second.out) == {
        "kept": 2,
        "clips": [
            {"clip": "violin/c", "file": "solos/features/motion/violin/c.npy", "error": None}
        ],
    }
    assert files[1].stat().st_mtime_ns == made
    third = run("motion", "solos", "--weights", i3d_file)
    assert third.out == "motion features of 0 clips written into solos; 3 clips had them already\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["solos", "--weights", "nothing.pt"], "'nothing.pt' is not a file; give the path of the"),
        (["solos", "--weights", "solos/index.csv"], "cannot be read as weights"),
        (["band", "--weights", "nothing.pt"], "'band' holds no index.csv, the list of a prepared"),
        (["empty", "--weights", "nothing.pt"], "'empty' holds no index.csv, the list of a prepa"),
        (["nowhere", "--weights", "nothing.pt"], "other folders cannot store motion features"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(
    run: Callable, place: Path, words: list[str], message: str
) -> None:
    (place / "empty").mkdir()
    (place / "band").mkdir()
    (place / "band" / "000001.mp4").touch()
    before = sorted(place.rglob("*"))
    done = run("motion", *words)
    assert done.code == 2 and not done.out
    assert done.err.startswith("avsep: ") and message in done.err and done.err.count("\n") == 1
    assert sorted(place.rglob("*")) == before


@pytest.mark.slow
def test_a_device_that_is_not_there(run: Callable, place: Path, i3d_file: Path) -> None:
    done = run("motion", "solos", "--weights", i3d_file, "--device", "abacus")
    assert done.code == 2 and "device 'abacus' cannot be used" in done.err
