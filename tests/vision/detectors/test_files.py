"""Detections in files: the objects of the right time, in the right place, with their words."""

import json
from pathlib import Path

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.vision.detectors.base import Detector
from avsep.vision.detectors.registry import load_detector
from avsep.vision.detectors.settings import DetectorSettings

HEIGHT, WIDTH = 40, 80
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
LEFT, RIGHT = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]
# Frame, class, confidence, x1, y1, x2, y2 in pixels.
ROWS = [
    [1, 0, 0.9, 0, 0, 40, 40],
    [1, 1, 0.6, 40, 0, 80, 40],
    [3, 1, 0.8, 0, 0, 40, 40],
    [3, 1, 0.7, 2, 0, 40, 40],
    [9, 0, 0.5, 40, 0, 80, 40],
]


def load(path: Path, **settings: object) -> Detector:
    return load_detector(str(path), "cpu", DetectorSettings.model_validate(settings))


def at(detector: Detector, *times: float, words: tuple[str, ...] = ()) -> list[list[tuple]]:
    """Return label, box and score of the objects at each time."""
    found = detector.detect([PICTURE] * len(times), list(times), words)
    return [
        [
            (label, np.round(box, 4).tolist(), round(float(score), 4))
            for label, box, score in zip(each.labels, each.boxes, each.scores, strict=True)
        ]
        for each in found
    ]


# objects.json


def write_objects(folder: Path, objects: object) -> Path:
    (folder / "objects.json").write_text(json.dumps(objects), encoding="utf-8")
    return folder / "objects.json"


def test_boxes_of_objects_json_are_interpolated_and_held(tmp_path: Path) -> None:
    boxes = [{"time_seconds": 1, "box": LEFT}, {"time_seconds": 3, "box": RIGHT}]
    path = write_objects(
        tmp_path, [{"label": "violin", "boxes": boxes, "confidence": 0.5}, {"label": "drum"}]
    )
    detector = load(path)
    assert detector.labels == ("violin", "drum") and not detector.finds_any_word
    drum = ("drum", [0, 0, 1, 1], 1)
    assert at(detector, 0, 2, 9) == [
        [drum, ("violin", LEFT, 0.5)],
        [drum, ("violin", [0.25, 0, 0.75, 1], 0.5)],
        [drum, ("violin", RIGHT, 0.5)],
    ]
    assert at(detector, 0, words=("Violin",)) == [[("violin", LEFT, 0.5)]]
    assert at(load(path, least_score=0.6), 0) == [[drum]]
    with pytest.raises(InputError, match=r"unknown label of '.*' 'viola'; did you mean 'violin'"):
        at(detector, 0, words=("viola",))


def test_objects_of_the_user_are_no_duplicates(tmp_path: Path) -> None:
    """A singer with a guitar may have one box for both."""
    path = write_objects(
        tmp_path, [{"label": "voice", "box": LEFT}, {"label": "guitar", "box": LEFT}, {"box": LEFT}]
    )
    assert [label for label, *_ in at(load(path), 0)[0]] == ["voice", "guitar", "object"]


def test_no_objects_and_broken_files(tmp_path: Path) -> None:
    assert at(load(write_objects(tmp_path, [])), 0.0, 1.0) == [[], []]
    (tmp_path / "broken.json").write_text("[{", encoding="utf-8")
    with pytest.raises(InputError, match=r"broken\.json' is not JSON"):
        load(tmp_path / "broken.json")
    with pytest.raises(InputError, match="holds no detections; give objects"):
        load(write_objects(tmp_path, {"label": "violin"}))


# Rows in .npy


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    np.save(tmp_path / "clip.mp4.npy", np.array(ROWS, np.float32))
    (tmp_path / "clip.mp4.labels.txt").write_text("violin\ncello\n", encoding="utf-8")
    return tmp_path / "clip.mp4.npy"


def test_rows_of_the_nearest_frame(rows: Path) -> None:
    """Frames 1, 3, 9 of two a second are at 0, 1 and 4 s."""
    detector = load(rows, frame_rate_hz=2)
    assert detector.labels == ("violin", "cello")
    first = [("violin", LEFT, 0.9), ("cello", RIGHT, 0.6)]
    second = [("cello", LEFT, 0.8)]  # the other is its duplicate
    third = [("violin", RIGHT, 0.5)]
    assert at(detector, 0, 0.4, 0.6, 1.9, 2.5, 3.2, 5, 5.5) == [
        first, first, second, second, [], third, third, [],
    ]  # fmt: skip
    assert at(detector, 0, words=("cello",)) == [first[1:]]
    assert at(load(rows, frame_rate_hz=2, least_score=0.7), 0.0) == [first[:1]]


