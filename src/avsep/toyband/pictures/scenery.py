"""Draw the background of a stage: a random kind of scenery in random colours."""

import colorsys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avsep.toyband.pictures.drawing import (
    Colour,
    Placement,
    Points,
    Sketch,
    arc,
    blend,
    darker,
    lighter,
    rasterise,
    spline,
)

WIDTH_UNITS, HEIGHT_UNITS = 640.0, 360.0  # of a background; other aspect ratios are cropped
WOOD_COLOURS: tuple[Colour, ...] = ((176, 132, 92), (140, 98, 68), (204, 168, 124), (110, 84, 70))
OUTDOORS = "park"
Background = Callable[[Sketch, float, np.random.Generator], None]


class Backdrop(NamedTuple):
    """The background of a stage.

    Attributes:
        picture: RGB, of the size of a frame.
        floor_share: y at which the floor begins, as a share of the height.
        has_wall: False outdoors.
    """

    picture: Image.Image
    floor_share: float
    has_wall: bool


def draw_backdrop(picture_size: tuple[int, int], generator: np.random.Generator) -> Backdrop:
    """Draw a background of a random kind in random colours."""
    kinds = list(BACKGROUNDS)
    kind = kinds[int(generator.integers(len(kinds)))]
    floor_share = float(generator.uniform(0.68, 0.8))
    sketch = Sketch()
    BACKGROUNDS[kind](sketch, floor_share * HEIGHT_UNITS, generator)
    width, height = picture_size
    # The larger scale covers the picture; excess width is cropped on both sides,
    # excess height at the bottom.
    scale = max(width / WIDTH_UNITS, height / HEIGHT_UNITS)
    # Mostly horizontal and vertical edges, which need less supersampling than musicians.
    picture = Image.new("RGB", picture_size)
    sprite = rasterise(
        sketch, Placement((width - WIDTH_UNITS * scale) / 2, 0, scale), supersampling=2
    )
    assert sprite is not None, "a background draws something"
    sprite.paste(picture)
    lit_picture = Image.fromarray(_apply_lighting(np.asarray(picture), generator))
    return Backdrop(
        lit_picture, floor_share * HEIGHT_UNITS * scale / height, has_wall=kind != OUTDOORS
    )


def _apply_lighting(
    picture: UInt8[np.ndarray, "H W 3"], generator: np.random.Generator
) -> UInt8[np.ndarray, "H W 3"]:
    """Apply the light of a lamp at a random position, a random colour temperature, and grain."""
    height, width, _ = picture.shape
    x, y = generator.uniform(0.2, 0.8), generator.uniform(0.0, 0.5)
    across = (np.arange(width) / width - x) * 1.2
    down = np.arange(height) / height - y
    # Brightness falls with the squared distance from the lamp, as in a vignette.
    light = 1.06 - 0.34 * (across[None, :] ** 2 + down[:, None] ** 2)
    warmth = 1 + generator.uniform(-0.05, 0.05) * np.array([1.0, 0.0, -1.0])
    # Grain as of a camera sensor: real video has no perfectly flat areas.
    grain = generator.normal(0, 1.6, (height, width, 1))
    return np.clip(picture * light[..., None] * warmth + grain, 0, 255).astype(np.uint8)


