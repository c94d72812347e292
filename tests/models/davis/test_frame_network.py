"""Frame encoders: CLIP's embeddings, and the mean of the other encoders' maps."""

from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor

from avsep.cues.cache import fingerprint
from avsep.models.davis import frame_network
from avsep.models.davis.frame_network import (
    CLIPSettings,
    FrameEncoder,
    FrameEncoderName,
    FrameNetwork,
    TemporalTransformerSettings,
)
from avsep.records import Cues
from avsep.toyband.categories import CATEGORIES
from avsep.vision.clip_encoder import CLIP_MEAN, ClipImageEncoder, ColoursName
from avsep.vision.image_encoder import load_image_encoder
from avsep.vision.resnet18 import IMAGENET_MEAN

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
    monkeypatch.setattr(frame_network, "ClipImageEncoder", partial(ClipImageEncoder, TINY))


def pictures(num: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randint(0, 256, (num, 3, 48, 64), dtype=torch.uint8, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_vector_a_picture(name: FrameEncoderName) -> None:
    encoder = FrameEncoder(name, CATEGORIES)
    vectors = encoder(pictures())
    assert vectors.shape == (3, encoder.num_channels)
    assert encoder.num_channels == {"clip": 512, "resnet18": 512, "small": 192}[name]
    torch.testing.assert_close(encoder(pictures()[1:2]), vectors[1:2], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(vectors[0], vectors[1], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_it_stays_frozen_in_training(name: FrameEncoderName) -> None:
    encoder = FrameEncoder(name, CATEGORIES)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    holder = torch.nn.Sequential(encoder).train()
    assert holder.training and not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not holder(pictures()).requires_grad
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


@pytest.mark.slow
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


@pytest.mark.parametrize("colours", ["imagenet", "clip"])
def test_colours_of_clip(colours: ColoursName) -> None:
    """Pictures for ImageNet's colours are those for CLIP's, shifted and scaled."""
    encoder = FrameEncoder("clip", (), colours).encoder
    assert isinstance(encoder, ClipImageEncoder)
    expected = {"imagenet": IMAGENET_MEAN, "clip": CLIP_MEAN}[colours]
    torch.testing.assert_close(encoder.mean.flatten(), torch.tensor(expected))


def test_cached_vectors_belong_to_their_colours() -> None:
    """With equal weights the cache still tells the vectors of both colours apart."""
    digests = set()
    for colours in get_args(ColoursName):
        torch.manual_seed(0)
        digests.add(fingerprint(FrameEncoder("clip", (), colours)))
    assert len(digests) == 2 and "" not in digests


@pytest.mark.slow
@pytest.mark.parametrize("equal_lengths", [False, True])
def test_vectors_of_clip(equal_lengths: bool) -> None:
    """The transformer reads pictures and words as they are, or all of the length sqrt(512)."""
    clip = CLIPSettings(equal_lengths=equal_lengths)
    network = FrameNetwork("clip", (), TemporalTransformerSettings(), clip=clip)
    network.transformer.forward = lambda frames: frames.mean(1)  # type: ignore[method-assign]
    words = torch.randn(1, 2, 512, generator=torch.Generator().manual_seed(0))
    cues = Cues(
        crops=pictures(2)[None, :, None],
        is_visible=torch.tensor([[True, False]]),
        embedding=words,
    )
    read = network(cues)[0]
    given = torch.stack([network.encoder(pictures(2))[0], words[0, 1]])
    if equal_lengths:
        given = given / given.norm(dim=1, keepdim=True) * 512**0.5
    torch.testing.assert_close(read, given)
