"""Maps of what an object looks like by an image encoder that learns or stays as it is."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.image_encoder import SmallImageEncoder
from avsep.vision.resnet18 import ResNet18, ResNet18Dilated

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
