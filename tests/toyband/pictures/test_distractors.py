"""Silent things: all can be drawn, stand on the floor or hang on a wall, and are told apart."""

from collections import Counter

import numpy as np
import pytest

from avsep.toyband.pictures.distractors import FLOOR_OBJECTS, WALL_OBJECTS, sample_distractor
from avsep.toyband.pictures.drawing import Sketch
from avsep.toyband.pictures.instruments import INSTRUMENTS

ALL_OBJECTS = {**FLOOR_OBJECTS, **WALL_OBJECTS}
GROUND_UNITS = 196.0
NUM_DRAWN = 250


def sketch_of(label: str) -> Sketch:
    sketch = Sketch()
    ALL_OBJECTS[label](sketch, (196, 92, 72))
    return sketch


@pytest.mark.parametrize("label", FLOOR_OBJECTS)
def test_furniture_stands_on_the_ground(label: str) -> None:
    x1, y1, x2, y2 = sketch_of(label).bounds()
    assert abs(y2 - GROUND_UNITS) <= 8
    assert 40 < x2 - x1 < 130 and 60 < y2 - y1 < 200


@pytest.mark.parametrize("label", WALL_OBJECTS)
def test_what_hangs_on_a_wall_is_measured_from_its_top(label: str) -> None:
    _, y1, _, y2 = sketch_of(label).bounds()
    assert abs(y1) <= 3 and 40 < y2 < 130


def test_a_third_are_instruments_and_only_walls_hold_pictures() -> None:
    rng = np.random.default_rng(0)
    indoors = [sample_distractor(True, rng) for _ in range(NUM_DRAWN)]
    outdoors = [sample_distractor(False, rng) for _ in range(80)]
    playable = {name for name, each in INSTRUMENTS.items() if each.paint_alone is not None}
    silent = [thing.label in INSTRUMENTS for thing in (*indoors, *outdoors)]
    assert np.mean(silent) == pytest.approx(1 / 3, abs=0.08)  # three standard deviations
    assert {thing.label for thing in (*indoors, *outdoors)} == playable | set(ALL_OBJECTS)
    assert {thing.label for thing in outdoors} <= playable | set(FLOOR_OBJECTS)
    assert all(thing.on_wall == (thing.label in WALL_OBJECTS) for thing in indoors)
    most = Counter(thing.label for thing in indoors).most_common(1)[0][1]
    assert most < 0.2 * NUM_DRAWN
    assert all(thing.sketch.shapes for thing in indoors)
