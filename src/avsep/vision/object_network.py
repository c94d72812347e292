"""Object features of crops by a frozen image encoder, and the category where nobody tells it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.image_encoder import SmallImageEncoder
from avsep.vision.resnet18 import ResNet18Dilated

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
