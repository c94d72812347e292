"""Read object detections of Co-Separation, CCoL, iQuery and LAVSS: an .npy of pixel boxes.

Columns: number of the frame (from 1), class, confidence 0..1, x1, y1, x2, y2; more may follow.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from avsep.data.clips import read_array
from avsep.errors import InputError
from avsep.records import TimedBox, VisibleObject

DETECTION_ENDINGS = (".mp4.npy", ".npy")
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
    if not np.isfinite(rows).all():
        raise InputError(f"'{path}': it holds values that are no numbers (NaN or infinity)")
    return rows


def surest_object(
    path: Path, label: str, size_pixels: tuple[int, int], frame_rate_hz: float
) -> VisibleObject:
    """Return the object of the most confident class, with its most confident box in each frame.

    Args:
        path: the detections; without rows, the box is the whole frame.
        label: of the object; class numbers are the detector's own and have no names here.
        size_pixels: width and height of the frames that the detector ran on.
        frame_rate_hz: of these frames, whose first is at time 0.

    Raises:
        InputError: as `read_detections`, and for a row whose box is not inside the frames.
    """
    rows = read_detections(path)
    if not len(rows):
        return VisibleObject(label=label)
    boxes = _normalise_boxes(path, rows, size_pixels)
    best = rows[np.argmax(rows[:, 2])]
    # Sorted by frame, then confidence: the most confident row of a frame is the last to be stored.
    order = np.lexsort((rows[:, 2], rows[:, 0]))
    box_of_frame = {rows[i, 0]: boxes[i].tolist() for i in order if rows[i, 1] == best[1]}
    return VisibleObject(
        label=label,
        boxes=tuple(
            TimedBox(time_seconds=(frame - 1) / frame_rate_hz, box=(x1, y1, x2, y2))
            for frame, (x1, y1, x2, y2) in box_of_frame.items()
        ),
        confidence=float(best[2]),
    )


def _normalise_boxes(
    path: Path, rows: Float64[np.ndarray, "n 7"], size_pixels: tuple[int, int]
) -> Float64[np.ndarray, "n 4"]:
    """Check every row and return its box in 0..1."""
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
