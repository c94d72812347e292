"""Order the raw boxes of a detector, and leave out those that another one stands for already."""

import numpy as np
from jaxtyping import Bool, Float, Float32

from avsep.vision.detectors.base import Detections

# Boxes of one word that overlap more (intersection over union) are one object.
MOST_OVERLAP = 0.5
# Boxes of different words that overlap more are one object with two names: the surer is right. A
# player and the instrument before him overlap less.
MOST_OVERLAP_OF_WORDS = 0.7
# Smaller than a pixel of the largest pictures: nothing can be cropped from it.
_LEAST_SIDE = 1e-4


def clean(detections: Detections, least_score: float = 0.0) -> Detections:
    """Return detections with boxes within the picture, surest first, without duplicates.

    Boxes are clipped to 0..1; empty ones, those that are no numbers and those below the least score
    are left out. Of boxes of one word that overlap by more than `MOST_OVERLAP`, and of any words by
    more than `MOST_OVERLAP_OF_WORDS`, the surest stays. Of equally sure ones the first is first.
    """
    ordered = clip(detections, least_score)
    overlap = overlaps(ordered.boxes)
    labels = np.array(ordered.labels, dtype=object)
    is_same_word = labels[:, None] == labels[None]
    limits = np.where(is_same_word, MOST_OVERLAP, MOST_OVERLAP_OF_WORDS)
    return ordered.select(_surest(overlap > limits))


def clip(detections: Detections, least_score: float = 0.0) -> Detections:
    """Return detections as `clean` does, with duplicates."""
    is_number = np.isfinite(detections.boxes).all(axis=1) & np.isfinite(detections.scores)
    numbers = detections.select(np.flatnonzero(is_number).tolist())
    boxes = numbers.boxes.clip(0, 1)
    is_valid = (boxes[:, 2:] - boxes[:, :2] >= _LEAST_SIDE).all(axis=1)
    is_valid &= numbers.scores >= least_score
    order = np.argsort(-numbers.scores, kind="stable")
    clipped = Detections(boxes, numbers.labels, numbers.scores, numbers.masks)
    return clipped.select(order[is_valid[order]].tolist())


def overlaps(boxes: Float32[np.ndarray, "N 4"]) -> Float[np.ndarray, "N N"]:
    """Return the intersection over union of each box with each."""
    corners = boxes.astype(np.float64)
    first = np.maximum(corners[:, None, :2], corners[None, :, :2])
    last = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = (last - first).clip(min=0).prod(axis=-1)
    areas = (corners[:, 2:] - corners[:, :2]).prod(axis=-1)
    return shared / (areas[:, None] + areas[None] - shared)


def _surest(is_duplicate: Bool[np.ndarray, "N N"]) -> list[int]:
    """Return the rows, in order, that are no duplicate of a row chosen before them."""
    # torchvision's non-maximum suppression has one limit for all pairs, and takes half a second to
    # import, which files of detections would wait for.
    chosen: list[int] = []
    is_left = np.ones(len(is_duplicate), bool)
    for row in range(len(is_duplicate)):
        if is_left[row]:
            chosen.append(row)
            is_left &= ~is_duplicate[row]
    return chosen
