"""The key frame: boxes and labels where the objects are, the rest of the picture untouched."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from avsep.pages.html_page import draw_boxes, key_frame_jpeg
from avsep.records import Box, Clip, TimedBox, VisibleObject


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


def test_what_nobody_sees_is_drawn_nowhere_and_keeps_its_number() -> None:
    clip = grey_clip()
    offscreen = VisibleObject(label="violin", prompt="violin")
    alone = replace(clip, objects=(offscreen,))
    assert (np.asarray(draw_boxes(clip.frames[0], alone, 0.0)) == 128).all()
    first, second = (
        np.asarray(draw_boxes(clip.frames[0], replace(clip, objects=objects), 0.0, number))
        for objects, number in [((offscreen, *clip.objects), 0), (clip.objects, 1)]
    )
    assert (first == second).all()


@pytest.mark.parametrize(
    "box", [(0.5, 0.5, 0.5001, 0.5001), (0.0, 0.0, 0.001, 1.0), (0.9999, 0.9999, 1.0, 1.0)]
)
@pytest.mark.parametrize("label", ["harp", "ü🎻\ntwo lines", "x" * 200, "", None])
def test_boxes_of_less_than_a_pixel_and_odd_labels(box: Box, label: str | None) -> None:
    visible = VisibleObject(label=label, boxes=(TimedBox(time_seconds=0, box=box),))
    clip = replace(grey_clip(), objects=(visible,) * 9)  # more objects than colours
    picture = np.asarray(draw_boxes(clip.frames[0], clip, 0.0))
    assert picture.shape == (200, 400, 3) and (picture != 128).any()


def test_the_file_is_a_picture_of_the_same_size() -> None:
    picture = Image.open(io.BytesIO(key_frame_jpeg(grey_clip(), 1)))
    assert picture.size == (400, 200) and picture.format == "JPEG"
