"""ResNet-18 image encoders: torchvision's network, and one with a dilated last stage."""

import os
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from avsep.errors import InputError
from avsep.published_weights import StateDict, fit, read_weights, without
from avsep.released import Rename

# Mean and deviation of ImageNet's pictures, pixels 0..1, red, green, blue: the normalisation with
# which the published weights were trained.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResNet18(nn.Module):
    """The image encoder of Co-Separation and LAVSS: 512 x 7 x 7 of a crop of 224 pixels; trained.

    Departure: Co-Separation's code, and LAVSS's after it, replaces the first convolution by one
    with random weights. Here all weights are the published ones.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        # Imported here because it takes half a second, also for users of other models.
        from torchvision.models import resnet18

        super().__init__()
        trunk = resnet18(weights=None)
        self.num_channels = trunk.fc.in_features
        # The classifier is not used; left in, it would count as untrained parameters.
        del trunk.fc
        self.trunk = trunk
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, crops: UInt8[Tensor, "N 3 H W"]) -> Float[Tensor, "N D h w"]:
        """Return maps of crops of any size, never negative: 1/32 of the sides, rounded up."""
        trunk = self.trunk
        maps = (crops.to(self.mean.dtype) / 255 - self.mean) / self.std
        maps = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(maps))))
        return trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(maps))))

    def load_imagenet(self, path: str | os.PathLike[str] | None = None) -> Self:
        """Load torchvision's ImageNet weights, from a file or downloaded, and return itself.

        Raises:
            InputError: the file does not fit, or none is given and the download fails.
        """
        weights = _download() if path is None else read_weights(path)
        origin = "torchvision's ResNet-18" if path is None else f"'{os.fspath(path)}'"
        fit(self.trunk, without(weights, ["fc."]), origin)
        return self


class ResNet18Dilated(ResNet18):
    """The image encoder of Sound of Pixels and its successors: 512 x 14 x 14 of 224 pixels.

    Trained in Sound of Pixels, frozen in iQuery, DGFNet and DAVIS. The last stage keeps the size of
    the maps instead of halving it.

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
        """Set the training mode, or stay in eval mode if frozen."""
        return super().train(mode and not self.is_frozen)


def _dilate(stage: nn.Module) -> None:
    """Set stride 1 instead of 2 and dilate the later 3 x 3 convolutions of a stage.

    Every second cell is then what the undilated stage computes, so published weights still fit.
    """
    for layer in stage.modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        # The convolution that halved still reads neighbouring cells, those after it every second.
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
            f"the ImageNet weights of ResNet-18 are missing and cannot be downloaded ({error}); "
            f"fetch '{name}' (torchvision, IMAGENET1K_V1) on another machine and give its path, or "
            f"put it into '{Path(torch.hub.get_dir()) / 'checkpoints'}'"
        ) from error


def trunk_renames(released: str, trunk: str) -> tuple[Rename, ...]:
    """Return the names of a ResNet-18 that is stored as a sequence of torchvision's layers.

    Args:
        released: name of the sequence in the released network.
        trunk: name of the trunk in a model of avsep.
    """
    # 2 and 3 are ReLU and pooling, which have no weights.
    stages = [Rename(rf"{released}\.{k + 3}\.(.+)", rf"{trunk}.layer{k}.\1") for k in range(1, 5)]
    return (
        Rename(rf"{released}\.0\.weight", f"{trunk}.conv1.weight"),
        Rename(rf"{released}\.1\.(\w+)", rf"{trunk}.bn1.\1"),
        *stages,
    )
