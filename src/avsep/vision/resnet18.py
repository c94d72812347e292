"""ResNet-18 as it is and with its last stage dilated, which may be frozen: maps of crops."""

import os
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from avsep.errors import InputError
from avsep.vision.published_weights import StateDict, fit, read_weights, without

# Of ImageNet's pictures, 0..1, red, green, blue; what the published weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResNet18(nn.Module):
    """The image encoder of Co-Separation and LAVSS: 512 x 7 x 7 of a crop of 224 pixels; it learns.

    Departure: Co-Separation's code, and LAVSS's after it, puts a new first convolution with random
    weights before the published ones. Here all of them are as published.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        # Takes half a second, which those who never build this model should not wait for.
        from torchvision.models import resnet18

        super().__init__()
        trunk = resnet18(weights=None)
        self.num_channels = trunk.fc.in_features
        del trunk.fc
        self.trunk = trunk
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, crops: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D h w"]:
        """Maps of crops of any size, never negative: a 32nd of the sides, rounded up."""
        trunk = self.trunk
        maps = (crops.to(self.mean.dtype) / 255 - self.mean) / self.std
        maps = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(maps))))
        return trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(maps))))

    def load_imagenet(self, path: str | os.PathLike[str] | None = None) -> Self:
        """Itself with torchvision's ImageNet weights, from a file or, without one, downloaded.

        Raises:
            InputError: the file does not fit, or there is none and no network.
        """
        weights = _download() if path is None else read_weights(path)
        origin = "torchvision's ResNet-18" if path is None else f"'{os.fspath(path)}'"
        fit(self.trunk, without(weights, ["fc."]), origin)
        return self


class ResNet18Dilated(ResNet18):
    """The image encoder of Sound of Pixels and all that followed: 512 x 14 x 14 at 224.

    Sound of Pixels lets it learn; in iQuery, DGFNet and DAVIS it is frozen.

    The stage that would halve the maps a fifth time keeps their size, and its later 3 x 3
    convolutions look twice as far apart, so each sees what its weights were trained to see.

    Departure: iQuery sets requires_grad to false but leaves its ResNet in training mode, so the
    running statistics of its batch norms drift with every batch. Here they stay as published.
    """

    def __init__(self, *, is_frozen: bool = True) -> None:
        super().__init__()
        self.is_frozen = is_frozen
        _dilate(self.trunk.layer4)
        if is_frozen:
            self.requires_grad_(False)
            self.eval()

    def train(self, mode: bool = True) -> Self:
        """Itself in training mode where it learns; frozen it is unchanged for good."""
        return super().train(mode and not self.is_frozen)


def _dilate(stage: nn.Module) -> None:
    """Stride 1 instead of 2; the 3 x 3 convolutions behind it at twice the distance."""
    for layer in stage.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        if layer.stride == (2, 2):
            layer.stride = (1, 1)
        elif layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (2, 2)


def _download() -> StateDict:
    from torchvision.models import ResNet18_Weights

    published = ResNet18_Weights.IMAGENET1K_V1
    try:
        return published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        name = published.url.rsplit("/", 1)[-1]
        raise InputError(
            f"the ImageNet weights of ResNet-18 are not here and cannot be downloaded ({error}); "
            f"fetch '{name}' (torchvision, IMAGENET1K_V1) on another machine and give its path, or "
            f"put it into '{Path(torch.hub.get_dir()) / 'checkpoints'}'"
        ) from error
