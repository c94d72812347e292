"""Draw filled curves, lines and gradients as vector sketches and rasterise them to sprites.

A painter adds shapes to a `Sketch` in design units. `rasterise` draws the sketch at a multiple of
its size and averages the pixels: antialiased edges with Pillow as the only dependency.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Points = Float64[np.ndarray, "_ 2"]  # `_`: arrays in one signature may differ in length

INK: Colour = (44, 34, 40)  # colour of outlines: a warm near-black
INK_WIDTH = 1.7  # width of an outline, in design units
# Subpixels a pixel along each side: 3 gives 10 levels of coverage, at 9 times the work.
SUPERSAMPLING = 3


class Transform(NamedTuple):
    """A similarity transform from the coordinates of one part to those of the whole drawing.

    Attributes:
        origin: position of the part's origin in the whole.
        rotation_degrees: clockwise, since y points down.
        scale: size of the part; 1 is the size in its own units.
    """

    origin: Point
    rotation_degrees: float = 0.0
    scale: float = 1.0

    def point(self, x: float, y: float) -> Point:
        """Return the position of one of the part's points in the whole."""
        sine, cosine = math.sin(math.radians(self.rotation_degrees)), self._cosine()
        x, y = x * self.scale, y * self.scale
        return (self.origin[0] + x * cosine - y * sine, self.origin[1] + x * sine + y * cosine)

    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """Return the transform as a matrix that acts on columns (x, y, 1)."""
        sine, cosine = math.sin(math.radians(self.rotation_degrees)), self._cosine()
        return np.array(
            [
                [self.scale * cosine, -self.scale * sine, self.origin[0]],
                [self.scale * sine, self.scale * cosine, self.origin[1]],
                [0.0, 0.0, 1.0],
            ]
        )

    def _cosine(self) -> float:
        return math.cos(math.radians(self.rotation_degrees))


@dataclass(frozen=True)
class Shape:
    """One filled outline or one line of a sketch.

    Attributes:
        points: corners, in the units of the outermost sketch.
        colour: of the filling, or of the line.
        shade: colour at the far end of a gradient, or None for a plain filling.
        across: True if the gradient runs from left to right, not from top to bottom.
        width: of the line in units; 0 for a filled shape.
        ink_width: of the outline in units; 0 for none.
        opacity: of the filling, 0..1.
    """

    points: Points
    colour: Colour
    shade: Colour | None = None
    across: bool = False
    width: float = 0.0
    ink_width: float = 0.0
    opacity: float = 1.0


class Sketch:
    """A list of shapes from back to front, in units that transforms can move, rotate and scale."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self._matrix = np.eye(3)
        self._scale = 1.0

    def within(self, transform: Transform) -> "Sketch":
        """Return a sketch that adds to this one, in the coordinates of a transform."""
        # The list of shapes is shared, so that parts and whole keep one painting order.
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
        """Add a line shaded as a round tube: outline, body and a highlight along it."""
        # `line` scales widths, but outlines have one width at any scale: divided, then multiplied.
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
        """Return x1 y1 x2 y2 around all shapes with their line widths, in outermost units."""
        points = np.concatenate([shape.points for shape in self.shapes])
        half_widths = [max(shape.width, shape.ink_width) / 2 for shape in self.shapes]
        reach = np.repeat(half_widths, [len(shape.points) for shape in self.shapes])[:, None]
        (x1, y1), (x2, y2) = (points - reach).min(axis=0), (points + reach).max(axis=0)
        return (float(x1), float(y1), float(x2), float(y2))

    def _outer(self, points: Points | list[Point]) -> Points:
        rows = np.asarray(points, dtype=np.float64)  # [points, x y]
        return rows @ self._matrix[:2, :2].T + self._matrix[:2, 2]


# Curves


def spline(points: list[Point], closed: bool = True, steps: int = 6) -> Points:
    """Return a smooth curve through points: a uniform Catmull-Rom spline.

    Args:
        points: the control points. The curve passes through every one of them (as Bezier curves do
            not), so outlines can be designed point by point.
        closed: True to join the last point to the first.
        steps: points of the curve between two control points.
    """
    controls = np.asarray(points, dtype=np.float64)
    count = len(controls)
    order = np.arange(-1, count + 2)
    # The ends of an open curve are repeated, since each piece needs a neighbour on either side.
    padded = controls[order % count] if closed else controls[order.clip(0, count - 1)]
    before, start, end, after = (padded[i : i + count][:, None] for i in range(4))
    # Cubic from start to end with slopes (end - before) / 2 and (after - start) / 2.
    t = np.linspace(0, 1, steps, endpoint=False)[None, :, None]
    curve = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    if closed:
        return curve.reshape(-1, 2)
    return np.concatenate([curve[: count - 1].reshape(-1, 2), controls[-1:]])


def arc(
    centre: Point, radii: Point, from_degrees: float = 0.0, to_degrees: float = 360.0
) -> Points:
    """Return points along an ellipse, clockwise from the right."""
    # One point per 10 degrees: at the sizes drawn the corners are less than a pixel off.
    num_points = max(8, int(abs(to_degrees - from_degrees) / 10))
    angles = np.radians(np.linspace(from_degrees, to_degrees, num_points))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii + centre


def ribbon(points: Points | list[Point], widths: list[float]) -> Points:
    """Return the outline of a band of varying width along a line, such as a bell.

    The widths are spread evenly over the line and interpolated.
    """
    line = np.asarray(points, dtype=np.float64)
    tangents = np.gradient(line, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    shares = np.linspace(0, 1, len(line))
    half = np.interp(shares, np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    offsets = np.stack([-tangents[:, 1], tangents[:, 0]], axis=1) * half  # normal to the line
    return np.concatenate([line + offsets, (line - offsets)[::-1]])


def mirror_outline(half: list[Point]) -> list[Point]:
    """Return a closed outline from one half, mirrored at the x axis; its ends are on the axis."""
    # The first and the last point are on the axis and are not repeated.
    return half + [(x, -y) for x, y in half[-2:0:-1]]


# Colours


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """Return a colour between two: share 0 gives the first, 1 the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return (red, green, blue)


