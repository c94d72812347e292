"""DAVIS' Separation U-Net on noisy source and mixture, conditioned on visual features.

Axes as in convolution_attention.py; R T rows and frames of the spectrogram.
"""

import math
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_unshuffle, scaled_dot_product_attention

from avsep.models.davis.convolution_attention import (
    BlockName,
    ChannelNorm,
    Convolution,
    ConvolutionAttentionSettings,
    ResNetBlock,
    TimeAttention,
    TimeFrequencyAttention,
)

FusionName = Literal["concat", "point-wise", "local", "global", "local+global"]
# Longest period of the timestep embedding over 2 pi (Vaswani et al. 2017, section 3.5).
_TIME_PERIOD = 10_000.0


class SeparationUNetSettings(BaseModel):
    """Size of the network and switches of Tables 2 and 3; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field(
        default=(64, 128, 256, 256, 512),
        min_length=2,
        description="after each level; rows and frames are halved between levels",
    )
    blocks: tuple[BlockName, BlockName, BlockName] = Field(
        default=("R", "TF", "T"), description="of each level (Table 2)"
    )
    fusion: FusionName = Field(
        default="local+global", description="of audio and visual features (Table 3)"
    )
    attention: ConvolutionAttentionSettings = ConvolutionAttentionSettings()
    input_gains: tuple[float, float] = Field(
        default=(1.0, 1.0),
        description="ours: gains of mixture and noisy source at the input; compressed magnitudes "
        "are around 0.1 and noise around 1",
    )
    visual_every_block: bool = Field(
        default=False,
        description="ours: visual features also scale and shift every block, like the timestep",
    )
    fold: tuple[int, int] = Field(
        default=(1, 1),
        description="ours: rows and frames that form one cell of the network, as channels",
    )

    @field_validator("blocks")
    @classmethod
    def _begins_with_resnet(
        cls, value: tuple[BlockName, BlockName, BlockName]
    ) -> tuple[BlockName, BlockName, BlockName]:
        if value[0] != "R":
            raise ValueError("the first block must be R, which reads the skip connection")
        return value

    @property
    def cells(self) -> tuple[int, int]:
        """Divisors of the numbers of rows and frames."""
        # The last level does not halve.
        stride = 2 ** (len(self.channels) - 1)
        return self.fold[0] * stride, self.fold[1] * stride


class SeparationUNet(nn.Module):
    """U-Net of Convolution-Attention levels (section 3.3, Figures 2 and 3).

    Departure: the paper halves five times, by convolutions of stride 2, down to 1/32; its code four
    times, by pixel-unshuffle and a 1 x 1 convolution, down to 1/16, as here.

    Departure: the code has a scale and shift by the timestep for the three blocks of the feature
    interaction module and never uses them: 3 x (256 x 1,024 + 1,024) = 789,504 of its 36,549,603
    parameters, left out here.
    """

    def __init__(
        self, settings: SeparationUNetSettings, num_rows: int, visual_channels: int
    ) -> None:
        super().__init__()
        if num_rows % settings.cells[0]:
            raise ValueError(f"{num_rows} rows are no multiple of {settings.cells[0]}")
        self.settings = settings
        first = settings.channels[0]
        time_width = 4 * first
        num_folded = math.prod(settings.fold)
        widths = list(pairwise((first, *settings.channels)))  # channels before and after a level
        rows = [num_rows // settings.fold[0] // 2**level for level in range(len(widths))]
        self.time = TimestepEmbedding(first, time_width)
        self.visual = (
            nn.Linear(visual_channels, time_width) if settings.visual_every_block else None
        )
        self.enter = nn.Conv2d(2 * num_folded, first, 1)
        self.down = nn.ModuleList(
            _Level(before, 0, settings, height, time_width)
            for (before, _), height in zip(widths, rows, strict=True)
        )
        # Pixel-unshuffle by 2 gives four times the channels, which a 1 x 1 convolution reads; the
        # last level keeps its size.
        self.shrink = nn.ModuleList(
            [
                *(nn.Conv2d(4 * before, after, 1) for before, after in widths[:-1]),
                nn.Conv2d(*widths[-1], 3, padding=1),
            ]
        )
        self.interaction = FeatureInteraction(settings, visual_channels)
        self.up = nn.ModuleList(
            _Level(after, before, settings, height, time_width)
            for (before, after), height in zip(widths[::-1], rows[::-1], strict=True)
        )
        self.grow = nn.ModuleList(
            Convolution(after, before, 3, padding=1) for before, after in widths[::-1]
        )
        self.last = ResNetBlock(2 * first, first, time_width)
        self.leave = nn.Conv2d(first, num_folded, 1)

    def reduce_precision(self, *, reduced: bool) -> None:
        """Compute most convolutions and the projections of TF blocks in bfloat16, or none.

        Everything between them stays in float32. The output is more than 40 dB from that of
        float32, which it is not under autocast (`benchmarks/bench_davis.py`).
        """
        # The last convolutions stay in float32: their rounding goes straight into the output.
        precise = {*self.last.modules(), self.grow[-1]}
        for module in self.modules():
            if isinstance(module, Convolution | TimeFrequencyAttention):
                module.in_bfloat16 = reduced and module not in precise

    def forward(
        self,
        noisy: Float[Tensor, "B R T"],
        mixture: Float[Tensor, "B R T"],
        timestep: Float[Tensor, " B"],
        visual: Float[Tensor, "B visual"],
    ) -> Float[Tensor, "B R T"]:
        """Return the prediction of each cell, epsilon_theta(x_t, c, t) of equation 4.

        Args:
            noisy: x_t, a compressed magnitude with noise.
            mixture: x_mix, the compressed magnitude of the mixture.
            timestep: t of each item, 0..1000.
            visual: v, visual features of the source.
        """
        time = self.time(timestep)
        if self.visual is not None:
            time = time + self.visual(visual)
        mixture_gain, noisy_gain = self.settings.input_gains
        pair = torch.stack([mixture_gain * mixture, noisy_gain * noisy], dim=1)
        pair = fold(pair, self.settings.fold)
        first = self.enter(pair.contiguous(memory_format=torch.channels_last))
        maps, skips = first, []
        # Blocks are called here and not in a module of the level: the arguments of a module call
        # are held by the caller until it returns, so the input maps of a level could not be freed.
        for level, shrink in zip(self.down, self.shrink, strict=True):
            for block in _blocks(level):
                maps = block(maps, time)
            # Without gradients blocks overwrite their input, but `shrink` returns new maps.
            skips.append(maps)
            maps = shrink(maps if len(skips) == len(self.down) else pixel_unshuffle(maps, 2))
        maps = self.interaction(maps, visual)
        for level, grow in zip(self.up, self.grow, strict=True):
            maps = torch.cat([maps, skips.pop()], dim=1)
            for block in _blocks(level):
                maps = block(maps, time)
            maps = grow(interpolate(maps, scale_factor=2.0, mode="nearest") if skips else maps)
        maps = torch.cat([maps, first], dim=1)
        maps = self.last(maps, time)
        return unfold(self.leave(maps), self.settings.fold)[:, 0]


class TimestepEmbedding(nn.Module):
    """Embedding of the timestep: sines and cosines through an MLP (section 3.3)."""

    def __init__(self, num_sines: int, width: int) -> None:
        super().__init__()
        self.num_sines = num_sines
        self.layers = nn.Sequential(nn.Linear(num_sines, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, timestep: Float[Tensor, " B"]) -> Float[Tensor, "B W"]:
        """Embed timesteps; the periods range from 2 pi to ten thousand times that."""
        half = self.num_sines // 2
        exponents = torch.arange(half, device=timestep.device, dtype=torch.float32) / (half - 1)
        angles = timestep.float()[:, None] * torch.exp(-math.log(_TIME_PERIOD) * exponents)
        sines = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return self.layers(sines)


class FeatureInteraction(nn.Module):
    """Feature interaction module of audio and visual features (section 3.3, Figure 3 b, Table 3).

    Departure: the paper calls the attention of this module time-frequency attention; in the code it
    is full softmax attention, which is affordable for 16 x 16 cells.
    """

    def __init__(self, settings: SeparationUNetSettings, visual_channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_interaction_layers(settings, visual_channels))

    def forward(
        self, audio: Float[Tensor, "B D f t"], visual: Float[Tensor, "B visual"]
    ) -> Float[Tensor, "B D f t"]:
        """Return audio features f_a conditioned on visual features v: FIM([f_a, f_v])."""
        # f_v: the visual features tiled to every cell of the audio maps.
        tiled = visual.to(audio.dtype)[:, :, None, None].expand(-1, -1, *audio.shape[2:])
        maps = torch.cat([audio, tiled], dim=1).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            maps = layer(maps, None) if isinstance(layer, ResNetBlock) else layer(maps)
        return maps


class MapAttention(nn.Module):
    """Full softmax attention among all cells of a small map, with residual."""

    def __init__(self, num_channels: int, size: ConvolutionAttentionSettings) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        inner = size.num_heads * size.head_width
        self.norm = ChannelNorm(num_channels)
        self.to_heads = nn.Linear(num_channels, 3 * inner, bias=False)
        self.from_heads = nn.Linear(inner, num_channels)

    def forward(self, maps: Float[Tensor, "B D f t"]) -> Float[Tensor, "B D f t"]:
        """Return maps after attention of each cell to all cells."""
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)
        heads = self.to_heads(self.norm(cells)).unflatten(2, (3, self.num_heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # B heads cells width
        update = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        update = self.from_heads(update).unflatten(1, maps.shape[2:])
        return maps + update.permute(0, 3, 1, 2)


class _Level(nn.Module):
    """Convolution-Attention block (Figure 3 a): three blocks, the first reads the skip as well."""

    def __init__(
        self,
        num_channels: int,
        num_skipped: int,
        settings: SeparationUNetSettings,
        num_rows: int,
        time_width: int,
    ) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        size = settings.attention
        for place, block in enumerate(settings.blocks):
            if block == "R":
                before = num_channels + (num_skipped if place == 0 else 0)
                blocks.append(ResNetBlock(before, num_channels, time_width))
            elif block == "TF":
                blocks.append(TimeFrequencyAttention(num_channels, time_width, size))
            else:
                blocks.append(TimeAttention(num_channels, num_rows, time_width, size))
        self.blocks = nn.ModuleList(blocks)


def _blocks(level: nn.Module) -> nn.ModuleList:
    # Narrows the type: iterating an nn.ModuleList gives nn.Module.
    assert isinstance(level, _Level), "down and up are lists of levels"
    return level.blocks


def fold(maps: Float[Tensor, "B D R T"], cell: tuple[int, int]) -> Float[Tensor, "B E f t"]:
    """Move `cell` rows and frames of each channel into the channels of one cell."""
    if cell == (1, 1):
        return maps
    rows, frames = cell
    parts = maps.unflatten(3, (-1, frames)).unflatten(2, (-1, rows))  # B D f rows t frames
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def unfold(maps: Float[Tensor, "B E f t"], cell: tuple[int, int]) -> Float[Tensor, "B D R T"]:
    """Invert `fold`."""
    if cell == (1, 1):
        return maps
    parts = maps.unflatten(1, (-1, *cell))  # B D rows frames f t
    return parts.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


def _interaction_layers(settings: SeparationUNetSettings, visual_channels: int) -> list[nn.Module]:
    """Build the layers of a row of Table 3."""
    width, size = settings.channels[-1], settings.attention
    both = width + visual_channels
    # The paper does not say how concatenated channels are reduced where no ResNet block does it;
    # here by a 1 x 1 convolution.
    if settings.fusion == "concat":
        return [nn.Conv2d(both, width, 1)]
    if settings.fusion == "point-wise":
        second, third = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        return [nn.Conv2d(both, width, 1), nn.SiLU(), second, nn.SiLU(), third]
    if settings.fusion == "global":
        return [nn.Conv2d(both, width, 1), *(MapAttention(width, size) for _ in range(3))]
    is_local = settings.fusion == "local"
    middle = ResNetBlock(width, width, None) if is_local else MapAttention(width, size)
    return [ResNetBlock(both, width, None), middle, ResNetBlock(width, width, None)]
