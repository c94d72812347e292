"""A DGFNet of a few thousand parameters and a batch for it."""

import torch

from avsep.layers.audio_unet import UNetSettings
from avsep.models.dgfnet import DGFNet, DGFNetSettings
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.vision.looks import LookSettings

CATEGORIES = ("cello", "flute", "violin")
NUM_SAMPLES = 32 * 256 - 1


def tiny_settings(**changes: object) -> DGFNetSettings:
    """Settings of a small network on short windows; anything may be changed."""
    settings = {
        "categories": CATEGORIES,
        "unet": UNetSettings(
            channels=(8, 8, 16, 16), num_features=8, num_layers_after_middle=3,
            audio_attention=True, attention_groups=4,
        ),
        "front_end": FrontEndSettings(window_samples=NUM_SAMPLES, num_rows=64),
        "looks": LookSettings(crop_pixels=32, movement_pixels=16),
        "image_encoder": "small",
        "motion": "movement",
        "num_heads": 2,
        "feed_forward_width": 16,
    }  # fmt: skip
    return DGFNetSettings(**(settings | changes))  # type: ignore[arg-type]


def tiny_model(**changes: object) -> DGFNet:
    """The network, always with the same weights."""
    torch.manual_seed(0)
    return DGFNet(tiny_settings(**changes))


def tiny_batch(num_mixtures: int = 2, num_sources: int = 2, seed: int = 0) -> Batch:
    """Noises at different levels, seen as random pictures that move at random."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_mixtures, num_sources)
    sources = torch.randn(*shape, 1, NUM_SAMPLES, generator=generator) * 0.05
    pictures = torch.randint(0, 256, (*shape, 2, 3, 32, 32), generator=generator)
    movement = torch.randint(0, 256, (*shape, 7, 16, 16), generator=generator)
    category = torch.randint(0, 3, shape, generator=generator)
    cues = Cues(crops=pictures.byte(), movement=movement.byte(), category=category)
    return Batch(sources.sum(1), sources, cues)
