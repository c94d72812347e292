"""Test `avsep objects`: the files it writes, its table and JSON, warnings and errors."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsep.cli.objects import objects
from avsep.media.objects_file import read_objects
from avsep.vision.finding import FindSettings
from vision.toy_detector import draw, make_two, make_video, moving, use_colours


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a video of two things and a black one, and a detector of colours."""
    monkeypatch.chdir(tmp_path)
    use_colours(monkeypatch, tmp_path / "cache")
    make_two(tmp_path / "two.mkv")
    make_video(tmp_path / "black.mkv", [np.zeros((90, 160, 3), np.uint8)] * 5)
    return tmp_path


def test_files_and_table(run: Callable, place: Path) -> None:
    done = run("objects", "two.mkv", "-o", "out", "--every", "1")
    assert done.code == 0 and not done.err
    assert "out/two" in done.out and "confidence" in done.out
    rows = [line for line in done.out.splitlines() if "│ 0" in line]
    assert len(rows) == 2 and any(
        "red" in row and "0.5 s" in row and "3.5 s" in row for row in rows
    )
    assert sorted(path.name for path in (place / "out/two").iterdir()) == [
        "objects.json", "objects.png", "strip.png",
    ]  # fmt: skip
    assert {item.label for item in read_objects(place / "out/two/objects.json")} == {"red", "blue"}
    with Image.open(place / "out/two/objects.png") as image:
        picture = np.asarray(image)
    assert picture.shape == (90, 160, 3)
    assert (np.abs(picture.astype(int) - (230, 159, 0)).max(-1) < 10).sum() > 100  # first colour
    # Four pictures side by side.
    with Image.open(place / "out/two/strip.png") as strip:
        assert strip.size == (4 * 160, 90)


def test_separate_reads_the_objects_that_are_beside_a_video(run: Callable, place: Path) -> None:
    assert run("objects", "two.mkv", "-o", ".").code == 0
    assert len(read_objects(place / "two" / "objects.json")) == 2


def test_words_and_json(run: Callable, place: Path) -> None:
    done = run("objects", "two.mkv", "black.mkv", "-o", "out", "--find", "red", "--json")
    assert done.code == 0
    first, second = json.loads(done.out)
    assert [item["label"] for item in first["objects"]] == ["red"]
    assert first["files"] == ["objects.png", "objects.json"] and first["error"] is None
    assert second["objects"] == [] and second["warnings"][0].startswith("no 'red' found by")
    assert (
        done.err.startswith("avsep: warning: 'black.mkv': no 'red' found")
        and done.err.count("\n") == 1
    )
    assert read_objects(place / "out/black/objects.json") == ()


def test_an_edited_file_is_not_lost(run: Callable, place: Path) -> None:
    path = place / "out/two/objects.json"
    run("objects", "two.mkv", "-o", "out")
    before = path.read_text()
    run("objects", "two.mkv", "-o", "out")
    assert not path.with_name("objects.before.json").exists()
    path.write_text('[{"label": "mine"}]')
    run("objects", "two.mkv", "-o", "out")
    assert path.read_text() == before
    assert path.with_name("objects.before.json").read_text() == '[{"label": "mine"}]'


def test_a_file_that_fails_ends_no_other(run: Callable, place: Path) -> None:
    (place / "broken.mkv").write_bytes(b"no video")
    done = run("objects", "broken.mkv", "two.mkv", "-o", "out")
    assert done.code == 2 and done.err.count("\n") == 1 and "broken.mkv" in done.err
    assert not (place / "out/broken").exists() and (place / "out/two/objects.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["two.mkv", "--detector", "x"], "unknown detector 'x'"),
        (["two.mkv", "--find", "kazoo"], "unknown label 'kazoo'"),
        (["two.mkv", "--find", ""], "is no word to look for"),
        (["two.mkv", "--start", "9"], "has no picture from 9 s to its end; it is 4 s long"),
        (["*.avi"], "no file matches '*.avi'"),
        (["two.mkv", "-o", "two.mkv"], "cannot make a folder in 'two.mkv'"),
        (["two.mkv", "-o", "stems"], "contains a result of avsep separate"),
    ],
)
def test_bad_input_is_one_line(run: Callable, place: Path, words: list[str], message: str) -> None:
    (place / "stems/two").mkdir(parents=True)
    (place / "stems/two/manifest.json").write_text('{"made_by": "avsep separate"}')
    before = {path for path in place.rglob("*") if "cache" not in path.parts}
    done = run("objects", *words, *(() if "-o" in words else ("-o", "out")))
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1 and not done.out
    assert {path for path in place.rglob("*") if "cache" not in path.parts} == before


def test_videos_of_one_name(run: Callable, place: Path) -> None:
    (place / "other").mkdir()
    (place / "other/two.mkv").write_bytes((place / "two.mkv").read_bytes())
    assert run("objects", "two.mkv", "other/two.mkv", "-o", "out").code == 0
    assert sorted(path.name for path in (place / "out").iterdir()) == ["two", "two-2"]


def test_defaults_are_those_of_the_settings() -> None:
    defaults = {name: item.default for name, item in inspect.signature(objects).parameters.items()}
    settings = FindSettings()
    assert defaults["detector"] == settings.detector and defaults["most"] == settings.most_objects
    assert defaults["rate"] == settings.sample_rate_hz
    assert defaults["threshold"] == settings.least_score
    assert defaults["align"] == settings.align and defaults["audio_track"] == settings.audio_track
    assert defaults["frame_rate"] == settings.frame_rate_hz


def test_times_are_those_of_separate_with_the_same_track_and_start(
    run: Callable, place: Path
) -> None:
    pictures = [draw([("red", moving(0.1, 0.1))], k / 5) for k in range(20)]
    make_video(place / "late.mkv", pictures, sound_start_seconds=1.0)
    for words, seconds in (([], 3.5), (["--align", "sound"], 2.5)):
        assert run("objects", "late.mkv", "-o", "out", *words).code == 0
        (red,) = read_objects(place / "out/late/objects.json")
        assert red.boxes[-1].time_seconds == pytest.approx(seconds, abs=0.05)
    for words, message in (
        (["--audio-track", "2"], "has no audio track '2'"),
        (["--align", "left"], "align: Input should be 'sound' or 'picture'"),
        (["--frame-rate", "8"], "detector 'avsep-detector' counts no frames"),
    ):
        done = run("objects", "late.mkv", "-o", "out", *words)
        assert done.code == 2 and message in done.err and done.err.count("\n") == 1
