"""2.5D Visual Sound's network as a separator: a mask for each channel (Gao and Grauman, CVPR 2019).

Axes beside those of records.py: E one channel of one mixture, N one source in one channel, Z input
maps, W the width of visual features, V channels at the bottom, R t rows and columns of the cells.
"""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from avsep.cues.crops import CropSettings
from avsep.errors import InputError
from avsep.layers.binaural_unet import (
    BinauralUNet,
    BinauralUNetSettings,
    counted_renames,
    read_binaural_unet_settings,
)
from avsep.layers.cross_modal import VISUAL_CELLS
from avsep.layers.cross_modal_released import make_audio_fusion
from avsep.models.binaural import BaselineSettings, BinauralSeparator
from avsep.released import ReleasedNetwork, ReleasedSystem, Rename, Weights, only
from avsep.vision.object_network import ObjectEncoderName, ObjectMaps
from avsep.vision.resnet18 import trunk_renames


class Separation25DSettings(BaselineSettings):
    """The published network for one channel at a time; LAVSS's Table 3 additions are switches."""

    visual_channels: int = Field(
        default=8, gt=0, description="channels of each visual cell, without attention"
    )
    unet: BinauralUNetSettings = BinauralUNetSettings(channels=(64, 128, 256, 512, 512))
    crops: CropSettings = CropSettings(with_crop_motion=False, num_crops=1)
    image_encoder: ObjectEncoderName = Field(default="resnet18", description="encoder of the crops")

    @model_validator(mode="after")
    def _check_head(self) -> Self:
        if self.unet.num_features != 1:
            raise ValueError("unet.num_features must be 1: the U-Net ends with the mask itself")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each downsampling layer of the U-Net."""
        return self.unet.channels


class Separation25D(BinauralSeparator[Separation25DSettings]):
    """2.5D-sep: the audio network of 2.5D Visual Sound (Figure 3), magnitude in, mask out.

    Departure: published are complex masks of the sum of both ears, for their difference, by frames
    of 448 x 224 pixels. As LAVSS separates with it, it reads a magnitude, predicts a ratio mask and
    reads a square crop of each object.
    """

    Settings = Separation25DSettings

    def __init__(self, settings: Separation25DSettings | None = None) -> None:
        settings = settings or Separation25DSettings()
        width = settings.width
        vision = ObjectMaps(settings.image_encoder, width, settings.encoder_categories)
        super().__init__(settings, vision, width)
        if settings.fusion == "attention":
            self.fusion = make_audio_fusion(width, settings.token_sizes, settings.attention)
            guide_channels = 2 * width
        else:
            self.fusion = TiledVisualFeatures(width, settings.visual_channels)
            # Figure 3: the flattened visual cells are repeated beside every cell of the audio.
            guide_channels = width + VISUAL_CELLS**2 * settings.visual_channels
        self.audio_network = BinauralUNet(settings.unet, settings.num_inputs, guide_channels)

    def predict_masks(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N R t"]:
        """Encode the audio, join the visual features at the bottom, decode one mask a source."""
        maps = self.audio_network.to_bottom(inputs)
        bottom = self.fusion(maps[-3:], guide)
        return self.audio_network.from_bottom(bottom, maps)[:, 0]


class TiledVisualFeatures(nn.Module):
    """Flatten visual features of few channels and repeat them beside every cell of the bottom."""

    def __init__(self, width: int, num_channels: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(width, num_channels, 1)
        norm = nn.BatchNorm2d(num_channels)
        # The first weights of the released code.
        nn.init.normal_(convolution.weight, 0, 0.02)
        nn.init.normal_(norm.weight, 1, 0.02)
        self.narrow = nn.Sequential(convolution, norm, nn.ReLU())

    def forward(
        self, maps: list[Tensor], visual: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N V f t"]:
        """Return the decoder's input; `maps` are the deepest audio maps, the last the bottom."""
        # Sources of one channel share its maps; each has its own visual features.
        bottom = maps[-1].repeat_interleave(len(visual) // len(maps[-1]), dim=0)
        vector = self.narrow(visual).flatten(1)[:, :, None, None]
        return torch.cat([bottom, vector.expand(-1, -1, *bottom.shape[2:])], dim=1)


# Released weights: a file for the visual network and one for the U-Net

_DEPTH = 5


def _settings(weights: Weights) -> dict[str, object]:
    deepest = weights["audio_network.up.4.convolution.weight"]
    visual_channels, width = weights["fusion.narrow.0.weight"].shape[:2]
    num_cells = (len(deepest) - width) // visual_channels
    num_inputs = weights["audio_network.down.0.0.weight"].shape[1]
    unet = read_binaural_unet_settings(weights, _DEPTH)
    num_masks = unet["num_features"]
    if num_masks != 1 or num_cells != VISUAL_CELLS**2 or num_inputs > 2:
        raise InputError(
            f"this network predicts {num_masks} masks from {num_inputs} input maps and {num_cells} "
            "visual cells: that of 2.5D Visual Sound, which makes a mono recording binaural and "
            "separates no objects. Give weights of the separator that LAVSS compares with: one "
            f"mask, {VISUAL_CELLS**2} cells"
        )
    return {
        "unet": unet,
        "visual_channels": visual_channels,
        "front_end": {"num_channels": num_inputs, "legacy_corners": True},
        "spatial_cues": "paper" if num_inputs == 2 else "none",
    }


def _audio_first(tensors: Sequence[Tensor]) -> Tensor:
    """Move the input channels of the visual features behind those of the audio."""
    kernel = only(tensors)
    # This layer keeps the width of the audio; the other input channels are visual.
    num_visual = len(kernel) - kernel.shape[1]
    return torch.cat([kernel[num_visual:], kernel[:num_visual]])


RELEASE = ReleasedSystem(
    model="separation-2.5d",
    # That of the separator: the weights of 2.5D Visual Sound itself are refused above.
    repository="github.com/YYX666660/LAVSS",
    licence="none stated: all rights reserved",
    networks=(
        ReleasedNetwork(
            "visual network",
            ("feature_extraction.7.1.bn2.weight",),
            trunk_renames("feature_extraction", "vision.encoder.trunk"),
            absent=("attenion_visual.Wq.weight",),
        ),
        ReleasedNetwork(
            "audio U-Net",
            ("audionet_convlayer5.0.weight", "conv1x1.0.weight"),
            (
                *counted_renames(_DEPTH, _audio_first),
                Rename(r"conv1x1\.([01])\.(\w+)", r"fusion.narrow.\1.\2"),
            ),
            absent=("audionet_convlayer6.0.weight",),
        ),
    ),
    settings=_settings,
)
