"""Test musicians: sampled appearances, their visibility in the face, proportions, arms."""

from dataclasses import replace

import numpy as np
import pytest

from avsep.toyband.pictures.drawing import Placement, Sketch, rasterise
from avsep.toyband.pictures.instruments.people import (
    HAIR_CUTS,
    HEAD,
    SHIRTS,
    SKINS,
    Appearance,
    paint_arm,
    paint_head,
    paint_seated_legs,
    paint_standing_legs,
    paint_torso,
    sample_appearance,
)

BODY_COLOURS = ((10, 20, 30), (200, 100, 50))


def pixels(*painters, appearance=None):
    """Paint a musician of 200 units in a picture of 120 by 210 pixels."""
    sketch = Sketch()
    for paint in painters:
        paint(sketch, appearance or Appearance())
    sprite = rasterise(sketch, Placement(60, 5, 1))
    assert sprite is not None
    canvas = np.zeros((210, 120, 3), dtype=np.uint8)
    rows, columns = slice(max(sprite.top, 0), 210), slice(max(sprite.left, 0), 120)
    picture = np.asarray(sprite.picture)[: 210 - sprite.top, : 120 - sprite.left]
    opacity = np.asarray(sprite.opacity)[: 210 - sprite.top, : 120 - sprite.left, None] / 255
    canvas[rows, columns][: picture.shape[0], : picture.shape[1]] = picture * opacity
    return canvas.astype(int)


@pytest.mark.slow
def test_every_appearance_occurs_and_repeats_with_its_seed():
    appearances = [
        sample_appearance(np.random.default_rng(seed), BODY_COLOURS) for seed in range(300)
    ]
    assert appearances[7] == sample_appearance(np.random.default_rng(7), BODY_COLOURS)
    assert {appearance.cut for appearance in appearances} == set(HAIR_CUTS)
    assert {appearance.skin for appearance in appearances} == set(SKINS)
    assert {appearance.shirt for appearance in appearances} == set(SHIRTS)
    assert {appearance.body for appearance in appearances} == set(BODY_COLOURS)
    # Three standard deviations of 300 draws are 0.09 at most.
    assert np.mean([appearance.mirrored for appearance in appearances]) == pytest.approx(
        0.5, abs=0.09
    )
    assert np.mean([appearance.glasses for appearance in appearances]) == pytest.approx(
        0.25, abs=0.08
    )
    assert len(set(appearances)) > 290


@pytest.mark.parametrize(
    "change",
    [{"cut": "long"}, {"cut": "bald"}, {"glasses": True}, {"beard": True}, {"skin": SKINS[5]}],
)
def test_appearance_is_visible_in_the_face(change):
    plain, other = (
        pixels(paint_head, appearance=variant)
        for variant in (Appearance(), replace(Appearance(), **change))
    )
    # A change of 30 in 255 is visible; 20 pixels are about the size of an eye at this scale.
    assert (np.abs(plain - other).max(axis=2) > 30).sum() > 20


@pytest.mark.parametrize("legs", [paint_standing_legs, paint_seated_legs])
def test_a_musician_is_two_hundred_units_high_and_stands_on_the_ground(legs):
    sketch = Sketch()
    for paint in (legs, paint_torso, paint_head):
        paint(sketch, Appearance())
    x1, y1, x2, y2 = sketch.bounds()
    # Bounds contain line widths, and arms and hair vary; hence ranges instead of values.
    assert -5 < y1 < 15 and 190 < y2 < 204
    assert -60 < x1 < -25 and 25 < x2 < 60
    assert y1 < HEAD[1] < y2


@pytest.mark.parametrize("hand", [(40.0, 110.0), (-30.0, 95.0), (10.0, 60.0)])
@pytest.mark.parametrize("bend", [-1, 1])
def test_an_arm_goes_from_the_shoulder_to_the_hand(hand, bend):
    sketch = Sketch()
    paint_arm(sketch, Appearance(), (0.0, 78.0), hand, bend)
    # Within the radius of a hand, about 7 units.
    points = np.concatenate([shape.points for shape in sketch.shapes])
    assert np.linalg.norm(points - hand, axis=1).min() < 7
    assert np.linalg.norm(points - (0.0, 78.0), axis=1).min() < 7
