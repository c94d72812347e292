"""Read object detections as Co-Separation, CCoL, iQuery and LAVSS store them: rows in an .npy.

Columns: number of the frame (from 1), class, confidence 0..1, x1, y1, x2, y2 in pixels; more may
follow.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from avsep.errors import InputError
from avsep.media.arrays import read_array

_COLUMNS = 7
# Detectors count pixels from 0 or from 1. A box further outside was detected in frames of another
# size, and scaling it to these frames would crop the wrong place.
_SLACK_PIXELS = 2


def read_detections(path: Path) -> Float64[np.ndarray, "n 7"]:
    """Read the rows of a detection file in order, without columns beyond the seventh.

    Raises:
        InputError: anything but an array of finite numbers [n, 7] or wider.
    """
    array = read_array(path)
    # Detectors that find nothing save arrays of shape [0] as well as [0, 7].
    if array.size == 0:
        return np.zeros((0, _COLUMNS))
    if array.dtype.kind not in "fiu" or array.ndim != 2 or array.shape[1] < _COLUMNS:
        raise InputError(
            f"'{path}': [n, {_COLUMNS}] is expected, this is {array.dtype} {list(array.shape)}"
        )
    rows = array[:, :_COLUMNS].astype(np.float64)
    if not rows.any():  # what iQuery's detections of MUSIC-21 and AVE hold where nothing was found
        return np.zeros((0, _COLUMNS))
    if not np.isfinite(rows).all():
        raise InputError(f"'{path}': it holds values that are no numbers (NaN or infinity)")
    return rows


def normalise_boxes(
    path: Path, rows: Float64[np.ndarray, "n 7"], size_pixels: tuple[int, int]
) -> Float64[np.ndarray, "n 4"]:
    """Return the boxes of rows in 0..1.

    Args:
        path: their file, for errors.
        rows: as `read_detections` returns them.
        size_pixels: width and height of the frames that the detector ran on.

    Raises:
        InputError: a box that is empty or not inside the frames, or a frame's number below 1.
    """
    width, height = size_pixels
    corners, sides = rows[:, 3:], np.array([width, height, width, height])
    is_inside = (corners >= -_SLACK_PIXELS) & (corners <= sides + _SLACK_PIXELS)
    if not is_inside.all():
        raise InputError(
            f"'{path}', row {int(np.argmin(is_inside.all(axis=1))) + 1} has a box outside the "
            f"frames, which are {width}x{height}: boxes are in pixels of these frames; extract "
            "them in the size that the detector ran on"
        )
    boxes = np.clip(corners / sides, 0, 1)
    is_valid = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    is_valid &= (rows[:, 0] >= 1) & (rows[:, 2] >= 0) & (rows[:, 2] <= 1)
    if not is_valid.all():
        bad = int(np.argmin(is_valid))
        raise InputError(
            f"'{path}', row {bad + 1} is {rows[bad].tolist()}: a row is the frame's number from "
            "1, class, confidence 0..1, x1, y1, x2, y2 in pixels, with x1 < x2 and y1 < y2"
        )
    return boxes
