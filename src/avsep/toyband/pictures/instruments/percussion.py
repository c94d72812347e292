"""Draw drums and xylophone, with sticks that strike the drum or bar of each note."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from avsep.toyband.music.registers import drum_kind
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
)
from avsep.toyband.pictures.instruments.instrument import (
    LEGS,
    Instrument,
    Layer,
    Painter,
    upper_body,
)
from avsep.toyband.pictures.instruments.motion import Hand, Pose
from avsep.toyband.pictures.instruments.people import (
    SHOULDER_X,
    SHOULDER_Y,
    Appearance,
    paint_arm,
    paint_shadow,
)

STEEL: Colour = (190, 194, 202)
CYMBAL: Colour = (232, 196, 96)
SKIN: Colour = (250, 246, 236)
HIT_SKIN: Colour = (255, 226, 120)  # bright yellow: a hit is visible at 112 pixels, too
STICK_UNITS = 36.0
LIFT_UNITS = 34.0  # height of a raised stick above the drum


class KitPiece(NamedTuple):
    """One drum or cymbal: centre of its skin, half its width, height of its shell (0: a cymbal)."""

    centre: Point
    radius: float
    shell_height: float


# Keys are those of `avsep.toyband.music.registers.DRUM_KINDS`. Both hats are one hi-hat, drawn
# once. Centres are over 35 units apart, so that the picture shows which piece is struck.
KIT: dict[str, KitPiece] = {
    "crash": KitPiece((-80, 62), 27, 0),
    "ride": KitPiece((78, 68), 28, 0),
    "closed hat": KitPiece((86, 108), 22, 0),
    "open hat": KitPiece((86, 108), 22, 0),
    "high tom": KitPiece((-22, 101), 20, 22),
    "middle tom": KitPiece((22, 101), 20, 22),
    "low tom": KitPiece((-66, 132), 25, 44),
    "snare": KitPiece((58, 132), 23, 17),
    "kick": KitPiece((0, 150), 41, 0),
}
DRUMMER_TRANSFORM = Transform((0, -8))


def _strike_position(midi: int) -> float | None:
    """Return the x position of a drum; None for the kick drum, which is played by a foot."""
    piece = drum_kind(midi)
    return None if piece == "kick" else KIT[piece].centre[0]


# Drums


def paint_drum(sketch: Sketch, piece: KitPiece, colour: Colour, is_hit: bool) -> None:
    """Paint a drum seen slightly from above; its skin is brighter when hit."""
    (x, y), radius, shell = piece
    flat = radius * 0.32  # vertical radius of the skin: the view is about 19 degrees from above
    corners = np.concatenate(
        [arc((x, y + shell), (radius, flat), 0, 180), [(x - radius, y), (x + radius, y)]]
    )
    sketch.fill(corners, lighter(colour, 0.25), shade=darker(colour, 0.3), across=True)
    # Three tension rods, on the front half of the ellipses of both rims.
    for share in (-0.65, 0.0, 0.65):
        low = y + shell + flat * math.sqrt(1 - share * share)
        top = y + flat * math.sqrt(1 - share * share)
        sketch.line([(x + share * radius, top), (x + share * radius, low)], STEEL, 1.8)
    sketch.ellipse((x, y), (radius + 1, flat + 1), STEEL)
    skin = HIT_SKIN if is_hit else SKIN
    sketch.ellipse((x, y + (1.5 if is_hit else 0)), (radius - 2, flat - 1.4), skin, ink=0.8)


def paint_cymbal(sketch: Sketch, piece: KitPiece, is_hit: bool) -> None:
    """Paint a cymbal on its stand; it tilts when hit."""
    (x, y), radius, _ = piece
    sketch.limb([(x * 0.97, y), (x * 0.93, 190)], STEEL, 2.6)
    tilt = 15 if is_hit else 0  # degrees; the outer edge goes down
    local = sketch.within(Transform((x, y), (-8 if x < 0 else 8) + (tilt if x > 0 else -tilt)))
    colour = lighter(CYMBAL, 0.45) if is_hit else CYMBAL
    local.ellipse((0, 0), (radius, 5), lighter(colour, 0.3), shade=darker(colour, 0.15))
    local.line(arc((0, 0), (radius * 0.6, 2.8)), darker(colour, 0.2), 0.8)
    local.ellipse((0, -2), (6, 3.2), lighter(colour, 0.4), ink=1)


def _struck_pieces(pose: Pose) -> set[str]:
    return {drum_kind(midi) for midi in pose.struck}


def _kit_behind(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    struck = _struck_pieces(pose)
    for name in ("crash", "ride"):
        paint_cymbal(sketch, KIT[name], name in struck)


def _kit(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    struck = _struck_pieces(pose)
    for x in (-66, 58):
        for foot in (-18, 18):
            sketch.limb([(x + foot * 0.8, 150), (x + foot, 194)], STEEL, 2.6)
    hat = KIT["closed hat"]
    lower = hat._replace(centre=(hat.centre[0], hat.centre[1] + 5))
    paint_cymbal(sketch, lower, is_hit=False)
    paint_cymbal(sketch, hat, bool(struck & {"closed hat", "open hat"}))
    sketch.limb([(0, 108), (0, 120)], STEEL, 5)
    _paint_kick(sketch, appearance, "kick" in struck)
    for name in ("high tom", "middle tom", "low tom", "snare"):
        colour = lighter(STEEL, 0.2) if name == "snare" else appearance.body
        paint_drum(sketch, KIT[name], colour, name in struck)


def _kit_alone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_shadow(sketch, 92)
    _kit_behind(sketch, appearance, pose)
    _kit(sketch, appearance, pose)


def _paint_kick(sketch: Sketch, appearance: Appearance, is_hit: bool) -> None:
    """Paint the kick drum, which faces the viewer; its skin is larger and brighter when hit."""
    (x, y), radius, _ = KIT["kick"]
    for side in (-1, 1):
        sketch.limb([(side * 30, 178), (side * 40, 194)], STEEL, 3)
    sketch.ellipse((x, y), (radius + 3, radius + 3), lighter(appearance.body, 0.2),
                   shade=darker(appearance.body, 0.3), ink=2.2)  # fmt: skip
    for angle in np.radians(np.arange(22.5, 360, 45)):
        lug = [(x + r * math.cos(angle), y + r * math.sin(angle)) for r in (radius - 2, radius + 4)]
        sketch.line(lug, STEEL, 3)
    # No hand shows a kick, so the change of the skin has to be larger than on other drums.
    inner = radius - 4 + (2.5 if is_hit else 0)
    sketch.ellipse((x, y), (inner, inner), HIT_SKIN if is_hit else SKIN, ink=1.2)
    ring = blend(appearance.body, SKIN, 0.35)
    sketch.line(arc((x, y), (inner * 0.72, inner * 0.72)), ring, 5 if is_hit else 2.5)
    star = [
        (x + r * math.sin(a), y - r * math.cos(a))
        for a, r in zip(np.radians(np.arange(0, 360, 36)), (15, 6.5) * 5, strict=True)
    ]
    sketch.fill(star, appearance.body, ink=1)


def _kit_shadow(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    paint_shadow(sketch, 92)


def _drum_stick(side: int) -> Painter:
    home = KIT["low tom" if side == 0 else "snare"]

    def strike_point(midi: int) -> Point:
        piece = home if midi < 0 else KIT[drum_kind(midi)]
        # Towards the player, who sits at x = 0; cymbals are hit nearer to their inner edge.
        pull = 0.3 if piece.shell_height else 0.55
        return (
            piece.centre[0] - math.copysign(piece.radius * pull, piece.centre[0]),
            piece.centre[1],
        )

    def paint(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        shoulder = DRUMMER_TRANSFORM.point((-1, 1)[side] * SHOULDER_X, SHOULDER_Y)
        tip, hand = _stick(pose.hands[side], strike_point, shoulder)
        sketch.limb([hand, tip], (222, 180, 118), 2.4)
        sketch.ellipse(tip, (2.8, 2.4), (238, 204, 148), ink=1)
        paint_arm(sketch, appearance, shoulder, hand, bend=(1, -1)[side])

    return paint


def _stick(
    hand: Hand, strike_point: Callable[[int], Point], shoulder: Point
) -> tuple[Point, Point]:
    """Return tip and hand of a stick between two strike points, `hand.height` above them."""
    (ax, ay), (bx, by) = strike_point(hand.from_midi), strike_point(hand.to_midi)
    low = (ax + (bx - ax) * hand.progress, ay + (by - ay) * hand.progress)
    tip = (low[0], low[1] - hand.height * LIFT_UNITS)
    # The hand is one stick length from the strike point, in the direction of a relaxed hand
    # beside the body, and moves less than half as high as the tip: the stick turns at the wrist.
    rest = (shoulder[0] * 1.25, shoulder[1] + 34)
    dx, dy = rest[0] - low[0], rest[1] - 10 - low[1]
    distance = max(1.0, math.hypot(dx, dy))
    share = min(0.92, STICK_UNITS / distance)
    return tip, (low[0] + dx * share, low[1] + dy * share - 4 - hand.height * LIFT_UNITS * 0.45)


# Xylophone

# Fewer bars than pitches: each is 11 units wide, so that neighbours differ in a small picture.
NUM_BARS = 15
BARS_Y = 128.0  # middle of all bars
BARS_HALF_UNITS = 80.0  # half the width of all bars together


def bar_index(pose: Pose, midi: int) -> int:
    """Return the index of the bar that is struck for a pitch; the lowest is 0."""
    return round(pose.relative_pitch(midi) * (NUM_BARS - 1))


def _bar_x(bar: float) -> float:
    return -BARS_HALF_UNITS + 2 * BARS_HALF_UNITS * (bar + 0.5) / NUM_BARS


def _bar_half(bar: float) -> float:
    # Shorter bars have higher pitches.
    return 29 - 15 * bar / (NUM_BARS - 1)


def _xylophone_stand(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    for x in (-70, 70):
        sketch.limb([(x, 140), (x, 188)], (84, 70, 66), 5)
        sketch.ellipse((x, 191), (4.4, 4.4), INK)
    sketch.limb([(-70, 172), (70, 172)], (84, 70, 66), 4)
    for bar in range(NUM_BARS):
        x, end = _bar_x(bar), 184 - 44 * bar / (NUM_BARS - 1)
        sketch.box((x - 3.6, 130), (x + 3.6, end), lighter(appearance.trim, 0.3),
                   shade=darker(appearance.trim, 0.3), across=True, ink=1.2)  # fmt: skip
    for share in (-0.62, 0.62):
        ends = [(_bar_x(b), BARS_Y + share * _bar_half(b)) for b in (-0.4, NUM_BARS - 0.6)]
        sketch.limb(ends, (84, 70, 66), 3.4)


def _xylophone_bars(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    struck = {bar_index(pose, midi) for midi in pose.struck}
    for bar in range(NUM_BARS):
        x, half = _bar_x(bar), _bar_half(bar)
        drop = 2.5 if bar in struck else 0.0
        wood = lighter(appearance.body, 0.7) if bar in struck else appearance.body
        top, low = (x - 4.7, BARS_Y - half + drop), (x + 4.7, BARS_Y + half + drop)
        sketch.box(top, low, lighter(wood, 0.3), shade=darker(wood, 0.15))
        for share in (-0.62, 0.62):
            sketch.ellipse((x, BARS_Y + share * half + drop), (1.3, 1.3), INK, ink=0)


def _mallet(side: int) -> Painter:
    def paint(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
        home = (4, NUM_BARS - 5)[side]

        def strike_point(midi: int) -> Point:
            bar = home if midi < 0 else bar_index(pose, midi)
            return (_bar_x(bar), BARS_Y + 2)

        shoulder = ((-1, 1)[side] * SHOULDER_X, SHOULDER_Y)
        tip, hand = _stick(pose.hands[side], strike_point, shoulder)
        sketch.limb([hand, tip], (232, 206, 160), 2.2)
        sketch.ellipse(tip, (5.6, 5.2), (214, 66, 60), shade=(150, 36, 40), ink=1.3)
        paint_arm(sketch, appearance, shoulder, hand, bend=(1, -1)[side])

    return paint


def _xylophone_alone(sketch: Sketch, appearance: Appearance, pose: Pose) -> None:
    _xylophone_stand(sketch, appearance, pose)
    _xylophone_bars(sketch, appearance, pose)


DRUMS = Instrument(
    layers=(
        # Crash and ride are behind the drummer, the rest of the kit in front.
        Layer(_kit_shadow, sway_share=0),
        Layer(_kit_behind, pose_fields=("struck",), sway_share=0),
        upper_body(transform=DRUMMER_TRANSFORM, sway_share=0.5),
        Layer(_kit, pose_fields=("struck",), sway_share=0),
        Layer(_drum_stick(0), pose_fields=("hands",), sway_share=0),
        Layer(_drum_stick(1), pose_fields=("hands",), sway_share=0),
    ),
    body_colours=(
        (196, 52, 54),
        (44, 96, 168),
        (52, 138, 104),
        (226, 150, 54),
        (96, 70, 130),
        (70, 66, 72),
    ),
    paint_alone=_kit_alone,
    strike_position=_strike_position,
)
XYLOPHONE = Instrument(
    layers=(
        LEGS,
        upper_body(sway_share=0.5),
        Layer(_xylophone_stand, sway_share=0),
        Layer(_xylophone_bars, pose_fields=("struck",), sway_share=0),
        Layer(_mallet(0), pose_fields=("hands",), sway_share=0),
        Layer(_mallet(1), pose_fields=("hands",), sway_share=0),
    ),
    body_colours=((168, 84, 46), (196, 124, 66), (126, 62, 48), (214, 160, 96), (148, 52, 52)),
    paint_alone=_xylophone_alone,
)
