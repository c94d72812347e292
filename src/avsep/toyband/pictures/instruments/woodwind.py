"""Draw clarinet, flute and saxophone, which the player lifts when leaning into a note."""

import numpy as np

from avsep.toyband.pictures.drawing import (
    INK,
    Colour,
    Point,
    Sketch,
    Transform,
    darker,
    lighter,
    ribbon,
    spline,
)
from avsep.toyband.pictures.instruments.instrument import (
    LEGS,
    Instrument,
    Layer,
    Painter,
    transformed,
    upper_body,
)
from avsep.toyband.pictures.instruments.motion import Pose
from avsep.toyband.pictures.instruments.people import (
    SHOULDER_X,
    SHOULDER_Y,
    Appearance,
    paint_arm,
    paint_fingers,
)

SILVER: Colour = (208, 212, 220)
BRASS_COLOURS = ((232, 184, 72), (240, 206, 110), (206, 150, 62), (214, 216, 222), (222, 160, 110))
# Axis of the tube from the mouthpiece at the origin, upright: x to the right and y down. A list
# of points, since no straight axis as that of clarinet and flute describes the bow at the bottom.
SAX_TUBE: list[Point] = [
    (-1, 0), (9, -6), (18, -2), (20, 12), (16, 44), (13, 78), (9, 99), (-6, 112), (-25, 106),
    (-37, 85), (-44, 57),
]  # fmt: skip
SAX_WIDTHS = [4.0, 5, 6, 8, 10, 12.5, 15, 17, 20, 26, 42]


# The origin of each instrument is its mouthpiece, so that it stays at the mouth while the lean of
# the player rotates the rest.


def _clarinet_transform(pose: Pose) -> Transform:
    return Transform((2, 53), 80 - 15 * pose.lean, 1.0)


def _flute_transform(pose: Pose) -> Transform:
    return Transform((15, 55), 174 + 9 * pose.lean, 1.0)


def _sax_transform(pose: Pose) -> Transform:
    return Transform((3, 53), 5 - 10 * pose.lean, 1.0)


