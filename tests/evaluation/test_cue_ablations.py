"""Trials: what each changes of the cues, and what it leaves."""

from dataclasses import fields, replace

import pytest
import torch

from avsep.errors import InputError
from avsep.evaluation.cue_ablations import GREY, TRIALS, blur, untold
from avsep.records import Cues


def cues(seed: int, num_sources: int = 2) -> Cues:
    generator = torch.Generator().manual_seed(seed)
    return Cues(
        crops=torch.randint(0, 256, (1, num_sources, 3, 3, 20, 20), generator=generator).byte(),
        movement=torch.randint(0, 256, (1, num_sources, 5, 8, 8), generator=generator).byte(),
        motion=torch.rand(1, num_sources, 4, 3, generator=generator),
        motion_padding=torch.zeros(1, num_sources, 3, dtype=torch.bool),
        category=torch.arange(num_sources)[None],
        pictured=torch.arange(num_sources)[None] != seed,
    )


def never() -> Cues:
    raise AssertionError("nobody asked for strangers")


def changed(before: Cues, after: Cues) -> set[str]:
    found = set()
    for field in fields(Cues):
        old, new = getattr(before, field.name), getattr(after, field.name)
        assert (old is None) == (new is None)
        if old is not None and not torch.equal(old, new):
            found.add(field.name)
    return found


@pytest.mark.parametrize(
    ("trial", "expected"),
    [
        ("all", set()),
        ("no-motion", {"movement", "motion"}),
        ("swapped", {"crops", "movement", "motion", "category", "pictured"}),
        ("blurred", {"crops"}),
        ("hidden", {"crops"}),
    ],
)
def test_what_is_changed(trial: str, expected: set[str]) -> None:
    given = cues(0)
    assert changed(given, TRIALS[trial](given, never)) == expected
    assert changed(given, cues(0)) == set()  # what was given is left as it was


def test_standing_still_is_zeros() -> None:
    still = TRIALS["no-motion"](cues(0), never)
    assert not still.movement.any() and not still.motion.any()
    assert TRIALS["no-motion"](Cues(), never) == Cues()


def test_each_source_gets_the_next_ones_object() -> None:
    given = cues(1, num_sources=3)
    turned = TRIALS["swapped"](given, never)
    assert turned.category.tolist() == [[1, 2, 0]]
    assert torch.equal(turned.crops[:, 2], given.crops[:, 0])
    assert torch.equal(turned.movement[:, 0], given.movement[:, 1])


def test_wrong_pictures_leave_the_words() -> None:
    given, others = cues(2), replace(cues(3), pictured=torch.tensor([[True, False]]))
    mistaken = TRIALS["wrong"](given, lambda: others)
    assert torch.equal(mistaken.crops, others.crops)
    assert torch.equal(mistaken.movement, others.movement)
    assert torch.equal(mistaken.category, given.category)
    assert torch.equal(mistaken.pictured, others.pictured)


def test_words_alone_leave_nothing_to_see() -> None:
    told = TRIALS["word"](cues(0), never)
    assert torch.equal(told.category, cues(0).category)
    assert told.pictured.tolist() == [[False, False]]
    given = {field.name for field in fields(Cues) if getattr(told, field.name) is not None}
    assert given == {"category", "pictured"}
    # The picture decides of what is seen, and of nothing else here.
    assert torch.equal(untold(told).category, told.category)


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
    assert (TRIALS["hidden"](cues(0), never).crops == GREY).all()
    for trial in ("hidden", "blurred"):
        with pytest.raises(InputError, match="changes the crops, and the separator was given none"):
            TRIALS[trial](Cues(), never)


def test_untold_leaves_the_pictures() -> None:
    given = replace(cues(0), pictured=None)
    assert untold(given).category is None and untold(given).crops is given.crops
    some = replace(given, pictured=torch.tensor([[True, False]]))
    assert untold(some).category.tolist() == [[-1, 1]]
