"""EfficientNet-Lite: ImageNet classes, embeddings and maps of pictures, shipped with weights.

Tan and Le, EfficientNet: rethinking model scaling for convolutional neural networks (2019),
Table 1, in the variant for small devices of the released code: no squeeze-and-excitation, ReLU6 in
place of swish, stem and head of one width for all sizes.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, Self

import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, relu6

from avsep.devices import own_settings, same_random_state
from avsep.errors import InputError
from avsep.published_weights import fit, read_shipped
from avsep.released import ReleasedNetwork, Rename, Unused
from avsep.vision.imagenet import require_classes

SHIPPED = Path(__file__).parents[1] / "weights" / "efficientnet-lite0.safetensors"
# Normalisation of the training, pixels 0..255, the same for all three colours.
PIXEL_MEAN = 127.0
PIXEL_SPREAD = 128.0
# In the evaluation of the released code, the picture is this much larger than its central crop.
CROP_MARGIN_PIXELS = 32
Framing = Literal["centre", "whole"]

# Table 1: layers, channels, kernel, stride of the first layer, expansion of channels within.
_STAGES = (
    (1, 16, 3, 1, 1),
    (2, 24, 3, 2, 6),
    (2, 40, 5, 2, 6),
    (3, 80, 3, 2, 6),
    (3, 112, 5, 1, 6),
    (4, 192, 5, 2, 6),
    (1, 320, 3, 1, 6),
)
_STEM_CHANNELS = 32
_HEAD_CHANNELS = 1280
# Stride -> the last stage with it, whose maps detectors use.
_LAST_OF_STRIDE = {8: 2, 16: 4, 32: 6}
_CHANNEL_MULTIPLE = 8
_NORM_EPSILON = 1e-3
_NORM_MOMENTUM = 0.01


class EfficientNetLiteSettings(BaseModel):
    """Size of the network; `VARIANTS` has the published ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: float = Field(default=1.0, gt=0, description="factor of the channels of Table 1")
    depth: float = Field(default=1.0, gt=0, description="factor of the layers of Table 1")
    picture_pixels: int = Field(default=224, ge=32, description="side of the training's pictures")
    num_classes: int = Field(default=1000, ge=1, description="of the classifier")


VARIANTS: Mapping[str, EfficientNetLiteSettings] = {
    "lite0": EfficientNetLiteSettings(),
    "lite1": EfficientNetLiteSettings(depth=1.1, picture_pixels=240),
    "lite2": EfficientNetLiteSettings(width=1.1, depth=1.2, picture_pixels=260),
    "lite3": EfficientNetLiteSettings(width=1.2, depth=1.4, picture_pixels=280),
    "lite4": EfficientNetLiteSettings(width=1.4, depth=1.8, picture_pixels=300),
}


class FeaturePyramid(NamedTuple):
    """Maps at three strides; sides are those of the picture divided by the stride, rounded up."""

    stride_8: Float[Tensor, "B c8 h8 w8"]
    stride_16: Float[Tensor, "B c16 h16 w16"]
    stride_32: Float[Tensor, "B c32 h32 w32"]


