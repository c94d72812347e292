"""Crops of a stream: those of the whole video, read as far as windows need them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.cues.crop_stream import CropStream, count_crops, reach_seconds
from avsep.cues.crops import SLACK_SECONDS, CropSettings, extract_crops
from avsep.cues.windows import SourceWindow, window_cues
from avsep.media.frames import FrameReader, FrameSettings
from avsep.records import VisibleObject
from media.making import Video, make, numbered

SETTINGS = CropSettings(
    crop_pixels=6, crop_rate_hz=2, motion_rate_hz=7, motion_pixels=4, num_crops=2
)
MOVING = VisibleObject.model_validate(
    {
        "boxes": [
            {"time_seconds": 0, "box": (0, 0, 0.5, 1)},
            {"time_seconds": 3, "box": (0.4, 0.1, 1, 1)},
        ]
    }
)
OBJECTS = (MOVING, VisibleObject(label="harp"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of pictures, of which each is brighter than the one before."""
    video = Video(numbered(40), rate=Fraction(10))
    return make(tmp_path_factory.mktemp("video") / "a.mkv", [video])


@pytest.mark.parametrize("selection", ["spread", "consecutive"])
@pytest.mark.parametrize("duration_seconds", [0.3, 3.9, 4.6])
def test_windows_get_the_crops_of_the_whole_video(
    path: Path, selection: str, duration_seconds: float
) -> None:
    settings = SETTINGS.model_copy(update={"selection": selection, "num_crops": 3})
    whole = extract_crops(path, OBJECTS, settings, end_seconds=duration_seconds)
    window_seconds, step = 1.3, 0.6
    ahead = reach_seconds(settings, window_seconds)
    with FrameReader(path, FrameSettings(longest_side_pixels=640)) as reader:
        stream = CropStream(
            lambda seconds: reader.picture_at(seconds + SLACK_SECONDS),
            OBJECTS,
            settings,
            with_motion=True,
        )
        start = 0.0
        while start < duration_seconds:
            # As the sound comes: the end is known when no more follows.
            if start + window_seconds + ahead >= duration_seconds:
                stream.end_at(duration_seconds)
            windows = [
                [SourceWindow(item, start) for item in items] for items in (stream.objects, whole)
            ]
            streamed, expected = (window_cues([row], window_seconds) for row in windows)
            for name in ("crops", "crop_motion", "boxes"):
                assert torch.equal(getattr(streamed, name), getattr(expected, name)), (name, start)
            stream.drop_before(start, window_seconds)
            start += step


def test_rows_that_were_dropped_are_a_programmers_error() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    stream = CropStream(lambda _: picture, OBJECTS, SETTINGS, with_motion=False)
    crops = stream.objects[0]
    assert crops.num_rows("crop_motion") == 0
    assert crops.rows("crops", np.array([0, 9])).shape == (2, 3, 6, 6)
    stream.drop_before(3.0, 1.0)
    assert crops.rows("crops", np.array([9])).shape == (1, 3, 6, 6)
    with pytest.raises(AssertionError, match="row 1 was dropped"):
        crops.rows("crops", np.array([1]))


@pytest.mark.parametrize("rate_hz", [0.5, 1, 3, 10])
def test_the_number_of_crops_is_that_of_the_whole_video(path: Path, rate_hz: float) -> None:
    settings = SETTINGS.model_copy(update={"crop_rate_hz": rate_hz})
    for seconds in (0.0, 0.1, 1.0, 1.9999, 2.0, 2.1, 3.0):
        (crops,) = extract_crops(path, [MOVING], settings, end_seconds=seconds)
        assert count_crops(seconds, rate_hz) == len(crops.crops)
