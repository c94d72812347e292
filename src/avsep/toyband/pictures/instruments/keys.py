"""Draw piano, accordion and harp: keys go down, bellows open and close, strings vibrate."""

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
    upper_body,
)
from avsep.toyband.pictures.instruments.motion import Pose
from avsep.toyband.pictures.instruments.people import (
    SHOULDER_X,
    SHOULDER_Y,
    Appearance,
    paint_arm,
    paint_fingers,
    paint_head_from_behind,
    paint_seated_legs,
    paint_shadow,
)

IVORY: Colour = (252, 248, 238)

# Piano

NUM_WHITE_KEYS = 26  # half of a real piano: each key stays wide enough to be seen going down
KEYS_HALF_UNITS = 91.0
KEYS_TOP, KEYS_LOW = 101.0, 126.0
# Half the width hidden by the player's back. No key is played there: its motion would be lost.
HIDDEN_UNITS = 38.0
BLACK_AFTER = (True, True, False, True, True, True, False)  # C D E F G A B


def white_key_index(pose: Pose, midi: int) -> int:
    """Return the index of the white key for a pitch: lower half left of the player, upper right."""
    share = pose.relative_pitch(midi)
    span = KEYS_HALF_UNITS - HIDDEN_UNITS - 4
    outer = -KEYS_HALF_UNITS + 3
    x = outer + 2 * share * span if share < 0.5 else HIDDEN_UNITS + 1 + (2 * share - 1) * span
    return int((x + KEYS_HALF_UNITS) / (2 * KEYS_HALF_UNITS) * NUM_WHITE_KEYS)


def _key_x(key: float) -> float:
    return -KEYS_HALF_UNITS + 2 * KEYS_HALF_UNITS * (key + 0.5) / NUM_WHITE_KEYS