class EfficientNetLite(nn.Module):
    """The network of Table 1: stem, seven stages, head and classifier; frozen.

    All methods take pictures of `preprocess`, or the head's maps of them. Pictures of any size
    have maps; the classifier was trained with squares of `settings.picture_pixels`.
    """

    Settings = EfficientNetLiteSettings

    def __init__(self, settings: EfficientNetLiteSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or EfficientNetLiteSettings()
        self.num_channels = _HEAD_CHANNELS
        self.stem = _Unit(3, _STEM_CHANNELS, 3, 2)
        widths = [_scaled_channels(stage[1], settings.width) for stage in _STAGES]
        self.pyramid_channels = tuple(widths[index] for index in _LAST_OF_STRIDE.values())
        stages = []
        for index, (_, _, kernel, stride, expansion) in enumerate(_STAGES):
            before = widths[index - 1] if index else _STEM_CHANNELS
            first = _Block(before, widths[index], kernel, stride, expansion)
            others = [
                _Block(widths[index], widths[index], kernel, 1, expansion)
                for _ in range(_num_layers(index, settings) - 1)
            ]
            stages.append(nn.Sequential(first, *others))
        self.stages = nn.ModuleList(stages)
        self.head = _Unit(widths[-1], _HEAD_CHANNELS, 1, 1)
        self.classifier = nn.Linear(_HEAD_CHANNELS, settings.num_classes)
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D h w"]:
        """Return the head's maps, 1280 x 1/32 of the sides, rounded up; values 0 to 6."""
        return relu6(self.head(self.features(pictures).stride_32))

    def features(self, pictures: Float[Tensor, "B 3 H W"]) -> FeaturePyramid:
        """Return the maps of the last layers at strides 8, 16 and 32, `pyramid_channels` each."""
        # Convolutions of a CPU are faster with channels last.
        maps = relu6(self.stem(pictures.contiguous(memory_format=torch.channels_last)))
        outputs = []
        for stage in self.stages:
            maps = stage(maps)
            outputs.append(maps)
        return FeaturePyramid(*(outputs[index] for index in _LAST_OF_STRIDE.values()))

    def embedding(self, maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "B D"]:
        """Return the mean of the head's maps over space."""
        return maps.mean(dim=(2, 3))

    def logits(self, maps: Float[Tensor, "B D h w"]) -> Float[Tensor, "B classes"]:
        """Return class logits of the head's maps, in the order of `imagenet.CLASSES`."""
        return self.classifier(self.embedding(maps))

    def class_activation(
        self, maps: Float[Tensor, "B D h w"], classes: Sequence[int]
    ) -> Float[Tensor, "B selected h w"]:
        """Return class activation maps, in logits: the mean of a map is the logit of its class.

        Zhou et al., Learning deep features for discriminative localization (2016), equation 2.

        Args:
            maps: of the head.
            classes: indices, at least one.
        """
        indices = torch.tensor(list(classes), device=maps.device, dtype=torch.long)
        weight, bias = self.classifier.weight[indices], self.classifier.bias[indices]
        return torch.einsum("bdhw,cd->bchw", maps, weight) + bias[:, None, None]

    def word_activation(
        self, maps: Float[Tensor, "B D h w"], words: Sequence[str]
    ) -> Float[Tensor, "B words h w"]:
        """Return one class activation map a word: the maximum over the classes of the word.

        Raises:
            InputError: a word has no class, as in `imagenet.require_classes`; or no words.
        """
        if not words:
            raise InputError("no words to find; give one or more, such as 'violin'")
        by_word = [self.class_activation(maps, require_classes(word)).amax(1) for word in words]
        return torch.stack(by_word, dim=1)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: the encoder is frozen."""
        return super().train(False)


def preprocess(
    pictures: UInt8[Tensor, "B 3 H W"], picture_pixels: int, framing: Framing = "centre"
) -> Float[Tensor, "B 3 P Q"]:
    """Return RGB pictures of any size, resized and normalised as in the released evaluation.

    Departure: the released code resizes without a filter against aliasing. Here what is shrunk is
    filtered, because frames of a video may be many times as large as the network's input.

    Args:
        pictures: pixels 0..255.
        picture_pixels: side of the result, `settings.picture_pixels` of the network.
        framing: the central square that the evaluation uses (7/8 of the shorter side with 224
            pixels), or the whole picture in its proportions, whose shorter side gets
            `picture_pixels`. A long picture then takes more memory in proportion.

    Returns:
        float32 pictures: squares (centre), or of any proportions (whole).
    """
    height, width = pictures.shape[2:]
    shorter = min(height, width)
    if framing == "centre":
        side = max(1, shorter * picture_pixels // (picture_pixels + CROP_MARGIN_PIXELS))
        top, left = (height - side + 1) // 2, (width - side + 1) // 2
        pictures = pictures[:, :, top : top + side, left : left + side]
        size = (picture_pixels, picture_pixels)
    else:
        scale = picture_pixels / shorter
        size = (round(scale * height), round(scale * width))
    resized = pictures.float()
    if resized.shape[2:] != size:
        resized = interpolate(
            resized, size=size, mode="bicubic", antialias=True, align_corners=False
        ).clamp(0, 255)  # bicubic filters overshoot at edges
    return (resized - PIXEL_MEAN) / PIXEL_SPREAD


def load_efficientnet_lite(device: torch.device | str = "cpu") -> EfficientNetLite:
    """Return the shipped EfficientNet-Lite0 in float32; one network a process and device.

    It is shared by all callers: copy it before you change or move it.

    Raises:
        InputError: the shipped file is missing or damaged.
    """
    return _load_once(SHIPPED, torch.device(device))


@cache
def _load_once(path: Path, device: torch.device) -> EfficientNetLite:
    network = read_efficientnet_lite(path)
    with own_settings():
        return network.to(device)


def read_efficientnet_lite(path: Path) -> EfficientNetLite:
    """Read a network from a file of tools/convert_efficientnet_lite.py, in float32.

    Raises:
        InputError: no such file, damaged, without settings, or of other names or shapes.
    """
    settings, weights = read_shipped(
        path,
        EfficientNetLiteSettings,
        "an EfficientNet-Lite",
        "tools/convert_efficientnet_lite.py",
    )
    # The network outlives the caller's settings, such as inference mode: it is cached.
    with own_settings(), same_random_state():
        network = EfficientNetLite(settings)
        fit(network, weights, f"'{path}'")
        return network.to(memory_format=torch.channels_last)


# Layers


class _Unit(nn.Module):
    """Convolution without a bias and batch norm; depthwise where `is_depthwise`."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int, is_depthwise: bool = False
    ) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        groups = before if is_depthwise else 1
        # With stride 1, as much on both sides keeps the size, as TensorFlow's SAME does.
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(before, after, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(after, eps=_NORM_EPSILON, momentum=_NORM_MOMENTUM)

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return maps divided in size by the stride, rounded up."""
        if self.stride > 1:
            maps = pad(maps, self._padding(maps.shape[3]) + self._padding(maps.shape[2]))
        return self.norm(self.conv(maps))

    def _padding(self, num_cells: int) -> tuple[int, int]:
        """Return the padding before and after: TensorFlow's SAME, an odd cell after."""
        last_step = num_cells % self.stride or self.stride
        total = max(self.kernel - last_step, 0)
        return total // 2, total - total // 2


class _Block(nn.Module):
    """Inverted residual block: expand the channels, filter each one, project them back."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = before * expansion
        self.expand = _Unit(before, inner, 1, 1) if expansion > 1 else None
        self.depthwise = _Unit(inner, inner, kernel, stride, is_depthwise=True)
        self.project = _Unit(inner, after, 1, 1)
        self.has_shortcut = stride == 1 and before == after

    def forward(self, maps: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return maps divided in size by the stride, rounded up; no activation at the end."""
        inner = maps if self.expand is None else relu6(self.expand(maps))
        projected = self.project(relu6(self.depthwise(inner)))
        return projected + maps if self.has_shortcut else projected


def _scaled_channels(num_channels: int, width: float) -> int:
    """Scale a number of channels to a multiple of 8, no more than 10 % below the exact product."""
    exact = num_channels * width
    rounded = int(exact + _CHANNEL_MULTIPLE / 2) // _CHANNEL_MULTIPLE * _CHANNEL_MULTIPLE
    rounded = max(_CHANNEL_MULTIPLE, rounded)
    return rounded + _CHANNEL_MULTIPLE if rounded < 0.9 * exact else rounded


def _num_layers(stage: int, settings: EfficientNetLiteSettings) -> int:
    """Return the number of layers of a stage; the first and the last stage are not scaled."""
    num_layers = _STAGES[stage][0]
    if stage in (0, len(_STAGES) - 1):
        return num_layers
    return math.ceil(num_layers * settings.depth)


# Names in published weight files


def released_network(settings: EfficientNetLiteSettings) -> ReleasedNetwork:
    """Return the table of names of the package efficientnet-lite-pytorch for one size.

    There the layers of all stages are counted through, and batch norms are numbered in a block:
    one without an expansion has no `_bn0`.
    """
    renames = [
        Rename(r"_conv_stem\.weight", "stem.conv.weight"),
        Rename(r"_bn0\.(\w+)", r"stem.norm.\1"),
        Rename(r"_conv_head\.weight", "head.conv.weight"),
        Rename(r"_bn1\.(\w+)", r"head.norm.\1"),
        Rename(r"_fc\.(\w+)", r"classifier.\1"),
    ]
    number = 0
    for stage in range(len(_STAGES)):
        for layer in range(_num_layers(stage, settings)):
            theirs, ours = rf"_blocks\.{number}", f"stages.{stage}.{layer}"
            for index, unit in enumerate(("expand", "depthwise", "project")):
                renames += [
                    Rename(rf"{theirs}\._{unit}_conv\.weight", f"{ours}.{unit}.conv.weight"),
                    Rename(rf"{theirs}\._bn{index}\.(\w+)", rf"{ours}.{unit}.norm.\1"),
                ]
            number += 1
    return ReleasedNetwork(
        "EfficientNet-Lite",
        ("_conv_stem.weight", "_fc.weight"),
        tuple(renames),
        unused=(Unused(r".*num_batches_tracked", "counter of batches, for training alone"),),
    )
