"""Inception I3D: the network, published weights and motion features of a video.

Carreira, Zisserman, Quo vadis, action recognition? (2017), Figure 3. iQuery and DGFNet use its
last maps, with weights that FAME (Ding et al. 2022) learned without labels.
"""

import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import max_pool3d, pad, relu

from avsep.devices import same_random_state
from avsep.errors import InputError
from avsep.published_weights import fit, read_weights
from avsep.released import ReleasedNetwork, ReleasedSystem, Rename, Unused, Weights

Pixels = Literal["unit", "signed", "kinetics"]
Triple = tuple[int, int, int]

# One picture a second, and no more than 160 of a video (REFERENCE 3.1).
MOTION_RATE_HZ = 1.0
MAX_FRAMES = 160
# I3D is trained on 224 x 224; 160 square pictures of this side take 1.6 GB.
LONGEST_SIDE_PIXELS = 320
SMALLEST_SIDE_PIXELS = 2
# The first layer halves time, rounding down.
_FEWEST_FRAMES = 2

# Mean and standard deviation of each pixel scaling, for pixels 0..1, red, green, blue.
_PIXELS: dict[Pixels, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "signed": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
}
# Figure 3, channels of the four branches: 1x1; 1x1, 3x3x3; 1x1, 3x3x3; 1x1 after the pooling.
_MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


