"""Sine encodings of positions: along one axis, over a map as DETR has them, of a box in a frame."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_max_pool1d

TEMPERATURE = 10_000.0
_EPSILON = 1e-6


def sine_positions(num_positions: int, width: int) -> Float[Tensor, "K D"]:
    """Positions 0, 1, 2 ... as sines and cosines by turns, of ever longer periods."""
    return _sines(torch.arange(num_positions, dtype=torch.float64), width).float()


def sine_positions_2d(num_rows: int, num_columns: int, width: int) -> Float[Tensor, "D f t"]:
    """A map of encodings: half of the channels tell the row, half the column, each as 0..2 pi.

    Rows and columns count from one and are divided by the last, as in DETR.
    """
    halves = []
    for count in (num_rows, num_columns):
        places = torch.arange(1, count + 1, dtype=torch.float64)
        halves.append(_sines(places / (count + _EPSILON) * 2 * math.pi, width // 2))
    rows, columns = halves
    rows = rows[:, None].expand(-1, num_columns, -1)
    columns = columns[None].expand(num_rows, -1, -1)
    return torch.cat([rows, columns], dim=-1).permute(2, 0, 1).float()  # [D, f, t]


# The frame whose pixels LAVSS encodes: width and height.
_FRAME_PIXELS = (1280, 720)


def octave_positions(
    points: Float[Tensor, "*batch 2"], num_octaves: int
) -> Float[Tensor, "*batch D"]:
    """gamma(x, y) of LAVSS, equation 1, D = 4 `num_octaves`: of points in -1..1.

    By octave sin x, cos x, sin y, cos y. In double, since 2^15 pi x in single is off by 1e-3.

    >>> octave_positions(torch.tensor([0.5, 0.0]), 1).round().tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    angles = _octaves(points.double(), num_octaves)  # * 2 octaves
    waves = torch.stack([angles.sin(), angles.cos()], dim=-1)  # * 2 octaves 2
    return waves.transpose(-3, -2).flatten(-3).float()


def box_positions(
    boxes: Float[Tensor, "N 4"], num_octaves: int, num_cells: int
) -> Float[Tensor, "N D h w"]:
    """Equation 1 of every pixel of boxes in a frame, the greatest in each of a square of cells.

    Boxes are normalised x1 y1 x2 y2. Every channel hangs on x alone or on y alone, so rows and
    columns are pooled by themselves, exactly, and the map of a box is never made.

    Departure: the released code looks the encoding up in a file of 59 million values.
    """
    sides = []
    for axis, num_pixels in enumerate(_FRAME_PIXELS):
        places = 2 * torch.arange(num_pixels, dtype=torch.float64) / num_pixels - 1
        angles = _octaves(places, num_octaves)  # pixels octaves
        waves = torch.cat([angles.sin(), angles.cos()], dim=1).mT  # [2 octaves, pixels]
        spans = [
            _pixels(first, beyond, num_pixels)
            for first, beyond in boxes[:, [axis, axis + 2]].double().tolist()
        ]
        pooled = torch.stack([adaptive_max_pool1d(waves[:, span], num_cells) for span in spans])
        sides.append(pooled.unflatten(1, (2, num_octaves)).transpose(1, 2))  # N octaves 2 cells
    across, down = sides
    maps = torch.stack(
        [
            across[:, :, :, None].expand(-1, -1, -1, num_cells, -1),
            down[..., None].expand(-1, -1, -1, -1, num_cells),
        ],
        dim=2,
    )  # N octaves (x y) (sin cos) h w
    return maps.flatten(1, 3).float().to(boxes.device)


def _octaves(values: Float[Tensor, "*any"], num_octaves: int) -> Float[Tensor, "*any octaves"]:
    return values[..., None] * math.pi * 2.0 ** torch.arange(num_octaves, device=values.device)


def _pixels(first: float, beyond: float, num_pixels: int) -> slice:
    """The pixels that a stretch of 0..1 touches, one at least."""
    start = min(math.floor(first * num_pixels), num_pixels - 1)
    return slice(start, max(start + 1, math.ceil(beyond * num_pixels - 1e-6)))


def _sines(places: Float[Tensor, " K"], width: int) -> Float[Tensor, "K D"]:
    periods = TEMPERATURE ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = places[:, None] / periods
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
