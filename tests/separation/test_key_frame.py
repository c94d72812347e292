"""The key frame: boxes and labels where the objects are, the rest of the picture untouched."""

import io

import numpy as np
from PIL import Image

from avsep.records import Clip, TimedBox, VisibleObject
from avsep.separation.key_frame import draw_boxes, key_frame_jpeg


def grey_clip() -> Clip:
    moving = VisibleObject(
        label="violin",
        boxes=(
            TimedBox(time_seconds=0, box=(0.0, 0.5, 0.2, 0.9)),
            TimedBox(time_seconds=2, box=(0.4, 0.5, 0.6, 0.9)),
        ),
    )
    frames = np.full((2, 200, 400, 3), 128, dtype=np.uint8)
    times = np.array([0.0, 2.0])
    return Clip(np.zeros((1, 100), dtype=np.float32), 100, frames, times, (moving,), "clip")


def test_boxes_follow_the_time() -> None:
    clip = grey_clip()
    for index, columns in enumerate([slice(0, 80), slice(160, 240)]):
        drawn = np.asarray(draw_boxes(clip.frames[index], clip, clip.frame_times_seconds[index]))
        changed = (drawn != 128).any(-1)
        assert changed[100:180, columns].any() and not changed[:100].any()
        changed[100:180, columns] = False
        assert not changed.any()  # nothing outside the box
    assert (clip.frames == 128).all()


def test_the_file_is_a_picture_of_the_same_size() -> None:
    picture = Image.open(io.BytesIO(key_frame_jpeg(grey_clip(), 1)))
    assert picture.size == (400, 200) and picture.format == "JPEG"
