"""A key frame: one picture of a clip with a labelled box around each object, as JPEG."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from avsep.records import Clip

# One colour an object, told apart by colour-blind eyes too (Okabe and Ito).
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def key_frame_jpeg(clip: Clip, index: int = 0) -> bytes:
    """The clip's frame of that index with its objects, numbered as their stems are."""
    picture = draw_boxes(clip.frames[index], clip, float(clip.frame_times_seconds[index]))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def draw_boxes(
    frame: UInt8[np.ndarray, "H W 3"], clip: Clip, time_seconds: float, first_number: int = 0
) -> Image.Image:
    """The frame with each object's box at a time; an object without boxes is the whole picture.

    One that is known by its word alone is drawn nowhere, and keeps its number.

    Objects are numbered, and coloured, from `first_number` on: where those of one mixture stand in
    different videos, each has its place in the mixture.
    """
    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    thickness = max(2, height // 150)
    font = ImageFont.load_default(size=max(11, height // 22))
    for index, visible in enumerate(clip.objects, first_number):
        if not visible.is_seen:
            continue
        colour = COLOURS[index % len(COLOURS)]
        x1, y1, x2, y2 = visible.box_at(max(time_seconds, 0))
        corner = (x1 * width, y1 * height)
        # A box of less than a pixel is drawn as one.
        opposite = (max(corner[0], x2 * width - 1), max(corner[1], y2 * height - 1))
        pen.rectangle((*corner, *opposite), outline=colour, width=thickness)
        text = f" {index + 1:02d} {visible.label or ''} "
        pen.rectangle(pen.textbbox(corner, text, font=font), fill=colour)
        pen.text(corner, text, fill="black", font=font)
    return picture
