"""Draw musicians: faces, hair, clothes, legs and arms in the design units of all instruments.

In design units a standing musician is 200 high, with feet at y = 196, chin at 60 and shoulders at
74; x = 0 is the middle and y points down.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from avsep.toyband.pictures.drawing import (
    INK,
    Colour,
    Point,
    Sketch,
    Transform,
    arc,
    blend,
    darker,
    lighter,
    spline,
)

Hair = Literal["short", "long", "bun", "curls", "bald", "bob", "tuft"]
HAIR_CUTS: tuple[Hair, ...] = ("short", "long", "bun", "curls", "bald", "bob", "tuft")
SKINS: tuple[Colour, ...] = (
    (255, 224, 196), (244, 202, 164), (226, 176, 132), (190, 136, 96), (146, 98, 66), (104, 70, 50),
)  # fmt: skip
HAIR_COLOURS: tuple[Colour, ...] = (
    (48, 36, 32), (92, 60, 38), (146, 96, 52), (214, 168, 92), (176, 78, 40), (190, 188, 186),
    (112, 46, 42),
)  # fmt: skip
SHIRTS: tuple[Colour, ...] = (
    (222, 84, 72), (66, 122, 190), (86, 160, 104), (240, 196, 86), (150, 104, 176), (240, 236, 226),
    (232, 140, 66), (86, 178, 182), (222, 132, 164), (150, 170, 190), (174, 190, 96),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = (
    (52, 62, 92), (74, 70, 76), (112, 84, 64), (50, 92, 98), (128, 120, 112), (96, 54, 72),
)  # fmt: skip

HEAD: Point = (0, 36)  # centre of a standing musician's head
SHOULDER_Y = 78
SHOULDER_X = 25
ARM_UNITS = 37.0  # shoulder to elbow, and elbow to hand
MIN_BEND_UNITS, MAX_BEND_UNITS = 7.0, 24.0  # distance of the elbow from the straight line


@dataclass(frozen=True)
class Appearance:
    """The visual variation of one musician and instrument.

    Attributes:
        cut: hair style.
        body: main colour of the instrument.
        trim: second colour of the instrument: metal, felt, the shell of a drum.
        mirrored: draw everything flipped left to right, as for a left-handed player.
    """

    skin: Colour = SKINS[1]
    hair: Colour = HAIR_COLOURS[1]
    cut: Hair = "short"
    shirt: Colour = SHIRTS[1]
    trousers: Colour = TROUSERS[0]
    glasses: bool = False
    beard: bool = False
    body: Colour = (168, 98, 48)
    trim: Colour = (226, 190, 96)
    mirrored: bool = False


def sample_appearance(
    generator: np.random.Generator, body_colours: tuple[Colour, ...]
) -> Appearance:
    """Sample the appearance of one musician; `body_colours` are those of the instrument."""

    def choose(options: tuple) -> tuple:
        return options[int(generator.integers(len(options)))]

    # The order of these draws decides which seed gives which musician: new fields go last.
    return Appearance(
        skin=choose(SKINS),
        hair=choose(HAIR_COLOURS),
        cut=HAIR_CUTS[int(generator.integers(len(HAIR_CUTS)))],
        shirt=choose(SHIRTS),
        trousers=choose(TROUSERS),
        glasses=bool(generator.random() < 0.25),
        beard=bool(generator.random() < 0.2),
        body=choose(body_colours),
        trim=choose(((226, 190, 96), (206, 208, 214), (214, 150, 110), (236, 228, 208))),
        mirrored=bool(generator.random() < 0.5),
    )


# Bodies and arms


def paint_standing_legs(sketch: Sketch, appearance: Appearance) -> None:
    """Paint legs and shoes of a standing musician, with a shadow on the floor."""
    paint_shadow(sketch, 40)
    for side in (-1, 1):
        _paint_shoe(sketch, side * 17, side)
        sketch.limb([(side * 11, 130), (side * 14, 188)], appearance.trousers, 17)


def paint_seated_legs(sketch: Sketch, appearance: Appearance, spread: float = 34) -> None:
    """Paint a stool and the legs of a seated musician; `spread` is the x position of a knee."""
    paint_shadow(sketch, spread + 18)
    wood = (120, 82, 56)
    for x in (-20, 20):
        sketch.limb([(x, 158), (x * 1.25, 195)], darker(wood), 5)
    sketch.fill(arc((0, 156), (29, 8)), wood, shade=darker(wood))
    for side in (-1, 1):
        knee, foot = (side * spread, 152), (side * (spread - 2), 188)
        _paint_shoe(sketch, foot[0] + side * 3, side)
        sketch.limb([(side * 10, 150), knee, foot], appearance.trousers, 17)


def paint_torso(sketch: Sketch, appearance: Appearance) -> None:
    """Paint neck and shirt of a musician who faces the viewer."""
    sketch.limb([(0, 54), (0, 72)], darker(appearance.skin, 0.12), 14)
    outline = spline(
        [(-9, 67), (-26, 71), (-32, 82), (-27, 104), (-25, 136), (0, 140), (25, 136), (27, 104),
         (32, 82), (26, 71), (9, 67), (0, 73)]
    )  # fmt: skip
    sketch.fill(outline, lighter(appearance.shirt, 0.15), shade=darker(appearance.shirt, 0.2))
    collar = lighter(appearance.shirt, 0.5)
    for side in (-1, 1):
        sketch.fill([(side * 8, 66), (side * 13, 70), (side * 5, 81), (0, 73)], collar, ink=1)


def paint_arm(
    sketch: Sketch, appearance: Appearance, shoulder: Point, hand: Point, bend: float = 1.0
) -> None:
    """Paint an arm from a shoulder to a hand; `bend` (-1 or 1) is the side of the elbow."""
    dx, dy = hand[0] - shoulder[0], hand[1] - shoulder[1]
    distance = max(1e-6, math.hypot(dx, dy))
    # Upper arm and forearm have one length, so the elbow is on the perpendicular through the
    # midpoint, at a distance given by Pythagoras. The lower limit avoids a straight line, the
    # upper one foreshortens a strongly bent arm, whose elbow points to the viewer.
    offset = math.sqrt(max(0.0, ARM_UNITS**2 - (distance / 2) ** 2))
    offset = min(max(offset, MIN_BEND_UNITS), MAX_BEND_UNITS) * bend
    elbow = (
        (shoulder[0] + hand[0]) / 2 - dy / distance * offset,
        # Gravity: the elbow is a little lower than plain geometry has it.
        (shoulder[1] + hand[1]) / 2 + dx / distance * offset + abs(offset) * 0.2,
    )
    wrist = (hand[0] - (hand[0] - elbow[0]) * 0.16, hand[1] - (hand[1] - elbow[1]) * 0.16)
    sleeve = darker(appearance.shirt, 0.08)
    # Skin first: the sleeve covers the forearm up to the wrist.
    sketch.limb([elbow, hand], appearance.skin, 8)
    sketch.limb([shoulder, elbow, wrist], sleeve, 13)
    sketch.line([shoulder, elbow], lighter(sleeve, 0.18), 5)
    paint_hand(sketch, appearance, hand)


def paint_hand(sketch: Sketch, appearance: Appearance, centre: Point) -> None:
    """Paint a round hand."""
    sketch.ellipse(
        centre, (7.2, 6.8), lighter(appearance.skin, 0.08), shade=darker(appearance.skin, 0.12)
    )


def paint_fingers(
    sketch: Sketch,
    appearance: Appearance,
    centre: Point,
    transform: Transform,
    finger_bits: int = 15,
) -> None:
    """Paint four fingers across a neck or tube, in the coordinates of `transform`.

    Bit i of `finger_bits` is set where finger i touches.
    """
    local = sketch.within(transform)
    # Divided by the scale: fingers have one size, however large the instrument is drawn.
    step = 3.4 / transform.scale
    for finger in range(4):
        x = centre[0] + (finger - 1.5) * step
        lift = 0.0 if finger_bits >> finger & 1 else 4.5 / transform.scale
        tip = (x, centre[1] - lift)
        local.limb(
            [(x, centre[1] + 7 / transform.scale), tip], appearance.skin, 2.6 / transform.scale
        )


def paint_shadow(sketch: Sketch, half_width: float) -> None:
    """Paint a shadow on the floor with a soft edge."""
    # Two translucent ellipses: where they overlap, the shadow is darker.
    for share, opacity in ((1.0, 0.16), (0.8, 0.2)):
        radii = (half_width * share, 7 * share)
        sketch.ellipse((0, 193), radii, (0, 0, 0), ink=0, opacity=opacity)


def _paint_shoe(sketch: Sketch, x: float, side: int) -> None:
    outline = spline([(x - 9, 196), (x - 8, 186), (x + 2 * side, 183), (x + 9, 189), (x + 9, 196)])
    sketch.fill(outline, (58, 46, 46), shade=(34, 28, 30))


# Heads


def paint_head(sketch: Sketch, appearance: Appearance, turn: float = 0.0) -> None:
    """Paint a head; `turn` rotates it from the viewer (0) to the right of the picture (1)."""
    x, y = HEAD
    _paint_hair_behind(sketch, appearance)
    # A face to the front has both ears beside it, a profile one ear on top of it.
    for side in (-1, 1) if turn < 0.5 else ():
        sketch.ellipse((x + side * 21, y + 2), (4.5, 6), appearance.skin)
    face = spline([(x, y - 24), (x + 18, y - 15), (x + 21, y + 3), (x + 13 + turn * 3, y + 20),
                   (x + turn * 5, y + 25), (x - 13 + turn * 3, y + 20), (x - 21, y + 3),
                   (x - 18, y - 15)])  # fmt: skip
    sketch.fill(face, lighter(appearance.skin, 0.12), shade=darker(appearance.skin, 0.1))
    if turn >= 0.5:
        sketch.ellipse((x - 21 + turn * 11, y + 2), (4.5, 6), lighter(appearance.skin, 0.05))
    _paint_face(sketch, appearance, Transform((x + turn * 10, y)), turn)
    _paint_hair_in_front(sketch, appearance)


def paint_head_from_behind(sketch: Sketch, appearance: Appearance) -> None:
    """Paint the back of a head: ears and hair."""
    x, y = HEAD
    _paint_hair_behind(sketch, appearance)
    for side in (-1, 1):
        sketch.ellipse((x + side * 21, y + 2), (4.5, 6), appearance.skin)
    bald = appearance.cut == "bald"
    colour = appearance.skin if bald else appearance.hair
    skull = spline([(x, y - 26), (x + 20, y - 15), (x + 21, y + 4), (x + 12, y + 22), (x, y + 25),
                    (x - 12, y + 22), (x - 21, y + 4), (x - 20, y - 15)])  # fmt: skip
    sketch.fill(skull, lighter(colour, 0.15), shade=darker(colour, 0.15))
    for offset in (-9, 0, 9):
        strand = [(x + offset * 0.4, y - 20), (x + offset, y), (x + offset * 0.9, y + 17)]
        sketch.line(spline(strand, closed=False), darker(colour, 0.2), 1.2)


def _paint_face(sketch: Sketch, appearance: Appearance, transform: Transform, turn: float) -> None:
    """Paint eyes, brows, cheeks, nose and mouth."""
    face = sketch.within(transform)
    squeeze = 1 - 0.25 * turn  # foreshortening: the features of a turned head are closer
    for side in (-1, 1):
        eye = side * 8.5 * squeeze
        face.ellipse((eye, 1), (2.3, 3.1), INK, ink=0)
        face.ellipse((eye + 0.7, 0), (0.8, 0.9), (255, 255, 255), ink=0)
        brow = [(eye - 4, -5.5), (eye, -7), (eye + 4, -5.5)]
        face.line(spline(brow, closed=False), darker(appearance.hair, 0.2), 1.8)
        cheek = blend(appearance.skin, (236, 96, 88), 0.4)
        face.ellipse((side * 12.5 * squeeze, 9), (3.6, 2.4), cheek, ink=0, opacity=0.55)
        if appearance.glasses:
            face.line(arc((eye, 1), (6, 6)), INK, 1.2)
    # The beard comes before nose and mouth, which it would cover.
    if appearance.beard:
        beard = spline([(-16, 6), (-10, 12), (0, 10), (10, 12), (16, 6), (13, 20), (0, 27),
                        (-13, 20)])  # fmt: skip
        face.fill(beard, appearance.hair, shade=darker(appearance.hair, 0.2), ink=1)
    nose = [(1, 4), (3 + 2 * turn, 8), (0, 9)]
    face.line(spline(nose, closed=False), darker(appearance.skin, 0.35), 1.6)
    mouth = [(-4.5, 14.5), (0, 16.5), (4.5, 14.5)]
    face.line(spline(mouth, closed=False), (150, 62, 58), 2.0)


def _paint_hair_behind(sketch: Sketch, appearance: Appearance) -> None:
    """Paint the part of the hair behind the face."""
    x, y = HEAD
    if appearance.cut == "bun":
        sketch.ellipse((x, y - 27), (10, 9), appearance.hair, shade=darker(appearance.hair))
        return
    # Curls: 14 points along most of a circle, alternately 25 and 29 from its centre, so that the
    # spline through them becomes wavy.
    radii, angles = (25.0, 29.0) * 7, np.radians(np.arange(140, 401, 20))
    locks: dict[str, list[Point]] = {
        "long": [(-24, -8), (-14, -25), (14, -25), (24, -8), (27, 24), (20, 44), (-20, 44),
                 (-27, 24)],
        "bob": [(-25, -6), (-14, -26), (14, -26), (25, -6), (27, 18), (14, 24), (-14, 24),
                (-27, 18)],
        "curls": [(r * math.cos(a), r * math.sin(a) - 3)
                  for r, a in zip(radii, angles, strict=True)],
    }  # fmt: skip
    if appearance.cut in locks:
        outline = spline([(x + dx, y + dy) for dx, dy in locks[appearance.cut]])
        sketch.fill(outline, appearance.hair, shade=darker(appearance.hair, 0.25))


def _paint_hair_in_front(sketch: Sketch, appearance: Appearance) -> None:
    """Paint the fringe."""
    x, y = HEAD
    # The bald cut is the only one without a fringe.
    fringes: dict[str, list[Point]] = {
        "short": [(-22, -2), (-21, -18), (0, -28), (21, -18), (22, -2), (17, -9), (-17, -8)],
        "tuft": [(-21, -6), (-20, -18), (-4, -32), (14, -30), (21, -8), (10, -14), (-4, -13)],
        "long": [(-23, 4), (-21, -18), (0, -28), (21, -18), (23, 4), (18, -8), (4, -17), (-16, -7)],
        "bob": [(-23, 6), (-21, -18), (0, -28), (21, -18), (23, 6), (18, -9), (0, -10), (-18, -9)],
        "bun": [(-22, 0), (-20, -18), (0, -27), (20, -18), (22, 0), (14, -13), (-14, -13)],
        "curls": [(-21, -8), (-17, -20), (0, -26), (17, -20), (21, -8), (9, -16), (-2, -13)],
    }  # fmt: skip
    if appearance.cut in fringes:
        outline = spline([(x + dx, y + dy) for dx, dy in fringes[appearance.cut]])
        sketch.fill(outline, lighter(appearance.hair, 0.12), shade=appearance.hair)
