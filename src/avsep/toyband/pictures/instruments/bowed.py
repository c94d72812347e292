"""Draw violin and cello: one outline at two sizes, with a bow that follows the stroke."""

import math

from avsep.toyband.pictures.drawing import (
    INK,
    Point,
    Sketch,
    Transform,
    arc,
    darker,
    lighter,
    mirror_outline,
    spline,
)
from avsep.toyband.pictures.instruments.instrument import LEGS, Instrument, Layer, upper_body
from avsep.toyband.pictures.instruments.motion import Pose
from avsep.toyband.pictures.instruments.people import (
    SHOULDER_X,
    SHOULDER_Y,
    Appearance,
    paint_arm,
    paint_fingers,
    paint_seated_legs,
)

WOODS = ((176, 96, 44), (146, 66, 34), (198, 124, 56), (120, 56, 38), (212, 150, 84))
EBONY = (46, 38, 40)
# Fiddle units: x is 0 at the tail, 48 where the neck starts and 90 at the scroll. Violin and cello
# have nearly the same proportions, so that scale and rotation alone make one of the other.
BODY_HALF: list[Point] = [
    (0, 0), (0.8, 7), (5, 13), (12, 15.5), (18, 14), (20.5, 11.6), (22.5, 9.4), (26, 8.6),
    (29.5, 9.2), (31, 11.2), (34, 12.4), (40, 12), (45.5, 8.6), (47.5, 4), (48, 0),
]  # fmt: skip
BOW_CONTACT = 29.0  # x of the bow, between the bridge and the end of the fingerboard
BOW_UNITS = 86.0
# From MIN_BOW_UNITS to 70 units lie between hand and strings: inside the hair of the bow, which
# ends at 83, so that the bow is never off the strings.
MIN_BOW_UNITS, BOW_TRAVEL_UNITS = 14, 56.0

VIOLIN_TRANSFORM = Transform((0, 69), -13, 1.28)
VIOLIN_BOW_DEGREES = -52.0
CELLO_TRANSFORM = Transform((-2, 183), -82, 1.95)
CELLO_BOW_DEGREES = 4.0
CELLIST_TRANSFORM = Transform((-13, 10))


def paint_fiddle(sketch: Sketch, appearance: Appearance, chin_rest: bool) -> None:
    """Paint the front of the instrument in fiddle units."""
    body = spline(mirror_outline(BODY_HALF), steps=4)
    sketch.fill(body, lighter(appearance.body, 0.28), shade=darker(appearance.body, 0.22), ink=2.2)
    # The purfling: the outline shrunk towards the middle of the body.
    sketch.line((body - [24, 0]) * [0.92, 0.88] + [24, 0], darker(appearance.body, 0.35), 0.5)
    for side in (-1, 1):
        hole = [(27, 4.6), (25.6, 6), (22, 6.4), (18.4, 7.2), (17, 8.8)]
        sketch.line(spline([(x, y * side) for x, y in hole], closed=False), INK, 1.2)
        for x, y in (hole[0], hole[-1]):
            sketch.ellipse((x, y * side), (1.0, 1.0), INK, ink=0)
    if chin_rest:
        sketch.fill(arc((5, -8), (5, 5.5)), EBONY, ink=1)
    sketch.fill([(2, 2.2), (15, 3.4), (15, -3.4), (2, -2.2)], EBONY, ink=0)
    sketch.fill([(21, 6), (23, 5), (23, -5), (21, -6)], (236, 204, 148), ink=1)
    _paint_neck(sketch, appearance)
    # Strings last: they pass over bridge and fingerboard, closer together at the scroll.
    for y in (-1.6, -0.5, 0.6, 1.7):
        sketch.line([(15, y * 1.3), (79, y * 0.8)], (244, 240, 230), 0.35)


def _paint_neck(sketch: Sketch, appearance: Appearance) -> None:
    scroll = spline(
        [(78, 2.4), (84, 2.6), (88, 3.6), (91, 1), (90, -3), (86, -3.4), (83, -2), (78, -2.4)]
    )
    for x in (80, 83.5):
        for side in (-1, 1):
            sketch.limb([(x, 0), (x + 0.6, side * 5.6)], EBONY, 1.0)
    sketch.fill(scroll, appearance.body, shade=darker(appearance.body))
    sketch.fill([(47, 2.8), (79, 2), (79, -2), (47, -2.8)], appearance.body)
    sketch.fill([(31, 3), (79, 1.9), (79, -1.9), (31, -3)], EBONY, ink=0.8)


