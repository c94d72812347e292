"""The small image encoder: a residual network with a category head, shipped with weights."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from avsep.devices import same_random_state
from avsep.errors import InputError
from avsep.media.atomic import write_atomic

SHIPPED = Path(__file__).parents[1] / "weights" / "image-encoder-mini.safetensors"
# Roughly the mean and the deviation of pixels in photographs, 0..255; the shipped weights were
# trained with these values.
COLOUR_MEAN = 118.0
COLOUR_SPREAD = 64.0


class ImageEncoderSettings(BaseModel):
    """Size of the encoder and the categories of its head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(min_length=1, description="in the order of the logits")
    widths: tuple[int, ...] = Field(
        default=(32, 48, 96, 192),
        min_length=2,
        description="channels of the stem and of each stage; each halves the maps",
    )
    picture_pixels: int = Field(default=112, ge=16, description="side that crops are resized to")


class SmallImageEncoder(nn.Module):
    """Encoder of crops: maps, 7 x 7 as shipped, and category logits from their mean.

    Basic blocks as in He et al., Deep residual learning for image recognition (2015), section 3.3,
    two a stage.
    """

    Settings = ImageEncoderSettings

    def __init__(self, settings: ImageEncoderSettings) -> None:
        super().__init__()
        self.settings = settings
        self.num_channels = settings.widths[-1]
        self.stem = _convolution(3, settings.widths[0], 3, stride=2)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(_Block(before, after, stride=2), _Block(after, after))
                for before, after in pairwise(settings.widths)
            )
        )
        self.head = nn.Linear(self.num_channels, len(settings.categories))
        self._is_frozen = False

    def forward(self, crops: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D h w"]:
        """Return maps of crops of any size, never negative; crops are resized and normalised."""
        side = self.settings.picture_pixels
        pictures = crops.to(self.head.weight.dtype)
        if crops.shape[-2:] != (side, side):
            pictures = interpolate(
                pictures, size=(side, side), mode="bilinear", antialias=True, align_corners=False
            )
        pictures = (pictures - COLOUR_MEAN) / COLOUR_SPREAD
        # Convolutions of a CPU are faster with channels last.
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        return self.stages(relu(self.stem(pictures)))

    def logits(self, maps: Float[Tensor, "N D h w"]) -> Float[Tensor, "N categories"]:
        """Return category logits of maps, in the order of `settings.categories`."""
        return self.head(maps.mean(dim=(2, 3)))

    def freeze(self) -> Self:
        """Set eval mode and disable gradients for good, and return itself."""
        self._is_frozen = True
        self.requires_grad_(False)
        return self.eval()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode, or stay in eval mode once frozen."""
        # A model that contains a frozen encoder calls this when it starts to train.
        return super().train(mode and not self._is_frozen)


def save_image_encoder(encoder: SmallImageEncoder, path: Path, metadata: dict[str, str]) -> None:
    """Write weights in float16 with their settings and metadata of the training."""
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in encoder.state_dict().items()
    }
    metadata = {"settings": encoder.settings.model_dump_json(), "metadata": json.dumps(metadata)}
    write_atomic(path, save(weights, metadata))


@same_random_state()
def load_image_encoder(path: Path | None = None) -> SmallImageEncoder:
    """Load an encoder from a weights file, by default the shipped one; frozen, in float32.

    Raises:
        InputError: no such file, or not one that `save_image_encoder` wrote.
    """
    path = path or SHIPPED
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = ImageEncoderSettings.model_validate_json(metadata.get("settings", ""))
        encoder = SmallImageEncoder(settings)
        # Copying into the float32 parameters converts from float16.
        encoder.load_state_dict(weights)
    except (OSError, SafetensorError, ValidationError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot read '{path}' as an image encoder: {reason}; give a file that "
            "tools/train_image_encoder.py wrote"
        ) from error
    return encoder.freeze()


class _Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, num_before: int, num_after: int, stride: int = 1) -> None:
        super().__init__()
        self.first = _convolution(num_before, num_after, 3, stride)
        self.second = _convolution(num_after, num_after, 3)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            # Averaging before the 1 x 1 convolution, which would skip three of four cells.
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True), _convolution(num_before, num_after, 1)
            )

    def forward(self, maps: Float[Tensor, "N D H W"]) -> Float[Tensor, "N E h w"]:
        """Return maps after the block, never negative."""
        return relu(self.second(relu(self.first(maps))) + self.shortcut(maps))


def _convolution(num_before: int, num_after: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Build a convolution that divides the size by the stride, and a batch norm."""
    convolution = nn.Conv2d(num_before, num_after, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(num_after))
