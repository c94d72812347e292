"""Frame encoders: CLIP's embeddings, and the mean of the other encoders' maps."""

from typing import get_args

import pytest
import torch
from torch import Tensor

from avsep.models.davis import frame_network
from avsep.models.davis.frame_network import FrameEncoder, FrameEncoderName
from avsep.toyband.categories import CATEGORIES
from avsep.vision.clip_encoder import ClipImageEncoder
from avsep.vision.image_encoder import load_image_encoder

NAMES = get_args(FrameEncoderName)
TINY = ClipImageEncoder.Settings(
    picture_pixels=32,
    patch_pixels=16,
    num_layers=1,
    width=32,
    num_heads=4,
    feed_forward_width=48,
)


@pytest.fixture(autouse=True)
def _tiny_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace CLIP by a small one with the same channels; ViT-B/32 takes seconds to build."""
    monkeypatch.setattr(frame_network, "ClipImageEncoder", lambda: ClipImageEncoder(TINY))


def pictures(num: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (num, 3, 48, 64), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_one_vector_a_picture(name: FrameEncoderName) -> None:
    encoder = FrameEncoder(name, CATEGORIES)
    vectors = encoder(pictures())
    assert vectors.shape == (3, encoder.num_channels)
    assert encoder.num_channels == {"clip": 512, "resnet18": 512, "small": 192}[name]
    torch.testing.assert_close(encoder(pictures()[1:2]), vectors[1:2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[1], rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_stays_frozen_in_training(name: FrameEncoderName) -> None:
    encoder = FrameEncoder(name, CATEGORIES)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    holder = torch.nn.Sequential(encoder).train()
    assert holder.training and not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not holder(pictures()).requires_grad
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "small"])
def test_it_is_the_mean_of_the_maps_over_places(name: FrameEncoderName) -> None:
    encoder = FrameEncoder(name, CATEGORIES)
    maps = encoder.encoder(pictures())
    num_places = maps.shape[2] * maps.shape[3]
    torch.testing.assert_close(encoder(pictures()), maps.sum(dim=(2, 3)) / num_places)


def test_the_shipped_small_encoder_fits() -> None:
    encoder = FrameEncoder("small", CATEGORIES)
    encoder.encoder.load_state_dict(load_image_encoder().state_dict())
    shipped = load_image_encoder()(pictures())
    torch.testing.assert_close(encoder(pictures()), shipped.mean(dim=(2, 3)))
