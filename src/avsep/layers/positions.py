"""Sine encodings of positions: along one axis, and over the two of a map as DETR has them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

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


def _sines(places: Float[Tensor, " K"], width: int) -> Float[Tensor, "K D"]:
    periods = TEMPERATURE ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = places[:, None] / periods
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