def paint_bow(sketch: Sketch, hand: Point, degrees: float) -> None:
    """Paint a bow held at its frog, with the hair towards the strings."""
    bow = sketch.within(Transform(hand, degrees))
    bow.line([(2, 3.4), (BOW_UNITS - 3, 2.6)], (250, 246, 232), 2.2)
    stick = spline([(-6, -1), (30, 0.2), (62, -0.4), (BOW_UNITS - 4, -2.4)], closed=False)
    bow.limb(stick, (128, 62, 36), 1.9)
    bow.fill([(0, -1), (10, -1), (10, 4.6), (0, 4.6)], EBONY, ink=0.8)
    end = BOW_UNITS
    bow.fill([(end - 5, -3.4), (end, -2), (end - 1.5, 4)], (236, 230, 214), ink=1.2)


def _bow_hand(fiddle: Transform, degrees: float, stroke: float) -> Point:
    """Return the hand position at which the bow crosses the strings, for a stroke of -1..1."""
    x, y = fiddle.point(BOW_CONTACT, 0)
    distance = MIN_BOW_UNITS + (stroke + 1) / 2 * BOW_TRAVEL_UNITS
    angle = math.radians(degrees)
    return (x - math.cos(angle) * distance, y - math.sin(angle) * distance)


# Violin


def _violin_left_arm(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    # Low pitches near the scroll, high ones near the body: shorter strings sound higher.
    hand = VIOLIN_TRANSFORM.point(74 - 21 * pose.pitch, 4)
    paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), hand, bend=1)


def _violin(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_fiddle(sketch.within(VIOLIN_TRANSFORM), appearance, chin_rest=True)


def _violin_fingers(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_fingers(sketch, appearance, (74 - 21 * pose.pitch, -1), VIOLIN_TRANSFORM, pose.fingers)


def _violin_bow(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    hand = _bow_hand(VIOLIN_TRANSFORM, VIOLIN_BOW_DEGREES, pose.stroke)
    paint_bow(sketch, hand, VIOLIN_BOW_DEGREES)
    paint_arm(sketch, appearance, (-SHOULDER_X, SHOULDER_Y), hand, bend=1)


def _violin_alone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    transform = Transform((-52, 176), -8, 1.12)
    paint_fiddle(sketch.within(transform), appearance, chin_rest=True)
    paint_bow(sketch, (-44, 194), -3)


# Cello


def _cellist_legs(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_seated_legs(sketch, appearance, spread=43)


def _cello(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    cello = sketch.within(CELLO_TRANSFORM)
    cello.limb([(-7.5, 0.4), (1, 0)], (190, 190, 196), 1.1)  # end pin
    paint_fiddle(cello, appearance, chin_rest=False)


def _cello_left_arm(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    along = 74 - 26 * pose.pitch
    shoulder = CELLIST_TRANSFORM.point(SHOULDER_X, SHOULDER_Y)
    paint_arm(sketch, appearance, shoulder, CELLO_TRANSFORM.point(along, 3.4), bend=1)
    paint_fingers(sketch, appearance, (along, -1), CELLO_TRANSFORM, pose.fingers)


def _cello_bow(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    hand = _bow_hand(CELLO_TRANSFORM, CELLO_BOW_DEGREES, pose.stroke)
    paint_bow(sketch, hand, CELLO_BOW_DEGREES)
    paint_arm(sketch, appearance, CELLIST_TRANSFORM.point(-SHOULDER_X, SHOULDER_Y), hand, bend=1)


VIOLIN = Instrument(
    layers=(
        LEGS,
        upper_body(turn=0.35),
        # The arm is behind the neck, the fingers of its hand in front: two layers.
        Layer(_violin_left_arm, pose_fields=("pitch",)),
        Layer(_violin),
        Layer(_violin_fingers, pose_fields=("pitch", "fingers")),
        Layer(_violin_bow, pose_fields=("stroke",)),
    ),
    body_colours=WOODS,
    paint_alone=_violin_alone,
)
CELLO = Instrument(
    layers=(
        Layer(_cellist_legs, sway_share=0),
        upper_body(turn=0.15, transform=CELLIST_TRANSFORM),
        # The pin stands on the floor: cello, hands and bow do not sway with the body.
        Layer(_cello, sway_share=0),
        Layer(_cello_left_arm, pose_fields=("pitch", "fingers"), sway_share=0),
        Layer(_cello_bow, pose_fields=("stroke",), sway_share=0),
    ),
    body_colours=WOODS,
    paint_alone=_cello,
)
