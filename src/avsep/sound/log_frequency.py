"""The frequency axis that the networks see, logarithmic in 256 rows, and the way back.

Row i of R looks at linear bin b(i) = (F - 1) (21^(i / (R - 1)) - 1) / 20: fine at the bottom, where
the notes lie, coarse at the top. Both ways are bilinear sampling, hence differentiable.
Source: Zhao et al., The Sound of Pixels (ECCV 2018), section 4.2, and every paper since.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import grid_sample

# The axis bends as log(1 + 20 x): base 21 between its two ends.
BEND = 21.0


def to_log_frequency(
    spectrogram: Float[Tensor, "*batch F T"],
    num_rows: int = 256,
    *,
    num_columns: int | None = None,
    legacy_corners: bool = False,
) -> Float[Tensor, "*batch R t"]:
    """The spectrogram on the logarithmic axis, R = `num_rows`.

    Its frames are resized to t = `num_columns`; none: they stay as they are. `legacy_corners` exists to run weights of codes that call `grid_sample` without its argument
    (iQuery, LAVSS): it blends the outermost half cells with zeros and cannot be undone.
    """
    # Departure: the released codes differ in align_corners; true (as DAVIS) makes the two axes
    # inverse of each other, false costs 1 to 5 dB of the ceiling (measured with the ideal masks).
    return _sample_rows(spectrogram, bins_of_rows(num_rows), num_columns, legacy_corners)


def to_linear_frequency(
    spectrogram: Float[Tensor, "*batch R t"],
    num_bins: int = 512,
    *,
    num_frames: int | None = None,
    legacy_corners: bool = False,
) -> Float[Tensor, "*batch F T"]:
    """A spectrogram, or a mask, of the logarithmic axis back on the linear one, F = `num_bins`.

    Its columns are resized to T = `num_frames`; none: they stay as they are.
    """
    return _sample_rows(spectrogram, rows_of_bins(num_bins), num_frames, legacy_corners)


def bins_of_rows(num_rows: int) -> Float64[Tensor, " R"]:
    """Where each logarithmic row looks on the linear axis, -1 (0 Hz) to 1 (half the rate)."""
    return (BEND ** ((_linspace(num_rows) + 1) / 2) - 11) / 10


def rows_of_bins(num_bins: int) -> Float64[Tensor, " F"]:
    """Where each linear bin stands on the logarithmic axis, -1 to 1."""
    return 2 * torch.log(10 * _linspace(num_bins) + 11) / math.log(BEND) - 1


def _sample_rows(
    spectrogram: Float[Tensor, "*batch F T"],
    rows: Float64[Tensor, " R"],
    num_columns: int | None,
    legacy_corners: bool,
) -> Float[Tensor, "*batch R t"]:
    """Read the spectrogram at rows given in -1..1, and at columns evenly spread over its frames."""
    columns = _linspace(num_columns or spectrogram.shape[-1])
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # R t 2
    grid = grid.to(spectrogram.device, spectrogram.dtype)
    flat = spectrogram.reshape(1, -1, *spectrogram.shape[-2:])  # * F T -> 1 batch F T
    sampled = grid_sample(
        flat, grid[None], mode="bilinear", padding_mode="zeros", align_corners=not legacy_corners
    )
    return sampled.reshape(*spectrogram.shape[:-2], *sampled.shape[-2:])  # 1 batch R t -> * R t


def _linspace(num_points: int) -> Float64[Tensor, " P"]:
    """Points over -1..1, in double so that the golden grids come out to float32's last digit."""
    return torch.linspace(-1, 1, num_points, dtype=torch.float64)
