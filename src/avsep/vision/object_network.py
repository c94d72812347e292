"""Encode object crops: DGFNet's object features and categories, LAVSS' feature maps."""

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

ObjectEncoderName = Literal["resnet18", "small"]

# Side of LAVSS' visual maps, which have 7 x 7 cells (Figure 3).
_CELLS = 7

_NO_CROPS = "this model reads `crops`: give it pictures of each object"


@dataclass(frozen=True)
class ObjectFeatures:
    """Visual features and category of each source.

    Attributes:
        features: object features F_O.
        category: given category, or the predicted one where none is given.
        category_logits: log-probabilities of all categories.
    """

    features: Float[Tensor, "B S object"]
    category: Int64[Tensor, "B S"]
    category_logits: Float[Tensor, "B S categories"]


class ObjectNetwork(nn.Module):
    """Object features F_O of crops (DGFNet, section 3.2.1), and the category if none is given.

    Departure: the paper reads the true category at test time too. Here a category head predicts it
    where no label is given; with ResNet-18 the head is trained with the model, the small encoder
    has a trained one.
    """

    def __init__(
        self, categories: Sequence[str], image_encoder: ObjectEncoderName, object_channels: int
    ) -> None:
        super().__init__()
        self.categories = tuple(categories)
        if image_encoder == "small":
            self.encoder = _small_encoder(self.categories)
            self.category_head = None
        else:
            self.encoder = ResNet18Dilated()
            self.category_head = nn.Linear(self.encoder.num_channels, len(categories))
        self.linear = nn.Conv2d(self.encoder.num_channels, object_channels, 3, padding=1)

    @property
    def is_head_trained(self) -> bool:
        """True if the category head is trained with the model."""
        return self.category_head is not None

    def encode(self, crops: UInt8[Tensor, "B S K 3 H W"]) -> Float[Tensor, "B S K D h w"]:
        """Return the frozen encoder's maps of crops."""
        with torch.no_grad():
            return _encode_crops(self.encoder, crops)

    def forward(self, cues: Cues) -> ObjectFeatures:
        """Return features [B, S, object] and category [B, S] of each source, from its maps."""
        if cues.appearance is None:
            raise InputError(_NO_CROPS)
        maps = cues.appearance.to(self.linear.weight.dtype)
        shape = maps.shape[:3]
        features = self.linear(maps.flatten(0, 2)).unflatten(0, shape)
        # Max over frames and cells, then the sigmoid, as in iQuery's code (REFERENCE 3.1).
        features = features.amax((2, 4, 5)).sigmoid()
        # Mean of log-probabilities: frames vote as independent observations.
        logits = self._logits(maps.flatten(0, 2)).unflatten(0, shape).log_softmax(-1).mean(2)
        category = logits.argmax(-1)
        if cues.category is not None:
            # -1 marks a source whose category is not given.
            category = torch.where(cues.category >= 0, cues.category, category)
        return ObjectFeatures(features, category, logits)

    def _logits(self, maps: Float[Tensor, "N D H W"]) -> Float[Tensor, "N categories"]:
        if self.category_head is None:
            assert isinstance(self.encoder, SmallImageEncoder), "the small encoder has a head"
            return self.encoder.logits(maps)
        return self.category_head(maps.mean((2, 3)))


class ObjectMaps(nn.Module):
    """Visual features F_v of LAVSS (section 3.2): 512 x 7 x 7 of a crop of 224 pixels.

    ResNet-18 is trained with the model. The small encoder is frozen, so that its maps can be
    computed once before training.
    """

    def __init__(
        self,
        encoder: ObjectEncoderName,
        width: int | None,
        categories: tuple[str, ...],
        *,
        is_dilated: bool = False,
    ) -> None:
        """Build the encoder.

        Args:
            encoder: name of the image encoder.
            width: W, channels of the maps; None: those of the encoder.
            categories: categories of the small encoder's head.
            is_dilated: ResNet-18 with maps of 14 x 14, as in Sound of Pixels.
        """
        super().__init__()
        if encoder == "small":
            self.encoder = _small_encoder(categories)
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
        """Return 7 x 7 maps of each source's object, averaged over its crops."""
        maps = self.crop_maps(cues).mean(2)  # B S D h w
        if maps.shape[-2:] != (_CELLS, _CELLS):
            maps = adaptive_avg_pool2d(maps.flatten(0, 1), _CELLS).unflatten(0, maps.shape[:2])
        return self.project(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])

    def crop_maps(self, cues: Cues) -> Float[Tensor, "B S K D h w"]:
        """Return the encoder's maps of each crop, in the encoder's size."""
        maps = cues.appearance
        if maps is None:
            if cues.crops is None:
                raise InputError(_NO_CROPS)
            maps = _encode_crops(self.encoder, cues.crops)
        # Precomputed maps may be in half precision.
        return maps.to(next(self.parameters()).dtype)

    def encode(self, cues: Cues) -> Float[Tensor, "B S K D h w"] | None:
        """Return the frozen encoder's maps of the crops; None if it is trained or no crops."""
        if not self.is_frozen or cues.crops is None:
            return None
        with torch.no_grad():
            return _encode_crops(self.encoder, cues.crops)


def _small_encoder(categories: tuple[str, ...]) -> SmallImageEncoder:
    return SmallImageEncoder(SmallImageEncoder.Settings(categories=categories)).freeze()


def _encode_crops(
    encoder: nn.Module, crops: UInt8[Tensor, "B S K 3 H W"]
) -> Float[Tensor, "B S K D h w"]:
    return encoder(crops.flatten(0, 2)).unflatten(0, crops.shape[:3])
