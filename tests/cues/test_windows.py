"""Test window_cues: crops, motion and features of each window and source."""

from dataclasses import replace

import numpy as np
import torch

from avsep.cues.crops import CropSettings, ObjectCrops
from avsep.cues.windows import SourceWindow, cut_crops, spread_evenly, window_cues
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


def consecutive(start: float, **changes: object) -> list[int]:
    """Return the numbers of the crops of a window of five seconds."""
    settings = SETTINGS.model_copy(update={"selection": "consecutive", **changes})
    cues = cues_of([replace(numbered(0), settings=settings)], start)
    assert cues.crops is not None and cues.boxes is not None
    numbers = cues.crops[0, 0, :, 0, 0, 0].tolist()
    bottoms = torch.tensor([(number + 1) / 20 for number in numbers])
    torch.testing.assert_close(cues.boxes[0, 0, :, 3], bottoms)
    return numbers


def test_consecutive_crops_are_around_the_middle_of_the_window() -> None:
    """As iQuery counts: of six crops three come before the middle one and two after it."""
    assert consecutive(0.0) == [1, 2, 3]
    assert consecutive(0.4) == [1, 2, 3] and consecutive(0.6) == [2, 3, 4]
    assert consecutive(1.5) == [3, 4, 5]
    assert consecutive(2.0, num_crops=6) == [1, 2, 3, 4, 5, 6]
    assert consecutive(1.5, num_crops=1) == [4]


def test_consecutive_crops_may_be_apart_and_are_held_at_the_ends() -> None:
    assert consecutive(2.5, stride=3) == [2, 5, 8]  # Sound of Pixels
    assert consecutive(0.0, stride=3) == [0, 2, 5]
    assert consecutive(7.0, stride=3) == [6, 9, 9]
    assert consecutive(-9.0) == [0, 0, 0]


def test_a_number_of_crops_that_is_asked_for_is_spread_over_the_window() -> None:
    """A category is predicted from the whole video, whatever a window reads."""
    settings = SETTINGS.model_copy(update={"selection": "consecutive"})
    cues = cues_of([replace(numbered(0), settings=settings)], 0.0, num_crops=2)
    assert cues.crops is not None and cues.crops[0, 0, :, 0, 0, 0].tolist() == [0, 4]


def test_one_square_is_cut_out_of_all_crops_of_a_source() -> None:
    places = torch.arange(36, dtype=torch.uint8).view(6, 6)
    cues = Cues(crops=places.expand(1, 2, 3, 3, 6, 6), boxes=torch.rand(1, 2, 3, 4))
    corners = set()
    for seed in range(40):
        cut = cut_crops(cues, 4, np.random.default_rng(seed))
        assert cut.crops is not None and cut.crops.shape == (1, 2, 3, 3, 4, 4)
        assert cut.boxes is cues.boxes
        for source in cut.crops[0]:
            corner = int(source[0, 0, 0, 0])
            row, column = divmod(corner, 6)
            expected = places[row : row + 4, column : column + 4].expand(3, 3, 4, 4)
            assert torch.equal(source, expected)
            corners.add(corner)
    # All nine places of a 4 x 4 square in 6 x 6, the last row and column too.
    assert corners == {6 * row + column for row in range(3) for column in range(3)}
    same = cut_crops(cues, 6, np.random.default_rng(0))
    assert same.crops is not None and cues.crops is not None
    assert torch.equal(same.crops, cues.crops)
