"""Test backgrounds: every kind fills the picture, repeats with its seed, and differs."""

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


# Square, wide and tall: the background has to be cropped in either direction.
@pytest.mark.parametrize("size", [(64, 64), (320, 180), (97, 201)])
def test_a_backdrop_fills_the_picture_and_repeats_with_its_seed(size: tuple[int, int]) -> None:
    for seed in range(5):
        first, second = (draw_backdrop(size, np.random.default_rng(seed)) for _ in range(2))
        pixels = np.asarray(first.picture)
        assert first.picture.size == size and np.array_equal(pixels, np.asarray(second.picture))
        # An uncovered edge would be black; no colour of a background is that dark.
        edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert edges.max(axis=1).min() > 12


@pytest.mark.slow
def test_backgrounds_differ_from_seed_to_seed_and_only_the_park_has_no_wall() -> None:
    seeds = range(30)
    backdrops = [draw_backdrop((32, 18), np.random.default_rng(seed)) for seed in seeds]
    # The kind is the first draw of a backdrop, so a second generator repeats it.
    indices = [np.random.default_rng(seed).integers(len(BACKGROUNDS)) for seed in seeds]
    kinds = [list(BACKGROUNDS)[index] for index in indices]
    assert [backdrop.has_wall for backdrop in backdrops] == [kind != OUTDOORS for kind in kinds]
    assert set(kinds) == set(BACKGROUNDS) and len(BACKGROUNDS) >= 5
    pictures = [np.asarray(backdrop.picture).astype(int) for backdrop in backdrops]
    assert min(np.abs(a - b).mean() for a, b in pairwise(pictures)) > 5
