"""Detections as Co-Separation, CCoL, iQuery and LAVSS keep them: an .npy of boxes in pixels.

Columns: number of the picture (from 1), class, confidence 0..1, x1, y1, x2, y2; more may follow.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from avsep.data.clips import read_array
from avsep.errors import InputError
from avsep.records import TimedBox, VisibleObject

DETECTION_ENDINGS = (".mp4.npy", ".npy")
_COLUMNS = 7
# Detectors count pixels from 0 or from 1; a box further outside is of pictures of another size.
_SLACK_PIXELS = 2


def read_detections(path: Path) -> Float64[np.ndarray, "n 7"]:
    """The rows of a file, in its order, without the columns that may follow; none: no rows.

    Raises:
        InputError: no array of finite numbers [n, 7] or wider.
    """
    found = read_array(path)
    if found.size == 0:
        return np.zeros((0, _COLUMNS))
    if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[1] < _COLUMNS:
        raise InputError(
            f"'{path}': [n, {_COLUMNS}] is expected, this is {found.dtype} {list(found.shape)}"
        )
    rows = found[:, :_COLUMNS].astype(np.float64)
    if not np.isfinite(rows).all():
        raise InputError(f"'{path}': it holds values that are no numbers")
    return rows


def surest_object(
    path: Path, label: str, size_pixels: tuple[int, int], frame_rate_hz: float
) -> VisibleObject:
    """The class that the detector is surest of, its surest box in each picture that shows it.

    Args:
        path: the detections; an empty file means the whole picture.
        label: of the object; the numbers of classes are the detector's own and say nothing here.
        size_pixels: width and height of the pictures that were looked at.
        frame_rate_hz: of these pictures, the first of which is shown from time 0.

    Raises:
        InputError: as `read_detections`, and for a row that is no box in such a picture.
    """
    rows = read_detections(path)
    if not len(rows):
        return VisibleObject(label=label)
    boxes = _normalised(path, rows, size_pixels)
    best = rows[np.argmax(rows[:, 2])]
    # The surest row of each picture comes last, and so stays.
    order = np.lexsort((rows[:, 2], rows[:, 0]))
    of_frame = {rows[i, 0]: boxes[i].tolist() for i in order if rows[i, 1] == best[1]}
    return VisibleObject(
        label=label,
        boxes=tuple(
            TimedBox(time_seconds=(frame - 1) / frame_rate_hz, box=(x1, y1, x2, y2))
            for frame, (x1, y1, x2, y2) in of_frame.items()
        ),
        confidence=float(best[2]),
    )


def _normalised(
    path: Path, rows: Float64[np.ndarray, "n 7"], size_pixels: tuple[int, int]
) -> Float64[np.ndarray, "n 4"]:
    """The boxes of detections in 0..1, once all rows have been found to be sound."""
    width, height = size_pixels
    corners, sides = rows[:, 3:], np.array([width, height, width, height])
    is_inside = (corners >= -_SLACK_PIXELS) & (corners <= sides + _SLACK_PIXELS)
    if not is_inside.all():
        raise InputError(
            f"'{path}', row {int(np.argmin(is_inside.all(axis=1))) + 1} has a box beyond the "
            f"pictures, which are {width}x{height}: boxes are in pixels of these very pictures; "
            "extract them in the size that was looked at"
        )
    boxes = np.clip(corners / sides, 0, 1)
    is_row = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    is_row &= (rows[:, 0] >= 1) & (rows[:, 2] >= 0) & (rows[:, 2] <= 1)
    if not is_row.all():
        bad = int(np.argmin(is_row))
        raise InputError(
            f"'{path}', row {bad + 1} is {rows[bad].tolist()}: a row is the picture's number from "
            "1, class, confidence 0..1, x1, y1, x2, y2 in pixels, with x1 < x2 and y1 < y2"
        )
    return boxes
