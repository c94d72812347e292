"""Choose the object of a clip among the detections of Co-Separation, CCoL, iQuery and LAVSS."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from avsep.data.categories import AVE, MUSIC, MUSIC_21, find_in
from avsep.media.detection_rows import normalise_boxes, read_detections
from avsep.records import Box, TimedBox, VisibleObject

DETECTIONS_FOLDER = "detection_results"
DETECTION_ENDINGS = (".mp4.npy", ".npy")


def surest_object(
    path: Path, label: str, size_pixels: tuple[int, int], frame_rate_hz: float
) -> VisibleObject:
    """Return the object of the most confident class, with its most confident box in each frame.

    For class numbers that are the detector's own and have no names here.

    Args:
        path: the detections; without rows, the box is the whole frame.
        label: of the object.
        size_pixels: width and height of the frames that the detector ran on.
        frame_rate_hz: of these frames, whose first is at time 0.

    Raises:
        InputError: as `read_detections`, and for a row whose box is not inside the frames.
    """
    rows = read_detections(path)
    if not len(rows):
        return VisibleObject(label=label)
    best_class = rows[np.argmax(rows[:, 2]), 1]
    # Sorted by frame, then confidence: the most confident row of a frame is the last.
    order = np.lexsort((rows[:, 2], rows[:, 0])).tolist()
    order = [i for i in order if rows[i, 1] == best_class]
    return _visible_object(path, rows, order, label, size_pixels, frame_rate_hz)


def object_by_frame(
    path: Path,
    label: str,
    size_pixels: tuple[int, int],
    frame_rate_hz: float,
    class_number: int | None = None,
) -> VisibleObject:
    """Return an object with the box of each frame that iQuery and CCoL crop (REFERENCE 3.1).

    In each frame the first row of the class, else the most confident row of any class.

    Departure: where a frame has no rows they crop the whole frame; here its box is between those of
    the frames around it, as an object does not fill the picture because a detector missed it.

    Args:
        path, label, size_pixels, frame_rate_hz: as of `surest_object`, errors too.
        class_number: of the object, see `class_numbers`; None: any class.
    """
    rows = read_detections(path)
    if not len(rows):
        return VisibleObject(label=label)
    # The last of a frame is kept: its rows by rising confidence, the earlier of two equal ones
    # later, then those of the class from its last to its first.
    order: list[int] = np.lexsort((-np.arange(len(rows)), rows[:, 2], rows[:, 0])).tolist()
    if class_number is not None:
        of_class = [i for i in reversed(range(len(rows))) if rows[i, 1] == class_number]
        order = sorted([*order, *of_class], key=lambda i: rows[i, 0])
    return _visible_object(path, rows, order, label, size_pixels, frame_rate_hz)


def class_numbers(labels: Iterable[str]) -> Mapping[str, int]:
    """Return the class number of each label in the detections of a data set with these categories.

    iQuery's files of MUSIC-21 count its 21 categories from 1, those of AVE its 28 from 0. Empty for
    MUSIC, whose detector has classes of its own, and for categories of none or of both lists.
    """
    labels = set(labels)
    if all(find_in(MUSIC, label) is not None for label in labels):
        return {}
    fitting = []
    for categories, first in ((MUSIC_21, 1), (AVE, 0)):
        indices = {label: find_in(categories, label) for label in labels}
        numbers = {label: first + i for label, i in indices.items() if i is not None}
        if len(numbers) == len(labels):
            fitting.append(numbers)
    return fitting[0] if len(fitting) == 1 else {}


def _visible_object(
    path: Path,
    rows: Float64[np.ndarray, "n 7"],
    order: Iterable[int],
    label: str,
    size_pixels: tuple[int, int],
    frame_rate_hz: float,
) -> VisibleObject:
    """Return the object with the last row of each frame in an order that rises by frame."""
    boxes = normalise_boxes(path, rows, size_pixels)
    row_of_frame = {rows[i, 0]: i for i in order}
    return VisibleObject(
        label=label,
        boxes=tuple(
            TimedBox(time_seconds=(frame - 1) / frame_rate_hz, box=_as_box(boxes[i]))
            for frame, i in row_of_frame.items()
        ),
        confidence=max(float(rows[i, 2]) for i in row_of_frame.values()),
    )


def _as_box(corners: Float64[np.ndarray, " 4"]) -> Box:
    x1, y1, x2, y2 = corners.tolist()
    return x1, y1, x2, y2
