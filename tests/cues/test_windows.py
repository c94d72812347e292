"""Test window_cues: crops, motion and features of each window and source."""

from dataclasses import replace

import numpy as np
import torch

from avsep.cues.crops import CropSettings, ObjectCrops
from avsep.cues.windows import SourceWindow, spread_evenly, window_cues
from avsep.records import Cues

SETTINGS = CropSettings(crop_pixels=2, motion_pixels=2, num_crops=3)


def numbered(first: int, num_features: int | None = None) -> ObjectCrops:
    """Return ten seconds of crops numbered by second, and motion numbered by tenths of one."""
    crops = torch.arange(first, first + 10, dtype=torch.uint8)[:, None, None, None]
    crop_motion = torch.arange(100, dtype=torch.uint8)[:, None, None]
    boxes = torch.stack([torch.tensor([0.0, 0.0, 0.5, (k + 1) / 20]) for k in range(10)])
    features = None if num_features is None else torch.ones(4, num_features)
    return ObjectCrops(
        crops.expand(-1, 3, 2, 2), crop_motion.expand(-1, 2, 2), boxes, SETTINGS, features
    )


def cues_of(sources: list[ObjectCrops], *starts: float, **settings: object) -> Cues:
    windows = [[SourceWindow(source, start) for source in sources] for start in starts]
    return window_cues(windows, 5.0, **settings)


def test_crops_and_motion_of_each_window_and_object() -> None:
    cues = cues_of([numbered(0), numbered(100)], 0.0, 4.0)
    assert cues.crops is not None and cues.crops.shape == (2, 2, 3, 3, 2, 2)
    assert cues.crops[:, :, :, 0, 0, 0].tolist() == [
        [[0, 2, 4], [100, 102, 104]],
        [[4, 6, 8], [104, 106, 108]],
    ]
    # Boxes are those of the crops that are selected.
    assert cues.boxes is not None
    bottoms = (cues.crops[:, :, :, 0, 0, 0] % 100 + 1) / 20
    torch.testing.assert_close(cues.boxes[..., 3], bottoms)
    assert cues.crop_motion is not None and cues.crop_motion.shape == (2, 2, 50, 2, 2)
    assert cues.crop_motion[1, 0, :, 0, 0].tolist() == list(range(40, 90))
    assert cues.i3d_features is None and cues.is_visible is None


def test_only_the_cues_that_are_named_are_built() -> None:
    cues = cues_of([numbered(0)], 0.0, names=frozenset({"category"}))
    assert cues.crops is None and cues.crop_motion is None and cues.boxes is None


def crop_numbers(start: float, num_crops: int) -> list[int]:
    cues = cues_of([numbered(0)], start, num_crops=num_crops)
    assert cues.crops is not None
    return cues.crops[0, 0, :, 0, 0, 0].tolist()


def test_crops_are_repeated_where_there_are_too_few() -> None:
    assert crop_numbers(8.0, 4) == [8, 8, 9, 9]
    assert crop_numbers(30.0, 2) == [9, 9]


def test_a_window_before_the_first_picture_has_the_first() -> None:
    assert crop_numbers(-5.5, 3) == [0, 0, 0]


def test_a_cue_that_one_source_lacks_is_left_out() -> None:
    still = replace(numbered(0), crop_motion=None)
    cues = cues_of([numbered(0), still], 0.0)
    assert cues.crops is not None and cues.crop_motion is None


def test_features_of_whole_clips_are_padded_to_the_longest() -> None:
    cues = cues_of([numbered(0, 3), numbered(0, 5)], 0.0, 2.0)
    assert cues.i3d_features is not None and cues.i3d_padding is not None
    assert cues.i3d_features.shape == (2, 2, 4, 5)
    assert cues.i3d_features[1].sum((1, 2)).tolist() == [12, 20]
    assert cues.i3d_padding[0].tolist() == [[False] * 3 + [True] * 2, [False] * 5]


def test_a_repeated_clip_starts_again_and_others_hold_their_ends() -> None:
    source = numbered(0)
    cues = [
        window_cues([[SourceWindow(source, 6.0, is_repeated)]], 12.0).crop_motion
        for is_repeated in (False, True)
    ]
    clamped, repeated = (motion[0, 0, :, 0, 0].tolist() for motion in cues if motion is not None)
    assert clamped == [*range(60, 100), *[99] * 80]
    assert repeated == [*range(60, 100), *range(80)]


def test_crops_are_spread_evenly() -> None:
    assert spread_evenly(np.arange(10, 15), 3).tolist() == [10, 12, 14]
    assert spread_evenly(np.arange(10, 12), 4).tolist() == [10, 10, 11, 11]
