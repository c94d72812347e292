"""Detections that files hold already, as detectors that find the objects of a time."""

import hashlib
import json
import re
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import BaseModel, Field, PositiveInt

from avsep.errors import InputError
from avsep.media.detection_rows import normalise_boxes, read_detections
from avsep.media.objects_file import read_objects
from avsep.recipe import check_settings
from avsep.records import VisibleObject
from avsep.vision.detectors.base import Detections, Detector, Picture
from avsep.vision.detectors.duplicates import clean, clip
from avsep.vision.detectors.labels import label_of_class, match_labels, read_labels
from avsep.vision.detectors.settings import DetectorSettings, no_frames

# Between frames with detections, those of the nearest are taken, no further away than this.
_HOLD_SECONDS = 1.0
# Pictures are read as small as this where only their time matters.
_SMALL_PICTURE_PIXELS = 64
_FORMATS = (
    "objects.json, an .npy of rows (frame, class, confidence, x1, y1, x2, y2), or COCO's JSON with "
    '"annotations"'
)


class FileDetector(Detector):
    """Find the objects in files by the time of each picture, whose content is not looked at.

    Attributes:
        labels: the words in the files.
    """

    finds_any_word = False
    has_exact_boxes = True
    longest_side_pixels = _SMALL_PICTURE_PIXELS

    def __init__(self, paths: Sequence[Path], labels: Sequence[str], origin: Path) -> None:
        """Take the words of files that were read.

        Args:
            paths: the files; their content is the fingerprint.
            labels: their words.
            origin: the file or folder as the user calls it, for errors.
        """
        self.labels = tuple(dict.fromkeys(labels))
        self.fingerprint = f"files {_digest(paths)}"
        self._origin, self._words = origin, self.labels

    def detect(
        self,
        pictures: Sequence[Picture],
        times_seconds: Sequence[float],
        words: Sequence[str] = (),
    ) -> tuple[Detections, ...]:
        """Return the objects at the time of each picture, surest first.

        Raises:
            InputError: a word that is not in the files, or pictures that they do not fit.
        """
        labels = match_labels(words, self._words, f"'{self._origin}'")
        all_detections = self._detections(
            [picture.shape[:2] for picture in pictures], times_seconds
        )
        return tuple(
            detections.select(
                [row for row, label in enumerate(detections.labels) if label in labels]
            )
            for detections in all_detections
        )

    @abstractmethod
    def _detections(
        self, sizes: Sequence[tuple[int, int]], times_seconds: Sequence[float]
    ) -> list[Detections]:
        """Return all objects of pictures of heights and widths at their times."""


def load_detection_file(
    path: str | Path, device: str = "auto", settings: DetectorSettings | None = None
) -> FileDetector:
    """Read a file of detections: objects.json, rows in an .npy, or JSON in the format of COCO.

    Args:
        path: the file.
        device: unused; files need none.
        settings: labels of class numbers, least score, rate and size of the frames; of COCO's JSON
            the size is in the file.

    Raises:
        InputError: an unreadable file, or one of another format.
    """
    path, settings = Path(path), settings or DetectorSettings()
    if path.suffix.lower() == ".npy":
        labels = settings.labels or read_labels(path)
        rows = read_detections(path)
        return RowsDetector(path, CountedRows.of(rows, labels), settings)
    if path.suffix.lower() != ".json":
        raise InputError(f"'{path}' is no file of detections; give {_FORMATS}")
    document = _read_coco(path)
    if document is None:
        if settings.frame_rate_hz is not None:
            raise InputError(no_frames(str(path)))
        return ObjectsDetector(path, settings.least_score or 0.0)
    labels = settings.labels or read_labels(path)
    return RowsDetector(path, _coco_rows(document, path, labels), settings)


# objects.json


