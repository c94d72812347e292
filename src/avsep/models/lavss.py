"""LAVSS: two ears separated by what an object is and where it stands (Ye et al., WACV 2024).

Axes beside those of records.py: E one ear of one mixture, N one source at one ear, W the width of
all attention, R t rows and columns of the network's cells.
"""

from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from avsep.cues.crops import CropSettings
from avsep.layers.binaural_unet import BinauralUNet, BinauralUNetSettings
from avsep.layers.cross_modal import AudioFusion
from avsep.models.binaural import GuidedBinauralSeparator, GuidedSettings
from avsep.vision.object_network import ObjectEncoderName, ObjectMaps


class LAVSSSettings(GuidedSettings):
    """Every number of sections 3 and 4.1, the switches of Tables 3 and 4, and what is ours."""

    unet: BinauralUNetSettings = BinauralUNetSettings()
    crops: CropSettings = CropSettings(with_crop_motion=False, num_crops=1)
    image_encoder: ObjectEncoderName = Field(default="resnet18", description="looks at the crops")
    guide_everywhere: bool = Field(
        default=False,
        description="ours: what and where also scale and shift every layer of the decoder",
    )
    num_templates: int = Field(
        default=0,
        ge=0,
        description="ours: so many maps tell how well each cell's spatial cues fit the direction "
        "that the object is in, by weights for each row made of what and where",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.check_layers(with_tokens=True)
        if self.num_templates and (self.spatial_cues == "none" or self.unet.num_features == 1):
            raise ValueError("num_templates needs spatial_cues, and unet.num_features above 1")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each layer of the U-Net on its way down."""
        return self.unet.channels


class LAVSS(GuidedBinauralSeparator[LAVSSSettings]):
    """Vision and position networks, audio embedding, fusion at the bottom, a mask per ear."""

    Settings = LAVSSSettings

    def __init__(self, settings: LAVSSSettings | None = None) -> None:
        settings = settings or self.Settings()
        width = settings.width
        vision = ObjectMaps(settings.image_encoder, width, settings.encoder_categories)
        super().__init__(settings, vision, width)
        self.audio_network = BinauralUNet(
            settings.unet,
            settings.num_inputs,
            guide_channels=2 * width,
            film_width=width if settings.guide_everywhere else None,
        )
        self.fusion = AudioFusion(width, settings.token_sizes, settings.attention)
        self.head = _Head(settings) if settings.unet.num_features > 1 else None

    def masks_of(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N R t"]:
        """Figure 2 from left to right, behind what is seen and where."""
        heard = self.audio_network.to_bottom(inputs)
        vector = guide.mean((2, 3))
        bottom = self.fusion(heard[-3:], guide)
        found = self.audio_network.from_bottom(bottom, heard, vector)
        if self.head is not None:
            found = self.head(found, inputs[:, 1:], vector)
        return found[:, 0]


class _Head(nn.Module):
    """Ours: from features of the whole resolution, and templates, to the mask."""

    def __init__(self, settings: LAVSSSettings) -> None:
        super().__init__()
        features, templates = settings.unet.num_features, settings.num_templates
        self.shape = (templates, settings.num_inputs - 1, settings.size[0])
        num_weights = torch.Size(self.shape).numel()
        self.templates = nn.Linear(settings.width, num_weights) if templates else None
        self.first = nn.Conv2d(features + templates, features, 3, padding=1)
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward(
        self,
        features: Float[Tensor, "N out R t"],
        maps: Float[Tensor, "E D R t"],
        seen: Float[Tensor, "N W"],
    ) -> Float[Tensor, "N 1 R t"]:
        """Logits of masks; a template is a sum of the spatial maps, weighed for each row."""
        if self.templates is not None:
            weights = self.templates(seen).unflatten(1, self.shape)  # N templates D R
            cells = maps.repeat_interleave(len(seen) // len(maps), dim=0)
            fits = torch.einsum("nkdr,ndrt->nkrt", weights, cells)
            features = torch.cat([features, fits.to(features.dtype)], dim=1)
        return self.last(leaky_relu(self.first(features), 0.2))
