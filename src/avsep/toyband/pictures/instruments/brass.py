"""Draw trumpet, trombone and tuba, with valves that go down and a slide that moves."""

import numpy as np

from avsep.toyband.pictures.drawing import (
    Colour,
    Point,
    Points,
    Sketch,
    Transform,
    arc,
    darker,
    lighter,
    ribbon,
    spline,
)
from avsep.toyband.pictures.instruments.instrument import (
    LEGS,
    Instrument,
    Layer,
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
    paint_seated_legs,
)

BRASSES: tuple[Colour, ...] = (
    (236, 188, 70), (244, 212, 120), (212, 156, 66), (212, 216, 224), (226, 160, 112),
)  # fmt: skip
PEARL: Colour = (252, 250, 244)
SLIDE_UNITS = 44.0  # travel of the slide between the highest and the lowest pitch of a part
TRUMPET_VALVES = (42, 50.5, 59)  # x of each valve
TUBA_VALVES = (-4, 5, 14, 23)
TROMBONE_TRANSFORM = Transform((18, 51), 7, 1.1)
TUBIST_TRANSFORM = Transform((-18, 12))


def paint_bell(sketch: Sketch, line: Points, widths: list[float], colour: Colour) -> None:
    """Paint a flaring tube along a line; `widths` are spread evenly over its length."""
    outline = ribbon(line, widths)
    sketch.fill(outline, lighter(colour, 0.4), shade=darker(colour, 0.25), ink=2.0)
    # The highlight ends before the flare, whose edge it would cross.
    sketch.line(line[:-3] - [0, widths[0] * 0.15], lighter(colour, 0.65), 1.2)


def _straight(start: Point, end: Point, num_points: int = 24) -> Points:
    return np.linspace(start, end, num_points)


def _valve_drop(pose: Pose, index: int) -> float:
    """Return how far a valve is pressed down: bit `index` of the fingering decides."""
    return 6.0 if pose.fingers >> index & 1 else 0.0


# Trumpet


def _trumpet_transform(pose: Pose) -> Transform:
    # The origin is the mouthpiece: the trumpet turns about the mouth, and its bell goes up.
    return Transform((17, 51), -2 - 12 * pose.lean, 1.18)


