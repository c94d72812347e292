"""The contract of all detectors: pictures in, boxes with labels, scores and perhaps masks out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8

Picture = UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True)
class Detections:
    """The objects that a detector finds in one picture.

    Attributes:
        boxes: x1 y1 x2 y2 of each object, normalised 0..1, origin top left.
        labels: word of each object.
        scores: how sure the detector is of each, 0..1.
        masks: pixels of each object in the picture, where the detector tells them.
    """

    boxes: Float32[np.ndarray, "N 4"]
    labels: tuple[str, ...]
    scores: Float32[np.ndarray, " N"]
    masks: Bool[np.ndarray, "N H W"] | None = None

    def __post_init__(self) -> None:
        assert len(self.boxes) == len(self.labels) == len(self.scores), "one of each an object"

    @classmethod
    def none(cls) -> "Detections":
        """Return the detections of a picture in which nothing is found."""
        return cls(np.zeros((0, 4), np.float32), (), np.zeros(0, np.float32))

    def select(self, indices: Sequence[int]) -> "Detections":
        """Return some of the detections, in the order of the indices."""
        places = np.asarray(indices, np.int64)
        return Detections(
            self.boxes[places],
            tuple(self.labels[index] for index in places),
            self.scores[places],
            None if self.masks is None else self.masks[places],
        )


def join_detections(parts: Sequence[Detections]) -> Detections:
    """Return the detections of one picture from several sources, without masks, surest first."""
    joined = Detections(
        np.concatenate([np.zeros((0, 4), np.float32), *(part.boxes for part in parts)]),
        tuple(word for part in parts for word in part.labels),
        np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
    )
    return joined.select(np.argsort(-joined.scores, kind="stable").tolist())


class Detector(ABC):
    """Find objects in pictures.

    Attributes:
        labels: the words that it finds by itself; none: it looks for given words alone.
        finds_any_word: true if it can look for words beside its labels.
        fingerprint: what its detections depend on beside the pictures, such as a digest of its
            weights and its thresholds. Detections are stored under it.
        longest_side_pixels: larger pictures bring it nothing, so that they are shrunk as they are
            read; none: pictures at their own size.
        names: words that `name` tells apart; none of a detector whose labels stand.
        has_exact_boxes: true if boxes come from a user, and differ from picture to picture only
            where the object moves.
    """

    labels: tuple[str, ...] | None
    finds_any_word: bool
    fingerprint: str
    longest_side_pixels: int | None
    names: tuple[str, ...] = ()
    has_exact_boxes: bool = False

    @abstractmethod
    def detect(
        self,
        pictures: Sequence[Picture],
        times_seconds: Sequence[float],
        words: Sequence[str] = (),
    ) -> tuple[Detections, ...]:
        """Return the objects in each picture, surest first, duplicates merged.

        Args:
            pictures: RGB, of any size.
            times_seconds: when each is shown, from the start of the sound; detectors that read
                their boxes from files need it.
            words: words to look for; none: all labels.

        Raises:
            InputError: a word that it cannot look for.
        """

    def name(self, crops: UInt8[np.ndarray, "K 3 H W"]) -> dict[str, float]:
        """Return the probability of each word for one object, seen in several crops.

        The word "other" is for anything else.
        """
        raise NotImplementedError(f"{type(self).__name__} has no names")
