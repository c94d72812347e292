"""From a decoded frame to the picture as displayed: upright, square pixels, opaque RGB."""

from dataclasses import dataclass
from fractions import Fraction
from math import atan2, degrees
from typing import Self

import av
import numpy as np
from av.video.stream import VideoStream
from jaxtyping import UInt8

# A pixel aspect this near to 1 is left alone: stretching 298 pixels to 299 only blurs.
_SQUARE_ENOUGH = Fraction(1, 100)
# Beyond this a pixel aspect is a mistake in the file, not a picture format.
_LARGEST_ASPECT = 8
# Untagged pictures of this height and above are taken for BT.709, as players do.
_HD_HEIGHT = 720
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways a stored picture can be turned and flipped for display.

    Attributes:
        is_transposed: rows become columns, before the flips.
        flips_columns: then left and right change places.
        flips_rows: then top and bottom change places.
    """

    is_transposed: bool = False
    flips_columns: bool = False
    flips_rows: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """The orientation in a frame's display matrix, to the nearest quarter turn.

        The matrix sends a stored point (p, q) to (a p + c q, b p + d q), see FFmpeg's
        libavutil/display.h; y points down.
        """
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        values = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3).tolist()
        (a, b, _), (c, d, _), _ = values
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def is_mirrored(self) -> bool:
        """Whether writing in the stored picture reads the wrong way round however it is turned."""
        return (self.is_transposed + self.flips_columns + self.flips_rows) % 2 == 1

    @property
    def rotation_degrees(self) -> int:
        """The clockwise turn: 0, 90, 180 or 270, after a mirrored picture is flipped sideways."""
        right, down = -1 if self.flips_columns else 1, -1 if self.flips_rows else 1
        # Where the stored picture's x axis points on the screen.
        x_axis = (0, down) if self.is_transposed else (right, 0)
        sign = -1 if self.is_mirrored else 1
        return round(degrees(atan2(sign * x_axis[1], sign * x_axis[0]))) % 360

    def apply(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture upright."""
        if self.is_transposed:
            picture = picture.transpose(1, 0, 2)
        rows, columns = -1 if self.flips_rows else 1, -1 if self.flips_columns else 1
        return np.ascontiguousarray(picture[::rows, ::columns])


@dataclass(frozen=True)
class Geometry:
    """How the pictures of a stream are brought to the screen.

    Attributes:
        stored: height and width of the picture to scale to, still unturned.
        pixel_aspect: width of a stored pixel over its height.
    """

    stored: tuple[int, int]
    pixel_aspect: Fraction
    orientation: Orientation

    @classmethod
    def of(
        cls,
        stream: VideoStream,
        frame: av.VideoFrame | None,
        longest_side_pixels: int | None = None,
    ) -> Self:
        """From a stream and its first frame: the height is kept, the width makes pixels square.

        `longest_side_pixels` shrinks larger pictures, and never enlarges.
        """
        aspect = _trusted_aspect(stream.sample_aspect_ratio)
        height = frame.height if frame else stream.height
        width = frame.width if frame else stream.width
        if abs(aspect - 1) > _SQUARE_ENOUGH:
            width = max(1, round(width * aspect))
        if longest_side_pixels is not None and max(height, width) > longest_side_pixels:
            scale = Fraction(longest_side_pixels, max(height, width))
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
        return cls((height, width), aspect, Orientation.of(frame) if frame else Orientation())

    @property
    def displayed(self) -> tuple[int, int]:
        """Height and width on the screen."""
        height, width = self.stored
        return (width, height) if self.orientation.is_transposed else (height, width)

    def render(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """The picture as displayed; what is transparent shows black, as in a player."""
        height, width = self.stored
        is_transparent = _has_alpha(frame)
        guess = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
        picture = frame.reformat(
            width=width,
            height=height,
            format="rgba" if is_transparent else "rgb24",
            src_colorspace="itu709" if guess else None,
            interpolation="AREA" if height < frame.height or width < frame.width else "BICUBIC",
            # Threads of so small a task wait for one another more than they work.
            threads=1,
        ).to_ndarray()
        if is_transparent:
            opacity = picture[..., 3:].astype(np.uint16)
            picture = ((picture[..., :3] * opacity + 127) // 255).astype(np.uint8)
        return self.orientation.apply(picture)


def _trusted_aspect(aspect: Fraction | None) -> Fraction:
    if not aspect or not Fraction(1, _LARGEST_ASPECT) <= aspect <= _LARGEST_ASPECT:
        return Fraction(1)
    return Fraction(aspect)


def _has_alpha(frame: av.VideoFrame) -> bool:
    return frame.format.has_palette or any(part.is_alpha for part in frame.format.components)