def paint_clarinet(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a clarinet along the x axis: dark wood, silver rings and keys, a small bell."""
    body = appearance.body
    tube = np.array([(x, 0.0) for x in range(0, 119, 2)])
    widths = [4.2, 5, 7.5, 8.6, 8.6, 8.6, 8.8, 9, 9, 9.4, 11, 15, 25]
    outline = ribbon(tube, widths)
    sketch.fill(outline, lighter(body, 0.1), shade=body, ink=2.2)
    sketch.line([(14, -2), (104, -2)], lighter(body, 0.5), 1.1)
    for x in (15, 27, 61, 63.5, 103):
        # A ring is 0.6 wider than the tube on either side.
        half = float(np.interp(x, np.linspace(0, 118, len(widths)), widths)) / 2 + 0.6
        sketch.box((x - 1.2, -half), (x + 1.2, half), SILVER, ink=0.6)
    for x in (34, 41, 48, 70, 77, 84, 92):
        sketch.ellipse((x, 0), (2.5, 2.5), SILVER, shade=darker(SILVER), ink=0.8)
    for x, side in ((31, -1), (54, 1), (66, -1), (88, 1), (96, -1)):
        sketch.line([(x, side * 5.4), (x + 9, side * 6)], SILVER, 1.8)
    sketch.line([(117.4, -12), (117.4, 12)], SILVER, 1.6)


def paint_flute(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a flute along the x axis: a thin bright tube with a row of round keys."""
    sketch.tube([(-6, 0), (116, 0)], appearance.body, 6)
    sketch.line([(-4, 1.6), (114, 1.6)], lighter(appearance.body, 0.6), 1.3)
    for x in (-6, 30, 100, 116):
        sketch.line([(x, -3.4), (x, 3.4)], darker(appearance.body, 0.2), 2.2)
    sketch.ellipse((14, 1), (6, 4), lighter(appearance.body, 0.3), ink=1)
    sketch.ellipse((14, 2), (2.4, 1.4), INK, ink=0)
    for x in (40, 47, 54, 61, 70, 77, 84, 91, 105):
        sketch.ellipse((x, 3), (3.3, 2.7), lighter(appearance.body, 0.35), ink=1)
    sketch.line([(38, -3.6), (98, -3.6)], darker(appearance.body, 0.25), 1.2)


def paint_saxophone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a saxophone from its mouthpiece: neck, body, bow and a wide upward bell."""
    gold = appearance.body
    tube = spline(SAX_TUBE, closed=False, steps=6)
    outline = ribbon(tube, SAX_WIDTHS)
    sketch.fill(outline, lighter(gold, 0.35), shade=darker(gold, 0.25), across=True, ink=2.2)
    sketch.line(tube[6:-4] - [1.5, 0], lighter(gold, 0.6), 2.0)
    sketch.limb([(-6, -1), (3, -3)], INK, 4.4)
    bell = sketch.within(Transform((-45, 55), -17))
    bell.ellipse((0, 0), (21.5, 6.5), lighter(gold, 0.25), ink=2)
    bell.ellipse((0, 0.6), (16, 4), darker(gold, 0.5), ink=0)
    for x, y in ((18, 22), (16.4, 33), (14.8, 44), (12.4, 58), (10.6, 69), (8, 80)):
        sketch.ellipse((x, y), (4.4, 4.4), lighter(gold, 0.5), ink=1.1)
        sketch.ellipse((x, y), (2, 2), (252, 248, 240), ink=0)
    sketch.line([(23, 18), (15, 78)], darker(gold, 0.3), 1.6)
    for x, y in ((3, 97), (-12, 108), (-31, 90)):
        sketch.ellipse((x, y), (6, 5), lighter(gold, 0.2), ink=1.1)


def _clarinet(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _clarinet_transform(pose)
    # Between the arms: the left one is behind the clarinet, the right one in front of it.
    left_hand = transform.point(46, -5)
    paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), left_hand, bend=1)
    paint_clarinet(sketch.within(transform), appearance, pose)
    paint_arm(sketch, appearance, (-SHOULDER_X, SHOULDER_Y), transform.point(80, 7), bend=1)


def _clarinet_fingers(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _clarinet_transform(pose)
    turned = transform._replace(
        rotation_degrees=transform.rotation_degrees + 180, origin=transform.point(46, 0)
    )
    paint_fingers(sketch, appearance, (0, 0), turned, pose.fingers)
    # Four fingers a hand out of six bits: shifted by two, the second hand moves differently.
    paint_fingers(sketch, appearance, (80, 0), transform, pose.fingers >> 2)


def _flute(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _flute_transform(pose)
    paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), transform.point(50, -5), bend=-1)
    paint_flute(sketch.within(transform), appearance, pose)
    paint_arm(sketch, appearance, (-SHOULDER_X, SHOULDER_Y), transform.point(84, -6), bend=-1)


def _flute_fingers(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _flute_transform(pose)
    for x, bits in ((51, pose.fingers), (82, pose.fingers >> 2)):
        # Turned back by half a turn: fingers press the keys from above.
        upright = Transform(transform.point(x, 0), transform.rotation_degrees - 180)
        paint_fingers(sketch, appearance, (0, -3), upright, bits)


def _saxophone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _sax_transform(pose)
    # The strap around the neck carries the weight: two lines to one ring.
    sketch.limb([(-12, 70), transform.point(19, 14)], INK, 1.6)
    sketch.limb([(16, 70), transform.point(19, 14)], INK, 1.6)
    paint_saxophone(sketch.within(transform), appearance, pose)
    paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), transform.point(23, 36), bend=-1)
    paint_arm(sketch, appearance, (-SHOULDER_X, SHOULDER_Y), transform.point(3, 72), bend=1)


def _sax_fingers(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _sax_transform(pose)
    angle = transform.rotation_degrees + 98  # across the body, which leans by 8 degrees
    left = Transform(transform.point(16, 34), angle + 180)
    right = Transform(transform.point(10, 70), angle)
    paint_fingers(sketch, appearance, (0, 0), left, pose.fingers)
    paint_fingers(sketch, appearance, (0, 0), right, pose.fingers >> 2)


def _wind_instrument(
    paint_held: Painter,
    paint_hands: Painter,
    paint_alone: Painter,
    body_colours: tuple[Colour, ...],
) -> Instrument:
    return Instrument(
        layers=(
            LEGS,
            upper_body(),
            Layer(paint_held, pose_fields=("lean",)),
            # A layer of its own: the fingers change with every note, the tube only with the lean.
            Layer(paint_hands, pose_fields=("lean", "fingers")),
        ),
        body_colours=body_colours,
        paint_alone=paint_alone,
    )


CLARINET = _wind_instrument(
    _clarinet,
    _clarinet_fingers,
    transformed(paint_clarinet, Transform((0, 78), 90)),
    ((42, 40, 46), (52, 42, 42), (36, 38, 52)),
)
FLUTE = _wind_instrument(
    _flute,
    _flute_fingers,
    transformed(paint_flute, Transform((-55, 190))),
    (SILVER, (224, 222, 214), (230, 204, 140), (190, 200, 214)),
)
SAXOPHONE = _wind_instrument(
    _saxophone, _sax_fingers, transformed(paint_saxophone, Transform((10, 86))), BRASS_COLOURS
)
