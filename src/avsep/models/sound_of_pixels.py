"""The Sound of Pixels: 32 audio components weighted by a visual vector (Zhao et al., ECCV 2018).

Axes beside those of records.py: E one channel of one mixture, N one source in one channel, Z input
maps, W the width of visual features, A audio components, R t rows and columns of the cells.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from avsep.cues.crops import CropSettings
from avsep.layers.audio_unet import (
    AudioUNet,
    UNetSettings,
    nested_renames,
    read_unet_settings,
)
from avsep.layers.cross_modal_released import make_audio_fusion
from avsep.models.binaural import BaselineSettings, BinauralSeparator
from avsep.records import Cues
from avsep.released import ReleasedNetwork, ReleasedSystem, Rename, Weights
from avsep.sound.front_end import FrontEndSettings
from avsep.vision.object_network import ObjectEncoderName, ObjectMaps
from avsep.vision.resnet18 import trunk_renames


class SoundOfPixelsSettings(BaselineSettings):
    """The numbers of the released code, mono; LAVSS's Table 3 additions are switches."""

    front_end: FrontEndSettings = FrontEndSettings()
    masks: Literal["ratio", "binary"] = Field(
        default="binary", description="binary masks by cross-entropy, or ratio masks by L1 and L2"
    )
    unet: UNetSettings = UNetSettings(last_bias=True)
    # Every 24th of its frames at 8 a second is every third at one a second.
    crops: CropSettings = CropSettings(
        selection="consecutive", stride=3, with_crop_motion=False, whole_when_alone=True
    )
    image_encoder: ObjectEncoderName = Field(
        default="resnet18", description="encoder of the crops; ResNet-18 is dilated and trained"
    )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each downsampling layer of the U-Net."""
        return self.unet.channels

    @property
    def is_as_published(self) -> bool:
        """True if neither position guidance nor attention is added."""
        return not self.position and self.fusion == "none"


class SoundOfPixels(BinauralSeparator[SoundOfPixelsSettings]):
    """Sound of Pixels (Figure 2): components of the sound, a vector of the frames, their product.

    Departure: LAVSS's Table 3 has Sound of Pixels with positions and with its own fusion, and does
    not say where they enter. Here F_vp takes the place of the visual maps, and F_avp that of the
    deepest audio map; the synthesiser stays.
    """

    Settings = SoundOfPixelsSettings

    def __init__(self, settings: SoundOfPixelsSettings | None = None) -> None:
        settings = settings or SoundOfPixelsSettings()
        vision = ObjectMaps(
            settings.image_encoder,
            None if settings.is_as_published else settings.width,
            settings.encoder_categories,
            is_dilated=True,
        )
        super().__init__(settings, vision, vision.num_channels)
        num_components, width = settings.unet.num_features, settings.width
        self.to_vector = nn.Conv2d(vision.num_channels, num_components, 3, padding=1)
        is_fused = settings.fusion == "attention"
        self.audio_network = AudioUNet(
            settings.unet, settings.num_inputs, bottom_channels=2 * width if is_fused else None
        )
        self.fusion = (
            make_audio_fusion(width, settings.token_sizes, settings.attention) if is_fused else None
        )
        self.synthesiser = Synthesiser(num_components)
        # Of the added fusion and of the pretrained encoder the weights stay as they are.
        self.to_vector.apply(_initialise)
        self.audio_network.apply(_initialise)

    @property
    def widenable_tensors(self) -> frozenset[str]:
        """The first convolution, and the batch norm before it."""
        norm = ("weight", "bias", "running_mean", "running_var")
        names = ["down.0.convolution.weight", *(f"input_norm.{name}" for name in norm)]
        return frozenset(f"audio_network.{name}" for name in names)

    def visual_features(self, cues: Cues) -> Float[Tensor, "B S K W h w"]:
        """Return maps of each crop as published; with position or fusion one for all crops."""
        if self.settings.is_as_published:
            return self.vision.crop_maps(cues)
        return super().visual_features(cues)[:, :, None]

    def predict_masks(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N K W h w"]
    ) -> Float[Tensor, "N R t"]:
        """Run the video analysis, audio analysis and audio synthesiser networks."""
        vectors = self.to_vector(guide.flatten(0, 1)).unflatten(0, guide.shape[:2])
        # Maximum over frames and places, then a sigmoid, as in the released code.
        vectors = vectors.amax((1, 3, 4)).sigmoid()
        maps = self.audio_network.to_bottom(inputs)
        # The fusion of Table 3 reads the three deepest maps and the visual maps of all crops.
        bottom = maps[-1] if self.fusion is None else self.fusion(maps[-3:], guide[:, 0])
        return self.synthesiser(vectors, self.audio_network.from_bottom(bottom, maps))


class Synthesiser(nn.Module):
    """The audio synthesiser network: a weight for each component, and one bias."""

    def __init__(self, num_components: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_components))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(
        self, vectors: Float[Tensor, "N A"], components: Float[Tensor, "n A R t"]
    ) -> Float[Tensor, "N R t"]:
        """Return mask logits; n divides N, as all sources of one channel share its components."""
        per_map = (vectors * self.weight).unflatten(0, (len(components), -1))  # [n, sources, A]
        logits = torch.einsum("nsa,nart->nsrt", per_map, components)
        return logits.flatten(0, 1) + self.bias


def _initialise(module: nn.Module) -> None:
    """Set the first weights as released: convolutions N(0, 0.001), scales of norms N(1, 0.02)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0, 0.001)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)


# Released weights: a file for each network; CCoL's separator has the same three


def _settings(weights: Weights) -> dict[str, object]:
    return {
        "unet": read_unet_settings(weights),
        # librosa reflected when the code was written; its grid_sample aligned the corners.
        "front_end": {"stft": {"padding": "reflect"}},
    }


def _ccol_settings(weights: Weights) -> dict[str, object]:
    return {
        "unet": read_unet_settings(weights),
        "front_end": {"stft": {"padding": "reflect"}, "legacy_corners": True},
        "magnitude_input": "log1p",
        "masks": "ratio",
        # Each of three successive frames is cropped to the box of its object.
        "crops": {"selection": "consecutive", "with_crop_motion": False},
    }


NETWORKS = (
    ReleasedNetwork("audio U-Net", ("unet_block.model.0.weight",), nested_renames()),
    ReleasedNetwork(
        "frame network",
        ("features.7.1.bn2.weight", "fc.weight"),
        (
            *trunk_renames("features", "vision.encoder.trunk"),
            Rename(r"fc\.(\w+)", r"to_vector.\1"),
        ),
    ),
    ReleasedNetwork(
        "synthesiser",
        ("scale", "bias"),
        (Rename("scale", "synthesiser.weight"), Rename("bias", "synthesiser.bias")),
    ),
)
RELEASE = ReleasedSystem(
    model="sound-of-pixels",
    repository="github.com/hangzhaomit/Sound-of-Pixels",
    licence="MIT",
    networks=NETWORKS,
    settings=_settings,
)
CCOL_RELEASE = ReleasedSystem(
    model="sound-of-pixels",
    repository="github.com/YapengTian/CCOL-CVPR21",
    licence="none stated: all rights reserved",
    networks=NETWORKS,
    settings=_ccol_settings,
    optional=(
        ReleasedNetwork("sound network of the grounding", ("features.13.weight",), ()),
        ReleasedNetwork(
            "frame network of the grounding",
            ("features.7.1.bn2.weight",),
            (),
            absent=("fc.weight",),
        ),
        ReleasedNetwork("classifier of the grounding", ("fc_v1.weight", "fc3.weight"), ()),
    ),
)
