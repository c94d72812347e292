"""The Sound of Pixels (Zhao et al., ECCV 2018): 32 components of the sound, weighed by a picture.

Axes beside those of records.py: E one ear of one mixture, N one source at one ear, Z maps that go
in, W the width of what is seen, A the components, R t rows and columns of the network's cells.
"""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from avsep.cues.crops import CropSettings
from avsep.layers.audio_unet import AudioUNet, UNetSettings
from avsep.layers.cross_modal import AudioFusion
from avsep.models.binaural import BaselineSettings, GuidedBinauralSeparator
from avsep.records import Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.vision.object_network import ObjectEncoderName, ObjectMaps


class SoundOfPixelsSettings(BaselineSettings):
    """The numbers of the released code, mono; what LAVSS's Table 3 adds to it is a switch."""

    front_end: FrontEndSettings = FrontEndSettings()
    masks: Literal["ratio", "binary"] = Field(
        default="binary", description="binary under cross-entropy, or ratio under L1 and L2"
    )
    unet: UNetSettings = UNetSettings(last_bias=True)
    crops: CropSettings = CropSettings(with_crop_motion=False, whole_when_alone=True)
    image_encoder: ObjectEncoderName = Field(
        default="resnet18", description="looks at the crops; ResNet-18 is dilated, and learns"
    )

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each layer of the U-Net on its way down."""
        return self.unet.channels

    @property
    def is_as_published(self) -> bool:
        """Whether pictures meet neither places nor, before the synthesiser, sounds."""
        return not self.position and self.fusion == "none"


class SoundOfPixels(GuidedBinauralSeparator[SoundOfPixelsSettings]):
    """Sound of Pixels (Figure 2): components of the sound, a vector of the picture, their product.

    Departure: LAVSS's Table 3 has Sound of Pixels with positions and with its own fusion, and does
    not say where they enter. Here F_vp takes the place of the picture's maps, and F_avp that of the
    deepest map of the sound; the synthesiser stays.
    """

    Settings = SoundOfPixelsSettings

    def __init__(self, settings: SoundOfPixelsSettings | None = None) -> None:
        settings = settings or self.Settings()
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
            AudioFusion(width, settings.token_sizes, settings.attention) if is_fused else None
        )
        self.synthesiser = Synthesiser(num_components)
        self.to_vector.apply(_begin)
        self.audio_network.apply(_begin)

    @property
    def input_tensors(self) -> frozenset[str]:
        """Names of the tensors that have an entry for each map that goes in."""
        norm = ("weight", "bias", "running_mean", "running_var")
        names = ["down.0.convolution.weight", *(f"input_norm.{name}" for name in norm)]
        return frozenset(f"audio_network.{name}" for name in names)

    def seen(self, cues: Cues) -> Float[Tensor, "B S K W h w"]:
        """Maps of each crop as published; one for all crops where they meet places or sounds."""
        if self.settings.is_as_published:
            return self.vision.crop_maps(cues)
        return super().seen(cues)[:, :, None]

    def masks_of(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N K W h w"]
    ) -> Float[Tensor, "N R t"]:
        """Video analysis, audio analysis, audio synthesiser: the mask of each source."""
        vectors = self.to_vector(guide.flatten(0, 1)).unflatten(0, guide.shape[:2])
        vectors = vectors.amax((1, 3, 4)).sigmoid()  # over frames and places
        heard = self.audio_network.to_bottom(inputs)
        bottom = heard[-1] if self.fusion is None else self.fusion(heard[-3:], guide[:, 0])
        return self.synthesiser(vectors, self.audio_network.from_bottom(bottom, heard))


class Synthesiser(nn.Module):
    """The audio synthesiser network: a weight for each component, and one bias."""

    def __init__(self, num_components: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_components))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(
        self, vectors: Float[Tensor, "N A"], components: Float[Tensor, "n A R t"]
    ) -> Float[Tensor, "N R t"]:
        """Logits of masks; n is N, or a part of it: the components of all sources of one ear."""
        each = (vectors * self.weight).unflatten(0, (len(components), -1))  # [n, of one map, A]
        found = torch.einsum("nsa,nart->nsrt", each, components)
        return found.flatten(0, 1) + self.bias


def _begin(module: nn.Module) -> None:
    """First weights as released: convolutions N(0, 0.001), scales of norms N(1, 0.02)."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0, 0.001)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1, 0.02)
