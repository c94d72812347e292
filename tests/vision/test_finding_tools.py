"""Test the tools that measure finding: trackers, objects that are matched, labelled videos."""

import json
from pathlib import Path

import numpy as np
import pytest

import compare_trackers
import measure_objects
from avsep.data.clips import ClipFiles, SourceFile
from avsep.records import TimedBox, VisibleObject
from avsep.vision.finding import FindSettings, FoundObjects
from compare_trackers import detect, main_share, measure, still, track_here
from measure_found import match
from measure_objects import Counts, mean_overlap, print_labelled


def thing(label: str, *corners: float) -> VisibleObject:
    return VisibleObject(label=label, boxes=(TimedBox(time_seconds=0, box=corners),))


LEFT, RIGHT = thing("violin", 0, 0, 0.4, 1), thing("piano", 0.5, 0, 1, 1)


def test_a_track_counts_for_the_thing_that_it_is_most_of() -> None:
    truth = [[0, 1], [0, 1], [1, 0], [1]]
    assert main_share([[5, 6], [5, 6], [6, 5], [6]], truth) == 1.0
    # The first thing has two tracks, of which the longer one counts; one box has none.
    assert main_share([[5, 6], [5, 6], [6, 7], [-1]], truth) == pytest.approx(5 / 7)
    assert main_share([[-1], [-1]], [[0], [0]]) == 0.0


def test_still_things_are_tracked_as_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    detections, truth = detect(still(generator), generator)
    assert len(detections) == compare_trackers.NUM_SAMPLES
    assert main_share(track_here(detections), truth) > 0.95
    monkeypatch.setattr(compare_trackers, "NUM_SCENES", 1)
    monkeypatch.setattr(compare_trackers, "SCENES", {"stand still": still})
    assert measure(track_here)["stand still"] > 0.95


def test_objects_are_counted_by_what_they_overlap() -> None:
    clip = ClipFiles(
        "a",
        Path("a.mp4"),
        tuple(SourceFile(Path("a.wav"), item.label or "", "a", item) for item in (LEFT, RIGHT)),
    )
    counts = Counts()
    near = thing("cello", 0, 0, 0.38, 1)
    counts.add(clip, [near, thing("dog", 0.4, 0.4, 0.6, 0.6)], 4.0)
    assert counts.matched == {"violin": 1} and counts.missed == {"piano": 1}
    assert counts.wrong == {"dog": 1} and counts.confused == {("violin", "cello"): 1}
    counts.add(clip, [LEFT, RIGHT], 4.0)
    first, *rest = counts.lines()
    assert first.startswith("recall 0.750, precision 0.750 at IoU 0.5; named right 0.667 of 3; ")
    assert "  piano: 1 of 2, named 1" in rest


def test_overlap_is_the_mean_over_time() -> None:
    moving = VisibleObject(
        boxes=(
            TimedBox(time_seconds=0, box=(0, 0, 0.4, 1)),
            TimedBox(time_seconds=1, box=(0.6, 0, 1, 1)),
        )
    )
    assert mean_overlap(LEFT, moving, [0, 1]) == pytest.approx(0.5)


def test_each_found_object_is_that_of_one_true_one() -> None:
    middle = thing("x", 0.02, 0, 0.4, 1)
    assert match([LEFT, RIGHT], [RIGHT, middle], 4.0) == [1, 0]
    assert match([LEFT, thing("y", 0, 0, 0.39, 1)], [middle], 4.0) in ([0, None], [None, 0])
    assert match([LEFT, RIGHT], [], 4.0) == [None, None]


def test_labelled_videos_are_printed_with_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"file": "a.mp4", "label": "violin", "box": [0, 0, 0.4, 1]},
               {"file": "b.mp4", "label": "dog", "box": [0, 0, 1, 1]}]  # fmt: skip
    (tmp_path / "labels.json").write_text(json.dumps(entries), encoding="utf-8")
    results = {"a.mp4": (LEFT,), "b.mp4": ()}
    monkeypatch.setattr(
        measure_objects,
        "find_objects",
        lambda path, settings: FoundObjects(results[path.name], (), (0.5, 1.5, 2.5)),
    )
    print_labelled(tmp_path, FindSettings())
    assert capsys.readouterr().out.splitlines() == [
        "a.mp4: violin; found: violin 1.00 (IoU 1.00)", "b.mp4: dog; found: nothing",
    ]  # fmt: skip
