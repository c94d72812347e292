"""Test mirroring: channels, boxes and pictures change sides together."""

from dataclasses import fields

import numpy as np
import torch

from avsep.cues.mirror import mirror_batch, mirror_channels, mirror_cues
from avsep.records import Batch, Cues

# The kinds of all cues; a field that is added to `Cues` must be added here.
PICTURES = {"crops", "appearance", "crop_motion"}
SIDELESS = {"category", "is_visible", "embedding", "i3d_features", "i3d_padding"}


def all_cues() -> Cues:
    generator = torch.Generator().manual_seed(0)

    def pictures(*axes: int) -> torch.Tensor:
        return torch.randint(0, 256, axes, generator=generator, dtype=torch.uint8)

    return Cues(
        crops=pictures(1, 2, 2, 3, 4, 5),
        appearance=torch.rand(1, 2, 2, 6, 3, 3, generator=generator),
        crop_motion=pictures(1, 2, 7, 4, 5),
        category=torch.tensor([[0, 1]]),
        is_visible=torch.tensor([[True, False]]),
        boxes=torch.tensor([[[[0.1, 0.2, 0.3, 0.9]] * 2, [[0.5, 0.0, 1.0, 1.0]] * 2]]),
        embedding=torch.rand(1, 2, 8, generator=generator),
        # The largest of all places has no sides.
        i3d_features=torch.rand(1, 2, 4, 3, generator=generator),
        i3d_padding=torch.zeros(1, 2, 3, dtype=torch.bool),
    )


def batch() -> Batch:
    sources = torch.rand(1, 2, 2, 50, generator=torch.Generator().manual_seed(1))
    return Batch(sources.sum(1), sources, all_cues())


def test_every_cue_is_mirrored_by_its_kind() -> None:
    assert {field.name for field in fields(Cues)} == PICTURES | SIDELESS | {"boxes"}
    before, after = all_cues(), mirror_cues(all_cues())
    for name in PICTURES:
        assert torch.equal(getattr(after, name), getattr(before, name).flip(-1)), name
    for name in SIDELESS:
        assert torch.equal(getattr(after, name), getattr(before, name)), name
    assert after.boxes is not None
    expected = torch.tensor([[0.7, 0.2, 0.9, 0.9], [0.0, 0.0, 0.5, 1.0]])
    torch.testing.assert_close(after.boxes[0, :, 0], expected)


def test_channels_are_exchanged_with_pictures_and_mirrored_twice_is_the_same() -> None:
    plain = batch()
    once, twice = mirror_batch(plain), mirror_batch(mirror_batch(plain))
    assert plain.sources is not None and once.sources is not None and twice.sources is not None
    assert torch.equal(once.mixture, plain.mixture.flip(1))
    assert torch.equal(once.sources, plain.sources.flip(2))
    torch.testing.assert_close(once.sources.sum(1), once.mixture)
    assert torch.equal(twice.mixture, plain.mixture) and torch.equal(twice.sources, plain.sources)
    for field in fields(Cues):
        value, restored = getattr(plain.cues, field.name), getattr(twice.cues, field.name)
        assert (value is None) == (restored is None)
        if value is not None:
            torch.testing.assert_close(restored, value)


def test_one_channel_has_no_sides() -> None:
    mono = np.random.default_rng(0).random((3, 1, 20)).astype(np.float32)
    assert np.array_equal(mirror_channels(mono), mono)
