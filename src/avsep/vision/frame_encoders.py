"""Frames as vectors: one a picture, by CLIP, ResNet-18 or the small encoder that is shipped."""

from collections.abc import Sequence
from typing import Literal, Self

from jaxtyping import Float, UInt8
from torch import Tensor, nn

from avsep.vision.clip import ClipImageEncoder
from avsep.vision.image_encoder import SmallImageEncoder
from avsep.vision.resnet18 import ResNet18Dilated

FrameEncoderName = Literal["clip", "resnet18", "small"]


class FrameEncoder(nn.Module):
    """One vector a picture by a frozen image encoder, the frame features of DAVIS (section 3.3).

    CLIP gives its image embedding (D 512), ResNet-18 and the small encoder the mean of their maps
    over places (512, 192). Colours are brought to what each was trained with, and so are sizes but
    for ResNet-18, which takes pictures as large as they are.

    Departure: DAVIS shows CLIP the pictures of MUSIC in ImageNet's colours, and of ResNet-18 it
    reads the maps of 7 x 7 and the first frame only. Here every encoder sees what it was trained
    to see, ResNet-18's maps are the dilated ones of 14 x 14, and all frames are read.
    """

    def __init__(self, name: FrameEncoderName, categories: Sequence[str]) -> None:
        super().__init__()
        self.encoder = _encoder(name, categories)
        self.num_channels: int = self.encoder.num_channels
        self.eval()

    def forward(self, pictures: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D"]:
        """Vectors of pictures of any size, whole frames or crops."""
        found = self.encoder(pictures)
        return found if found.ndim == 2 else found.mean((2, 3))

    def train(self, mode: bool = True) -> Self:
        """Itself, unchanged: it is frozen for good."""
        return super().train(False)


def _encoder(
    name: FrameEncoderName, categories: Sequence[str]
) -> ClipImageEncoder | ResNet18Dilated | SmallImageEncoder:
    if name == "clip":
        return ClipImageEncoder()
    if name == "resnet18":
        return ResNet18Dilated()
    # Its weights come with a head, which tells these categories.
    settings = SmallImageEncoder.Settings(categories=tuple(categories))
    return SmallImageEncoder(settings).freeze()