def paint_trumpet(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a trumpet along the x axis from its mouthpiece: loop, three valves, bell."""
    brass = appearance.body
    loop = np.concatenate([arc((72, 10), (10, 10), -90, 90), arc((27, 10), (10, 10), 90, 270)])
    sketch.tube(np.concatenate([loop, loop[:1]]), brass, 4.2)
    sketch.tube([(4, 0), (42, 0)], brass, 3.6)
    sketch.fill(ribbon([(-2, 0), (1, 0), (8, 0)], [9, 6, 3.4]), lighter(brass), ink=1.4)
    # The bore is constant for half the length and then opens ever faster, as a real bell does.
    widths = [4.2, 4.2, 4.4, 4.8, 6, 9, 15, 34]
    paint_bell(sketch, _straight((36, 0), (98, 0)), widths, brass)
    sketch.within(Transform((98, 0))).ellipse((0, 0), (3.6, 17.4), lighter(brass, 0.3), ink=1.8)
    for index, x in enumerate(TRUMPET_VALVES):
        drop = _valve_drop(pose, index)
        sketch.limb([(x, -8), (x, -14 + drop)], (226, 226, 230), 2)
        sketch.ellipse((x, -15.5 + drop), (3.6, 2), PEARL, ink=1)
        sketch.box((x - 3.7, -8), (x + 3.7, 27), lighter(brass, 0.4), shade=darker(brass, 0.2),
                   across=True)  # fmt: skip
        sketch.box((x - 4.2, 25), (x + 4.2, 29), lighter(brass, 0.2), ink=1)


def _trumpet_hands(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint the left arm, whose hand is behind the valves."""
    paint_arm(
        sketch, appearance, (SHOULDER_X, SHOULDER_Y), _trumpet_transform(pose).point(50, 16), bend=1
    )


def _trumpet(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = _trumpet_transform(pose)
    paint_trumpet(sketch.within(transform), appearance, pose)
    local = sketch.within(transform)
    for index, x in enumerate(TRUMPET_VALVES):
        drop = _valve_drop(pose, index)
        local.limb([(38, -11), (x - 2, -21 + drop), (x, -17 + drop)], appearance.skin, 2.8)
    paint_arm(
        sketch, appearance, (12 - SHOULDER_X, SHOULDER_Y + 4), transform.point(36, -7), bend=1
    )


# Trombone


def paint_trombone_bell(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint the part behind the player's head: the bow and the bell, parallel to the slide."""
    brass = appearance.body
    bow = np.concatenate([[(14, 2)], arc((-26, -8), (12, 10), 90, 270), [(0, -18)]])
    sketch.tube(bow, brass, 4.2)
    widths = [4.2, 4.4, 5, 6, 8, 12, 20, 42]
    paint_bell(sketch, _straight((-8, -18), (72, -18)), widths, brass)
    sketch.ellipse((72, -18), (4.4, 21.4), lighter(brass, 0.3), ink=2)


def paint_trombone_slide(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint mouthpiece, inner slide and outer slide; the lower the pitch, the farther it is out."""
    brass, out = appearance.body, (1 - pose.pitch) * SLIDE_UNITS
    for y in (0, 13):
        # The outer slide, painted later, starts at 34 + out and hides the end of the inner one.
        sketch.tube([(6, y), (70 + out * 0.6, y)], (222, 224, 230), 2.4)
    sketch.tube([(18, 0), (18, 13)], brass, 3)
    bend = arc((88 + out, 6.5), (6.5, 6.5), -90, 90)
    outer = np.concatenate([[(34 + out, 0)], bend, [(34 + out, 13)]])
    sketch.tube(outer, brass, 4.2)
    sketch.tube([(36 + out, 0), (36 + out, 13)], brass, 3.2)
    sketch.fill(ribbon([(-2, 0), (2, 0), (10, 0)], [10, 7, 3.4]), lighter(brass), ink=1.4)


def _trombone_slide(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), TROMBONE_TRANSFORM.point(19, 9), bend=1)
    paint_trombone_slide(sketch.within(TROMBONE_TRANSFORM), appearance, pose)
    hand = TROMBONE_TRANSFORM.point(38 + (1 - pose.pitch) * SLIDE_UNITS, 8)
    paint_arm(sketch, appearance, (-SHOULDER_X + 14, SHOULDER_Y + 5), hand, bend=1)


def _trombone_alone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    local = sketch.within(Transform((-40, 178)))
    paint_trombone_bell(local, appearance, pose)
    paint_trombone_slide(local, appearance, Pose(pitch=1.0))


# Tuba


def paint_tuba(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a tuba: wide coils on the lap and an upward bell as wide as the player."""
    brass = appearance.body
    # Back to front: outer coil, bell, inner coil, valves, mouthpiece. The back coil is darker.
    outer = spline([(36, 78), (42, 130), (34, 172), (8, 184), (-16, 170), (-22, 132), (-14, 100)],
                   closed=False)  # fmt: skip
    sketch.tube(outer, darker(brass, 0.06), 15)
    bell = spline([(38, 150), (38, 110), (36, 70), (34, 40), (33, 14)], closed=False)
    paint_bell(sketch, bell, [15, 18, 21, 26, 34, 50, 84], brass)
    sketch.box((29, 144), (47, 152), lighter(brass, 0.3), shade=darker(brass, 0.2), across=True)
    # Rim and dark inside: the bell is seen from slightly above.
    sketch.ellipse((33, 14), (42, 11), lighter(brass, 0.3), ink=2.2)
    sketch.ellipse((33, 15), (34, 7.5), darker(brass, 0.45), shade=darker(brass, 0.15), ink=1)
    inner = spline([(-14, 104), (-4, 88), (14, 92), (20, 116), (16, 150), (2, 162), (-8, 148)],
                   closed=False)  # fmt: skip
    sketch.tube(inner, brass, 8.5)
    sketch.tube(spline([(-12, 68), (0, 76), (8, 92), (6, 108)], closed=False), brass, 4)
    for index, x in enumerate(TUBA_VALVES):
        drop = _valve_drop(pose, index)
        sketch.limb([(x, 108), (x, 101 + drop)], (226, 226, 230), 2)
        sketch.ellipse((x, 99 + drop), (4, 2.2), PEARL, ink=1)
        sketch.box((x - 4, 108), (x + 4, 140), lighter(brass, 0.4), shade=darker(brass, 0.25),
                   across=True)  # fmt: skip
    sketch.fill(ribbon([(-15, 66), (-12, 68), (-6, 72)], [11, 8, 4]), lighter(brass), ink=1.4)


def _tubist_legs(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_seated_legs(sketch, appearance, spread=42)


def _tuba_far_arm(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_arm(sketch, appearance, TUBIST_TRANSFORM.point(SHOULDER_X, SHOULDER_Y), (50, 118), bend=1)


def _tuba(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_tuba(sketch, appearance, pose)
    for index, x in enumerate(TUBA_VALVES):
        drop = _valve_drop(pose, index)
        sketch.limb([(x - 10, 101), (x - 3, 94 + drop), (x, 97 + drop)], appearance.skin, 3.2)
    paint_arm(
        sketch, appearance, TUBIST_TRANSFORM.point(-SHOULDER_X, SHOULDER_Y), (-11, 104), bend=1
    )
    paint_fingers(sketch, appearance, (0, 0), Transform((44, 122), -90))


TRUMPET = Instrument(
    layers=(
        LEGS,
        upper_body(turn=0.9),
        Layer(_trumpet_hands, pose_fields=("lean",)),
        Layer(_trumpet, pose_fields=("lean", "fingers")),
    ),
    body_colours=BRASSES,
    paint_alone=transformed(paint_trumpet, Transform((-50, 164), 0, 1.08)),
)
TROMBONE = Instrument(
    layers=(
        LEGS,
        # The bell section passes the head on the far side, over the player's shoulder.
        Layer(transformed(paint_trombone_bell, TROMBONE_TRANSFORM)),
        upper_body(turn=0.9),
        Layer(_trombone_slide, pose_fields=("pitch",)),
    ),
    body_colours=BRASSES,
    paint_alone=_trombone_alone,
)
TUBA = Instrument(
    layers=(
        Layer(_tubist_legs, sway_share=0),
        upper_body(turn=0.3, transform=TUBIST_TRANSFORM),
        Layer(_tuba_far_arm),
        Layer(_tuba, pose_fields=("fingers",)),
    ),
    body_colours=BRASSES,
    paint_alone=paint_tuba,
)
