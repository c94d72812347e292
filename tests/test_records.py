"""Records: boxes inside the picture, objects over time, nothing that is not asked for."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.models.base import SeparationMethod
from avsep.records import Box, TimedBox, VisibleObject

sides = st.tuples(st.floats(0, 1), st.floats(0, 1)).filter(lambda pair: pair[0] < pair[1])
boxes = st.builds(lambda x, y: (x[0], y[0], x[1], y[1]), sides, sides)
nan = float("nan")


@pytest.mark.parametrize(
    "box",
    [
        (0.5, 0.0, 0.5, 1.0),  # no width
        (0.6, 0.0, 0.5, 1.0),
        (0.0, 0.9, 0.5, 0.1),
        (-0.1, 0.0, 0.5, 1.0),
        (0.0, 0.0, 1.0, 1.001),
        (nan, 0.0, 1.0, 1.0),
    ],
)
def test_a_box_lies_inside_the_picture(box: Box) -> None:
    with pytest.raises(InputError, match="must hold 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1"):
        TimedBox(time_seconds=0, box=box)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("confidence", 1.01),
        ("confidence", nan),
        ("azimuth_degrees", -181),
        ("azimuth_degrees", nan),
        ("boxes", [{"time_seconds": -1, "box": (0, 0, 1, 1)}]),
        ("boxes", [{"time_seconds": float("inf"), "box": (0, 0, 1, 1)}]),
        ("colour", "red"),
    ],
)
def test_an_object_holds_nothing_else(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        VisibleObject(**{field: value})


@pytest.mark.slow
@given(
    corners=st.lists(boxes, min_size=1, max_size=5),
    time=st.floats(-5, 50),
    step=st.floats(0.01, 10),
)
def test_a_box_between_others_is_no_larger_than_they(
    corners: list[Box], time: float, step: float
) -> None:
    timed = tuple(TimedBox(time_seconds=k * step, box=box) for k, box in enumerate(corners))
    result = np.array(VisibleObject(boxes=timed).box_at(time))
    around = np.array(corners)
    # Interpolation may round by the last digit of the corners, which lie in 0..1.
    assert (result >= around.min(0) - 1e-12).all() and (result <= around.max(0) + 1e-12).all()
    for k, box in enumerate(corners):
        assert VisibleObject(boxes=timed).box_at(k * step) == pytest.approx(box, abs=1e-12)


def test_what_separates_is_told_by_its_method() -> None:
    class Sleeper:
        def rest(self) -> None: ...

    from avsep.evaluation.baselines import MixtureBaseline
    from avsep.sound.front_end import FrontEnd

    assert isinstance(MixtureBaseline(FrontEnd()), SeparationMethod)
    assert not isinstance(Sleeper(), SeparationMethod)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisibleObject("violin"), "VisibleObject: fields are given by name: label, categ"),
        (lambda: TimedBox(0, (0, 0, 1, 1)), "TimedBox: fields are given by name: time_seconds, b"),
        (lambda: VisibleObject(label=3), "VisibleObject: label: Input should be a valid string; g"),
        (lambda: VisibleObject(label={"a": 1}), "VisibleObject: label: Input should be a valid st"),
        (lambda: VisibleObject(prompt={"a"}), "VisibleObject: prompt: Input should be a valid str"),
        (lambda: VisibleObject(box=(0, 0, 1, 1)), "VisibleObject: unknown field 'box'; did you me"),
        (lambda: VisibleObject(boxes=None), 'VisibleObject: boxes: must be [{"time_seconds": 0, '),
        (lambda: VisibleObject(boxes=(0, 0, 1, 1)), "VisibleObject: boxes: must be [{"),
        (lambda: VisibleObject(boxes=[(0, 0, 1, 1)]), "VisibleObject: boxes: must be [{"),
        (lambda: VisibleObject(boxes=iter([])), "VisibleObject: boxes: must be [{"),
        (
            lambda: VisibleObject(boxes=[{"time_seconds": 0, "box": [0, 0, 2, 1]}]),
            "VisibleObject: boxes.0.box: box [0.0, 0.0, 2.0, 1.0] must hold 0 <= x1 < x2 <= 1",
        ),
        (lambda: TimedBox(box=(0, 0, 1, 1)), "TimedBox: time_seconds: Field required; given: "),
        (lambda: TimedBox(time_seconds=0, box={0, 0.5, 1}), "TimedBox: box: must be four numbers"),
        (lambda: TimedBox(time_seconds=0, box={0.1, 0.2, 0.5, 0.9}), "TimedBox: box: must be fou"),
        (lambda: TimedBox(time_seconds=0, box="0011"), "TimedBox: box: must be four numbers, [x1"),
        (
            lambda: VisibleObject(label=np.zeros((100, 100))),
            "VisibleObject: label: Input should be a valid string; given: array([[0., 0., 0., ",
        ),
    ],
)
def test_a_wrong_field_is_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError) as error:
        make()
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_boxes_are_in_order_of_time() -> None:
    late, early = (TimedBox(time_seconds=time, box=(0, 0, 1, 1)) for time in (2, 1))
    with pytest.raises(InputError, match="VisibleObject: boxes: must be in order of time"):
        VisibleObject(boxes=(late, early))
    assert VisibleObject(boxes=[early, late]).boxes == (early, late)
    assert TimedBox(time_seconds=0, box=np.array([0, 0, 0.5, 1])).box == (0, 0, 0.5, 1)
