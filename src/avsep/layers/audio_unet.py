"""The audio U-Net of Sound of Pixels, iQuery and DGFNet, split at its middle or bottom.

Axes beside those of records.py: Z input maps, D d E channels, f t rows and columns of maps,
N the sources of all mixtures in a row (a multiple of B).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from avsep.released import Rename, Weights


class UNetSettings(BaseModel):
    """Sizes of the U-Net; the defaults are DGFNet's: 64 channels, doubled up to 512."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field(
        default=(64, 128, 256, 512, 512, 512, 512),
        min_length=2,
        description="of each downsampling layer; each halves both axes",
    )
    num_features: int = Field(default=32, gt=0, description="channels of the final features")
    last_bias: bool = Field(
        default=False,
        description="the last convolution has a bias (Sound of Pixels; iQuery and DGFNet: none)",
    )
    num_layers_after_middle: int = Field(
        default=3, ge=1, description="upsampling layers after the middle; its stride is 2 ** this"
    )

    @property
    def middle_channels(self) -> int:
        """Channels of the intermediate features, C_A."""
        return self.channels[self.num_layers_after_middle - 1]


class AudioUNet(nn.Module):
    """U-Net from a spectrogram to audio features (DGFNet, section 3.2.2; REFERENCE 2.6).

    `to_middle` returns the intermediate features F_a^mid and `from_middle` continues from them to
    the final features F_a, so that a model can fuse visual features in between, differently for
    each source of a mixture. `to_bottom` and `from_bottom` do the same at the bottleneck.
    """

    def __init__(
        self,
        settings: UNetSettings | None = None,
        num_inputs: int = 1,
        bottom_channels: int | None = None,
        *,
        make_attention: Callable[[int], nn.Module] | None = None,
        num_attention_layers: int | None = None,
    ) -> None:
        """Build the downsampling and upsampling layers.

        Args:
            settings: sizes; None for the defaults.
            num_inputs: input maps Z.
            bottom_channels: input channels of the upsampling path; None: those of the last
                downsampling layer.
            make_attention: number of channels -> attention module after an upsampling layer;
                None: no attention.
            num_attention_layers: number of deepest layers with attention; None: all.
        """
        super().__init__()
        self.settings = settings or UNetSettings()
        channels, depth = self.settings.channels, len(self.settings.channels)
        inputs = (num_inputs, *channels)
        num_attended = num_attention_layers or depth
        # Sound of Pixels normalises the spectrogram itself before the first convolution.
        self.input_norm = nn.BatchNorm2d(num_inputs)
        self.down = nn.ModuleList(
            DownLayer(inputs[k], inputs[k + 1], first=k == 0, innermost=k == depth - 1)
            for k in range(depth)
        )
        # Layer k restores the resolution of the input of downsampling layer k. All but the deepest
        # read the skip connection beside the layer below: twice the channels.
        self.up = nn.ModuleList(
            UpLayer(
                (bottom_channels or channels[k]) if k == depth - 1 else 2 * channels[k],
                self.settings.num_features if k == 0 else channels[k - 1],
                last=k == 0,
                bias=k == 0 and self.settings.last_bias,
                make_attention=make_attention if depth - k <= num_attended else None,
            )
            for k in range(depth)
        )

    def to_bottom(self, spectrogram: Float[Tensor, "B Z F T"]) -> list[Tensor]:
        """Return the output of every downsampling layer, largest first."""
        maps = [self.input_norm(spectrogram)]
        for layer in self.down:
            maps.append(layer(maps[-1]))
        return maps[1:]

    def from_bottom(
        self, bottom: Float[Tensor, "N D f t"], maps: Sequence[Float[Tensor, "B ..."]]
    ) -> Float[Tensor, "N E F T"]:
        """Return final features of one bottom per mixture (N = B) or per source (N = B S)."""
        return self.from_middle(self.up[-1](bottom), maps[:-1])

    def to_middle(
        self, spectrogram: Float[Tensor, "B Z F T"]
    ) -> tuple[Float[Tensor, "B D f t"], list[Tensor]]:
        """Return the intermediate features F_a^mid and the skip connections, largest first."""
        maps = self.to_bottom(spectrogram)
        features = self.up[-1](maps[-1])
        num_skips = self.settings.num_layers_after_middle
        for k in range(len(self.up) - 2, num_skips - 1, -1):
            features = self.up[k](features, maps[k])
        return features, maps[:num_skips]

    def from_middle(
        self, middle: Float[Tensor, "N D f t"], skips: Sequence[Tensor]
    ) -> Float[Tensor, "N E F T"]:
        """Return final features F_a of one middle per mixture (N = B) or per source (N = B S)."""
        for k in range(len(skips) - 1, -1, -1):
            middle = self.up[k](middle, skips[k])
        return middle


class DownLayer(nn.Module):
    """LeakyReLU, convolution of stride 2, batch norm (REFERENCE 2.6).

    The first layer has no activation in front; the first and the innermost have no batch norm.
    """

    def __init__(self, num_in: int, num_out: int, *, first: bool, innermost: bool) -> None:
        super().__init__()
        self.activation = nn.Identity() if first else nn.LeakyReLU(0.2)
        self.convolution = Halving(num_in, num_out, bias=False)
        self.norm = nn.Identity() if first or innermost else nn.BatchNorm2d(num_out)

    def forward(self, maps: Float[Tensor, "B D F T"]) -> Float[Tensor, "B E f t"]:
        """Return maps of half the height and width."""
        return self.norm(self.convolution(self.activation(maps)))