class I3DSettings(BaseModel):
    """Conventions under which weights were trained; `load_i3d` chooses them by the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Total padding: kernel - stride for any size (FAME), or as much as makes the output
    # ceil(size / stride) (TensorFlow's SAME). They differ for odd sizes.
    padding: Literal["fixed", "same"] = "fixed"
    norm_epsilon: float = Field(default=1e-5, gt=0)  # of the batch norms
    pixels: Pixels = "kinetics"  # 0..1 (unit), -1..1 (signed), or normalised as Kinetics


class I3D(nn.Module):
    """The convolutional trunk of Figure 3, up to the average pooling."""

    def __init__(self, settings: I3DSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or I3DSettings()
        self.num_channels = 1024
        layers: dict[str, nn.Module] = {
            "conv_1a": _Unit(3, 64, 7, 2, settings),
            "pool_2a": _Pool((1, 3, 3), (1, 2, 2), settings),
            "conv_2b": _Unit(64, 64, 1, 1, settings),
            "conv_2c": _Unit(64, 192, 3, 1, settings),
            "pool_3a": _Pool((1, 3, 3), (1, 2, 2), settings),
        }
        num_channels = 192
        for name, widths in _MIXED.items():
            if name == "4b":
                layers["pool_4a"] = _Pool((3, 3, 3), (2, 2, 2), settings)
            if name == "5b":
                layers["pool_5a"] = _Pool((2, 2, 2), (2, 2, 2), settings)
            layers[f"mixed_{name}"] = _Mixed(num_channels, widths, settings)
            num_channels = widths[0] + widths[2] + widths[4] + widths[5]
        assert num_channels == self.num_channels, "the last block has num_channels channels"
        self.layers = nn.Sequential(OrderedDict(layers))

    def forward(self, frames: Float[Tensor, "N 3 K H W"]) -> Float[Tensor, "N D k h w"]:
        """Return maps of 1/8 of the frames, 1/32 of height and width; pixels already scaled."""
        return self.layers(frames)


@same_random_state()
def load_i3d(path: str | os.PathLike[str]) -> I3D:
    """Load I3D in eval mode with published weights: FAME's, or in the layout of pytorch-i3d.

    Heads and the second encoder of FAME's training are ignored.

    Raises:
        InputError: no such file, neither layout, or names and shapes that do not fit.
    """
    weights = read_weights(path)
    layouts = [name for name, (network, _) in _LAYOUTS.items() if network.prefixes(weights)]
    if not layouts:
        required = " or ".join(
            f"'{network.marks[0]}' ({name})" for name, (network, _) in _LAYOUTS.items()
        )
        raise InputError(
            f"'{os.fspath(path)}' is no I3D: none of its names is {required}; give FAME's or "
            "pytorch-i3d's weights"
        )
    layout = layouts[0]
    network, settings = _LAYOUTS[layout]
    # Other prefixes are those of copies, such as FAME's momentum encoder.
    prefix = network.prefixes(weights)[0]
    trunk = network.translate(
        {
            name.removeprefix(prefix): weight
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
    )
    model = I3D(settings)
    unknown = {name: weights[prefix + name] for name in trunk.unknown}
    fit(model, trunk.weights | unknown, f"'{os.fspath(path)}' ({layout})")
    return model.eval()


def motion_features(
    frames: UInt8[np.ndarray, "K H W 3"],
    model: I3D,
    *,
    pixels: Pixels | None = None,
    max_frames: int = MAX_FRAMES,
) -> Float32[Tensor, "D k"]:
    """Compute the motion features F_M of frames, max-pooled over space (DGFNet, section 3.2.1).

    Takes about 100 bytes of memory per pixel and frame, so shrink large pictures first.

    Departure: iQuery runs I3D in training mode on pixels of 0..1, so that its batch norms use the
    statistics of the current video. Here they use the learned statistics, with pixels scaled as in
    training, and features do not depend on how a video is cut.

    Args:
        frames: one picture a second, as in iQuery; a single one is repeated.
        model: network of `load_i3d`.
        pixels: pixel scaling, if not that of the model's weights.
        max_frames: later frames are ignored.

    Returns:
        One vector for about every eight frames.
    """
    assert frames.shape[0] >= 1 and max_frames >= 1, "give at least one frame"
    assert min(frames.shape[1:3]) >= SMALLEST_SIDE_PIXELS, "frames are at least 2 x 2 pixels"
    assert not model.training, "call model.eval() first: features come from learned statistics"
    clip = torch.from_numpy(np.ascontiguousarray(frames[:max_frames]))
    if len(clip) < _FEWEST_FRAMES:
        clip = clip.expand(_FEWEST_FRAMES, -1, -1, -1)
    device = next(model.parameters()).device
    mean, std = (
        torch.tensor(values, device=device) for values in _PIXELS[pixels or model.settings.pixels]
    )
    scaled = (clip.to(device).float() / 255 - mean) / std
    with torch.inference_mode():
        maps = model(scaled.permute(3, 0, 1, 2)[None])[0]  # D k h w
    # The copy, made outside inference mode, can be used where gradients are computed.
    return maps.amax((2, 3)).clone()


def video_motion_features(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]], model: I3D
) -> Float32[Tensor, "D k"]:
    """Compute the motion features of a video from one picture a second.

    Pictures are consumed one at a time, and none after the 160th, so they may come from a decoder;
    they are resized to the first one. The result is on the model's device.

    Departure: iQuery does not resize pictures. Here a longer side of more than 320 pixels is shrunk
    to 320, which bounds the memory and is closer to the size in I3D's training.

    Args:
        pictures: RGB pictures of any size, at least one.
        model: network of `load_i3d`.
    """
    return motion_features(np.stack(list(_resized(islice(pictures, MAX_FRAMES)))), model)


def _resized(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]],
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Resize pictures to the size of the first one, itself shrunk if it is too large."""
    size = None
    for picture in pictures:
        size = size or _bounded_size(*picture.shape[:2])
        if picture.shape[:2] == size:
            yield picture
            continue
        height, width = size
        # Pillow widens its bilinear filter when it shrinks, so nothing aliases.
        image = Image.fromarray(np.ascontiguousarray(picture))
        yield np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _bounded_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width scaled down to the longest side that is allowed."""
    scale = min(1.0, LONGEST_SIDE_PIXELS / max(height, width))
    return (
        max(SMALLEST_SIDE_PIXELS, round(scale * height)),
        max(SMALLEST_SIDE_PIXELS, round(scale * width)),
    )


# Layers of I3D


class _Unit(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, num_before: int, num_after: int, kernel: int, stride: int, settings: I3DSettings
    ) -> None:
        super().__init__()
        self.kernel: Triple = (kernel, kernel, kernel)
        self.stride: Triple = (stride, stride, stride)
        self.fits_size = settings.padding == "same"
        self.conv = nn.Conv3d(num_before, num_after, self.kernel, self.stride, bias=False)
        self.norm = nn.BatchNorm3d(num_after, eps=settings.norm_epsilon)

    def forward(self, maps: Float[Tensor, "N C K H W"]) -> Float[Tensor, "N D k h w"]:
        """Return maps divided in size by the stride, never negative."""
        padded = _pad(maps, self.kernel, self.stride, self.fits_size)
        return relu(self.norm(self.conv(padded)), inplace=True)


class _Pool(nn.Module):
    """Max pooling; padding counts as 0."""

    def __init__(self, kernel: Triple, stride: Triple, settings: I3DSettings) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.fits_size = settings.padding == "same"

    def forward(self, maps: Float[Tensor, "N C K H W"]) -> Float[Tensor, "N C k h w"]:
        """Return maps divided in size by the stride, rounded up."""
        padded = _pad(maps, self.kernel, self.stride, self.fits_size)
        return max_pool3d(padded, self.kernel, self.stride, ceil_mode=True)


class _Mixed(nn.Module):
    """An inflated Inception block: four branches side by side (Figure 3, right)."""

    def __init__(self, num_before: int, widths: Sequence[int], settings: I3DSettings) -> None:
        super().__init__()
        point, squeeze, cube, squeeze_less, cube_less, pooled = widths
        self.branches = nn.ModuleList(
            [
                nn.Sequential(_Unit(num_before, point, 1, 1, settings)),
                nn.Sequential(
                    _Unit(num_before, squeeze, 1, 1, settings),
                    _Unit(squeeze, cube, 3, 1, settings),
                ),
                nn.Sequential(
                    _Unit(num_before, squeeze_less, 1, 1, settings),
                    _Unit(squeeze_less, cube_less, 3, 1, settings),
                ),
                nn.Sequential(
                    _Pool((3, 3, 3), (1, 1, 1), settings),
                    _Unit(num_before, pooled, 1, 1, settings),
                ),
            ]
        )

    def forward(self, maps: Float[Tensor, "N C K H W"]) -> Float[Tensor, "N D K H W"]:
        """Return the maps of all branches, concatenated in order."""
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


def _pad(
    maps: Float[Tensor, "N C K H W"], kernel: Triple, stride: Triple, fits_size: bool
) -> Float[Tensor, "N C k h w"]:
    """Pad with zeros on both sides, an odd one at the end."""
    amounts = []
    for num_cells, width, step in zip(maps.shape[2:], kernel, stride, strict=True):
        last_step = (num_cells % step or step) if fits_size else step
        total = max(width - last_step, 0)
        amounts = [total // 2, total - total // 2, *amounts]  # `pad` counts from the last axis
    return pad(maps, amounts) if any(amounts) else maps


# Names in published weight files


def _trunk_renames(
    first: str, mixed: str, branches: tuple[tuple[str, str], ...], norm: str
) -> tuple[Rename, ...]:
    """Return the names of the trunk: of its single units, and of those in Inception blocks."""
    units = (
        (rf"{first}_(\d\w)_\dx\d", r"conv_\1"),
        *(
            (rf"{mixed}_(\d\w)\.{branch}", rf"mixed_\1.branches.{ours}")
            for branch, ours in branches
        ),
    )
    return tuple(
        row
        for unit, ours in units
        for row in (
            Rename(rf"{unit}\.conv3d\.weight", f"layers.{ours}.conv.weight"),
            Rename(
                rf"{unit}\.{norm}\.(\w+)",
                f"layers.{ours}.norm.\\{re.compile(unit).groups + 1}",
            ),
        )
    )


_HEAD = "a head behind the trunk, which motion features do not use"
FAME = ReleasedNetwork(
    "I3D",
    ("conv3d_1a_7x7.conv3d.weight",),
    _trunk_renames(
        "conv3d", "mixed", ((r"branch_0", "0.0"), (r"branch_(\d)\.(\d)", r"\2.\3")), "batch3d"
    ),
    unused=(Unused(r"(id_head|projection|fc)\..+", _HEAD),),
)
PYTORCH_I3D = ReleasedNetwork(
    "I3D",
    ("Conv3d_1a_7x7.conv3d.weight",),
    _trunk_renames(
        "Conv3d",
        "Mixed",
        ((r"b0", "0.0"), (r"b(\d)a", r"\2.0"), (r"b(\d)b", r"\2.1")),
        "bn",
    ),
    unused=(Unused(r"logits\..+", _HEAD),),
)


def _no_settings(weights: Weights) -> dict[str, object]:
    return {}


# Both layouts keep their names, by which `load_i3d` chooses the settings.
RELEASE = ReleasedSystem(
    model="",
    repository="github.com/Mark12Ding/FAME",
    licence="Apache-2.0",
    networks=(FAME, PYTORCH_I3D),
    settings=_no_settings,
)
_LAYOUTS = {
    "layout of FAME": (FAME, I3DSettings()),
    "layout of pytorch-i3d": (
        PYTORCH_I3D,
        I3DSettings(padding="same", norm_epsilon=1e-3, pixels="signed"),
    ),
}
