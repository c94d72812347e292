"""Draw distractors: furniture, a plant, a cat and instruments without a player, all silent."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from avsep.toyband.pictures.drawing import (
    INK,
    Colour,
    Sketch,
    arc,
    darker,
    lighter,
    spline,
)
from avsep.toyband.pictures.instruments import INSTRUMENTS
from avsep.toyband.pictures.instruments.motion import Pose
from avsep.toyband.pictures.instruments.people import paint_shadow, sample_appearance

ObjectPainter = Callable[[Sketch, Colour], None]
SILENT_INSTRUMENT_PROBABILITY = 1 / 3


class DistractorSketch(NamedTuple):
    """A distractor that has not been placed yet.

    Attributes:
        label: kind of object, or category of the instrument.
        sketch: in the units of the musicians; the floor is at y = 196, wall objects start at 0.
        on_wall: True if it is mounted on a wall instead of standing on the floor.
    """

    label: str
    sketch: Sketch
    on_wall: bool


def sample_distractor(has_wall: bool, generator: np.random.Generator) -> DistractorSketch:
    """Sample a distractor: one in three is an instrument without a player.

    Windows, posters and clocks are sampled only if there is a wall.
    """
    sketch = Sketch()
    # Silent instruments are the hard distractors: a model that only recognises a category in the
    # picture, and ignores motion, assigns them sound.
    if generator.random() < SILENT_INSTRUMENT_PROBABILITY:
        labels = [name for name, item in INSTRUMENTS.items() if item.paint_alone is not None]
        label = labels[int(generator.integers(len(labels)))]
        instrument = INSTRUMENTS[label]
        appearance = sample_appearance(generator, instrument.body_colours)
        assert instrument.paint_alone is not None, "only instruments that can stand alone are drawn"
        instrument.paint_alone(sketch, appearance, Pose())
        return DistractorSketch(label, sketch, on_wall=False)
    labels = [*FLOOR_OBJECTS, *WALL_OBJECTS] if has_wall else [*FLOOR_OBJECTS]
    label = labels[int(generator.integers(len(labels)))]
    colour = _COLOURS[int(generator.integers(len(_COLOURS)))]
    {**FLOOR_OBJECTS, **WALL_OBJECTS}[label](sketch, colour)
    return DistractorSketch(label, sketch, on_wall=label in WALL_OBJECTS)


_COLOURS: tuple[Colour, ...] = (
    (196, 92, 72), (84, 122, 168), (112, 150, 96), (214, 176, 96), (136, 100, 150), (128, 92, 66),
    (90, 92, 100), (222, 206, 178),
)  # fmt: skip


# Objects on the floor


def _plant(sketch: Sketch, colour: Colour) -> None:
    paint_shadow(sketch, 26)
    for angle, reach in ((-60, 58), (-35, 72), (-12, 84), (14, 80), (38, 70), (62, 56)):
        radians = np.radians(angle)
        tip = (float(np.sin(radians)) * reach, 150 - float(np.cos(radians)) * reach)
        middle = (tip[0] * 0.5, 150 + (tip[1] - 150) * 0.55)
        leaf = spline([(0, 150), (middle[0] - 9, middle[1]), tip, (middle[0] + 9, middle[1])])
        sketch.fill(leaf, (96, 160, 88), shade=(56, 112, 70))
    # The pot comes last and covers the stems, which all start at one point.
    sketch.fill([(-22, 150), (22, 150), (16, 195), (-16, 195)], lighter(colour, 0.1),
                shade=darker(colour))  # fmt: skip
    sketch.box((-24, 146), (24, 156), colour)


def _lamp(sketch: Sketch, colour: Colour) -> None:
    paint_shadow(sketch, 24)
    sketch.limb([(0, 60), (0, 190)], (86, 78, 76), 4)
    sketch.ellipse((0, 191), (20, 5), (86, 78, 76))
    sketch.fill([(-16, 24), (16, 24), (32, 68), (-32, 68)], lighter(colour, 0.55),
                shade=lighter(colour, 0.15))  # fmt: skip


def _chair(sketch: Sketch, colour: Colour) -> None:
    paint_shadow(sketch, 34)
    wood = darker(colour, 0.2)
    for x in (-25, 25):
        sketch.limb([(x, 80), (x, 150), (x * 1.1, 192)], wood, 5)
        sketch.limb([(x * 0.7, 158), (x * 0.75, 184)], darker(wood), 4)
    for y in (86, 104, 122):
        sketch.box((-26, y), (26, y + 9), colour, shade=darker(colour))
    sketch.fill([(-26, 146), (26, 146), (32, 162), (-32, 162)], colour, shade=darker(colour))


def _music_stand(sketch: Sketch, colour: Colour) -> None:
    paint_shadow(sketch, 24)
    for x in (-20, 0, 20):
        sketch.limb([(0, 168), (x, 193)], (70, 70, 76), 3)
    sketch.limb([(0, 100), (0, 172)], (70, 70, 76), 4)
    sketch.fill([(-34, 66), (34, 66), (38, 112), (-38, 112)], (70, 70, 76))
    for x in (-29, 1):
        sketch.box((x, 62), (x + 28, 104), (250, 248, 240), ink=1)
        for y in range(70, 102, 8):
            sketch.line([(x + 4, y), (x + 24, y)], (130, 126, 122), 1)


def _loudspeaker(sketch: Sketch, colour: Colour) -> None:
    paint_shadow(sketch, 36)
    case = darker(colour, 0.45)
    sketch.box((-32, 84), (32, 194), lighter(case, 0.15), shade=darker(case, 0.2), ink=2.2)
    for y, radius in ((156, 25), (106, 14)):
        sketch.ellipse((0, y), (radius, radius), (188, 188, 194))
        sketch.ellipse((0, y), (radius - 4, radius - 4), (62, 60, 66), shade=(36, 36, 40))
        sketch.ellipse((0, y), (radius * 0.35, radius * 0.35), (110, 108, 114), ink=1)


def _cat(sketch: Sketch, colour: Colour) -> None:
    paint_shadow(sketch, 30)
    fur = lighter(colour, 0.15)
    # Tail, body, head: each covers the end of the one before.
    tail = spline([(20, 186), (44, 184), (48, 160), (36, 148)], closed=False)
    sketch.limb(tail, fur, 8)
    body = spline([(-12, 138), (12, 138), (26, 168), (25, 194), (-25, 194), (-26, 168)])
    sketch.fill(body, fur, shade=darker(fur))
    for side in (-1, 1):
        sketch.fill([(side * 4, 110), (side * 19, 96), (side * 20, 120)], fur)
        sketch.ellipse((side * 9, 192), (8, 5), lighter(fur, 0.2), ink=1.2)
    sketch.ellipse((0, 124), (22, 19), lighter(fur, 0.1), shade=darker(fur, 0.1))
    for side in (-1, 1):
        sketch.ellipse((side * 8, 122), (4, 4.5), (196, 222, 120), ink=1)
        sketch.ellipse((side * 8, 122), (1.4, 3.8), INK, ink=0)
        for y in (130, 133):
            sketch.line([(side * 6, y - 1), (side * 24, y + (y - 131) * 2)], (250, 250, 250), 0.8)
    sketch.fill([(-3, 128), (3, 128), (0, 132)], (214, 120, 120), ink=0.8)


# Objects on a wall: y = 0 is their upper edge, whatever their height, since they hang


def _window(sketch: Sketch, colour: Colour) -> None:
    frame = lighter(colour, 0.7)
    sketch.box((-42, 0), (42, 104), frame, ink=2)
    sketch.box((-35, 7), (35, 97), (138, 190, 230), shade=(222, 240, 250), ink=1.2)
    sketch.line([(0, 7), (0, 97)], frame, 5)
    sketch.line([(-35, 52), (35, 52)], frame, 5)
    sketch.box((-48, 104), (48, 111), darker(frame, 0.1))


def _poster(sketch: Sketch, colour: Colour) -> None:
    sketch.box((-30, 0), (30, 84), lighter(colour, 0.75), ink=2)
    sketch.box((-25, 5), (25, 58), colour, shade=lighter(colour, 0.4), ink=0)
    sketch.ellipse((8, 24), (11, 11), lighter(colour, 0.7), ink=0)
    hill = np.concatenate([arc((-6, 58), (19, 24), 180, 360), arc((14, 58), (11, 12), 180, 360)])
    sketch.fill(hill, darker(colour, 0.4), ink=0)
    for y in (66, 74):
        sketch.line([(-20, y), (20 - (y - 66), y)], darker(colour, 0.3), 2.4)


def _clock(sketch: Sketch, colour: Colour) -> None:
    sketch.ellipse((0, 28), (28, 28), colour, shade=darker(colour), ink=2)
    sketch.ellipse((0, 28), (22, 22), (252, 248, 238), ink=1)
    for angle in np.radians(np.arange(0, 360, 30)).tolist():
        ends = [(r * float(np.sin(angle)), 28 - r * float(np.cos(angle))) for r in (17, 20)]
        sketch.line(ends, INK, 1.6)
    sketch.line([(0, 28), (0, 13)], INK, 2.2)
    sketch.line([(0, 28), (10, 33)], INK, 2.2)


FLOOR_OBJECTS: dict[str, ObjectPainter] = {
    "plant": _plant,
    "lamp": _lamp,
    "chair": _chair,
    "music stand": _music_stand,
    "loudspeaker": _loudspeaker,
    "cat": _cat,
}
WALL_OBJECTS: dict[str, ObjectPainter] = {"window": _window, "poster": _poster, "clock": _clock}
