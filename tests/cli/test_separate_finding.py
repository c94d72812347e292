"""Test `avsep separate` where objects are found: all of them, by a word, and those not heard."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avsep.checkpoint import save_checkpoint
from avsep.separation.result import Manifest
from avsep.sound.activity import SoundActivity
from avsep.vision.detectors.settings import DetectorSettings
from tiny_models import tiny_model
from vision.toy_detector import ColourDetector, make_two, make_video, use_colours

OUTPUT = ["--preview", "none", "-o", "out"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny DGFNet with random weights and harp, tuba and violin."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet"), path, model_name="dgfnet", metadata={})
    return path


@pytest.fixture
def separate(
    run: Callable, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable:
    """Return a function that separates two.mkv, a red and a blue thing, with some words.

    A violin is heard in it, and no harp.
    """
    monkeypatch.chdir(tmp_path)
    use_colours(monkeypatch, tmp_path / "cache")
    make_two(tmp_path / "two.mkv")
    heard = np.tile(np.array([[0.9, 0.01]], np.float32), (3, 1))
    activity = SoundActivity(heard, 1.0, ("violin", "harp"))
    monkeypatch.setattr("avsep.separation.stream.listen", lambda *_: activity)
    return lambda *words, video="two.mkv": run("separate", video, "--model", model, *words, *OUTPUT)


def manifest() -> Manifest:
    return Manifest.model_validate_json(Path("out/two/manifest.json").read_text())


def test_nothing_given_separates_all_that_are_found(separate: Callable) -> None:
    done = separate()
    assert done.code == 0
    assert "'two.mkv': no objects are given; found, with how sure the detector is: " in done.err
    objects = {item.label: item for item in manifest().objects}
    assert set(objects) == {"red", "blue"} and manifest().settings.detector == "avsep-detector"
    assert objects["blue"].boxes[0].box == pytest.approx((0.5, 0.6, 0.6125, 0.8), abs=0.02)
    # The red one moves.
    boxes = [timed.box for timed in objects["red"].boxes]
    assert boxes[-1][0] - boxes[0][0] > 0.25
    assert {item.file for item in manifest().objects} == {
        f"{number:02}-{item.label}.wav" for number, item in enumerate(manifest().objects, 1)
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "none"], "'two.mkv': no objects are given; give each one with its box"),
        (["--detector", "yolo"], "unknown detector 'yolo'; known: avsep-detector"),
    ],
)
def test_nothing_given_and_nothing_to_find_with_is_one_line(
    separate: Callable, words: list[str], message: str
) -> None:
    done = separate(*words)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    assert not Path("out").exists()


def test_a_picture_without_objects_is_one_line(separate: Callable, tmp_path: Path) -> None:
    make_video(tmp_path / "black.mkv", [np.zeros((90, 160, 3), np.uint8)] * 5)
    done = separate(video="black.mkv")
    assert done.code == 2 and "no objects are given, and none are found; give each" in done.err
    assert done.err.count("\n") == 1 and not Path("out").exists()


def test_a_word_is_looked_for_and_one_with_an_at_sign_is_not(separate: Callable) -> None:
    done = separate("--object", "red", "--object", "blue@")
    assert done.code == 0 and "not found" not in done.err
    red, blue = manifest().objects
    x1, y1, x2, y2 = red.boxes[0].box
    assert 0.08 < x1 < 0.2 and (y1, y2) == pytest.approx((0.1, 0.3), abs=0.02)
    assert x2 - x1 == pytest.approx(0.1125, abs=0.02)
    assert 0.5 < red.confidence < 1 and blue.boxes == () and blue.confidence == 1
    assert separate("--object", "red", "--detector", "none").code == 0
    assert manifest().objects[0].boxes == ()


@pytest.mark.parametrize(
    ("word", "warning"),
    [
        ("gold", "'gold' is not found, so the whole picture is taken\n"),
        ("violet", "unknown label 'violet'; the whole picture is taken"),
    ],
)
def test_a_word_that_is_not_found_is_the_whole_picture(
    separate: Callable, word: str, warning: str
) -> None:
    done = separate("--object", word)
    assert done.code == 0 and warning in done.err
    assert manifest().objects[0].boxes == () and manifest().objects[0].label == word


def test_an_object_that_is_not_heard_is_silent_and_kept_on_request(separate: Callable) -> None:
    words = ["--object", "violin@0,0,0.5,1", "--object", "harp@0.5,0,1,1"]
    done = separate(*words)
    assert done.code == 0 and done.err == (
        "avsep: warning: 'two.mkv': object 2 (harp) is not heard, so that its stem is silent; "
        "separate it all the same with --keep-absent\n"
    )
    violin, harp = manifest().objects
    assert (violin.separated_as, violin.presence_state) == ("model", "present")
    assert violin.presence_probability == pytest.approx(0.9)
    assert violin.presence_over_time == (0.9, 0.9, 0.9)
    assert (harp.separated_as, harp.presence_state, harp.energy_share) == ("silence", "absent", 0)
    assert harp.file == "02-harp.wav" and not manifest().settings.keep_absent
    done = separate(*words, "--keep-absent")
    assert done.code == 0 and not done.err
    assert manifest().settings.keep_absent
    harp = manifest().objects[1]
    assert (harp.separated_as, harp.presence_state) == ("model", "absent")
    assert harp.energy_share > 0


def test_a_label_of_a_detector_is_said_to_be_detected(
    separate: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avsep.vision.detectors.files import load_detection_file

    monkeypatch.setattr(
        "avsep.vision.detectors.registry.load_detector",
        lambda name, *rest: load_detection_file(name, *rest),
    )
    Path("violin.json").write_text('[{"label": "violin", "box": [0, 0, 0.5, 1]}]')
    assert separate("--detector", "violin.json").code == 0
    (violin,) = manifest().objects
    assert (violin.label, violin.category_from) == ("violin", "detected")
    assert separate("--object", "violin", "--detector", "violin.json").code == 0
    assert manifest().objects[0].category_from == "given"


def test_a_detector_without_labels_looks_for_the_models_categories(
    separate: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def load_detector(name: str, device: str, settings: DetectorSettings) -> ColourDetector:
        asked.append(settings.categories)
        return ColourDetector()

    monkeypatch.setattr("avsep.vision.detectors.registry.load_detector", load_detector)
    assert separate("--detector", "owlv2").code == 0
    assert asked == [tuple(tiny_model("dgfnet").settings.categories)]


def test_a_frame_rate_is_for_files_that_count_frames(separate: Callable) -> None:
    rows = [[frame, 0, 0.9, 20, 20, 60, 60] for frame in range(1, 9)]
    np.save("rows.npy", np.array(rows, float))
    Path("rows.labels.txt").write_text("violin\n")
    for words, message in (
        (["--detector", "none", "--object", "violin@"], "no detector looks for objects, so that"),
        (["--object", "violin@"], "detector 'avsep-detector' counts no frames, so that a frame"),
    ):
        done = separate(*words, "--frame-rate", "2")
        assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    done = separate("--object", "violin@", "--detector", "rows.npy", "--frame-rate", "2")
    assert done.code == 0 and manifest().settings.frame_rate_hz == 2


def test_resume_compares_detector_and_what_is_kept(separate: Callable) -> None:
    words = ["--object", "violin@0,0,0.5,1", "--resume"]
    assert separate(*words).code == 0
    assert "complete, skipped" in separate(*words).out
    for more in (["--keep-absent"], ["--detector", "none"]):
        assert "skipped" not in separate(*words, *more).out
        assert "complete, skipped" in separate(*words, *more).out
    assert manifest().settings.detector == "none" and not manifest().settings.keep_absent
