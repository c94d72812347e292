"""Test cue ablations: the cues that each changes, and those that it keeps."""

from dataclasses import fields, replace

import pytest
import torch

from avsep.errors import InputError
from avsep.evaluation.cue_ablations import CUE_ABLATIONS, GREY, blur, without_labels
from avsep.records import Cues


def cues(seed: int, num_sources: int = 2) -> Cues:
    generator = torch.Generator().manual_seed(seed)
    return Cues(
        crops=torch.randint(0, 256, (1, num_sources, 3, 3, 20, 20), generator=generator).byte(),
        crop_motion=torch.randint(0, 256, (1, num_sources, 5, 8, 8), generator=generator).byte(),
        i3d_features=torch.rand(1, num_sources, 4, 3, generator=generator),
        i3d_padding=torch.zeros(1, num_sources, 3, dtype=torch.bool),
        category=torch.arange(num_sources)[None],
        is_visible=torch.arange(num_sources)[None] != seed,
        boxes=torch.rand(1, num_sources, 3, 4, generator=generator),
        embedding=torch.rand(1, num_sources, 6, generator=generator),
    )


def never() -> Cues:
    raise AssertionError("nobody asked for strangers")


def changed(before: Cues, after: Cues) -> set[str]:
    result = set()
    for field in fields(Cues):
        old, new = getattr(before, field.name), getattr(after, field.name)
        assert (old is None) == (new is None)
        if old is not None and not torch.equal(old, new):
            result.add(field.name)
    return result


@pytest.mark.parametrize(
    ("ablation", "expected"),
    [
        ("all", set()),
        ("no-motion", {"crop_motion", "i3d_features"}),
        (
            "swapped",
            {
                "crops",
                "crop_motion",
                "i3d_features",
                "category",
                "is_visible",
                "boxes",
                "embedding",
            },
        ),
        ("swapped-boxes", {"boxes"}),
        ("blurred", {"crops"}),
        ("hidden", {"crops"}),
    ],
)
def test_what_is_changed(ablation: str, expected: set[str]) -> None:
    given = cues(0)
    assert changed(given, CUE_ABLATIONS[ablation](given, never)) == expected
    assert changed(given, cues(0)) == set()  # what was given is left as it was


def test_standing_still_is_zeros() -> None:
    still = CUE_ABLATIONS["no-motion"](cues(0), never)
    assert not still.crop_motion.any() and not still.i3d_features.any()
    assert CUE_ABLATIONS["no-motion"](Cues(), never) == Cues()


def test_each_source_gets_the_next_ones_object() -> None:
    given = cues(1, num_sources=3)
    turned = CUE_ABLATIONS["swapped"](given, never)
    assert turned.category.tolist() == [[1, 2, 0]]
    assert torch.equal(turned.crops[:, 2], given.crops[:, 0])
    assert torch.equal(turned.crop_motion[:, 0], given.crop_motion[:, 1])


def test_swapped_boxes_are_those_of_the_next_source() -> None:
    before = cues(1, num_sources=3)
    after = CUE_ABLATIONS["swapped-boxes"](before, never)
    assert torch.equal(after.boxes, before.boxes[:, [1, 2, 0]])
    with pytest.raises(InputError, match="change the boxes, and the method reads none"):
        CUE_ABLATIONS["swapped-boxes"](Cues(), never)


def test_wrong_pictures_leave_the_words() -> None:
    given, others = cues(2), replace(cues(3), is_visible=torch.tensor([[True, False]]))
    mistaken = CUE_ABLATIONS["wrong"](given, lambda: others)
    assert torch.equal(mistaken.crops, others.crops)
    assert torch.equal(mistaken.crop_motion, others.crop_motion)
    assert torch.equal(mistaken.boxes, others.boxes)
    assert torch.equal(mistaken.embedding, others.embedding)
    assert torch.equal(mistaken.category, given.category)
    assert torch.equal(mistaken.is_visible, others.is_visible)


def test_words_alone_leave_nothing_to_see() -> None:
    told = CUE_ABLATIONS["word"](cues(0), never)
    assert torch.equal(told.category, cues(0).category)
    assert told.is_visible.tolist() == [[False, False]]
    given = {field.name for field in fields(Cues) if getattr(told, field.name) is not None}
    assert given == {"category", "is_visible"}
    # The picture decides of what is seen, and of nothing else here.
    assert torch.equal(without_labels(told).category, told.category)


def test_a_blur_keeps_colour_and_loses_shape() -> None:
    pictures = torch.zeros(1, 3, 40, 40, dtype=torch.uint8)
    pictures[:, 0, :, ::2] = 200  # red stripes
    flat = blur(pictures, 4.0)
    assert flat.shape == pictures.shape
    # Away from the sides, where the last stripe is repeated, every pixel is the mean of 0 and 200.
    assert (flat[:, 0, :, 13:-13].int() - 100).abs().max() <= 1
    assert not flat[:, 1:].any()
    even = torch.full((2, 3, 20, 20), 77, dtype=torch.uint8)
    assert torch.equal(blur(even, 2.0), even)


def test_hidden_crops_are_grey_and_need_crops() -> None:
    assert (CUE_ABLATIONS["hidden"](cues(0), never).crops == GREY).all() and GREY == 128
    for ablation in ("hidden", "blurred"):
        with pytest.raises(InputError, match="change the crops, and the method reads none"):
            CUE_ABLATIONS[ablation](Cues(), never)


def test_untold_leaves_the_pictures() -> None:
    given = replace(cues(0), is_visible=None)
    assert without_labels(given).category is None and without_labels(given).crops is given.crops
    some = replace(given, is_visible=torch.tensor([[True, False]]))
    assert without_labels(some).category.tolist() == [[-1, 1]]
