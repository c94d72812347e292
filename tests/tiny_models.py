"""Every system at a size for tests, and batches for them; a new model needs a line in TINY."""

import torch
from torch import nn

from avsep.cues.crops import CropSettings
from avsep.layers.audio_unet import UNetSettings
from avsep.layers.binaural_unet import BinauralUNetSettings
from avsep.layers.cross_modal import CrossModalSettings
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.models.davis.convolution_attention import ConvolutionAttentionSettings
from avsep.models.davis.frame_network import TemporalTransformerSettings
from avsep.models.davis.separation_unet import SeparationUNetSettings
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings, StftSettings

CATEGORIES = ("harp", "tuba", "violin")
# 32 rows of 32 frames: what five halvings take.
FRONT_END = FrontEndSettings(
    sample_rate_hz=8000,
    window_samples=2047,  # 32 frames
    stft=StftSettings(fft_samples=254, hop_samples=64),
    num_rows=32,
)
CROPS = CropSettings(crop_pixels=20, motion_pixels=16, num_crops=2)
_SMALL = {
    "categories": CATEGORIES,
    "front_end": FRONT_END,
    "crops": CROPS,
    "image_encoder": "small",
    "object_channels": 8,
    "motion": "crop_motion",
    "num_heads": 2,
    "feed_forward_width": 16,
}
_CHANNELS = {"channels": (8, 16, 16, 16, 16), "num_features": 8, "num_layers_after_middle": 2}
_GENERATING = {
    "categories": CATEGORIES,
    "front_end": FRONT_END,
    "crops": CROPS,
    "image_encoder": "small",
    "encoder_categories": CATEGORIES,
    "transformer": TemporalTransformerSettings(
        num_heads=2, num_encoder_layers=1, feed_forward_width=16
    ),
    "unet": SeparationUNetSettings(
        channels=(8, 16, 16),
        attention=ConvolutionAttentionSettings(num_heads=2, head_width=4, column_width=16),
        fold=(1, 1),
    ),
}
_GUIDED = {
    "crops": CROPS,
    "image_encoder": "small",
    "encoder_categories": CATEGORIES,
    "position_octaves": 4,
    "position_width": 8,
    "attention": CrossModalSettings(num_heads=2, num_layers=2, hidden_width=16),
}
TINY = {
    "dgfnet": {
        **_SMALL,
        "motion_in_fusion": True,
        "unet": UNetSettings(**_CHANNELS),
        "audio_attention": True,
        "attention_groups": 4,
    },
    "avsep": {
        "categories": CATEGORIES,
        "front_end": FRONT_END,
        "crops": CROPS,
        "unet": UNetSettings(**_CHANNELS),
        "num_layers": 1,
        "num_heads": 2,
        "feed_forward_width": 16,
        "category_dropout": 0.25,
        "picture_dropout": 0.75,
    },
    "iquery": {**_SMALL, "unet": UNetSettings(**_CHANNELS)},
    # A random network that says noise or a velocity carries rounding far; tests/models has these.
    "davis": _GENERATING | {"word_probability": 0.5, "target": "mask"},
    "davis-flow": _GENERATING | {"word_probability": 0.5, "target": "mask"},
    "lavss": {
        **_GUIDED,
        "front_end": FRONT_END.model_copy(update={"num_channels": 2}),
        "magnitude_input": "log1p",
        "unet": BinauralUNetSettings(channels=(8, 16, 16, 16), num_features=4),
        "film_every_layer": True,
        "num_templates": 2,
    },
    # As published, mono; tests/models has the rest.
    "sound-of-pixels": {
        **_GUIDED,
        "front_end": FRONT_END,
        "unet": UNetSettings(**_CHANNELS, last_bias=True),
        # A mask that is 0 or 1 turns with the last bit of a cell on the edge.
        "masks": "ratio",
    },
    "separation-2.5d": {
        **_GUIDED,
        "front_end": FRONT_END,
        "unet": BinauralUNetSettings(channels=(8, 16, 16)),
        "visual_channels": 3,
    },
}


def tiny_model(name: str, seed: int = 0, **changes: object) -> SeparationModel:
    """Make a model in eval mode, with random weights that let a signal through."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MODELS[name](MODELS[name].Settings(**TINY[name] | changes))
        for module in model.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


def tiny_batch(num_items: int = 2, num_sources: int = 2, seed: int = 0) -> Batch:
    """Noise as sound and as pictures, a category told for each source."""
    generator = torch.Generator().manual_seed(seed)
    shape = (num_items, num_sources)
    sources = 0.1 * torch.randn(*shape, 1, FRONT_END.window_samples, generator=generator)

    def pictures(*axes: int) -> torch.Tensor:
        return torch.randint(0, 256, (*shape, *axes), generator=generator, dtype=torch.uint8)

    def boxes(*axes: int) -> torch.Tensor:
        corner, size = torch.rand(2, *axes, 2, generator=generator) / 2
        return torch.cat([corner, corner + size + 0.01], dim=-1).clamp(max=1)

    cues = Cues(
        crops=pictures(2, 3, 20, 20),
        crop_motion=pictures(6, 16, 16),
        category=torch.randint(0, len(CATEGORIES), shape, generator=generator),
        boxes=boxes(*shape, 2),
    )
    return Batch(sources.sum(1), sources, cues)
