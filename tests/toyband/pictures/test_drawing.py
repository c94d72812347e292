"""Test drawing: transforms, curves, gradients, and the position of sprites."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avsep.toyband.pictures.drawing import (
    Placement,
    Sketch,
    Transform,
    arc,
    blend,
    darker,
    lighter,
    mirror_outline,
    rasterise,
    ribbon,
    spline,
)

numbers = st.floats(-40, 40)


def test_a_quarter_turn_is_clockwise():
    assert Transform((10, 20), 90, 2.0).point(3, 0) == pytest.approx((10, 26))


@settings(max_examples=40, deadline=None)
@given(numbers, numbers, st.floats(-180, 180), st.floats(0.2, 3), numbers, numbers)
def test_a_sketch_within_a_transform_agrees_with_its_points(x, y, turn, scale, left, top):
    transform = Transform((left, top), turn, scale)
    sketch = Sketch()
    sketch.within(transform).fill([(x, y), (0, 0), (1, 1)], (0, 0, 0))
    np.testing.assert_allclose(sketch.shapes[0].points[0], transform.point(x, y), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(numbers, numbers, st.floats(0.5, 9), st.booleans(), st.floats(0.4, 2.5))
def test_a_sprite_lies_within_the_rectangle_of_its_bounds(x, y, width, mirrored, scale):
    sketch = Sketch()
    sketch.limb([(0, 0), (x, y)], (200, 40, 40), width)
    placement = Placement(120, 110, scale, mirrored)
    sprite = rasterise(sketch, placement)
    left, top, right, bottom = placement.rectangle(sketch.bounds())
    assert sprite is not None
    assert (sprite.left, sprite.top) == (left, top)
    assert sprite.picture.size == sprite.opacity.size == (right - left, bottom - top)
    # The rectangle has a margin of a pixel on each side, so that round ends are never cut.
    edge = np.asarray(sprite.opacity)
    assert max(edge[0].max(), edge[-1].max(), edge[:, 0].max(), edge[:, -1].max()) < 128


def test_an_empty_sketch_is_no_sprite():
    assert rasterise(Sketch(), Placement(0, 0, 1)) is None


def test_a_filled_box_covers_its_pixels_and_no_others():
    sketch = Sketch()
    sketch.box((2, 3), (12, 9), (250, 10, 20), ink=0)
    canvas = Image.new("RGB", (20, 16), "white")
    sprite = rasterise(sketch, Placement(0, 0, 1))
    assert sprite is not None
    sprite.paste(canvas)
    red = np.asarray(canvas)[..., 1] < 100
    assert red[4:8, 3:11].all()
    # Antialiasing may move each edge of 10 by 6 pixels by half a pixel.
    assert 10 * 6 - 16 <= red.sum() <= 11 * 7


def test_a_gradient_goes_from_one_colour_to_the_other():
    for across in (False, True):
        sketch = Sketch()
        sketch.box((0, 0), (20, 20), (255, 0, 0), shade=(0, 0, 255), across=across, ink=0)
        sprite = rasterise(sketch, Placement(2, 2, 1))
        assert sprite is not None
        pixels = np.asarray(sprite.picture).astype(int)
        # Four pixels from the sprite's edges: inside the margin and the antialiased pixels.
        first, last = (pixels[11, 4], pixels[11, -5]) if across else (pixels[4, 11], pixels[-5, 11])
        assert first[0] > 180 > last[0]
        assert first[2] < 80 < last[2]


def test_a_smooth_curve_passes_through_its_points():
    points = [(0.0, 0.0), (4.0, 3.0), (9.0, -2.0), (12.0, 5.0)]
    for closed in (False, True):
        curve = spline(points, closed=closed)
        gaps = np.abs(curve[:, None] - np.array(points)).sum(axis=2).min(axis=0)
        np.testing.assert_allclose(gaps, 0, atol=1e-12)


def test_a_ribbon_has_the_given_widths():
    band = ribbon(np.stack([np.arange(11.0), np.zeros(11)], axis=1), [2, 6])
    assert np.ptp(band[[0, -1], 1]) == pytest.approx(2)
    assert np.ptp(band[[10, 11], 1]) == pytest.approx(6)


def test_outlines_are_closed_and_symmetric():
    outline = np.array(mirror_outline([(0, 0), (1, 2), (3, 1), (4, 0)]))
    # Four points of one half, and the two of them that are not on the axis again.
    assert outline[:, 1].sum() == 0
    assert len(outline) == 6
    np.testing.assert_allclose(arc((1, 2), (3, 5))[0], arc((1, 2), (3, 5))[-1])


def test_colours_mix():
    assert blend((0, 0, 0), (200, 100, 50), 0.5) == (100, 50, 25)
    assert lighter((100, 100, 100), 1.0) == (255, 255, 255)
    assert darker((100, 100, 100), 1.0) == (0, 0, 0)
