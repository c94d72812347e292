"""Records: boxes inside the picture, objects over time, nothing that is not asked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

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
    with pytest.raises(ValidationError, match="must hold 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1"):
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
    with pytest.raises(ValidationError, match=field):
        VisibleObject.model_validate({field: value})


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