class Halving(nn.Conv2d):
    """A convolution 4 x 4 of stride 2."""

    def __init__(self, num_in: int, num_out: int, *, bias: bool) -> None:
        super().__init__(num_in, num_out, 4, stride=2, padding=1, bias=bias)

    def forward(self, input: Float[Tensor, "B D F T"]) -> Float[Tensor, "B E f t"]:
        """Return maps of half the height and width."""
        with exact_if_narrow(input, 4) as maps:
            return super().forward(maps).to(input.dtype)


@contextmanager
def exact_if_narrow(maps: Tensor, num_columns: int) -> Iterator[Tensor]:
    """Yield maps in float32, without autocast, on a CPU if they have fewer columns.

    Where one column is left, the bfloat16 kernels for processors with AMX read past the end of the
    maps, in strided convolutions and in the gradients of transposed ones: numbers of 1e35 and NaN,
    other ones in each run (PyTorch issue 169688).
    """
    if maps.shape[-1] >= num_columns or maps.device.type != "cpu":
        yield maps
        return
    with torch.autocast("cpu", enabled=False):
        yield maps.float()


class UpLayer(nn.Module):
    """ReLU, bilinear upsampling, convolution, batch norm, optional audio attention.

    The convolution of [skip, below] is a sum of two convolutions; that of the skip, the same for
    all sources of a mixture, is computed once.
    """

    def __init__(
        self,
        num_in: int,
        num_out: int,
        *,
        last: bool,
        bias: bool,
        make_attention: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(num_in, num_out, 3, padding=1, bias=bias)
        self.norm = nn.Identity() if last else nn.BatchNorm2d(num_out)
        self.attention = make_attention(num_out) if make_attention else nn.Identity()

    def forward(
        self, below: Float[Tensor, "N D f t"], skip: Float[Tensor, "B d f t"] | None = None
    ) -> Float[Tensor, "N E F T"]:
        """Return maps of twice the height and width; N is a multiple of B (sources)."""
        weight, bias = self.convolution.weight, self.convolution.bias
        if skip is None:
            features = conv2d(_upsample(below), weight, bias, padding=1)
        else:
            # The first input channels belong to the skip, as in the released weights.
            num_skip = skip.shape[1]
            features = conv2d(_upsample(below), weight[:, num_skip:], bias, padding=1)
            shared = conv2d(_upsample(skip), weight[:, :num_skip], padding=1)
            num_sources = len(below) // len(skip)
            if num_sources > 1:
                shared = shared.repeat_interleave(num_sources, dim=0)
            features = features + shared
        return self.attention(self.norm(features))


def _upsample(maps: Float[Tensor, "B D f t"]) -> Float[Tensor, "B D F T"]:
    # Corners are aligned as in Sound of Pixels (REFERENCE 2.6).
    return interpolate(torch.relu(maps), scale_factor=2, mode="bilinear", align_corners=True)


# Released weights


def nested_renames(max_depth: int = 9) -> tuple[Rename, ...]:
    """Return the names of Sound of Pixels' U-Net, in which each level contains the next one.

    A level is a sequence: of the outermost 0 is the convolution down, 1 the next level and 4 the
    convolution up; of the others 1, 3 and 6, with batch norms at 2 and 7; the innermost has no
    level in it, so that its way up is at 4 and 5.
    """
    down, up = "audio_network.down", "audio_network.up"
    rows = [
        Rename(r"bn0\.(\w+)", r"audio_network.input_norm.\1"),
        Rename(r"unet_block\.model\.0\.weight", f"{down}.0.convolution.weight"),
        Rename(r"unet_block\.model\.4\.(\w+)", rf"{up}.0.convolution.\1"),
    ]
    prefix = r"unet_block\.model\.1\.model\."
    for level in range(1, max_depth):
        rows += [
            Rename(rf"{prefix}1\.(\w+)", rf"{down}.{level}.convolution.\1"),
            Rename(rf"{prefix}2\.(\w+)", rf"{down}.{level}.norm.\1"),
            Rename(rf"{prefix}[46]\.(\w+)", rf"{up}.{level}.convolution.\1"),
            Rename(rf"{prefix}[57]\.(\w+)", rf"{up}.{level}.norm.\1"),
        ]
        prefix += r"3\.model\."
    return tuple(rows)


def numbered_renames(max_depth: int = 9) -> tuple[Rename, ...]:
    """Return the names of iQuery's U-Net, whose levels are numbered from 1."""
    rows = [Rename(r"bn0\.(\w+)", r"audio_network.input_norm.\1")]
    for level in range(max_depth):
        for way in ("down", "up"):
            ours = f"audio_network.{way}.{level}"
            rows += [
                Rename(rf"{way}conv{level + 1}\.(\w+)", rf"{ours}.convolution.\1"),
                Rename(rf"{way}norm{level + 1}\.(\w+)", rf"{ours}.norm.\1"),
            ]
    return tuple(rows)


def read_unet_settings(weights: Weights) -> dict[str, object]:
    """Return the settings of the U-Net that weights under avsep's names belong to."""
    depth = sum(".down." in name and name.endswith("convolution.weight") for name in weights)
    kernels = [weights[f"audio_network.down.{k}.convolution.weight"] for k in range(depth)]
    return {
        "channels": [len(kernel) for kernel in kernels],
        "num_features": len(weights["audio_network.up.0.convolution.weight"]),
        "last_bias": "audio_network.up.0.convolution.bias" in weights,
    }