def lighter(colour: Colour, share: float = 0.45) -> Colour:
    """Blend a colour with white."""
    return blend(colour, (255, 255, 255), share)


def darker(colour: Colour, share: float = 0.3) -> Colour:
    """Blend a colour with black."""
    return blend(colour, (0, 0, 0), share)


# Rasterisation


class Placement(NamedTuple):
    """The position of a sketch in a picture: origin in pixels, scale, mirrored or not."""

    x_pixels: float
    y_pixels: float
    pixels_per_unit: float
    mirrored: bool = False

    def apply(self, points: Points) -> Points:
        """Convert points from design units to pixels."""
        sides = (-self.pixels_per_unit if self.mirrored else self.pixels_per_unit,
                 self.pixels_per_unit)  # fmt: skip
        return points * sides + (self.x_pixels, self.y_pixels)

    def rectangle(self, bounds: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
        """Return the pixel rectangle x1 y1 x2 y2 of bounds in units, with a margin of one pixel."""
        (ax, ay), (bx, by) = self.apply(np.array(bounds).reshape(2, 2)).tolist()
        # The margin is for Pillow's round line ends, which reach up to a pixel farther.
        return (
            math.floor(min(ax, bx)) - 1,
            math.floor(ay) - 1,
            math.ceil(max(ax, bx)) + 1,
            math.ceil(by) + 1,
        )


class Sprite(NamedTuple):
    """A rasterised sketch: picture, opacity, and the pixel of its upper left corner."""

    picture: Image.Image
    opacity: Image.Image
    left: int
    top: int

    def paste(self, canvas: Image.Image, shift: tuple[int, int] = (0, 0)) -> None:
        """Paste the sprite onto a picture, moved by a number of pixels to the right and down."""
        canvas.paste(self.picture, (self.left + shift[0], self.top + shift[1]), self.opacity)


def rasterise(
    sketch: Sketch, placement: Placement, supersampling: int = SUPERSAMPLING
) -> Sprite | None:
    """Return the sketch as pixels, or None if it is empty."""
    if not sketch.shapes:
        return None
    left, top, right, bottom = placement.rectangle(sketch.bounds())
    fine = placement._replace(
        x_pixels=(placement.x_pixels - left) * supersampling,
        y_pixels=(placement.y_pixels - top) * supersampling,
        pixels_per_unit=placement.pixels_per_unit * supersampling,
    )
    area = ((right - left) * supersampling, (bottom - top) * supersampling)
    # The fourth band is opacity. In mode RGBX Pillow averages it like a colour, without the costly
    # premultiplication of RGBA; half-covered pixels get a share of INK, the colour of the outlines.
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
    # Pillow leaves gaps at the joints and square ends; thin lines do not show either.
    width_pixels = max(1, round(width))
    is_thick = width_pixels > 3
    joint = "curve" if is_thick else None
    pen.line(corners, fill=(*colour, 255), width=width_pixels, joint=joint)
    if is_thick:
        for x, y in (corners[:2], corners[-2:]):
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2),
                        fill=(*colour, 255))  # fmt: skip


def _draw_gradient(paper: Image.Image, shape: Shape, pixels: Points) -> None:
    """Paste a gradient of two colours, with the shape as mask."""
    low = np.floor(pixels.min(axis=0)).astype(int)
    width, height = (np.ceil(pixels.max(axis=0)).astype(int) - low + 1).tolist()
    mask = Image.new("L", (width, height))
    level = round(255 * shape.opacity)
    ImageDraw.Draw(mask).polygon((pixels - low).ravel().tolist(), fill=level)
    far = shape.colour if shape.shade is None else shape.shade
    steps = np.linspace(0, 1, width if shape.across else height)[:, None]
    band = np.array(shape.colour) + (np.array(far) - shape.colour) * steps
    # A strip one pixel wide, stretched: far fewer values than the gradient of every pixel.
    strip_shape = (1, -1, 3) if shape.across else (-1, 1, 3)
    strip = Image.fromarray(band.round().astype(np.uint8).reshape(strip_shape))
    colours = strip.resize((width, height), Image.Resampling.NEAREST)
    paper.paste(colours, (int(low[0]), int(low[1])), mask)