class ObjectsDetector(FileDetector):
    """Find the objects of an objects.json, each with its box between those of the file.

    Objects may overlap as the user likes: none is taken for a duplicate of another.
    """

    def __init__(self, path: Path, least_score: float = 0.0) -> None:
        """Read the file; objects without a label are called "object".

        Raises:
            InputError: as `read_objects`.
        """
        self._objects = read_objects(path)
        # Two of one label stay two objects with one word.
        self._labels = tuple(visible.label or "object" for visible in self._objects)
        super().__init__([path], self._labels, path)
        self._least_score = least_score
        self.fingerprint += f" {least_score}"

    def _detections(
        self, sizes: Sequence[tuple[int, int]], times_seconds: Sequence[float]
    ) -> list[Detections]:
        scores = np.array([visible.confidence for visible in self._objects], np.float32)
        return [
            clip(
                Detections(_boxes_at(self._objects, time), self._labels, scores), self._least_score
            )
            for time in times_seconds
        ]


def _boxes_at(objects: Sequence[VisibleObject], time_seconds: float) -> np.ndarray:
    boxes = [visible.box_at(time_seconds) for visible in objects]
    return np.array(boxes, np.float32).reshape(-1, 4)


# Rows of frames, from .npy or COCO's JSON


@dataclass(frozen=True)
class CountedRows:
    """Detections in counted frames.

    Attributes:
        rows: number of the frame from 1, class, confidence, x1, y1, x2, y2 in pixels.
        frames: numbers of the frames that were searched, rising, also those without detections.
        labels: word of each row.
        size_pixels: width and height of the frames; none: the file does not tell.
    """

    rows: Float64[np.ndarray, "n 7"]
    frames: Float64[np.ndarray, " frames"]
    labels: tuple[str, ...]
    size_pixels: tuple[int, int] | None = None

    @classmethod
    def of(cls, rows: Float64[np.ndarray, "n 7"], labels: Sequence[str]) -> "CountedRows":
        """Return rows whose searched frames are those that have one, with labels by class."""
        words = tuple(label_of_class(labels, int(number)) for number in rows[:, 1])
        return cls(rows, np.unique(rows[:, 0]), words)


class RowsDetector(FileDetector):
    """Find the detections of the nearest frame that was searched."""

    def __init__(self, path: Path, counted: CountedRows, settings: DetectorSettings) -> None:
        """Take the rows of a file.

        Raises:
            InputError: several frames without a rate.
        """
        super().__init__([path], counted.labels, path)
        self._counted, self._path = counted, path
        self._least_score = settings.least_score or 0.0
        self._size = counted.size_pixels or settings.frame_size
        if self._size is None:
            # Boxes are in pixels of the pictures themselves then.
            self.longest_side_pixels = None
        if settings.frame_rate_hz is None and len(counted.frames) > 1:
            raise InputError(
                f"'{path}' counts frames, and their rate is not given: give frame_rate_hz "
                "(--frame-rate), such as 8 for 8 frames a second"
            )
        self._times = (counted.frames - 1) / (settings.frame_rate_hz or 1.0)
        self.fingerprint += f" {settings.frame_rate_hz} {self._size} {self._least_score}"
        self._of_size: dict[tuple[int, int], Float64[np.ndarray, "n 4"]] = {}

    @cached_property
    def _frame_of_row(self) -> Int64[np.ndarray, " n"]:
        return np.searchsorted(self._counted.frames, self._counted.rows[:, 0])

    def _detections(
        self, sizes: Sequence[tuple[int, int]], times_seconds: Sequence[float]
    ) -> list[Detections]:
        return [
            self._at(time, self._size or (width, height))
            for (height, width), time in zip(sizes, times_seconds, strict=True)
        ]

    def _at(self, time_seconds: float, size_pixels: tuple[int, int]) -> Detections:
        if size_pixels not in self._of_size:
            boxes = normalise_boxes(self._path, self._counted.rows, size_pixels)
            self._of_size = {size_pixels: boxes}
        if not len(self._times):
            return Detections.none()
        distances = np.abs(self._times - time_seconds)
        nearest = int(distances.argmin())
        # Detections of a single picture hold for the whole video.
        if distances[nearest] > _HOLD_SECONDS and len(self._times) > 1:
            return Detections.none()
        rows = np.flatnonzero(self._frame_of_row == nearest)
        detections = Detections(
            self._of_size[size_pixels][rows].astype(np.float32),
            tuple(self._counted.labels[row] for row in rows),
            self._counted.rows[rows, 2].astype(np.float32),
        )
        return clean(detections, self._least_score)


