"""Crop a box out of a picture, and the boxes of all objects at a steady rate."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8
from PIL import Image
from torch import Tensor

from avsep.records import Box, VisibleObject

_SMALLEST_BOX_PIXELS = 2
_SMALLEST_STRETCH_PIXELS = 0.01
# Keeps a corner that falls on a pixel's edge there, whatever the last bit of its product.
_SLACK_PIXELS = 1e-6
# Rec. 709, of red, green, blue. A program that imports this may have other defaults.
_LUMA = torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float32, device="cpu")
_Crop = Callable[[UInt8[np.ndarray, "H W 3"], Box, int], Shaped[np.ndarray, "*crop"]]


class CropRows:
    """The rows of one cue at a steady rate, each with a crop of every object; in order of time.

    Rows stay in memory until `drop_before` or `stacked`.

    Attributes:
        rate_hz: rows a second.
    """

    def __init__(
        self,
        objects: Sequence[VisibleObject],
        rate_hz: float,
        crop: _Crop,
        num_pixels: int,
        *,
        first_row: int = 0,
        offset_seconds: float = 0.0,
    ) -> None:
        """Begin with a row, counted from time 0.

        Args:
            objects: what is cropped, in this order.
            rate_hz: rows a second.
            crop: crops a box to a square of a side.
            num_pixels: the side.
            first_row: the first row to extract.
            offset_seconds: added to a time before an object's box is looked up.
        """
        self._objects, self.rate_hz = tuple(objects), rate_hz
        self._crop, self._num_pixels = crop, num_pixels
        self._first, self._offset_seconds = first_row, offset_seconds
        self._rows: deque[list[Shaped[np.ndarray, "*crop"]]] = deque()

    def __len__(self) -> int:
        """Return the number of rows in memory."""
        return len(self._rows)

    @property
    def num_extracted(self) -> int:
        """Return the number of rows from time 0 on, dropped ones included."""
        return self._first + len(self._rows)

    @property
    def next_seconds(self) -> float:
        """Return the time of the row that is extracted next."""
        return self.num_extracted / self.rate_hz

    def extract(self, picture: UInt8[np.ndarray, "_ _ 3"]) -> None:
        """Crop the next row out of the picture displayed at its time."""
        boxes = (self.box(number, self.num_extracted) for number in range(len(self._objects)))
        self._rows.append([self._crop(picture, box, self._num_pixels) for box in boxes])

    def box(self, number: int, index: int) -> Box:
        """Return the box of the object of a number in a row."""
        return self._objects[number].box_at(index / self.rate_hz + self._offset_seconds)

    def boxes(self, number: int, indices: Iterable[int]) -> Float32[Tensor, "K 4"]:
        """Return the boxes of the object of a number in rows."""
        return torch.tensor([self.box(number, index) for index in indices])

    def row(self, number: int, index: int) -> Shaped[np.ndarray, "*crop"]:
        """Return the crop of the object of a number in a row."""
        assert index >= self._first, f"row {index} was dropped, {self._first} is the first"
        return self._rows[index - self._first][number]

    def drop_before(self, seconds: float) -> None:
        """Drop rows before a time."""
        while self._rows and (self._first + 1) / self.rate_hz < seconds:
            self._rows.popleft()
            self._first += 1

    def stacked(self) -> list[UInt8[Tensor, "K *crop"]]:
        """Return the crops of each object, and release them here."""
        by_object = [list(crops) for crops in zip(*self._rows, strict=True)]
        self._rows.clear()
        stacked = []
        while by_object:
            # Each is released before the next is copied.
            stacked.append(torch.from_numpy(np.stack(by_object.pop(0))))
        return stacked


def earliest_rows(rows: Iterable[CropRows]) -> CropRows:
    """Return the cue whose next row is the earliest, as pictures come forward only."""
    return min(rows, key=lambda item: item.next_seconds)


def crop_box(
    picture: UInt8[np.ndarray, "H W 3"], box: Box, num_pixels: int
) -> UInt8[np.ndarray, "3 P P"]:
    """Crop a box, rounded outward to whole pixels, and resize it to a square.

    Departure: the released codes resize the short side, by bicubic interpolation, and cut a square
    out of the middle, or in training at random, which loses head or instrument of a tall or wide
    box. Here the whole box is resized to a square, as in DGFNet's section 4.1.4, and what training
    cuts out of it at random lacks a tenth of each side.
    """
    rows, columns = _pixels_of(box, picture)
    crop = Image.fromarray(np.ascontiguousarray(picture[rows, columns]))
    # Pillow widens its triangle when it shrinks, so nothing aliases.
    resized = crop.resize((num_pixels, num_pixels), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def crop_box_grey(
    picture: UInt8[np.ndarray, "H W 3"], box: Box, num_pixels: int
) -> UInt8[np.ndarray, "P P"]:
    """Crop the luma (Rec. 709) of a box as a square, each pixel the mean of its area.

    The box is not rounded, so that a gliding one makes no steps that would look like motion.
    """
    rows, columns = _pixels_of(box, picture)
    # PyTorch's threads are bounded where many processes extract crops; those of NumPy are not.
    crop = torch.from_numpy(picture[rows, columns].astype(np.float32))
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    down = _coverage(y1 * height - rows.start, y2 * height - rows.start, num_pixels, len(crop))
    across = _coverage(
        x1 * width - columns.start, x2 * width - columns.start, num_pixels, crop.shape[1]
    )
    lower = (down @ crop.flatten(1)).unflatten(1, (-1, 3))  # P w 3
    return (lower @ _LUMA @ across.T).round().byte().numpy()


def _pixels_of(box: Box, picture: UInt8[np.ndarray, "H W 3"]) -> tuple[slice, slice]:
    """Return the rows and columns of a box, rounded outward, two at least where there are two."""
    size = np.array(picture.shape[1::-1])  # width, height
    start = np.floor(size * box[:2] + _SLACK_PIXELS).astype(int)
    stop = np.ceil(size * box[2:] - _SLACK_PIXELS).astype(int)
    start = np.minimum(start, size - _SMALLEST_BOX_PIXELS).clip(0)
    stop = np.maximum(stop, start + _SMALLEST_BOX_PIXELS)
    (left, top), (right, bottom) = start.tolist(), stop.tolist()
    return slice(top, bottom), slice(left, right)


@lru_cache(64)
def _coverage(
    first: float, end: float, num_cells: int, num_pixels: int
) -> Float32[Tensor, "cells pixels"]:
    """Compute the share of each cell of a stretch that each pixel covers; rows sum to one."""
    # The thinnest box, at the border above all, still covers something.
    first = min(max(first, 0.0), num_pixels - _SMALLEST_STRETCH_PIXELS)
    end = min(max(end, first + _SMALLEST_STRETCH_PIXELS), num_pixels)
    edges = np.linspace(first, end, num_cells + 1)
    pixels = np.arange(num_pixels)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    covered = overlap.clip(min=0)
    return torch.from_numpy((covered / covered.sum(axis=1, keepdims=True)).astype(np.float32))
