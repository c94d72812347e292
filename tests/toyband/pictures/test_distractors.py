"""Test distractors: position on floor or wall, share of silent instruments, variety."""

from collections import Counter

import numpy as np
import pytest

from avsep.toyband.pictures.distractors import FLOOR_OBJECTS, WALL_OBJECTS, sample_distractor
from avsep.toyband.pictures.drawing import Sketch
from avsep.toyband.pictures.instruments import INSTRUMENTS

ALL_OBJECTS = {**FLOOR_OBJECTS, **WALL_OBJECTS}
GROUND_UNITS = 196.0
NUM_DRAWN = 250


def make_sketch(label: str) -> Sketch:
    sketch = Sketch()
    ALL_OBJECTS[label](sketch, (196, 92, 72))
    return sketch


@pytest.mark.parametrize("label", FLOOR_OBJECTS)
def test_furniture_stands_on_the_ground(label: str) -> None:
    x1, y1, x2, y2 = make_sketch(label).bounds()
    assert abs(y2 - GROUND_UNITS) <= 8  # a shadow extends below the ground
    assert 40 < x2 - x1 < 130 and 60 < y2 - y1 < 200


@pytest.mark.parametrize("label", WALL_OBJECTS)
def test_wall_objects_have_their_origin_at_the_top(label: str) -> None:
    _, y1, _, y2 = make_sketch(label).bounds()
    assert abs(y1) <= 3 and 40 < y2 < 130


@pytest.mark.slow
def test_a_third_are_instruments_and_only_walls_hold_pictures() -> None:
    rng = np.random.default_rng(0)
    indoors = [sample_distractor(True, rng) for _ in range(NUM_DRAWN)]
    outdoors = [sample_distractor(False, rng) for _ in range(80)]
    playable = {name for name, item in INSTRUMENTS.items() if item.paint_alone is not None}
    is_instrument = [sampled.label in INSTRUMENTS for sampled in (*indoors, *outdoors)]
    assert np.mean(is_instrument) == pytest.approx(1 / 3, abs=0.08)  # three standard deviations
    assert {sampled.label for sampled in (*indoors, *outdoors)} == playable | set(ALL_OBJECTS)
    assert {sampled.label for sampled in outdoors} <= playable | set(FLOOR_OBJECTS)
    assert all(sampled.on_wall == (sampled.label in WALL_OBJECTS) for sampled in indoors)
    # Of 16 + 9 kinds none is frequent: the most frequent has an expected share of 2 / 3 / 9.
    most_frequent = Counter(sampled.label for sampled in indoors).most_common(1)[0][1]
    assert most_frequent < 0.2 * NUM_DRAWN
    assert all(sampled.sketch.shapes for sampled in indoors)
