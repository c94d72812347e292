"""A detector of coloured rectangles, and videos of them on a grey ground."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from avsep.errors import InputError
from avsep.vision.detectors.base import Detections, Detector
from media.making import Track, Video, make, noise

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
# Name of a colour, and its box at a time, or none while it is away.
Thing = tuple[str, Callable[[float], tuple[float, float, float, float] | None]]


class ColourDetector(Detector):
    """Finds each connected region of a colour; the score is how much of its box it fills."""

    labels = tuple(COLOURS)
    finds_any_word = False
    longest_side_pixels = 160

    def __init__(self, fingerprint: str = "colours 1") -> None:
        self.fingerprint = fingerprint
        self.sizes: list[tuple[int, ...]] = []  # of every picture that it was given
        self.times: list[float] = []

    def detect(
        self,
        pictures: Sequence[np.ndarray],
        times_seconds: Sequence[float],
        words: Sequence[str] = (),
    ) -> tuple[Detections, ...]:
        for word in words:
            if word not in (*COLOURS, "gold"):
                raise InputError(f"unknown label '{word}'")
        self.sizes += [picture.shape for picture in pictures]
        self.times += times_seconds
        return tuple(detect_in(picture, words or self.labels) for picture in pictures)


def use_colours(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Put a detector of colours in place of the shipped one, and detections into a folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def load_detector(name: str, device: str = "auto", *_: object) -> ColourDetector:
        if name != "avsep-detector":
            raise InputError(f"unknown detector '{name}'; known: avsep-detector")
        return ColourDetector()

    monkeypatch.setattr("avsep.vision.detectors.registry.load_detector", load_detector)


def make_two(path: Path) -> Path:
    """Make four seconds of a red square that moves and a blue one."""
    things = [("red", moving(0.1, 0.1, 0.1)), ("blue", moving(0.5, 0.6))]
    return make_video(path, [draw(things, k / 5) for k in range(20)])


def detect_in(picture: np.ndarray, words: Sequence[str]) -> Detections:
    height, width = picture.shape[:2]
    boxes, labels, scores = [], [], []
    for name, colour in COLOURS.items():
        if name not in words:
            continue
        is_colour = np.abs(picture.astype(int) - colour).max(-1) < 70
        regions, _ = ndimage.label(is_colour)
        for index, (rows, columns) in enumerate(ndimage.find_objects(regions), 1):
            boxes.append((columns.start / width, rows.start / height,
                          columns.stop / width, rows.stop / height))  # fmt: skip
            labels.append(name)
            scores.append(0.95 * float((regions[rows, columns] == index).mean()))
    order = np.argsort(-np.array(scores), kind="stable").tolist()
    whole = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), tuple(labels), np.array(scores, np.float32)
    )
    return whole.select(order)


def draw(
    things: Sequence[Thing], seconds: float, height: int = 90, width: int = 160, grey: int = 90
) -> np.ndarray:
    picture = np.full((height, width, 3), grey, np.uint8)
    for name, box_at in things:
        box = box_at(seconds)
        if box is not None:
            x1, y1, x2, y2 = (round(v * s) for v, s in zip(box, (width, height) * 2, strict=True))
            picture[max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = COLOURS[name]
    return picture


def moving(x: float, y: float, speed: float = 0.0, size: float = 0.2) -> Callable:
    """A square of which the left upper corner moves to the right at a speed."""
    return lambda t: (x + speed * t, y, x + speed * t + size * 9 / 16, y + size)


def make_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    rate: int = 5,
    *,
    has_sound: bool = True,
    sound_start_seconds: float = 0.0,
    **video: object,
) -> Path:
    tracks = [
        Track(noise(1, round(16000 * len(pictures) / rate)), start_seconds=sound_start_seconds)
    ]
    return make(path, [Video(pictures, Fraction(rate), **video)], tracks if has_sound else [])
