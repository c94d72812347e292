"""Read a mask, a picture or video that is white where an object is, as the boxes of the object."""

import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from avsep.errors import InputError
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.records import Box, TimedBox

# Formats of a single picture. Pillow would also run other programs, for EPS.
_PICTURE_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
# Boxes of a mask video are taken at this rate; between them they are interpolated.
_BOX_RATE_HZ = 10.0
# Finer masks bring a crop of some hundred pixels nothing.
_LONGEST_SIDE_PIXELS = 960
_MASK_IN_WORDS = (
    "a mask is a picture or video that is white where the object is, and black elsewhere"
)


def read_mask_boxes(path: Path) -> tuple[TimedBox, ...]:
    """Return the smallest boxes that contain the white of a mask, over time for a video.

    White is all above half of full brightness; what is transparent is black. The size may be any,
    as boxes are normalised. In a video, times count from the start of its time line; where it is
    black throughout, boxes are interpolated between those before and after.

    Raises:
        InputError: the file cannot be read, is neither picture nor video, or contains no white.
    """
    image = open_mask(path, _MASK_IN_WORDS)
    if image is None:
        return _video_boxes(path)
    picture = _brightness(image)
    box = mask_box(picture > np.iinfo(picture.dtype).max // 2)
    if box is None:
        raise InputError(
            f"the mask '{path}' contains no white: its brightest pixel is {picture.max()} of "
            f"{np.iinfo(picture.dtype).max}; {_MASK_IN_WORDS}"
        )
    return (TimedBox(time_seconds=0, box=box),)


def mask_box(mask: Bool[np.ndarray, "H W"]) -> Box | None:
    """Return the smallest box that contains all pixels of a mask; none if it has none.

    >>> mask_box(np.array([[False, False, False, False], [False, True, True, False]]))
    (0.25, 0.5, 0.75, 1.0)
    """
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return None
    height, width = mask.shape
    x1, x2 = columns[0] / width, (columns[-1] + 1) / width
    y1, y2 = rows[0] / height, (rows[-1] + 1) / height
    return (float(x1), float(y1), float(x2), float(y2))


def open_mask(path: Path, in_words: str) -> Image.Image | None:
    """Open a picture, upright and with its format; none for a file that is no picture.

    Args:
        path: the file.
        in_words: text for errors that says what a mask is.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as image:
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
            return upright
    except UnidentifiedImageError:
        return None
    # What Pillow raises for damaged pictures, by the place of the damage.
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read the mask '{path}': {reason}; {in_words}") from error


def is_white(pictures: UInt8[np.ndarray, "*batch H W 3"]) -> Bool[np.ndarray, "*batch H W"]:
    """Return the pixels of mask videos that are above half of full brightness."""
    return pictures.mean(axis=-1) > np.iinfo(np.uint8).max // 2


def _brightness(image: Image.Image) -> np.ndarray:
    """Return the brightness of a picture in its own 8 or 16 bits."""
    if image.mode.startswith("I"):
        # Pillow would clip 16 bits to 8.
        return np.asarray(image).astype(np.uint16)
    rgba = image.convert("RGBA")
    black = Image.new("RGBA", rgba.size, "black")
    return np.asarray(Image.alpha_composite(black, rgba).convert("L"))


def _video_boxes(path: Path) -> tuple[TimedBox, ...]:
    settings = FrameSettings(longest_side_pixels=_LONGEST_SIDE_PIXELS)
    boxes = list[TimedBox]()
    try:
        for time_seconds, picture in iterate_frames(path, _BOX_RATE_HZ, settings):
            box = mask_box(is_white(picture))
            if box is not None:
                boxes.append(TimedBox(time_seconds=time_seconds, box=box))
    except InputError as error:
        raise InputError(f"{error}; {_MASK_IN_WORDS}") from error
    if not boxes:
        raise InputError(f"the mask '{path}' contains no white; {_MASK_IN_WORDS}")
    return _without_repeats(boxes)


def _without_repeats(boxes: list[TimedBox]) -> tuple[TimedBox, ...]:
    """Leave out boxes between two that are the same; of a mask that stays, one is left."""
    changes = {index for index, (a, b) in enumerate(pairwise(boxes)) if a.box != b.box}
    if not changes:
        return (boxes[0].model_copy(update={"time_seconds": 0.0}),)
    ends = {0, len(boxes) - 1, *changes, *(index + 1 for index in changes)}
    return tuple(boxes[index] for index in sorted(ends))
