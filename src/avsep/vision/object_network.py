"""Encode object crops: feature maps, object vectors and category logits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.image_encoder import SmallImageEncoder
from avsep.vision.resnet18 import ResNet18, ResNet18Dilated

ImageEncoderName = Literal["resnet18", "small"]


@dataclass(frozen=True)
class Seen:
    """What the pictures of all sources say."""

    features: Float[Tensor, "B S object"]
    category: Int64[Tensor, "B S"]
    category_logits: Float[Tensor, "B S categories"]


class ObjectNetwork(nn.Module):
    """Object features F_O of crops (section 3.2.1), and the category where nobody tells it.

    Departure: the paper reads the true category at test time too. The category head decides where
    no label is given; with ResNet-18 it learns beside the model, the small encoder brings its own.
    """

    def __init__(
        self, categories: Sequence[str], image_encoder: ImageEncoderName, object_channels: int
    ) -> None:
        super().__init__()
        self.categories = tuple(categories)
        if image_encoder == "small":
            settings = SmallImageEncoder.Settings(categories=self.categories)
            self.encoder = SmallImageEncoder(settings).freeze()
            self.category_head = None
        else:
            self.encoder = ResNet18Dilated()
            self.category_head = nn.Linear(self.encoder.num_channels, len(categories))
        self.linear = nn.Conv2d(self.encoder.num_channels, object_channels, 3, padding=1)

    @property
    def is_head_trained(self) -> bool:
        """Whether the category head learns with the model."""
        return self.category_head is not None

    def look(self, crops: UInt8[Tensor, "B S K 3 H W"]) -> Float[Tensor, "B S K D h w"]:
        """The frozen encoder's maps of crops."""
        with torch.no_grad():
            maps = self.encoder(crops.flatten(0, 2))
        return maps.unflatten(0, crops.shape[:3])

    def forward(self, cues: Cues) -> Seen:
        """Object features, the category of each source, and the head's scores for all of them."""
        if cues.appearance is None:
            raise InputError("this model reads `crops`: give it pictures of each object")
        maps = cues.appearance.to(self.linear.weight.dtype)
        shape = maps.shape[:3]
        features = self.linear(maps.flatten(0, 2)).unflatten(0, shape)
        features = features.amax((2, 4, 5)).sigmoid()  # over frames and places
        logits = self._logits(maps.flatten(0, 2)).unflatten(0, shape).log_softmax(-1).mean(2)
        category = logits.argmax(-1)
        if cues.category is not None:
            category = torch.where(cues.category >= 0, cues.category, category)
        return Seen(features, category, logits)

    def _logits(self, maps: Float[Tensor, "N D H W"]) -> Float[Tensor, "N categories"]:
        if self.category_head is None:
            assert isinstance(self.encoder, SmallImageEncoder), "it brings its head"
            return self.encoder.logits(maps)
        return self.category_head(maps.mean((2, 3)))


# Maps of what an object looks like by an image encoder that learns or stays as it is


ObjectEncoderName = Literal["resnet18", "small"]
_CELLS = 7


class ObjectMaps(nn.Module):
    """F_v of LAVSS (section 3.2): 512 x 7 x 7 of a crop of 224 pixels by a ResNet-18 that learns.

    The small encoder is frozen, so that its maps can be made once, ahead of the training.
    """

    def __init__(
        self,
        encoder: ObjectEncoderName,
        width: int | None,
        categories: tuple[str, ...],
        *,
        is_dilated: bool = False,
    ) -> None:
        """`width` none: as many channels as the encoder has; `is_dilated`: maps of 14 x 14."""
        super().__init__()
        if encoder == "small":
            settings = SmallImageEncoder.Settings(categories=categories)
            self.encoder = SmallImageEncoder(settings).freeze()
        else:
            self.encoder = ResNet18Dilated(is_frozen=False) if is_dilated else ResNet18()
        num_channels = self.encoder.num_channels
        self.num_channels = width or num_channels
        self.is_frozen = encoder == "small"
        self.project = (
            nn.Identity()
            if num_channels == self.num_channels
            else nn.Conv2d(num_channels, self.num_channels, 1)
        )

    def forward(self, cues: Cues) -> Float[Tensor, "B S W h w"]:
        """Maps of each source's object, 7 x 7, the mean over its crops."""
        seen = self.of_crops(cues).mean(2)  # B S D h w
        if seen.shape[-2:] != (_CELLS, _CELLS):
            seen = adaptive_avg_pool2d(seen.flatten(0, 1), _CELLS).unflatten(0, seen.shape[:2])
        return self.project(seen.flatten(0, 1)).unflatten(0, seen.shape[:2])

    def of_crops(self, cues: Cues) -> Float[Tensor, "B S K D h w"]:
        """The encoder's maps of each crop, as large as they come."""
        maps = cues.appearance
        if maps is None:
            if cues.crops is None:
                raise InputError("this model reads `crops`: give it pictures of each object")
            maps = self.encoder(cues.crops.flatten(0, 2)).unflatten(0, cues.crops.shape[:3])
        return maps.to(next(self.parameters()).dtype)

    def look(self, cues: Cues) -> Float[Tensor, "B S K D h w"] | None:
        """The frozen encoder's maps of the crops; none where it learns, and there are no others."""
        if not self.is_frozen or cues.crops is None:
            return None
        with torch.no_grad():
            return self.encoder(cues.crops.flatten(0, 2)).unflatten(0, cues.crops.shape[:3])
