"""Windows show what lies in their own time, as often as the model was trained with."""

import torch

from avsep.cues.crops import CropSettings, ObjectCrops
from avsep.cues.windows import crops_of, window_cues

SETTINGS = CropSettings(crop_pixels=2, motion_pixels=2, num_crops=3)
EVERYTHING = frozenset({"crops", "crop_motion", "category", "boxes"})


def numbered_look(first: int) -> ObjectCrops:
    """Ten seconds: crops numbered by their second, movement by its tenth of one."""
    crops = torch.arange(first, first + 10, dtype=torch.uint8)[:, None, None, None]
    crop_motion = torch.arange(100, dtype=torch.uint8)[:, None, None]
    boxes = torch.stack([torch.tensor([0.0, 0.0, 0.5, (k + 1) / 20]) for k in range(10)])
    return ObjectCrops(crops.expand(-1, 3, 2, 2), crop_motion.expand(-1, 2, 2), boxes, SETTINGS)


def test_crops_and_movement_of_each_window_and_object() -> None:
    object_crops = [numbered_look(0), numbered_look(100)]
    category = torch.tensor([4, -1])
    cues = window_cues(object_crops, [0.0, 4.0], 5.0, category, EVERYTHING)
    assert cues.crops is not None and cues.crops.shape == (2, 2, 3, 3, 2, 2)
    assert cues.crops[:, :, :, 0, 0, 0].tolist() == [
        [[0, 2, 4], [100, 102, 104]],
        [[4, 6, 8], [104, 106, 108]],
    ]
    # Boxes are those of the crops that are shown.
    assert cues.boxes is not None
    bottoms = (cues.crops[:, :, :, 0, 0, 0] % 100 + 1) / 20
    torch.testing.assert_close(cues.boxes[..., 3], bottoms)
    assert cues.crop_motion is not None and cues.crop_motion.shape == (2, 2, 50, 2, 2)
    assert cues.crop_motion[1, 0, :, 0, 0].tolist() == list(range(40, 90))
    assert cues.category is not None and cues.category.tolist() == [[4, -1], [4, -1]]


def test_only_what_a_model_needs_is_made() -> None:
    category = torch.tensor([0])
    cues = window_cues([numbered_look(0)], [0.0], 5.0, category, frozenset({"category"}))
    assert cues.crops is None and cues.crop_motion is None and cues.boxes is None


def test_few_crops_are_repeated_and_the_last_one_holds_beyond_the_end() -> None:
    assert crops_of([numbered_look(0)], 8.0, 5.0, 4)[0, :, 0, 0, 0].tolist() == [8, 8, 9, 9]
    assert crops_of([numbered_look(0)], 30.0, 5.0, 2)[0, :, 0, 0, 0].tolist() == [9, 9]


def test_a_window_before_the_first_picture_is_shown_the_first() -> None:
    assert crops_of([numbered_look(0)], -0.5, 0.4, 3)[0, :, 0, 0, 0].tolist() == [0, 0, 0]
