"""Tracking over sparse samples: crossing, leaving, gaps, cuts, duplicates and labels."""

from collections.abc import Sequence

import numpy as np
import pytest

from avsep.records import TimedBox, VisibleObject
from avsep.vision.detectors.base import Detections
from avsep.vision.tracking import DetectedSamples, hold_still, overlap, scene_cuts, track_objects
from compare_trackers import main_share, measure, track_here

Row = tuple[str, float, tuple[float, float, float, float]]


def samples(
    rows: Sequence[Sequence[Row]], step: float = 0.5, cuts: Sequence[int] = ()
) -> DetectedSamples:
    """Samples with a list of label, score and box each; a cut before each of some samples."""
    detections = tuple(
        Detections(
            np.array([box for _, _, box in row], np.float32).reshape(-1, 4),
            tuple(label for label, _, _ in row),
            np.array([score for _, score, _ in row], np.float32),
        )
        for row in rows
    )
    changes = tuple(0.6 if index in cuts else 0.01 for index in range(len(rows)))
    return DetectedSamples(tuple(step * i for i in range(len(rows))), detections, changes)


def square(x: float, y: float, side: float = 0.2) -> tuple[float, float, float, float]:
    return (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


def centre(item: VisibleObject, seconds: float) -> tuple[float, float]:
    x1, y1, x2, y2 = item.box_at(seconds)
    return ((x1 + x2) / 2, (y1 + y2) / 2)


def test_two_of_a_kind_that_cross_go_on() -> None:
    speed = 0.1
    rows = [
        [
            ("person", 0.9, square(0.1 + speed * k, 0.45)),
            ("person", 0.8, square(0.9 - speed * k, 0.55)),
        ]
        for k in range(9)
    ]
    first, second = track_objects(samples(rows))
    assert centre(first, 0) == pytest.approx((0.1, 0.45)) and centre(first, 4)[0] > 0.85
    assert centre(second, 0) == pytest.approx((0.9, 0.55)) and centre(second, 4)[0] < 0.15


@pytest.mark.parametrize("seed", range(5))
def test_objects_that_move_by_more_than_their_size(seed: int) -> None:
    """Sparse samples: boxes rarely overlap the next of their object, one in ten is missed."""
    generator = np.random.default_rng(seed)
    phases = generator.random(2) * 6
    rows = []
    for k in range(20):
        t = 0.5 * k
        places = [
            (0.5 + 0.35 * np.sin(3 * t + phase), 0.5 + 0.35 * np.cos((2 + i) * t + phase))
            for i, phase in enumerate(phases)
        ]
        rows.append([
            (label, generator.uniform(0.5, 0.9), square(*place, 0.12))
            for label, place in zip(("dog", "ball"), places, strict=True)
            if generator.random() > 0.1
        ])  # fmt: skip
    boxes = [np.array([box for label, _, box in row if label == "dog"]) for row in rows]
    seen = [box[0] for box in boxes if len(box)]
    assert np.median(overlap(np.stack(seen[:-1]), np.stack(seen[1:]))) == 0
    objects = track_objects(samples(rows))
    assert sorted(item.label or "" for item in objects) == ["ball", "dog"]
    assert sum(len(item.boxes) for item in objects) == sum(map(len, rows))


def test_an_object_that_leaves_keeps_its_last_box() -> None:
    rows = [[("harp", 0.9, square(0.3, 0.5))]] + [[] for _ in range(12)]
    rows[1] = rows[2] = [("harp", 0.9, square(0.32, 0.5))]
    (item,) = track_objects(samples(rows))
    assert [timed.time_seconds for timed in item.boxes] == [0, 0.5, 1.0]
    assert item.box_at(6) == item.boxes[-1].box


def test_one_that_comes_back_jumps_and_does_not_glide() -> None:
    away = [[] for _ in range(10)]
    left, right = [[("dog", 0.9, square(x, 0.5, 0.1))] for x in (0.1, 0.9)]
    (item,) = track_objects(samples([left] * 3 + away + [right] * 3))
    assert centre(item, 5.5)[0] == pytest.approx(0.1) and centre(item, 6.3)[0] == pytest.approx(0.9)


def test_a_cut_ends_tracks_and_a_lone_label_goes_on() -> None:
    wide = [("cello", 0.9, square(0.2, 0.5)), ("flute", 0.8, square(0.8, 0.5))]
    near = [("cello", 0.9, square(0.6, 0.5, 0.6))]
    objects = track_objects(samples([wide] * 4 + [near] * 4, cuts=[4]))
    cello, flute = objects
    assert (cello.label, flute.label) == ("cello", "flute")
    # Halfway between the samples at 1.5 and 2 s.
    assert centre(cello, 1.73)[0] == pytest.approx(0.2) and centre(cello, 1.76)[0] == pytest.approx(
        0.6
    )
    assert flute.boxes[-1].time_seconds == 1.5


def test_two_of_a_label_are_not_joined_over_a_cut() -> None:
    pair = [("violin", 0.9, square(0.2, 0.5)), ("violin", 0.8, square(0.8, 0.5))]
    lone = [("violin", 0.9, square(0.5, 0.5, 0.6))]
    assert len(track_objects(samples([pair] * 4 + [lone] * 4, cuts=[4]))) == 3


def test_the_label_of_most_score_and_one_object_for_two_names() -> None:
    place = square(0.5, 0.5, 0.4)
    rows = [[("cello", 0.4, place)], [("cello", 0.4, place)], [("violin", 0.9, place)]] * 2
    (item,) = track_objects(samples(rows))
    assert item.label == "violin" and len(item.boxes) == 6
    both = [("cello", 0.4, place), ("violin", 0.9, square(0.51, 0.5, 0.41))]
    (item,) = track_objects(samples([both] * 5))
    assert item.label == "violin"
    # A player around an instrument is another thing; the head of an instrument is not.
    player = [("person", 0.9, (0.2, 0.1, 0.8, 1.0)), ("violin", 0.8, (0.4, 0.3, 0.7, 0.6)),
              ("violin", 0.5, (0.6, 0.3, 0.68, 0.38))]  # fmt: skip
    assert [item.label for item in track_objects(samples([player] * 5))] == ["person", "violin"]


def test_an_error_of_the_detector_takes_no_sure_place() -> None:
    """Twice the thing is called a banjo, and what is no thing is beside it under its name."""
    place, beside = square(0.4, 0.5, 0.5), square(0.55, 0.5, 0.4)
    usual = [("mandolin", 0.8, place)]
    strange = [("banjo", 0.6, place), ("mandolin", 0.3, beside)]
    rows = [[*usual, ("mandolin", 0.3, beside)], usual, strange, strange, usual, usual]
    surest = track_objects(samples(rows))[0]
    assert surest.label == "mandolin" and len(surest.boxes) == 6
    assert all(timed.box == pytest.approx(place) for timed in surest.boxes)


def test_the_threshold_is_for_the_first_box() -> None:
    rows = [[("dog", score, square(0.5, 0.5))] for score in (0.6, 0.35, 0.3, 0.35, 0.1)]
    (item,) = track_objects(samples(rows), least_score=0.5)
    assert len(item.boxes) == 4
    assert track_objects(samples(rows), least_score=0.7) == ()


def test_an_object_is_seen_for_some_time() -> None:
    flicker = [[("cat", 0.9, square(0.8, 0.2))]] + [[] for _ in range(9)]
    assert track_objects(samples(flicker), least_seconds=1.0) == ()
    assert len(track_objects(samples(flicker[:1]), least_seconds=1.0)) == 1
    assert len(track_objects(samples(flicker[:2]), least_seconds=1.0)) == 1
    # Half a minute between samples: one alone may be an error of the detector.
    assert track_objects(samples(flicker, step=30.0), least_seconds=1.0) == ()
    twice = [flicker[0], flicker[0], *flicker[2:]]
    assert len(track_objects(samples(twice, step=30.0), least_seconds=1.0)) == 1


def test_missed_samples_lower_the_confidence_and_order_objects() -> None:
    steady = ("drum", 0.6, square(0.2, 0.5))
    seldom = ("harp", 0.9, square(0.8, 0.5))
    rows = [[steady, seldom] if k % 2 == 0 else [steady] for k in range(9)]
    objects = track_objects(samples(rows))
    assert [item.label for item in objects] == ["drum", "harp"]
    assert objects[1].confidence == pytest.approx(0.9 * 5 / 9, abs=1e-3)


def test_cuts_are_measured_against_the_usual_change() -> None:
    assert scene_cuts([0.0]) == [False]
    assert not any(scene_cuts([0.0, 0.1, 0.12, 0.1, 0.11, 0.2]))  # a camera in motion
    assert scene_cuts([0.0, 0.01, 0.2, 0.02, 0.01]) == [False, False, True, False, False]
    assert all(scene_cuts([0.0, 0.5, 0.6, 0.55])[1:])  # a montage


def test_boxes_beyond_the_picture_are_cut_and_never_empty() -> None:
    rows = [[("dog", 0.9, (-0.2, 0.9, 0.1, 1.3)), ("cat", 0.5, (0.99999, 0.2, 1.1, 0.4))]] * 3
    dog, cat = track_objects(samples(rows))
    assert dog.boxes[0].box == (0.0, 0.9, 0.1, 1.0) and cat.boxes[0].box[2] == 1.0


def test_the_shares_of_the_documents() -> None:
    """Those of docs/objects.md; of three of a kind that are fast, most boxes are lost."""
    shares = measure(track_here)
    least = {"stand still": 0.99, "two of a kind cross": 0.99, "two kinds move fast": 0.95}
    assert all(shares[name] >= share for name, share in least.items())
    assert 0.35 < shares["three of a kind move fast"] < 0.5
    assert main_share([[0, 1], [1, 0], [0, -1]], [[0, 1], [0, 1], [0, 1]]) == 3 / 6


def test_boxes_that_differ_a_little_are_one_that_stands_still() -> None:
    generator = np.random.default_rng(0)

    def item(speed: float) -> VisibleObject:
        boxes = [
            np.array([0.2, 0.2, 0.6, 0.7]) + speed * second + generator.normal(0, 0.005, 4)
            for second in range(9)
        ]
        return VisibleObject(
            label="harp",
            boxes=tuple(
                TimedBox(time_seconds=second, box=tuple(box.clip(0, 1).tolist()))
                for second, box in enumerate(boxes)
            ),
        )

    still = hold_still(item(0.0))
    assert len({timed.box for timed in still.boxes}) == 1 and still.label == "harp"
    assert still.boxes[0].box == pytest.approx((0.2, 0.2, 0.6, 0.7), abs=0.01)
    assert [timed.time_seconds for timed in still.boxes] == list(range(9))
    moving = item(0.03)
    assert hold_still(moving) == moving
    assert hold_still(VisibleObject(label="harp")) == VisibleObject(label="harp")