def _hue(generator: np.random.Generator, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(float(generator.random()), saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _choice(generator: np.random.Generator, colours: tuple[Colour, ...]) -> Colour:
    return colours[int(generator.integers(len(colours)))]


# Parts of several backgrounds


def _floor(sketch: Sketch, floor: float, colour: Colour, boards: bool) -> None:
    sketch.box(
        (0, floor),
        (WIDTH_UNITS, HEIGHT_UNITS),
        darker(colour, 0.15),
        shade=lighter(colour, 0.1),
        ink=0,
    )
    if boards:
        for x in np.linspace(-500, WIDTH_UNITS + 500, 27).tolist():
            # Boards diverge towards the viewer, by a factor of 1.9: perspective.
            near = WIDTH_UNITS / 2 + (x - WIDTH_UNITS / 2) * 1.9
            sketch.line([(x, floor), (near, HEIGHT_UNITS + 20)], darker(colour, 0.3), 1.0)


def _window(sketch: Sketch, left: float, top: float, generator: np.random.Generator) -> None:
    width, height = float(generator.uniform(60, 90)), float(generator.uniform(80, 110))
    sky = blend((150, 196, 232), (250, 190, 140), float(generator.random()) * 0.7)
    sketch.box((left - 6, top - 6), (left + width + 6, top + height + 6), (238, 232, 220))
    sketch.box((left, top), (left + width, top + height), sky, shade=lighter(sky, 0.5), ink=1)
    sketch.line([(left + width / 2, top), (left + width / 2, top + height)], (238, 232, 220), 5)
    sketch.line([(left, top + height / 2), (left + width, top + height / 2)], (238, 232, 220), 5)
    sketch.box(
        (left - 12, top + height + 6), (left + width + 12, top + height + 13), (226, 218, 204)
    )


def _tree(sketch: Sketch, x: float, ground: float, scale: float, leaf: Colour) -> None:
    sketch.limb([(x, ground), (x, ground - 40 * scale)], (112, 82, 60), 9 * scale)
    for dx, dy, radius in ((-16, -52, 22), (16, -54, 22), (0, -72, 26), (0, -50, 22)):
        centre = (x + dx * scale, ground + dy * scale)
        radii = (radius * scale, radius * scale)
        sketch.ellipse(centre, radii, lighter(leaf, 0.12), shade=darker(leaf, 0.15), ink=0)


def _area_below(points: list[tuple[float, float]], low: float) -> Points:
    """Return the outline of the area between a curve through points and y = `low`."""
    line = spline(points, closed=False)
    return np.concatenate([line, [[points[-1][0], low], [points[0][0], low]]])


# Backgrounds: `floor` is the y at which the floor begins


def _plain_wall(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    wall = _hue(generator, 0.25, float(generator.uniform(0.62, 0.92)))
    sketch.box((0, 0), (WIDTH_UNITS, floor), lighter(wall, 0.15), shade=darker(wall, 0.1), ink=0)
    _floor(sketch, floor, _choice(generator, WOOD_COLOURS), boards=True)
    sketch.box((-5, floor - 9), (WIDTH_UNITS + 5, floor), lighter(wall, 0.6), ink=1)


def _striped_room(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    wall = _hue(generator, 0.3, float(generator.uniform(0.6, 0.88)))
    sketch.box((0, 0), (WIDTH_UNITS, floor), wall, shade=darker(wall, 0.1), ink=0)
    for x in np.arange(0, WIDTH_UNITS, 40).tolist():
        sketch.box((x, 0), (x + 18, floor), lighter(wall, 0.14), ink=0)
    for index in range(int(generator.integers(1, 3))):
        left = float(generator.uniform(30, 210)) + 300 * index
        _window(sketch, left, float(generator.uniform(18, 40)), generator)
    panel = _choice(generator, WOOD_COLOURS)
    sketch.box(
        (-5, floor - 62), (WIDTH_UNITS + 5, floor), lighter(panel, 0.3), shade=panel, ink=1.2
    )
    for x in np.arange(12, WIDTH_UNITS, 78).tolist():
        sketch.box((x, floor - 50), (x + 60, floor - 10), lighter(panel, 0.22), ink=0.8)
    _floor(sketch, floor, darker(panel, 0.1), boards=True)


def _curtains(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    cloth = _hue(generator, 0.62, float(generator.uniform(0.42, 0.68)))
    light, dark = lighter(cloth, 0.14), darker(cloth, 0.3)
    fold = WIDTH_UNITS / int(generator.integers(14, 24))
    sketch.box((0, 0), (WIDTH_UNITS, floor), cloth, ink=0)
    for x in np.arange(0, WIDTH_UNITS, fold).tolist():
        # Light to dark and back: a pair of gradients makes a fold.
        middle = x + fold / 2
        sketch.box((x, 0), (middle, floor), light, shade=dark, across=True, ink=0)
        sketch.box((middle, 0), (x + fold, floor), dark, shade=light, across=True, ink=0)
    for x in np.arange(-10, WIDTH_UNITS, 80).tolist():
        swag = arc((x + 40, -4), (44, 40), 0, 180)
        sketch.fill(swag, lighter(cloth, 0.1), shade=darker(cloth, 0.2), ink=1.2)
        sketch.line(swag, (226, 186, 96), 3)
    _floor(sketch, floor, _choice(generator, WOOD_COLOURS), boards=True)


def _park(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    sky = blend((120, 180, 230), (250, 200, 160), float(generator.random()) * 0.8)
    grass = blend((110, 164, 82), (176, 172, 96), float(generator.random()))
    sketch.box((0, 0), (WIDTH_UNITS, floor + 4), sky, shade=lighter(sky, 0.65), ink=0)
    for _ in range(int(generator.integers(2, 5))):
        x, y = float(generator.uniform(20, 620)), float(generator.uniform(20, 90))
        for dx, dy, radius in ((-22, 4, 13), (0, -4, 19), (22, 3, 14)):
            sketch.ellipse((x + dx, y + dy), (radius * 1.4, radius), (252, 252, 252), ink=0)
    # Two ranges of hills, the distant one first and bluer: aerial perspective.
    for share, back in ((0.5, 70.0), (0.25, 36.0)):
        heights = floor - back + generator.uniform(-24, 18, 7)
        hill = [
            (float(x), float(y)) for x, y in zip(np.linspace(-20, 660, 7), heights, strict=True)
        ]
        sketch.fill(_area_below(hill, floor + 6), blend(grass, sky, share), ink=0)
    for x in generator.uniform(0, WIDTH_UNITS, int(generator.integers(3, 7))).tolist():
        _tree(sketch, x, floor + 3, float(generator.uniform(0.8, 1.5)), darker(grass, 0.15))
    sketch.box((0, floor), (WIDTH_UNITS, HEIGHT_UNITS), grass, shade=darker(grass, 0.2), ink=0)
    for _ in range(60):
        x, y = (
            float(generator.uniform(0, WIDTH_UNITS)),
            float(generator.uniform(floor + 8, HEIGHT_UNITS)),
        )
        sketch.line([(x, y), (x + 2, y - 6)], darker(grass, 0.25), 1.4)


def _brick_wall(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    brick = blend((176, 96, 76), (190, 176, 160), float(generator.random()))
    sketch.box((0, 0), (WIDTH_UNITS, floor), lighter(brick, 0.35), ink=0)
    for row, y in enumerate(np.arange(0, floor, 16).tolist()):
        # Every second row is moved by half a brick.
        for x in np.arange(-30 + 17 * (row % 2), WIDTH_UNITS, 34).tolist():
            colour = blend(brick, lighter(brick, 0.2), float(generator.random()))
            sketch.box((x, y), (x + 31.5, min(y + 13.5, floor)), colour, ink=0)
    grey = blend((120, 116, 114), brick, 0.2)
    _floor(sketch, floor, grey, boards=False)


def _spotlight(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    dark = _hue(generator, 0.45, float(generator.uniform(0.25, 0.45)))
    sketch.box((0, 0), (WIDTH_UNITS, floor), darker(dark, 0.35), shade=lighter(dark, 0.18), ink=0)
    _floor(sketch, floor, blend(dark, (150, 110, 80), 0.5), boards=True)
    # Pale beams at low opacity, so that they brighten the wall and stay behind the performers.
    glow = _hue(generator, 0.25, 1.0)
    for x in generator.uniform(60, 580, int(generator.integers(2, 5))).tolist():
        lean = float(generator.uniform(-120, 120))
        beam = [
            (x - 8, 0),
            (x + 8, 0),
            (x + lean + 90, HEIGHT_UNITS),
            (x + lean - 90, HEIGHT_UNITS),
        ]
        sketch.fill(beam, glow, ink=0, opacity=0.13)
        sketch.box((x - 11, -2), (x + 11, 9), (40, 40, 46), ink=1)


def _dots(sketch: Sketch, floor: float, generator: np.random.Generator) -> None:
    paper = _hue(generator, 0.35, float(generator.uniform(0.6, 0.9)))
    sketch.box(
        (0, 0), (WIDTH_UNITS, HEIGHT_UNITS), lighter(paper, 0.25), shade=darker(paper, 0.12), ink=0
    )
    radius = float(generator.uniform(5, 14))
    for row, y in enumerate(np.arange(10, floor, 44).tolist()):
        for x in np.arange(12 + 26 * (row % 2), WIDTH_UNITS, 52).tolist():
            sketch.ellipse((x, y), (radius, radius), lighter(paper, 0.42), ink=0, opacity=0.5)
    _floor(sketch, floor, darker(paper, 0.25), boards=False)


BACKGROUNDS: dict[str, Background] = {
    "wall": _plain_wall,
    "room": _striped_room,
    "curtains": _curtains,
    OUTDOORS: _park,
    "bricks": _brick_wall,
    "spotlights": _spotlight,
    "dots": _dots,
}
