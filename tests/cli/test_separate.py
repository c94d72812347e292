"""Test `avsep separate`: a folder of stems from a video, and one-line errors."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsep.checkpoint import save_checkpoint
from avsep.separation.result import Manifest
from media.making import Track, Video, make, noise
from separation.brightness import two_tone, video
from tiny_models import tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny DGFNet with random weights, at 8,000 Hz."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet"), path, model_name="dgfnet", metadata={"recipe": "none"})
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    video(tmp_path / "duet.mkv", two_tone(0.25, 0.5, 25), noise(2, 22_050), 22_050, "stereo")
    return tmp_path


def test_a_video_becomes_stems(run: Callable, place: Path, model: Path) -> None:
    words = ["--object", "fiddle@0,0,0.5,1", "--object", "kazoo@0.5,0,1,1", "--model", model]
    done = run("separate", "duet.mkv", *words, "-o", "out")
    assert done.code == 0 and done.err.count("warning") == 1
    manifest = Manifest.model_validate_json((place / "out/duet/manifest.json").read_text())
    first, second = manifest.objects
    assert (first.file, first.category, first.category_from) == ("01-fiddle.wav", "violin", "given")
    assert second.category_from == "predicted" and second.label == "kazoo" and second.category
    assert (manifest.sample_rate_hz, manifest.num_channels, manifest.num_samples) == (
        22_050, 2, 22_050,
    )  # fmt: skip
    assert manifest.model.system == "dgfnet" and manifest.model.metadata == {"recipe": "none"}
    assert "01-fiddle.wav" in done.out and "given" in done.out and "predicted" in done.out
    page = (place / "out/duet/report.html").read_text(encoding="utf-8")
    assert page.count("gate, mean") == 4  # a picture and its text for each of two objects


@pytest.mark.slow
def test_json_is_a_line_for_each_event_and_a_failure_is_exit_2(
    run: Callable, place: Path, model: Path
) -> None:
    (place / "empty.mp4").touch()
    words = ["--object", "kazoo@", "--model", model, "--rate", "model", "--json"]
    done = run("separate", "empty.mp4", "duet.mkv", *words, "-o", "out")
    assert done.code == 2
    error, warning = done.err.splitlines()
    assert error == "avsep: 'empty.mp4' is empty (0 bytes); give a sound or video file"
    assert warning.startswith("avsep: warning: 'duet.mkv': 'kazoo' is not a category")
    lines = [json.loads(line) for line in done.out.splitlines()]
    events = [line["event"] for line in lines]
    assert [event for event in events if event != "progress"] == [
        "started", "failed", "started", "warning", "finished", "summary",
    ]  # fmt: skip
    by_event = {line["event"]: line for line in lines}
    assert by_event["failed"]["video"] == "empty.mp4" and "is empty" in by_event["failed"]["error"]
    assert "'kazoo' is not a category" in by_event["warning"]["message"]
    stages = {line["stage"] for line in lines if line["event"] == "progress"}
    assert stages == {"listening", "separating", "preview"}
    assert {line["video"] for line in lines if line["event"] == "progress"} == {"duet.mkv"}
    written = by_event["finished"]
    assert written["manifest"]["sample_rate_hz"] == 8000
    assert all((place / written["folder"] / name).is_file() for name in written["files"])
    assert not (place / "out" / "empty").exists()
    summary = by_event["summary"]
    assert (summary["done"], summary["skipped"], summary["failed"]) == (1, 0, 1)
    assert summary["sound_seconds"] == 1 and summary["real_time_factor"] > 0


@pytest.mark.slow
def test_resume_and_the_summary_are_told_in_words(run: Callable, place: Path, model: Path) -> None:
    (place / "in" / "sub").mkdir(parents=True)
    for name in ("in/1.mkv", "in/sub/2.mkv"):
        (place / name).write_bytes((place / "duet.mkv").read_bytes())
    words = ["separate", "in", "--object", "harp@", "--model", model, "-o", "out", "--resume"]
    assert run(*words).code == 0
    (place / "out/sub/2/report.html").unlink()
    done = run(*words)
    assert done.code == 0 and not done.err
    lines = done.out.splitlines()
    assert lines[0] == "out/1: complete, skipped" and lines[1] == "out/sub/2"
    assert re.fullmatch(
        r"2 files: 1 separated, 1 skipped, 0 failed, in [\d.]+ s, [\d.]+ times the length of their "
        "sound",
        lines[-1],
    )


@pytest.mark.slow
def test_an_unknown_word_is_a_warning(run: Callable, place: Path, model: Path) -> None:
    done = run("separate", "duet.mkv", "--object", "kazoo@", "--model", model, "-o", "out")
    assert done.code == 0
    assert done.err == (
        "avsep: warning: 'duet.mkv': 'kazoo' is not a category of this model, so the category is "
        "predicted from the picture; known: harp, tuba, violin\n"
    )


@pytest.mark.slow
def test_words_and_quality_reach_the_model(run: Callable, place: Path) -> None:
    save_checkpoint(
        tiny_model("davis-flow"), place / "d.safetensors", model_name="davis-flow", metadata={}
    )
    words = ["--object", "@0.5,0,1,1", "--text", "fiddle", "--model", "d.safetensors"]
    done = run("separate", "duet.mkv", *words, "--quality", "best", "-o", "out")
    assert done.code == 0
    assert re.search(r"01-object.wav[^\w-]+-[^\w-]+-", done.out) and "text category" in done.out
    manifest = Manifest.model_validate_json((place / "out/duet/manifest.json").read_text())
    assert [item.file for item in manifest.objects] == ["01-object.wav", "02-fiddle.wav"]
    assert (
        manifest.objects[1].prompt_kind == "text category" and manifest.settings.quality == "best"
    )
    alone = run("separate", "duet.mkv", "--text", "tuba", "--model", "d.safetensors", "-o", "out")
    assert alone.code == 0 and (place / "out/duet/01-tuba.wav").is_file()


@pytest.mark.slow
def test_objects_come_from_a_file_or_the_one_beside(
    run: Callable, place: Path, model: Path
) -> None:
    words = ["separate", "duet.mkv", "--model", model, "--detector", "none", "-o", "out"]
    done = run(*words)
    assert done.code == 2 and done.err.startswith(
        "avsep: 'duet.mkv': no objects are given; give each one"
    )
    assert done.err.count("\n") == 1 and not (place / "out").exists()
    (place / "duet").mkdir()
    (place / "duet" / "objects.json").write_text('[{"label": "harp"}]')
    assert run(*words).code == 0 and (place / "out/duet/01-harp.wav").is_file()
    (place / "two.json").write_text('[{"label": "violin"}, {"label": "violin"}]')
    assert run(*words, "--objects", "two.json").code == 0
    assert (place / "out/duet/02-violin.wav").is_file()
    assert not (place / "out/duet/01-harp.wav").exists()
    assert run(*words, "--objects", "two.json", "--object", "harp@").code == 0
    assert not (place / "out/duet/02-violin.wav").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--object", "harp@1,0,0,1"], "--object 'harp@1,0,0,1': '1,0,0,1' is not a box; write x1"),
        (["--object", "harp", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["--object", "harp", "--model", "nothing"], "unknown model 'nothing'"),
        (["--object", "harp", "--seed", str(2**70)], "avsep separate: seed: Input should be less"),
        (["--object", "objects.json"], "write --objects objects.json, in Python pathlib.Path("),
        (["--objects", "nothing.json"], "cannot read objects from 'nothing.json'"),
        (["--text", "harp"], "takes no text prompts, such as 'harp': give the object with its box"),
        (["--text", "harp@0,0,1,1"], "a text prompt has no box; write --object 'harp@0,0,1,1'"),
    ],
)
def test_wrong_words_are_one_line_and_leave_nothing(
    run: Callable, place: Path, model: Path, words: list[str], message: str
) -> None:
    known = [] if "--model" in words else ["--model", model]
    done = run("separate", "duet.mkv", *known, *words, "-o", "out")
    assert done.code == 2 and done.err.startswith("avsep: ") and message in done.err
    assert done.err.count("\n") == 1 and not (place / "out").exists()


@pytest.mark.parametrize(
    ("option", "allowed"),
    [("--quality", ["fast", "balanced", "best"]), ("--rate", ["native", "model"])],
)
def test_a_choice_that_there_is_not_names_those_there_are(
    run: Callable, place: Path, model: Path, option: str, allowed: list[str]
) -> None:
    done = run("separate", "duet.mkv", "--model", model, option, "good", "-o", "out")
    assert done.code == 2 and not (place / "out").exists()
    names = " or ".join(", ".join(map(repr, allowed)).rsplit(", ", 1))
    name = option.removeprefix("--")
    assert done.err == (f"avsep: avsep separate: {name}: Input should be {names}; given: 'good'\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [("sound", "has no sound: streams: 1 video"), ("pictures", "has no pictures, which model '")],
)
def test_half_a_video_is_told(
    run: Callable, place: Path, model: Path, kind: str, message: str
) -> None:
    if kind == "sound":
        make(place / "half.mkv", [Video(two_tone(0, 1, 5))])
    else:
        make(place / "half.mkv", [], [Track(np.zeros((1, 1600), np.float32))])
    done = run("separate", "half.mkv", "--object", "harp@", "--model", model, "-o", "out")
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    assert not (place / "out").exists()