class _CocoImage(BaseModel):
    id: int | str
    file_name: str = ""
    width: PositiveInt | None = None
    height: PositiveInt | None = None


class _CocoAnnotation(BaseModel):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float = Field(default=1.0, ge=0, le=1)
    iscrowd: int = 0


class _CocoCategory(BaseModel):
    id: int
    name: str


class _CocoDocument(BaseModel):
    """The fields of COCO's format that are read; others may be there."""

    images: tuple[_CocoImage, ...] = ()
    annotations: tuple[_CocoAnnotation, ...]
    categories: tuple[_CocoCategory, ...] = ()


def _read_coco(path: Path) -> _CocoDocument | None:
    """Return a file in COCO's format, or its list of results; none for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return None  # `read_objects` has the message
    is_results = isinstance(content, list) and content and isinstance(content[0], dict)
    if is_results and "bbox" in content[0]:
        content = {"annotations": content}
    if not isinstance(content, dict):
        return None
    if "annotations" not in content:
        raise InputError(f"'{path}' holds no detections; give {_FORMATS}")
    return check_settings(content, _CocoDocument, f"'{path}'", "field")


def _coco_rows(document: _CocoDocument, path: Path, labels: Sequence[str]) -> CountedRows:
    """Return the boxes of a document, in frames that its file names or image numbers count."""
    names = {image.id: image.file_name for image in document.images}
    boxes = [item for item in document.annotations if not item.iscrowd]
    ids = names or dict.fromkeys((item.image_id for item in boxes), "")
    numbers = {image: _frame_number(image, name, path) for image, name in ids.items()}
    # Frames are counted from 0 or from 1; rows count from 1.
    first = min(numbers.values(), default=1)
    offset = 1 if first == 0 else 0
    words = {category.id: category.name for category in document.categories}
    rows = np.zeros((len(boxes), 7))
    for row, item in zip(rows, boxes, strict=True):
        if item.image_id not in numbers:
            raise InputError(f"'{path}': an annotation is of image {item.image_id}, not in images")
        x, y, width, height = item.bbox
        frame = numbers[item.image_id] + offset
        row[:] = (frame, item.category_id, item.score, x, y, x + width, y + height)
    return CountedRows(
        rows=rows,
        frames=np.unique(np.array([*numbers.values()], np.float64) + offset),
        labels=tuple(
            words.get(item.category_id) or label_of_class(labels, item.category_id)
            for item in boxes
        ),
        size_pixels=_coco_size(document, path),
    )


def _frame_number(image: int | str, name: str, path: Path) -> int:
    """Return the number of a frame: the last one in its file's name, else the image's."""
    digits = re.findall(r"\d+", Path(name).stem or str(image))
    if not digits:
        raise InputError(
            f"'{path}': image '{name or image}' has no number, so its time is unknown; name images "
            "by their frames, such as 000001.jpg"
        )
    return int(digits[-1])


def _coco_size(document: _CocoDocument, path: Path) -> tuple[int, int] | None:
    sizes = {(image.width, image.height) for image in document.images}
    if len(sizes) > 1:
        raise InputError(f"'{path}' has images of several sizes; give those of one video")
    width, height = next(iter(sizes), (None, None))
    return None if width is None or height is None else (width, height)


def _digest(paths: Sequence[Path]) -> str:
    """Return a digest of the content of files that could be read."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
