"""Draw key frames: a picture of a clip with the labelled boxes of its objects."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from avsep.records import Clip

# One colour per object: Okabe and Ito's, which colour-blind readers can tell apart, but black.
BOX_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def key_frame_jpeg(clip: Clip, index: int = 0) -> bytes:
    """Draw the boxes of a clip's objects on one of its frames, as JPEG."""
    picture = draw_boxes(clip.frames[index], clip, float(clip.frame_times_seconds[index]))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def draw_boxes(
    frame: UInt8[np.ndarray, "H W 3"], clip: Clip, time_seconds: float, first_number: int = 0
) -> Image.Image:
    """Draw each object's box at a time on a frame; an object without boxes fills the picture.

    Objects given by a text prompt alone are not drawn and keep their number.

    Numbers and colours count from `first_number`: the objects of one mixture may be in different
    videos, and each has its position in the mixture.
    """
    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    thickness = max(2, height // 150)
    font = ImageFont.load_default(size=max(11, height // 22))
    for index, visible in enumerate(clip.objects, first_number):
        if not visible.is_visible:
            continue
        colour = BOX_COLOURS[index % len(BOX_COLOURS)]
        x1, y1, x2, y2 = visible.box_at(max(time_seconds, 0))
        corner = (x1 * width, y1 * height)
        # Boxes of less than a pixel are drawn as one: Pillow refuses corners in the wrong order.
        opposite = (max(corner[0], x2 * width - 1), max(corner[1], y2 * height - 1))
        pen.rectangle((*corner, *opposite), outline=colour, width=thickness)
        text = f" {index + 1:02d} {visible.label or ''} "
        pen.rectangle(pen.textbbox(corner, text, font=font), fill=colour)
        pen.text(corner, text, fill="black", font=font)
    return picture
