"""objects.json: written and read back, and one clear line for each way it can be wrong."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.media.objects_file import format_objects, read_objects
from avsep.records import TimedBox, TimedPoint, VisibleObject

corner = st.floats(0, 0.49)
boxes = st.builds(
    lambda time, x, y: TimedBox(time_seconds=time, box=(x, y, x + 0.5, y + 0.5)),
    st.floats(0, 100), corner, corner,
)  # fmt: skip
# Fields, as checks of types draw at random, which strategies must not.
fields = st.fixed_dictionaries({
    "label": st.none() | st.sampled_from(["violin", "a café's band"]),
    "boxes": st.lists(boxes, max_size=4).map(
        lambda timed_boxes: tuple(sorted(timed_boxes, key=lambda timed: timed.time_seconds))
    ),
    "confidence": st.floats(0, 1),
    "azimuth_degrees": st.none() | st.floats(-90, 90),
    "is_excluded": st.booleans(),
    "spans": st.lists(st.tuples(st.floats(0, 50), st.floats(51, 99)), max_size=3),
    "point": st.none() | st.builds(TimedPoint, x=corner, y=corner, time_seconds=st.floats(0, 9)),
})  # fmt: skip


@pytest.mark.slow
@given(entries=st.lists(fields, max_size=4))
def test_there_and_back(tmp_path_factory: pytest.TempPathFactory, entries: list) -> None:
    expected = [VisibleObject(**entry) for entry in entries]
    path = tmp_path_factory.mktemp("objects") / "objects.json"
    path.write_text(format_objects(expected), encoding="utf-8")
    assert list(read_objects(path)) == expected


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"label": "violin"}, r"must hold a list of objects, such as \[\{\"label"),
        ([{}, {"box": [0.5, 0, 0.2, 1]}], r"object 2: box: box \[0.5, 0.0, 0.2, 1.0\] must hold"),
        ([{"bbox": [0, 0, 1, 1]}], "object 1: unknown field 'bbox'; did you mean 'box'. known: la"),
        (
            [{"boxes": [{"time_seconds": 0, "box": [0, 0, 1, 1], "tim": 1}]}],
            r"unknown field 'boxes.0.tim'; .*known: boxes.0.time_seconds, boxes.0.box$",
        ),
        ([{"lable": "x"}], "object 1: unknown field 'lable'; did you mean 'label'."),
        (
            [{"box": [0, 0, 1]}],
            "object 1: box: must be four numbers, .x1, y1, x2, y2.; given: .0, 0",
        ),
        (
            [{"boxes": [0, 0, 1, 1]}],
            "1: boxes: must be .*; in objects.json write a single box for the whole clip",
        ),
        ([{"box": [0, 0, 1, float("nan")]}], "object 1: .*must hold 0 <= x1 < x2 <= 1"),
        (
            [{}, {"confidence": 2}],
            "object 2: confidence: Input should be less than or equal to 1; given: 2",
        ),
        ([{"azimuth_degrees": 270}], "object 1: azimuth_degrees: Input should be less"),
        ([{"label": 3}, {}], "object 1: label: Input should be a valid string"),
        (["violin"], "object 1 is 'violin', not a label and a box as in .*box"),
        ([{"box": [0, 0, 1, 1], "boxes": [{"time_seconds": 0, "box": [0, 0, 1, 1]}]}], "not both"),
        (
            [{"boxes": [{"time_seconds": t, "box": [0, 0, 1, 1]} for t in (2, 1)]}],
            "boxes: must be in order of time",
        ),
    ],
)
def test_errors(tmp_path: Path, entries: object, message: str) -> None:
    path = tmp_path / "objects.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_objects(path)


def test_missing_and_not_json(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read_objects(tmp_path / "no.json")
    missing = f"cannot read objects from '{tmp_path / 'no.json'}': No such file or directory"
    assert str(error.value) == missing
    for content in (b"violin", b"", b"\xff\xfe[", b"[" * 100_000):
        (tmp_path / "text.json").write_bytes(content)
        with pytest.raises(InputError, match=r"text.json' is not JSON: .*; write \[\{"):
            read_objects(tmp_path / "text.json")


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "bom.json").write_bytes(b'\xef\xbb\xbf[{"label": "harp"}]')
    assert read_objects(tmp_path / "bom.json") == (VisibleObject(label="harp"),)


def test_boxes_between_known_times() -> None:
    moving = VisibleObject(
        boxes=(
            TimedBox(time_seconds=1, box=(0.0, 0.0, 0.2, 0.2)),
            TimedBox(time_seconds=3, box=(0.4, 0.0, 0.6, 0.2)),
        )
    )
    assert moving.box_at(2) == pytest.approx((0.2, 0.0, 0.4, 0.2))
    assert moving.box_at(0) == (0.0, 0.0, 0.2, 0.2) and moving.box_at(9)[0] == pytest.approx(0.4)
    assert VisibleObject().box_at(5) == (0.0, 0.0, 1.0, 1.0)
