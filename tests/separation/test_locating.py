"""Points, words and nothing at all: the objects that are chosen among those that are found."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from avsep.errors import InputError
from avsep.records import TimedBox, TimedPoint, VisibleObject
from avsep.separation.locating import box_around, choose_at_point, locate_objects
from avsep.separation.prompt_words import parse_object
from avsep.separation.video_input import VideoInput
from avsep.vision.finding import FoundObjects
from separation.brightness import video

VIOLIN = VisibleObject(label="violin", boxes=(TimedBox(time_seconds=0, box=(0, 0, 0.5, 1)),))
HARP = VisibleObject(label="harp", boxes=(TimedBox(time_seconds=0, box=(0.5, 0, 1, 1)),))


@pytest.fixture
def opened(tmp_path: Path) -> VideoInput:
    """Open two seconds of 64 x 32 pixels."""
    return VideoInput.open(video(tmp_path / "duet.mkv"))


def box(*corners: float, seconds: float = 0) -> TimedBox:
    return TimedBox(time_seconds=seconds, box=corners)  # type: ignore[arg-type]


def test_the_smallest_box_under_a_point_is_chosen() -> None:
    stage = VisibleObject(label="stage", boxes=(box(0, 0, 1, 1),))
    moving = VisibleObject(
        label="violin", boxes=(box(0, 0, 0.4, 0.4), box(0.6, 0.6, 1, 1, seconds=10))
    )
    late = VisibleObject(
        label="drum",
        boxes=(box(0.1, 0.1, 0.2, 0.2, seconds=5), box(0.1, 0.1, 0.2, 0.2, seconds=9)),
    )
    detected = [stage, moving, late]

    def chosen(x: float, y: float, seconds: float) -> str | None:
        match = choose_at_point(detected, TimedPoint(x=x, y=y, time_seconds=seconds))
        return match and match.label

    assert chosen(0.15, 0.15, 0) == "violin"  # the drum is not there yet
    assert chosen(0.15, 0.15, 5) == "drum"
    assert chosen(0.5, 0.5, 5) == "violin" and chosen(0.9, 0.9, 10) == "violin"
    assert chosen(0.9, 0.1, 0) == "stage"
    assert choose_at_point([moving], TimedPoint(x=0.9, y=0.1)) is None
    surer = stage.model_copy(update={"confidence": 0.5})
    assert choose_at_point([surer, stage], TimedPoint(x=0, y=0)) == stage


def found(*objects: VisibleObject) -> FoundObjects:
    return FoundObjects(objects, (), (0.0,))


def test_words_take_boxes_each_object_once(opened: VideoInput) -> None:
    other = VIOLIN.model_copy(update={"boxes": HARP.boxes})
    words = []

    def finder(given: Sequence[str]) -> FoundObjects:
        words.extend(given)
        return FoundObjects((VIOLIN, other), ("only 2 of 3",), (0.0,))

    prompts = [parse_object("violin"), HARP, parse_object("violin"), parse_object("kazoo")]
    first, second, third, fourth = locate_objects(prompts, opened, finder)
    assert words == ["violin", "violin", "kazoo"]
    assert (first.boxes, third.boxes, second) == (VIOLIN.boxes, other.boxes, HARP)
    assert fourth.boxes == () and opened.warnings == [
        "only 2 of 3",
        "'kazoo' is not found, so the whole picture is taken",
    ]
    # Without a detector a word is the whole picture, in silence.
    assert locate_objects([parse_object("violin@"), parse_object("x")], opened)[1].boxes == ()
    assert len(opened.warnings) == 2


def test_a_word_that_no_detector_knows_is_the_whole_picture(opened: VideoInput) -> None:
    def finder(given: Sequence[str]) -> FoundObjects:
        raise InputError("unknown word 'x'")

    assert locate_objects([parse_object("x")], opened, finder)[0].boxes == ()
    assert opened.warnings == ["unknown word 'x'; the whole picture is taken"]


def test_without_objects_all_that_are_found_are_separated(opened: VideoInput) -> None:
    assert locate_objects((), opened, lambda _: found(VIOLIN, HARP)) == tuple(
        item.model_copy(update={"is_named_by_detector": True}) for item in (VIOLIN, HARP)
    )
    assert "violin (1.00), harp (1.00)" in opened.warnings[0]
    for finder in (None, lambda _: found()):
        with pytest.raises(InputError, match="no objects are given"):
            locate_objects((), opened, finder)


def test_points_take_boxes_and_labels_of_a_finder(opened: VideoInput) -> None:
    calls = []

    def finder(words: Sequence[str]) -> FoundObjects:
        assert not words
        calls.append(1)
        return found(VIOLIN.model_copy(update={"confidence": 0.8}), HARP)

    point = VisibleObject(point=TimedPoint(x=0.2, y=0.5))
    labelled = VisibleObject(label="fiddle", point=point.point)
    first, second, third = locate_objects([point, labelled, HARP], opened, finder)
    assert (first.label, first.boxes, first.confidence) == ("violin", VIOLIN.boxes, 0.8)
    assert (second.label, second.boxes) == ("fiddle", VIOLIN.boxes) and third == HARP
    assert first.point == point.point and calls == [1] and not opened.warnings
    # Without a point nothing is looked for.
    assert locate_objects([HARP, first], opened, finder) == (HARP, first) and calls == [1]


def test_a_point_on_nothing_is_a_square_and_a_warning(opened: VideoInput) -> None:
    point = VisibleObject(label="violin", point=TimedPoint(x=0.5, y=0.1, time_seconds=0.5))
    (item,) = locate_objects([point], opened, lambda _: found())
    assert item.boxes[0].box == pytest.approx((0.5 - 1 / 12, 0, 0.5 + 1 / 12, 1 / 3))
    assert opened.warnings == [
        "point 0.5,0.1 at 0.5 s: no object is detected there, so the box is a square around it of "
        "a third of the picture's short side; give the box itself with --object "
        '"violin@0.42,0.00,0.58,0.33"'
    ]


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (50, 50), (1, 1000)])
@pytest.mark.parametrize("x", [0.0, 0.1, 0.5, 1.0])
def test_the_square_is_within_the_picture(size: tuple[int, int], x: float) -> None:
    x1, y1, x2, y2 = box_around(TimedPoint(x=x, y=1 - x), size)
    assert 0 <= x1 <= x <= x2 <= 1 and 0 <= y1 <= 1 - x <= y2 <= 1
    TimedBox(time_seconds=0, box=(x1, y1, x2, y2))
    assert (x2 - x1) * size[1] == pytest.approx((y2 - y1) * size[0])
    assert (x2 - x1) * size[1] == pytest.approx(min(size) / 3)
