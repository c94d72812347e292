"""2.5D Visual Sound's network as a separator (Gao and Grauman, CVPR 2019): a mask for each ear.

Axes beside those of records.py: E one ear of one mixture, N one source at one ear, Z maps that go
in, W the width of what is seen, V channels at the bottom, R t rows and columns of the cells.
"""

from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from avsep.cues.crops import CropSettings
from avsep.layers.binaural_unet import BinauralUNet, BinauralUNetSettings
from avsep.layers.cross_modal import VISUAL_CELLS, AudioFusion
from avsep.models.binaural import BaselineSettings, GuidedBinauralSeparator
from avsep.vision.object_network import ObjectEncoderName, ObjectMaps


class Separation25DSettings(BaselineSettings):
    """The published network for one ear at a time; what LAVSS's Table 3 adds to it is a switch."""

    seen_channels: int = Field(
        default=8, gt=0, description="of each place of what is seen, where nothing attends"
    )
    unet: BinauralUNetSettings = BinauralUNetSettings(channels=(64, 128, 256, 512, 512))
    crops: CropSettings = CropSettings(with_crop_motion=False, num_crops=1)
    image_encoder: ObjectEncoderName = Field(default="resnet18", description="looks at the crops")

    @model_validator(mode="after")
    def _ends_with_the_mask(self) -> Self:
        if self.unet.num_features != 1:
            raise ValueError("unet.num_features must be 1: the U-Net ends with the mask itself")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each layer of the U-Net on its way down."""
        return self.unet.channels


class Separation25D(GuidedBinauralSeparator[Separation25DSettings]):
    """2.5D-sep: the audio network of 2.5D Visual Sound (Figure 3), a magnitude in, a mask out.

    Departure: published are complex masks of the sum of both ears, for their difference, by frames
    of 448 x 224 pixels. As LAVSS separates with it, it hears a magnitude, gives a ratio mask and
    sees a square crop of each object.
    """

    Settings = Separation25DSettings

    def __init__(self, settings: Separation25DSettings | None = None) -> None:
        settings = settings or self.Settings()
        width = settings.width
        vision = ObjectMaps(settings.image_encoder, width, settings.encoder_categories)
        super().__init__(settings, vision, width)
        if settings.fusion == "attention":
            self.fusion = AudioFusion(width, settings.token_sizes, settings.attention)
            guide_channels = 2 * width
        else:
            self.fusion = TiledMaps(width, settings.seen_channels)
            guide_channels = width + VISUAL_CELLS**2 * settings.seen_channels
        self.audio_network = BinauralUNet(settings.unet, settings.num_inputs, guide_channels)

    def masks_of(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N R t"]:
        """Down, what is seen beside or among what is heard, and up."""
        heard = self.audio_network.to_bottom(inputs)
        bottom = self.fusion(heard[-3:], guide)
        return self.audio_network.from_bottom(bottom, heard)[:, 0]


class TiledMaps(nn.Module):
    """What is seen in few channels, all its places in a row, beside every cell of the bottom."""

    def __init__(self, width: int, num_channels: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(
            nn.Conv2d(width, num_channels, 1), nn.BatchNorm2d(num_channels), nn.ReLU()
        )
        nn.init.normal_(self.narrow[0].weight, 0, 0.02)  # type: ignore[arg-type]
        nn.init.normal_(self.narrow[1].weight, 1, 0.02)  # type: ignore[arg-type]

    def forward(
        self, maps: list[Tensor], seen: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N V f t"]:
        """What the decoder starts from; `maps` are the deepest of the sound, the last of all."""
        deep = maps[-1].repeat_interleave(len(seen) // len(maps[-1]), dim=0)
        told = self.narrow(seen).flatten(1)[:, :, None, None]
        return torch.cat([deep, told.expand(-1, -1, *deep.shape[2:])], dim=1)
