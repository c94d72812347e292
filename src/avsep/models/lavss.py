"""LAVSS: two ears separated by what an object is and where it stands (Ye et al., WACV 2024).

Axes beside those of records.py: E one ear of one mixture, N one source at one ear, W the width of
all attention, R t rows and columns of the network's cells.
"""

from dataclasses import replace
from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from avsep.errors import InputError
from avsep.layers.cross_modal import (
    AttentionSettings,
    AudioFusion,
    PositionNetwork,
    VisionPosition,
)
from avsep.layers.ear_separator import EarSeparator, EarSettings
from avsep.layers.ear_unet import EarUNet, EarUNetSettings
from avsep.records import Cues
from avsep.vision.looks import LookSettings
from avsep.vision.object_maps import ObjectEncoderName, ObjectMaps


class LAVSSSettings(EarSettings):
    """Every number of sections 3 and 4.1, the switches of Tables 3 and 4, and what is ours."""

    categories: tuple[str, ...] = Field(
        default=(), max_length=0, description="none: it goes by pictures and places alone"
    )
    encoder_categories: tuple[str, ...] = Field(
        default=(), description="what the head of the image encoder 'small' tells apart"
    )
    position: bool = Field(
        default=True, description="where the object stands is read (Table 3: position guidance)"
    )
    position_octaves: int = Field(default=16, ge=1, le=24, description="D of equation 1")
    position_width: int = Field(default=256, ge=1, description="hidden layer of the position MLP")
    attention: AttentionSettings = AttentionSettings()
    unet: EarUNetSettings = EarUNetSettings()
    looks: LookSettings = LookSettings(with_movement=False, num_crops=1)
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
        channels = self.unet.channels
        if len(channels) < 3 or len(set(channels[-3:])) > 1:
            raise ValueError(
                f"unet.channels {list(channels)} must end with three equal numbers, the width of "
                "the tokens"
            )
        if channels[-1] % self.attention.num_heads:
            raise ValueError(
                f"the width {channels[-1]} must be a multiple of attention.num_heads, "
                f"{self.attention.num_heads}"
            )
        halved = 2 ** len(channels)
        if any(side % halved for side in self.size):
            raise ValueError(
                f"{self.size[0]} rows and {self.size[1]} columns must be multiples of {halved}, as "
                f"{len(channels)} layers halve them"
            )
        if self.num_templates and (self.spatial_cues == "none" or self.unet.num_features == 1):
            raise ValueError("num_templates needs spatial_cues, and unet.num_features above 1")
        return self

    @property
    def width(self) -> int:
        """Channels of all tokens, W."""
        return self.unet.channels[-1]

    @property
    def token_sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of the three deepest maps, the deepest last."""
        depth = len(self.unet.channels)
        return [
            (self.size[0] >> level, self.size[1] >> level) for level in range(depth - 2, depth + 1)
        ]


class LAVSS(EarSeparator[LAVSSSettings]):
    """Vision and position networks, audio embedding, fusion at the bottom, a mask per ear."""

    Settings = LAVSSSettings

    def __init__(self, settings: LAVSSSettings | None = None) -> None:
        settings = settings or self.Settings()
        super().__init__(settings)
        width = settings.width
        self.vision = ObjectMaps(settings.image_encoder, width, settings.encoder_categories)
        self.position = (
            PositionNetwork(width, settings.position_octaves, settings.position_width)
            if settings.position
            else None
        )
        self.what_and_where = (
            VisionPosition(width, settings.attention) if settings.position else None
        )
        self.audio_network = EarUNet(
            settings.unet,
            settings.num_inputs,
            guide_channels=2 * width,
            film_width=width if settings.guide_everywhere else None,
        )
        self.fusion = AudioFusion(width, settings.token_sizes, settings.attention)
        self.head = _Head(settings) if settings.unet.num_features > 1 else None

    @property
    def needs(self) -> frozenset[str]:
        """The cues it reads: never a category."""
        return frozenset({"crops", "boxes"} if self.settings.position else {"crops"})

    def embed(self, cues: Cues) -> Cues:
        """The cues with a frozen encoder's maps instead of the crops; as they are if it learns."""
        maps = None if cues.appearance is not None else self.vision.look(cues)
        return cues if maps is None else replace(cues, crops=None, appearance=maps)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """What is trained: the vision network, and all that separates (REFERENCE 3.4)."""
        vision = list(self.vision.parameters())
        known = {id(parameter) for parameter in vision}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        groups = {"vision": vision, "separation": rest}
        return {
            name: [parameter for parameter in group if parameter.requires_grad]
            for name, group in groups.items()
        }

    def logits(self, inputs: Float[Tensor, "B C Z R t"], cues: Cues) -> Float[Tensor, "B S C R t"]:
        """The network proper, read as Figure 2 from left to right."""
        num_mixtures, num_ears = inputs.shape[:2]
        seen = self._seen(cues)  # B S W h w
        num_sources = seen.shape[1]
        heard = self.audio_network.to_bottom(inputs.flatten(0, 1))
        # The same object for either ear: N counts mixtures, then ears, then sources.
        guide = seen[:, None].expand(-1, num_ears, -1, -1, -1, -1).flatten(0, 2)
        vector = guide.mean((2, 3))
        bottom = self.fusion(heard[-3:], guide)
        found = self.audio_network.from_bottom(bottom, heard, vector)
        if self.head is not None:
            found = self.head(found, inputs[:, :, 1:].flatten(0, 1), vector)
        shape = (num_mixtures, num_ears, num_sources)
        return found[:, 0].unflatten(0, shape).transpose(1, 2)

    def _seen(self, cues: Cues) -> Float[Tensor, "B S W h w"]:
        """F_vp of every source, or F_v where nobody says where it is."""
        seen = self.vision(cues)
        if self.position is None or self.what_and_where is None:
            return seen
        if cues.boxes is None:
            raise InputError("this model reads `boxes`: tell where each object is")
        boxes = cues.boxes.mean(2).flatten(0, 1)  # over the crops
        both = self.what_and_where(seen.flatten(0, 1), self.position(boxes))
        return both.unflatten(0, seen.shape[:2])


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
