"""Drawing: smooth shapes with gradients and outlines, turned into small transparent pictures.

A painter adds shapes to a `Sketch` in the units of its own design; `rasterise` draws the sketch
several times too large and shrinks it, which gives smooth edges with nothing but Pillow.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Points = Float64[np.ndarray, "_ 2"]  # each with its own number of points

INK: Colour = (44, 34, 40)  # outlines: nearly black, a little warm
INK_WIDTH = 1.7  # of an outline, in design units
SUPERSAMPLING = 3  # how many times too large, along each side


class Transform(NamedTuple):
    """Where a thing with its own coordinates lies: its origin, how far it is turned, how large.

    Attributes:
        at: where its origin lies.
        turn_degrees: clockwise, since y points down.
        grow: its size, 1 as designed.
    """

    at: Point
    rotation_degrees: float = 0.0
    scale: float = 1.0

    def point(self, x: float, y: float) -> Point:
        """Where one of its points lies outside."""
        sine, cosine = math.sin(math.radians(self.rotation_degrees)), self._cosine()
        x, y = x * self.scale, y * self.scale
        return (self.at[0] + x * cosine - y * sine, self.at[1] + x * sine + y * cosine)

    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """The same as a matrix that acts on columns (x, y, 1)."""
        sine, cosine = math.sin(math.radians(self.rotation_degrees)), self._cosine()
        return np.array(
            [
                [self.scale * cosine, -self.scale * sine, self.at[0]],
                [self.scale * sine, self.scale * cosine, self.at[1]],
                [0.0, 0.0, 1.0],
            ]
        )

    def _cosine(self) -> float:
        return math.cos(math.radians(self.rotation_degrees))


@dataclass(frozen=True)
class Shape:
    """One filled outline or one line of a sketch.

    Attributes:
        points: in the sketch's outermost units.
        colour: of the filling, or of the line.
        shade: the colour at the far end of a gradient, or none for a plain filling.
        across: the gradient runs from left to right, not from top to bottom.
        width: of the line in units; 0 for a filled shape.
        ink_width: of the outline in units; 0 for none.
        opacity: 0..1 of the filling.
    """

    points: Points
    colour: Colour
    shade: Colour | None = None
    across: bool = False
    width: float = 0.0
    ink_width: float = 0.0
    opacity: float = 1.0


class Sketch:
    """Shapes, first at the back, in units that a frame may have moved, turned and scaled."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self._matrix = np.eye(3)
        self._scale = 1.0

    def within(self, transform: Transform) -> "Sketch":
        """A sketch that adds to this one, in the coordinates of a frame."""
        inner = Sketch()
        inner.shapes = self.shapes
        inner._matrix = self._matrix @ transform.matrix()
        inner._scale = self._scale * transform.scale
        return inner

    def fill(
        self,
        points: Points | list[Point],
        colour: Colour,
        *,
        shade: Colour | None = None,
        across: bool = False,
        ink: float = INK_WIDTH,
        opacity: float = 1.0,
    ) -> None:
        """Add a filled shape; `shade` makes a gradient, `ink` is the width of its outline."""
        outer = self._outer(points)
        self.shapes.append(Shape(outer, colour, shade, across, 0.0, ink, opacity))

    def line(self, points: Points | list[Point], colour: Colour, width: float = 1.0) -> None:
        """Add a line with round ends."""
        self.shapes.append(Shape(self._outer(points), colour, width=width * self._scale))

    def tube(self, points: Points | list[Point], colour: Colour, width: float) -> None:
        """Add a line that looks like a round tube: outline, body and a highlight along it."""
        self.line(points, INK, width + 2 * INK_WIDTH / self._scale)
        self.line(points, colour, width)
        self.line(np.asarray(points) - [width * 0.08, width * 0.18], lighter(colour), width * 0.3)

    def limb(self, points: Points | list[Point], colour: Colour, width: float) -> None:
        """Add a line with an outline: an arm, a leg, a stick."""
        self.line(points, INK, width + 2 * INK_WIDTH / self._scale)
        self.line(points, colour, width)

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        colour: Colour,
        *,
        shade: Colour | None = None,
        ink: float = INK_WIDTH,
        opacity: float = 1.0,
    ) -> None:
        """Add a filled ellipse."""
        self.fill(arc(centre, radii), colour, shade=shade, ink=ink, opacity=opacity)

    def box(
        self,
        corner: Point,
        opposite: Point,
        colour: Colour,
        *,
        shade: Colour | None = None,
        across: bool = False,
        ink: float = INK_WIDTH,
    ) -> None:
        """Add a filled rectangle between two corners."""
        (x1, y1), (x2, y2) = corner, opposite
        corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
        self.fill(corners, colour, shade=shade, across=across, ink=ink)

    def bounds(self) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 around all that is drawn, in outermost units."""
        points = np.concatenate([shape.points for shape in self.shapes])
        drawn_bounds = [max(shape.width, shape.ink_width) / 2 for shape in self.shapes]
        reach = np.repeat(drawn_bounds, [len(shape.points) for shape in self.shapes])[:, None]
        (x1, y1), (x2, y2) = (points - reach).min(axis=0), (points + reach).max(axis=0)
        return (float(x1), float(y1), float(x2), float(y2))

    def _outer(self, points: Points | list[Point]) -> Points:
        columns = np.asarray(points, dtype=np.float64)
        return columns @ self._matrix[:2, :2].T + self._matrix[:2, 2]


# Curves


def spline(points: list[Point], closed: bool = True, steps: int = 6) -> Points:
    """A curve through points: the uniform spline of Catmull and Rom."""
    given = np.asarray(points, dtype=np.float64)
    count = len(given)
    order = np.arange(-1, count + 2)
    ring = given[order % count] if closed else given[order.clip(0, count - 1)]
    before, start, end, after = (ring[i : i + count][:, None] for i in range(4))
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    if closed:
        return curve.reshape(-1, 2)
    return np.concatenate([curve[: count - 1].reshape(-1, 2), given[-1:]])


def arc(
    centre: Point, radii: Point, from_degrees: float = 0.0, to_degrees: float = 360.0
) -> Points:
    """Points along an ellipse, clockwise from the right."""
    num_points = max(8, int(abs(to_degrees - from_degrees) / 10))
    angles = np.radians(np.linspace(from_degrees, to_degrees, num_points))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + centre


def ribbon(points: Points | list[Point], widths: list[float]) -> Points:
    """The outline of a band along a line whose width changes, as a bell's does."""
    line = np.asarray(points, dtype=np.float64)
    slope = np.gradient(line, axis=0)
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    at = np.linspace(0, 1, len(line))
    half = np.interp(at, np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    side = np.stack([-slope[:, 1], slope[:, 0]], axis=1) * half
    return np.concatenate([line + side, (line - side)[::-1]])


def mirror_outline(half: list[Point]) -> list[Point]:
    """A closed outline from its upper half, mirrored at the x axis; the ends lie on the axis."""
    return half + [(x, -y) for x, y in half[-2:0:-1]]


# Colours


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """A colour between two: 0 gives the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def lighter(colour: Colour, share: float = 0.45) -> Colour:
    """A colour moved towards white."""
    return blend(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """A colour moved towards black."""
    return blend(colour, (0, 0, 0), share)


# From shapes to pixels


class Placement(NamedTuple):
    """Where a sketch goes in a picture: pixels of its origin, pixels a unit, mirrored or not."""

    x_pixels: float
    y_pixels: float
    pixels_per_unit: float
    mirrored: bool = False

    def apply(self, points: Points) -> Points:
        """Units to pixels."""
        sides = (-self.pixels_per_unit if self.mirrored else self.pixels_per_unit,
                 self.pixels_per_unit)  # fmt: skip
        return points * sides + (self.x_pixels, self.y_pixels)

    def rectangle(self, bounds: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
        """The whole pixels that bounds in units touch."""
        (ax, ay), (bx, by) = self.apply(np.array(bounds).reshape(2, 2)).tolist()
        return (
            math.floor(min(ax, bx)) - 1,
            math.floor(ay) - 1,
            math.ceil(max(ax, bx)) + 1,
            math.ceil(by) + 1,
        )


class Sprite(NamedTuple):
    """A small picture with its opacity and the pixel of its upper left corner."""

    picture: Image.Image
    opacity: Image.Image
    left: int
    top: int

    def paste(self, canvas: Image.Image, shift: tuple[int, int] = (0, 0)) -> None:
        """Draw it onto a picture, some pixels right and down of its place."""
        canvas.paste(self.picture, (self.left + shift[0], self.top + shift[1]), self.opacity)


def rasterise(
    sketch: Sketch, placement: Placement, supersampling: int = SUPERSAMPLING
) -> Sprite | None:
    """The sketch as pixels, or none where it is empty."""
    if not sketch.shapes:
        return None
    left, top, right, bottom = placement.rectangle(sketch.bounds())
    fine = placement._replace(
        x_pixels=(placement.x_pixels - left) * supersampling,
        y_pixels=(placement.y_pixels - top) * supersampling,
        pixels_per_unit=placement.pixels_per_unit * supersampling,
    )
    area = ((right - left) * supersampling, (bottom - top) * supersampling)
    # The fourth band is opacity, in a mode that Pillow averages as it is: no costly premultiplying,
    # and what is half covered fades to ink, which the outlines are made of anyway.
    paper = Image.new("RGBX", area, (*INK, 0))
    for shape in sketch.shapes:
        _draw(paper, shape, fine)
    small = paper.reduce(supersampling)
    return Sprite(small.convert("RGB"), small.getchannel("X"), left, top)


def _draw(paper: Image.Image, shape: Shape, placement: Placement) -> None:
    pixels = placement.apply(shape.points)
    corners = pixels.ravel().tolist()
    pen = ImageDraw.Draw(paper)
    if shape.width:
        _draw_line(pen, corners, shape.colour, shape.width * placement.pixels_per_unit)
        return
    if shape.shade is None and shape.opacity == 1:
        pen.polygon(corners, fill=(*shape.colour, 255))
    else:
        _draw_gradient(paper, shape, pixels)
    if shape.ink_width:
        width = shape.ink_width * placement.pixels_per_unit
        _draw_line(pen, corners + corners[:4], INK, width)


def _draw_line(
    pen: ImageDraw.ImageDraw, corners: list[float], colour: Colour, width: float
) -> None:
    whole = max(1, round(width))
    pen.line(corners, fill=(*colour, 255), width=whole, joint="curve" if whole > 3 else None)
    if whole > 3:
        for x, y in (corners[:2], corners[-2:]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2),
                        fill=(*colour, 255))  # fmt: skip


def _draw_gradient(paper: Image.Image, shape: Shape, pixels: Points) -> None:
    """Paste a strip of the two colours through the shape as a mask."""
    low = np.floor(pixels.min(axis=0)).astype(int)
    width, height = (np.ceil(pixels.max(axis=0)).astype(int) - low + 1).tolist()
    mask = Image.new("L", (width, height))
    level = round(255 * shape.opacity)
    ImageDraw.Draw(mask).polygon((pixels - low).ravel().tolist(), fill=level)
    far = shape.colour if shape.shade is None else shape.shade
    steps = np.linspace(0, 1, width if shape.across else height)[:, None]
    band = np.array(shape.colour) + (np.array(far) - shape.colour) * steps
    pixels_wide = (-1, 1, 3) if not shape.across else (1, -1, 3)
    strip = Image.fromarray(band.round().astype(np.uint8).reshape(pixels_wide))
    colours = strip.resize((width, height), Image.Resampling.NEAREST)
    paper.paste(colours, (int(low[0]), int(low[1])), mask)
