"""A mirror changes sides of everything that has sides, or of nothing."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from avsep.cues.mirror import mirrored, mirrored_cues, mirrored_ears
from avsep.errors import InputError
from avsep.records import Batch, Cues

# What each cue becomes; a cue that is added to the record must be thought of here.
PICTURES = {"crops", "appearance", "frames", "crop_motion"}
SIDELESS = {"category", "is_visible", "embedding"}
REFUSED = {"i3d_features", "i3d_padding"}


def all_cues() -> Cues:
    generator = torch.Generator().manual_seed(0)

    def pictures(*axes: int) -> torch.Tensor:
        return torch.randint(0, 256, axes, generator=generator, dtype=torch.uint8)

    return Cues(
        crops=pictures(1, 2, 2, 3, 4, 5),
        appearance=torch.rand(1, 2, 2, 6, 3, 3, generator=generator),
        frames=pictures(1, 2, 2, 3, 4, 5),
        crop_motion=pictures(1, 2, 7, 4, 5),
        category=torch.tensor([[0, 1]]),
        is_visible=torch.tensor([[True, False]]),
        boxes=torch.tensor([[[[0.1, 0.2, 0.3, 0.9]] * 2, [[0.5, 0.0, 1.0, 1.0]] * 2]]),
        embedding=torch.rand(1, 2, 8, generator=generator),
    )


def batch() -> Batch:
    sources = torch.rand(1, 2, 2, 50, generator=torch.Generator().manual_seed(1))
    return Batch(sources.sum(1), sources, all_cues())


def test_every_cue_is_thought_of() -> None:
    assert {field.name for field in fields(Cues)} == PICTURES | SIDELESS | REFUSED | {"boxes"}
    before, after = all_cues(), mirrored_cues(all_cues())
    for name in PICTURES:
        assert torch.equal(getattr(after, name), getattr(before, name).flip(-1)), name
    for name in SIDELESS:
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    assert after.boxes is not None
    expected = torch.tensor([[0.7, 0.2, 0.9, 0.9], [0.0, 0.0, 0.5, 1.0]])
    torch.testing.assert_close(after.boxes[0, :, 0], expected)


def test_motion_features_are_refused() -> None:
    with pytest.raises(InputError, match="motion features cannot be mirrored"):
        mirrored_cues(Cues(i3d_features=torch.zeros(1, 2, 4, 3)))


def test_ears_change_with_what_is_seen_and_twice_is_the_same() -> None:
    given = batch()
    once, twice = mirrored(given), mirrored(mirrored(given))
    assert given.sources is not None and once.sources is not None and twice.sources is not None
    assert torch.equal(once.mixture, given.mixture.flip(1))
    assert torch.equal(once.sources, given.sources.flip(2))
    torch.testing.assert_close(once.sources.sum(1), once.mixture)
    assert torch.equal(twice.mixture, given.mixture) and torch.equal(twice.sources, given.sources)
    for field in fields(Cues):
        value, again = getattr(given.cues, field.name), getattr(twice.cues, field.name)
        assert (value is None) == (again is None)
        if value is not None:
            torch.testing.assert_close(again, value)


def test_one_channel_has_no_sides() -> None:
    mono = np.random.default_rng(0).random((3, 1, 20)).astype(np.float32)
    assert np.array_equal(mirrored_ears(mono), mono)


def test_two_ears_change_sides() -> None:
    stereo = np.random.default_rng(0).random((3, 2, 20)).astype(np.float32)
    assert np.array_equal(mirrored_ears(stereo), stereo[:, ::-1])