def _piano(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint an upright piano from the front: case, sheet music, legs."""
    paint_shadow(sketch, 104)
    case = appearance.body
    sketch.box((-96, 128), (96, 190), darker(case, 0.2), shade=darker(case, 0.45), ink=2.2)
    sketch.box((-88, 138), (88, 184), darker(case, 0.12), shade=darker(case, 0.35), ink=1)
    sketch.box((-98, 34), (98, 102), lighter(case, 0.2), shade=darker(case, 0.1), ink=2.2)
    sketch.box((-102, 26), (102, 35), lighter(case, 0.32), shade=case, ink=2.2)
    for x1, x2 in ((-88, -44), (44, 88)):
        sketch.box((x1, 46), (x2, 88), lighter(case, 0.1), shade=darker(case, 0.08), ink=1)
    for x in (-36, 2):
        sketch.box((x, 44), (x + 34, 90), (252, 250, 244), shade=(226, 222, 210), ink=1.2)
        for y in range(52, 88, 8):
            sketch.line([(x + 4, y), (x + 30, y)], (120, 116, 112), 1)
    for side in (-1, 1):
        sketch.box((side * 92, 96), (side * 104, 136), case, shade=darker(case), ink=2)
        sketch.limb([(side * 97, 138), (side * 97, 190)], darker(case, 0.1), 7)
    sketch.box((-94, KEYS_LOW), (94, KEYS_LOW + 9), lighter(case, 0.1), shade=darker(case), ink=2)


def _keyboard(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint white and black keys; those that sound are down and lit."""
    pressed = {white_key_index(pose, midi) for midi in pose.sounding}
    half = KEYS_HALF_UNITS / NUM_WHITE_KEYS
    sketch.box((-92, KEYS_TOP - 1), (92, KEYS_LOW + 2), (62, 40, 40))
    for key in range(NUM_WHITE_KEYS):
        x, drop = _key_x(key), 4.5 if key in pressed else 0.0
        colour = (255, 206, 92) if key in pressed else IVORY
        low = (x + half, KEYS_LOW - 1 + drop)
        sketch.box((x - half, KEYS_TOP), low, darker(colour, 0.08), shade=colour, ink=0.9)
    for key in range(NUM_WHITE_KEYS - 1):
        if BLACK_AFTER[key % 7]:
            x = _key_x(key) + half
            sketch.box((x - 2.2, KEYS_TOP), (x + 2.2, KEYS_TOP + 14), (40, 36, 40), ink=0)


def _pianist(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    player = sketch.within(Transform((0, 14)))
    outline = spline([(-9, 66), (-27, 71), (-33, 84), (-27, 108), (-25, 138), (0, 141), (25, 138),
                      (27, 108), (33, 84), (27, 71), (9, 66)])  # fmt: skip
    player.limb([(0, 52), (0, 70)], darker(appearance.skin, 0.12), 14)
    player.fill(outline, lighter(appearance.shirt, 0.15), shade=darker(appearance.shirt, 0.2))
    player.line([(0, 84), (0, 132)], darker(appearance.shirt, 0.2), 1.4)
    paint_head_from_behind(player, appearance)


def _bench(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    for x in (-32, 32):
        sketch.limb([(x, 160), (x, 194)], (64, 46, 44), 5)
    for side in (-1, 1):
        sketch.limb([(side * 12, 160), (side * 13, 186)], appearance.trousers, 14)
        sketch.ellipse((side * 13, 191), (8, 5), (50, 40, 42))
    sketch.box((-40, 150), (40, 163), (96, 62, 54), shade=(60, 40, 40))


def _piano_alone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    _piano(sketch, appearance, pose)
    _keyboard(sketch, appearance, pose)


def _piano_arm(side: int) -> Painter:
    def paint(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        hand = pose.hands[side]
        home = (-52, 52)[side]
        ends = [
            home if m < 0 else _key_x(white_key_index(pose, m))
            for m in (hand.from_midi, hand.to_midi)
        ]
        x = ends[0] + (ends[1] - ends[0]) * hand.progress
        centre = (x, KEYS_LOW - 6 - 14 * hand.height)
        shoulder = ((-1, 1)[side] * (SHOULDER_X + 1), SHOULDER_Y + 14)
        paint_arm(sketch, appearance, shoulder, centre, bend=(1, -1)[side])
        paint_fingers(sketch, appearance, (centre[0], centre[1] - 9), Transform((0, 0)))

    return paint


# Accordion

BELLOWS_LEFT = -22.0  # where the bellows meet the fixed box with the piano keys
ACCORDION_TOP, ACCORDION_LOW = 80.0, 142.0
NUM_FOLDS = 9


def _bellows_end(pose: Pose) -> Transform:
    """Return the transform of the moving box: outwards and tilted when the bellows are open."""
    share = (pose.stroke + 1) / 2
    return Transform((BELLOWS_LEFT + 22 + 44 * share, ACCORDION_TOP - 2), -3 + 15 * share)


def _accordion(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    _bellows(sketch, appearance, pose)
    hand = _bellows_end(pose).point(24, (ACCORDION_LOW - ACCORDION_TOP) * 0.6)
    paint_arm(sketch, appearance, (SHOULDER_X, SHOULDER_Y), hand, bend=-1)


def _bellows(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint the folds from the fixed box to the moving one, which holds the bass buttons."""
    end = _bellows_end(pose)
    height = ACCORDION_LOW - ACCORDION_TOP
    top = np.linspace((BELLOWS_LEFT, ACCORDION_TOP), end.point(0, 0), NUM_FOLDS * 2 + 1)
    low = np.linspace((BELLOWS_LEFT, ACCORDION_LOW), end.point(0, height), NUM_FOLDS * 2 + 1)
    # Every second edge stands out, which makes the zigzag of a bellows.
    bulge = np.where(np.arange(NUM_FOLDS * 2 + 1) % 2 == 1, 3.0, 0.0)
    top, low = top - bulge[:, None] * [0, 1], low + bulge[:, None] * [0, 1]
    for fold in range(NUM_FOLDS * 2):
        colour = appearance.trim if fold % 2 == 0 else darker(appearance.trim, 0.45)
        corners = np.stack([top[fold], top[fold + 1], low[fold + 1], low[fold]])
        sketch.fill(corners, colour, ink=0.9)
    far = sketch.within(end)
    far.box(
        (0, -4), (20, height + 4), lighter(appearance.body, 0.2), shade=darker(appearance.body, 0.3)
    )
    for row in range(7):
        for column in range(2):
            far.ellipse((6 + 8 * column, 5 + 9 * row), (2.4, 2.4), IVORY, ink=0.8)


def _accordion_keys(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    left = BELLOWS_LEFT
    for x in (-13, 13):
        sketch.limb([(x, 69), (x - 2, 84)], INK, 5)
    top, low = ACCORDION_TOP - 5, ACCORDION_LOW + 5
    sketch.box(
        (left - 22, top),
        (left, low),
        lighter(appearance.body, 0.25),
        shade=darker(appearance.body, 0.3),
    )
    for y in (88, 96, 104, 112, 120, 128):
        sketch.line([(left - 12, y), (left - 5, y)], appearance.trim, 2)
    sketch.box((left - 38, top + 2), (left - 19, low - 2), IVORY)
    keys = np.linspace(top + 2, low - 2, 13)
    for index, y in enumerate(keys[1:-1].tolist()):
        sketch.line([(left - 38, y), (left - 19, y)], INK, 0.9)
        if BLACK_AFTER[index % 7]:
            sketch.box((left - 29, y - 1.6), (left - 19, y + 1.6), INK, ink=0)


def _accordion_right_hand(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    y = 132 - 46 * pose.pitch
    paint_arm(sketch, appearance, (-SHOULDER_X, SHOULDER_Y), (BELLOWS_LEFT - 40, y), bend=1)
    transform = Transform((BELLOWS_LEFT - 34, y), 90)
    paint_fingers(sketch, appearance, (0, 0), transform, pose.fingers)


def _accordion_alone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    local = sketch.within(Transform((10, 48)))
    _bellows(local, appearance, Pose(stroke=-0.8))
    _accordion_keys(local, appearance, pose)


# Harp

HARPIST_TRANSFORM = Transform((-52, 10))
NUM_STRINGS = 15
SOUND_BOX: list[Point] = [(-20, 76), (4, 110), (30, 150), (56, 186)]
HARP_NECK: list[Point] = [(-22, 74), (-8, 54), (14, 46), (36, 54), (56, 48), (72, 26), (84, 14)]


def _string(index: int) -> tuple[Point, Point]:
    """Return upper and lower end of a string; the last one, the lowest, is next to the column."""
    # 88 units wide at the neck and 66 at the sound box: the strings fan out upwards.
    share = (index + 1) / (NUM_STRINGS + 1)
    x = -14 + 88 * share
    neck, sound_box = spline(HARP_NECK, closed=False), np.array(SOUND_BOX)
    top = float(np.interp(x, neck[:, 0], neck[:, 1]))
    low_x = -14 + 66 * share
    return (x, top), (low_x, float(np.interp(low_x, sound_box[:, 0], sound_box[:, 1])))


def _harp_string_index(pose: Pose, midi: float) -> int:
    # Up to NUM_STRINGS - 4, not - 1: the far hand plays two strings below the near one.
    return round((1 - pose.relative_pitch(midi)) * (NUM_STRINGS - 4))


def paint_harp(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint a harp: slanted sound box, S-shaped neck, straight column, strings between them."""
    wood = appearance.body
    box = ribbon(spline(SOUND_BOX, closed=False), [10, 14, 20, 27])
    sketch.fill(box, lighter(wood, 0.2), shade=darker(wood, 0.2), ink=2.2)
    for index in range(NUM_STRINGS):
        # Two strings of seven are coloured, as C and F are on a real harp.
        colour = (214, 60, 60) if index % 7 == 0 else (70, 80, 140) if index % 7 == 3 else IVORY
        # A dark line below makes each string visible on any background.
        sketch.line(list(_string(index)), INK, 1.9)
        sketch.line(list(_string(index)), colour, 0.9)
    sketch.fill(spline([(44, 184), (72, 176), (96, 182), (98, 196), (42, 196)]), darker(wood, 0.1),
                shade=darker(wood, 0.4), ink=2.2)  # fmt: skip
    sketch.fill(ribbon([(86, 184), (86, 100), (84, 18)], [11, 8.5, 10]), lighter(wood, 0.35),
                shade=darker(wood, 0.1), across=True, ink=2.2)  # fmt: skip
    neck = ribbon(spline(HARP_NECK, closed=False), [9, 10, 13, 12, 11, 11, 12])
    sketch.fill(neck, lighter(wood, 0.3), shade=darker(wood, 0.1), ink=2.2)
    for y in (24, 176):
        sketch.box((79, y), (93, y + 5), appearance.trim, ink=1.2)
    sketch.ellipse((85, 12), (9, 7), appearance.trim, shade=darker(appearance.trim), ink=1.8)


def _harp_vibrating_strings(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    """Paint the strings just plucked as bright spindles, the envelope of a vibrating string."""
    for midi in pose.struck:
        top, low = _string(_harp_string_index(pose, midi))
        middle = ((top[0] + low[0]) / 2, (top[1] + low[1]) / 2)
        for bulge in (-5, 5):
            bow = [top, (middle[0] + bulge, middle[1]), low]
            sketch.line(spline(bow, closed=False), (255, 244, 190), 1.5)


def _harp_hand(far: bool) -> Painter:
    def paint(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        index = round((1 - pose.pitch) * (NUM_STRINGS - 4)) + (2 if far else 0)
        top, low = _string(index)
        # Towards the player and away from the strings; the far hand moves less: perspective.
        pull = -9 * pose.lean * (0.4 if far else 1)
        height = 0.42 if far else 0.62
        centre = (top[0] + (low[0] - top[0]) * height + pull - 3,
                  top[1] + (low[1] - top[1]) * height)  # fmt: skip
        shoulder = HARPIST_TRANSFORM.point(SHOULDER_X if far else 4 - SHOULDER_X, SHOULDER_Y)
        paint_arm(sketch, appearance, shoulder, centre, bend=1)
        paint_fingers(
            sketch, appearance, (0, 0), Transform((centre[0] + 3, centre[1]), 90), pose.fingers
        )

    return paint


def _harpist_legs(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_seated_legs(sketch.within(Transform((-50, 0))), appearance, spread=26)
    paint_shadow(sketch.within(Transform((60, 0))), 44)


PIANO = Instrument(
    layers=(
        # Piano at the back: its player sits between it and the viewer and is seen from behind.
        Layer(_piano, sway_share=0),
        Layer(_keyboard, pose_fields=("sounding",), sway_share=0),
        Layer(_pianist, sway_share=0.5),
        Layer(_bench, sway_share=0),
        Layer(_piano_arm(0), pose_fields=("hands",), sway_share=0),
        Layer(_piano_arm(1), pose_fields=("hands",), sway_share=0),
    ),
    body_colours=(
        (54, 50, 56),
        (112, 66, 42),
        (150, 92, 54),
        (90, 44, 38),
        (226, 222, 214),
        (60, 84, 96),
    ),
    paint_alone=_piano_alone,
)
ACCORDION = Instrument(
    layers=(
        LEGS,
        upper_body(turn=0.15),
        Layer(_accordion, pose_fields=("stroke",)),
        Layer(_accordion_keys),
        Layer(_accordion_right_hand, pose_fields=("pitch", "fingers")),
    ),
    body_colours=((190, 42, 48), (44, 42, 50), (50, 92, 160), (58, 128, 92), (228, 220, 206)),
    paint_alone=_accordion_alone,
)
HARP = Instrument(
    layers=(
        Layer(_harpist_legs, sway_share=0),
        upper_body(turn=0.7, transform=HARPIST_TRANSFORM, sway_share=0.3),
        # One hand on each side of the strings.
        Layer(_harp_hand(far=True), pose_fields=("pitch", "lean", "fingers"), sway_share=0),
        Layer(paint_harp, sway_share=0),
        Layer(_harp_vibrating_strings, pose_fields=("struck",), sway_share=0),
        Layer(_harp_hand(far=False), pose_fields=("pitch", "lean", "fingers"), sway_share=0),
    ),
    body_colours=((206, 156, 74), (150, 88, 46), (222, 190, 130), (110, 60, 42), (232, 204, 110)),
    paint_alone=paint_harp,
)
