"""Draw guitar, banjo and mandolin: bodies of different shape with a shared neck and head."""

import numpy as np

from avsep.toyband.pictures.drawing import (
    Point,
    Sketch,
    Transform,
    arc,
    darker,
    lighter,
    mirror_outline,
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

WOODS = ((214, 160, 92), (176, 104, 50), (132, 72, 44), (226, 186, 124), (156, 58, 44))
ROSEWOOD = (74, 46, 40)
STRING = (250, 246, 236)
# Upper halves of the outlines, with x from the tail (0) towards the head. The waist of the guitar
# and the teardrop of the mandolin tell the two apart even as silhouettes.
GUITAR_HALF: list[Point] = [
    (0, 0), (0.6, 13), (7, 23.5), (18, 27.5), (29, 24), (36, 18.6), (41, 17), (46, 18.4),
    (53, 21.2), (60, 19.6), (65, 11), (66, 0),
]  # fmt: skip
MANDOLIN_HALF: list[Point] = [
    (0, 0), (1, 11), (6, 19.5), (14, 23.4), (23, 22.6), (33, 17.6), (42, 11), (50, 5), (54, 0),
]  # fmt: skip
GUITAR_TRANSFORM = Transform((-56, 140), -27, 1.0)
BANJO_TRANSFORM = Transform((-50, 142), -30, 1.0)
MANDOLIN_TRANSFORM = Transform((-36, 138), -36, 1.2)


def paint_neck(
    sketch: Sketch,
    appearance: Appearance,
    start: float,
    end: float,
    half_width: float,
    num_frets: int,
) -> None:
    """Paint neck and fingerboard with frets and dots, from the body to the nut."""
    narrow = half_width * 0.8
    corners = [(start, half_width), (end, narrow), (end, -narrow), (start, -half_width)]
    sketch.fill(corners, ROSEWOOD, shade=darker(ROSEWOOD))
    # Frets of equal temperament are at 1 - 2^(-n / 12) of the string; 9 instead of 12 exaggerates
    # how they get closer towards the body, which would be invisible at this size.
    spacing = 1 - 0.5 ** (np.arange(1, num_frets + 1) / 9)
    for index, share in enumerate(spacing / (1 - 0.5 ** (num_frets / 9 + 0.1))):
        x = end - (end - start) * share
        sketch.line([(x, narrow), (x, -narrow)], (206, 200, 186), 0.7)
        if index % 3 == 2:
            sketch.ellipse((x + 2, 0), (0.9, 0.9), STRING, ink=0)


def paint_head_stock(
    sketch: Sketch, appearance: Appearance, start: float, num_pegs: int, half_width: float
) -> None:
    """Paint the head stock with half of the tuning pegs on either side."""
    length = 5.2 * num_pegs / 2 + 5
    colour = darker(appearance.body, 0.35)
    for index in range(num_pegs // 2):
        x = start + 4.5 + index * 5.2
        for side in (-1, 1):
            sketch.limb([(x, 0), (x, side * (half_width + 3.4))], (222, 220, 214), 1.6)
            sketch.ellipse((x, side * (half_width + 4.2)), (2.0, 1.7), (236, 232, 222), ink=1)
    corners = [
        (start, half_width * 0.62), (start + 4, half_width), (start + length, half_width * 1.15),
        (start + length - 2, 0), (start + length, -half_width * 1.15), (start + 4, -half_width),
        (start, -half_width * 0.62),
    ]  # fmt: skip
    sketch.fill(corners, colour, shade=darker(colour))
    sketch.box((start - 1, -half_width * 0.6), (start + 0.6, half_width * 0.6), STRING, ink=0)


def paint_strings(
    sketch: Sketch, start: float, end: float, half_width: float, num_strings: int
) -> None:
    """Paint the strings from the bridge to the nut."""
    for y in np.linspace(-half_width, half_width, num_strings):
        sketch.line([(start, y), (end, y * 0.75)], STRING, 0.5)


def paint_guitar(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a guitar along the x axis: figure of eight, round sound hole, bridge."""
    body = spline(mirror_outline(GUITAR_HALF), steps=5)
    sketch.fill(body, darker(appearance.body, 0.35), ink=2.2)
    # The sides are the full outline, the lighter top the same outline shrunk.
    top = (body - [33, 0]) * [0.945, 0.92] + [33, 0]
    sketch.fill(top, lighter(appearance.body, 0.3), shade=darker(appearance.body, 0.08), ink=0.8)
    guard = spline([(34, 9), (46, 9.4), (50, 14), (42, 16), (33, 15)])
    sketch.fill(guard, darker(appearance.body, 0.55), ink=0)
    sketch.ellipse((43, 0), (10, 10), (236, 214, 170), ink=1)
    sketch.ellipse((43, 0), (8, 8), (40, 26, 24), ink=1)
    sketch.box((16, -9), (20.5, 9), ROSEWOOD, ink=1)
    paint_neck(sketch, appearance, 53, 122, 3.7, 14)
    paint_head_stock(sketch, appearance, 122, 6, 4.8)
    paint_strings(sketch, 18, 122, 3.0, 6)


def paint_banjo(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a banjo along the x axis: skin in a metal ring, long thin neck, fifth peg."""
    # Back to front: pegs and brackets first, whose inner ends the rings on top hide.
    sketch.limb([(102, -2), (102, -7)], (236, 232, 222), 1.8)
    for angle in np.radians(np.arange(0, 360, 20)):
        x, y = 30 + 30 * np.cos(angle), 30 * np.sin(angle)
        sketch.limb([(x, y), (30 + 33 * np.cos(angle), 33 * np.sin(angle))], appearance.trim, 2.4)
    sketch.ellipse((30, 0), (30.5, 30.5), appearance.body, shade=darker(appearance.body), ink=2.2)
    sketch.ellipse((30, 0), (27.5, 27.5), appearance.trim, shade=darker(appearance.trim, 0.25))
    sketch.ellipse((30, 0), (24.5, 24.5), (252, 248, 238), shade=(226, 218, 202), ink=1)
    sketch.fill([(0, 2.4), (7, 4), (7, -4), (0, -2.4)], appearance.trim, ink=1)
    sketch.box((19, -7.5), (21.4, 7.5), (150, 100, 62), ink=1)
    paint_neck(sketch, appearance, 56, 136, 2.9, 17)
    paint_head_stock(sketch, appearance, 136, 4, 4.2)
    paint_strings(sketch, 2, 136, 2.3, 5)


def paint_mandolin(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a mandolin along the x axis: teardrop, oval sound hole, short neck, eight pegs."""
    body = spline(mirror_outline(MANDOLIN_HALF), steps=5)
    sketch.fill(body, darker(appearance.body, 0.4), ink=2.2)
    top = (body - [24, 0]) * [0.92, 0.9] + [23, 0]
    sketch.fill(top, lighter(appearance.body, 0.25), shade=darker(appearance.body, 0.2), ink=0.8)
    sketch.fill(arc((31, 0), (4.8, 7.4)), (244, 226, 186), ink=0.8)
    sketch.fill(arc((31, 0), (3.4, 5.8)), (40, 26, 24), ink=0)
    guard = spline([(24, 7), (33, 8), (36, 12), (28, 15), (22, 12)])
    sketch.fill(guard, (92, 48, 34), ink=0)
    sketch.box((14, -8), (16.6, 8), ROSEWOOD, ink=1)
    sketch.fill([(-1, 4), (4, 4.6), (4, -4.6), (-1, -4)], appearance.trim, ink=1)
    paint_neck(sketch, appearance, 39, 79, 3.6, 11)
    paint_head_stock(sketch, appearance, 79, 8, 5.2)
    # Four lines: the eight strings are four pairs, too close to tell apart.
    paint_strings(sketch, 3, 79, 2.7, 4)


def _plucked_instrument(
    paint: Painter, transform: Transform, frets: tuple[float, float], strum: float, reach: float
) -> Instrument:
    """Return the drawing of a player with a plucked instrument.

    Args:
        paint: paints the instrument along the x axis.
        transform: position in the player's arms.
        frets: x of the left hand at the lowest and the highest pitch.
        strum: x at which the right hand crosses the strings.
        reach: distance of the right hand from the middle of the strings, up and down.
    """

    def fret_x(pose: Pose) -> float:
        return frets[0] + (frets[1] - frets[0]) * pose.pitch

    def paint_left_arm(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        hand = transform.point(fret_x(pose), 5.5)
        paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), hand, bend=1)

    def paint_left_fingers(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        paint_fingers(sketch, appearance, (fret_x(pose), -1), transform, pose.fingers)

    def paint_right_arm(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        hand = transform.point(strum, reach * (2 * pose.strum - 1))
        paint_arm(sketch, appearance, (-SHOULDER_X, SHOULDER_Y), hand, bend=1)

    return Instrument(
        layers=(
            LEGS,
            upper_body(turn=0.1),
            # Neck and body cover the left arm, the fingers are on the fingerboard again.
            Layer(paint_left_arm, pose_fields=("pitch",)),
            Layer(transformed(paint, transform)),
            Layer(paint_left_fingers, pose_fields=("pitch", "fingers")),
            Layer(paint_right_arm, pose_fields=("strum",)),
        ),
        body_colours=WOODS,
        paint_alone=transformed(paint, Transform((0, 196), -80, 1.05)),
    )


GUITAR = _plucked_instrument(paint_guitar, GUITAR_TRANSFORM, (112, 72), 36, 17)
BANJO = _plucked_instrument(paint_banjo, BANJO_TRANSFORM, (126, 76), 32, 17)
MANDOLIN = _plucked_instrument(paint_mandolin, MANDOLIN_TRANSFORM, (74, 50), 24, 16)
