"""Backgrounds: every kind fills every shape of picture, and the floor is where it is said."""

from itertools import pairwise

import numpy as np
import pytest

from avsep.toyband.pictures.drawing import Sketch
from avsep.toyband.pictures.scenery import (
    BACKGROUNDS,
    HEIGHT_UNITS,
    OUTDOORS,
    WIDTH_UNITS,
    draw_backdrop,
)


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_every_kind_reaches_all_four_edges(kind: str) -> None:
    for seed in range(4):
        sketch = Sketch()
        BACKGROUNDS[kind](sketch, 0.72 * HEIGHT_UNITS, np.random.default_rng(seed))
        x1, y1, x2, y2 = sketch.bounds()
        assert x1 <= 0 and y1 <= 0 and x2 >= WIDTH_UNITS and y2 >= HEIGHT_UNITS


@pytest.mark.parametrize("size", [(64, 64), (320, 180), (97, 201)])
def test_a_backdrop_fills_the_picture_and_repeats_with_its_seed(size: tuple[int, int]) -> None:
    for seed in range(5):
        first, again = (draw_backdrop(size, np.random.default_rng(seed)) for _ in range(2))
        pixels = np.asarray(first.picture)
        assert first.picture.size == size and np.array_equal(pixels, np.asarray(again.picture))
        # An edge that nothing covers would be black: no colour here is as dark as that.
        edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert edges.max(axis=1).min() > 12


def test_backgrounds_differ_from_seed_to_seed_and_only_the_park_has_no_wall() -> None:
    seeds = range(30)
    backdrops = [draw_backdrop((32, 18), np.random.default_rng(seed)) for seed in seeds]
    drawn = [np.random.default_rng(seed).integers(len(BACKGROUNDS)) for seed in seeds]
    kinds = [list(BACKGROUNDS)[kind] for kind in drawn]
    assert [each.has_wall for each in backdrops] == [kind != OUTDOORS for kind in kinds]
    assert set(kinds) == set(BACKGROUNDS) and len(BACKGROUNDS) >= 5
    pictures = [np.asarray(each.picture).astype(int) for each in backdrops]
    assert min(np.abs(a - b).mean() for a, b in pairwise(pictures)) > 5