def test_rows_in_frames_of_another_size(rows: Path) -> None:
    half = load(rows, frame_rate_hz=2, frame_size=(160, 80))
    assert at(half, 0)[0][0] == ("violin", [0, 0, 0.25, 0.5], 0.9)
    # Without a size, boxes are in pixels of the pictures, which must come as they are.
    assert (
        half.longest_side_pixels == 64 and load(rows, frame_rate_hz=2).longest_side_pixels is None
    )
    with pytest.raises(InputError, match="row 2 has a box outside the frames, which are 40x40"):
        at(load(rows, frame_rate_hz=2, frame_size=(40, 40)), 0)


def test_labels_of_classes(rows: Path) -> None:
    given = load(rows, frame_rate_hz=2, labels=("oboe",))
    assert [label for label, *_ in at(given, 0)[0]] == ["oboe", "class 1"]


def test_detections_of_one_picture_hold_for_the_whole_video(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.array(ROWS[:1], np.float32))
    assert at(load(tmp_path / "one.npy"), 0, 99) == [[("class 0", LEFT, 0.9)]] * 2
    np.save(tmp_path / "none.npy", np.zeros((0, 7), np.float32))
    assert at(load(tmp_path / "none.npy"), 0, 99) == [[], []]


def test_frames_without_a_rate(rows: Path) -> None:
    with pytest.raises(
        InputError, match="counts frames, and their rate is not given: give frame_r"
    ):
        load(rows)


def test_arrays_that_would_run_code_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "bad.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"is no array of numbers in \.npy"):
        load(tmp_path / "bad.npy")


# COCO's JSON


def coco(first: int = 1) -> dict:
    """Three frames; the second is without objects."""
    images = [
        {"id": 70 + number, "file_name": f"clip/{first + number:06}.jpg", "width": 80, "height": 40}
        for number in range(3)
    ]
    annotations = [
        {"id": 1, "image_id": 70, "category_id": 5, "bbox": [0, 0, 40, 40], "score": 0.9},
        {"id": 2, "image_id": 72, "category_id": 8, "bbox": [40, 0, 40, 40]},
        {"id": 3, "image_id": 72, "category_id": 8, "bbox": [0, 0, 80, 40], "iscrowd": 1},
    ]
    categories = [{"id": 5, "name": "violin"}, {"id": 8, "name": "cello", "supercategory": "x"}]
    return {"images": images, "annotations": annotations, "categories": categories, "info": {}}


def write_coco(folder: Path, content: object) -> Path:
    (folder / "coco.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / "coco.json"


@pytest.mark.parametrize("first", [0, 1])
def test_images_of_coco_are_at_the_times_of_their_frames(tmp_path: Path, first: int) -> None:
    """At frame 1 nothing was found: the objects of the frames beside it are not there."""
    detector = load(write_coco(tmp_path, coco(first)), frame_rate_hz=2)
    assert detector.labels == ("violin", "cello") and detector.longest_side_pixels == 64
    assert at(detector, 0, 0.5, 1, 1.4, 9) == [
        [("violin", LEFT, 0.9)], [], [("cello", RIGHT, 1)], [("cello", RIGHT, 1)], [],
    ]  # fmt: skip


def test_a_list_of_results_has_frames_by_image_number(tmp_path: Path) -> None:
    results = [
        {"image_id": 1, "category_id": 0, "bbox": [0, 0, 40, 40], "score": 0.9},
        {"image_id": 5, "category_id": 1, "bbox": [40, 0, 40, 40], "score": 0.8},
    ]
    path = write_coco(tmp_path, results)
    (tmp_path / "coco.labels.txt").write_text("violin\ncello", encoding="utf-8")
    detector = load(path, frame_rate_hz=1)
    assert at(detector, 0, 4) == [[("violin", LEFT, 0.9)], [("cello", RIGHT, 0.8)]]
    assert detector.longest_side_pixels is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"image_id": 1}]}, "annotations.0.category_id: Field required"),
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}]},
            r"image 'a\.jpg' has no number, so its time",
        ),
        (
            {"images": [{"id": 1, "file_name": "1.jpg"}]},
            "an annotation is of image 70, not in imag",
        ),
        (
            {"images": [{"id": 1, "width": 4, "height": 4}, {"id": 2, "width": 8, "height": 4}]},
            "has images of several sizes|an annotation is of",
        ),
    ],
)
def test_what_may_be_wrong_with_coco(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as stop:
        load(write_coco(tmp_path, coco() | change), frame_rate_hz=1)
    assert "\n" not in str(stop.value)


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    path = write_objects(tmp_path, [{"label": "violin", "box": LEFT}])
    before = load(path).fingerprint
    assert load(path).fingerprint == before
    write_objects(tmp_path, [{"label": "violin", "box": RIGHT}])
    assert load(path).fingerprint != before
    np.save(tmp_path / "a.npy", np.array(ROWS))
    prints = {load(tmp_path / "a.npy", frame_rate_hz=rate).fingerprint for rate in (1, 2)}
    assert len(prints) == 2
