"""Motion features of a whole video: a picture a second, shrunk, through I3D."""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from avsep.vision.i3d import I3D, MAX_FRAMES, SMALLEST_SIDE_PIXELS, motion_features

MOTION_RATE_HZ = 1.0
# I3D learned from pictures of 224 x 224, and 160 square ones of this side take 1.6 GB.
LONGEST_SIDE_PIXELS = 320


def motion_of_pictures(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]], model: I3D
) -> Float32[Tensor, "D k"]:
    """Motion features of the pictures of a whole video, one a second from its start.

    Pictures are taken one at a time and none after the 160th, so they may be read meanwhile; they
    are brought to the size of the first. The answer lies on the model's device.

    Departure: iQuery hands I3D the pictures as large as they are. Here a longer side of more than
    320 pixels is shrunk to that, which bounds the memory and is nearer to what I3D learned from.

    Args:
        pictures: RGB, of any size, one at least.
        model: from `load_i3d`.
    """
    return motion_features(np.stack(list(_alike(islice(pictures, MAX_FRAMES)))), model)


def _alike(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]],
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The pictures in one size: that of the first, or what it is shrunk to."""
    size = None
    for picture in pictures:
        size = size or _size_for(*picture.shape[:2])
        if picture.shape[:2] == size:
            yield picture
            continue
        height, width = size
        # Pillow widens its triangle when it shrinks, so nothing aliases.
        image = Image.fromarray(np.ascontiguousarray(picture))
        yield np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _size_for(height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture once it is no longer than it may be."""
    scale = min(1.0, LONGEST_SIDE_PIXELS / max(height, width))
    return (
        max(SMALLEST_SIDE_PIXELS, round(scale * height)),
        max(SMALLEST_SIDE_PIXELS, round(scale * width)),
    )
