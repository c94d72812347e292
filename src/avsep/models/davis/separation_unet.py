"""DAVIS' Separation U-Net: what is noisy and what is heard, down, past what is seen, and up again.

Axes as in convolution_attention.py; R T rows and frames of the representation.
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
    AttentionSettings,
    BlockName,
    ChannelNorm,
    Convolution,
    ResNetBlock,
    TimeAttention,
    TimeFrequencyAttention,
)

FusionName = Literal["concat", "point-wise", "local", "global", "local+global"]
_TIME_PERIOD = 10_000.0


class SeparationUNetSettings(BaseModel):
    """The size of the network and the switches of Tables 2 and 3; the defaults are the paper's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: tuple[int, ...] = Field(
        default=(64, 128, 256, 256, 512),
        min_length=2,
        description="behind each level; rows and frames are halved between levels",
    )
    blocks: tuple[BlockName, BlockName, BlockName] = Field(
        default=("R", "TF", "T"), description="of each level (Table 2)"
    )
    fusion: FusionName = Field(
        default="local+global", description="how what is heard meets what is seen (Table 3)"
    )
    attention: AttentionSettings = AttentionSettings()
    input_gains: tuple[float, float] = Field(
        default=(1.0, 1.0),
        description="ours: of the mixture and of what is noisy, on their way in; represented "
        "sounds are tenths, and noise of ones would drown them",
    )
    seen_everywhere: bool = Field(
        default=False,
        description="ours: what is seen also scales and shifts every block, as the timestep does",
    )
    fold: tuple[int, int] = Field(
        default=(1, 1),
        description="ours: so many rows and frames are one cell of the network, their values its "
        "channels",
    )

    @field_validator("blocks")
    @classmethod
    def _begins_with_resnet(
        cls, value: tuple[BlockName, BlockName, BlockName]
    ) -> tuple[BlockName, BlockName, BlockName]:
        if value[0] != "R":
            raise ValueError("the first block must be R, which takes the skipped channels in")
        return value

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and frames must be multiples of these."""
        halved = 2 ** (len(self.channels) - 1)
        return self.fold[0] * halved, self.fold[1] * halved


class SeparationUNet(nn.Module):
    """The network of sections 3.3, Figures 2 and 3.

    Departure: the paper halves five times, by convolutions of stride 2, down to a 32nd; its code
    four times, by pixel-unshuffle and a 1 x 1 convolution, down to a 16th, which is done here.

    Departure: the code holds a scale and shift by the timestep for the three blocks of the feature
    interaction module and never uses them: 3 x (256 x 1,024 + 1,024) = 789,504 of its 36,549,603
    parameters, left out here.
    """

    def __init__(self, settings: SeparationUNetSettings, num_rows: int, seen_channels: int) -> None:
        super().__init__()
        if num_rows % settings.cells[0]:
            raise ValueError(f"{num_rows} rows are no multiple of {settings.cells[0]}")
        self.settings = settings
        first = settings.channels[0]
        time_width = 4 * first
        num_folded = math.prod(settings.fold)
        widths = list(pairwise((first, *settings.channels)))  # before and behind each level
        rows = [num_rows // settings.fold[0] // 2**level for level in range(len(widths))]
        self.time = TimestepEmbedding(first, time_width)
        self.seen = nn.Linear(seen_channels, time_width) if settings.seen_everywhere else None
        self.enter = nn.Conv2d(2 * num_folded, first, 1)
        self.down = nn.ModuleList(
            _Level(before, 0, settings, height, time_width)
            for (before, _), height in zip(widths, rows, strict=True)
        )
        self.shrink = nn.ModuleList(
            [
                *(nn.Conv2d(4 * before, after, 1) for before, after in widths[:-1]),
                nn.Conv2d(*widths[-1], 3, padding=1),
            ]
        )
        self.interaction = FeatureInteraction(settings, seen_channels)
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
        """Do most convolutions, and the projections of TF blocks, in bfloat16, or none.

        The last convolutions stay in float32, and so does all between them: the output is then
        more than 40 dB from float32 throughout, which it is not under autocast
        (`benchmarks/bench_davis.py`).
        """
        precise = {*self.last.modules(), self.grow[-1]}
        for module in self.modules():
            if isinstance(module, Convolution | TimeFrequencyAttention):
                module.in_bfloat16 = reduced and module not in precise

    def forward(
        self,
        noisy: Float[Tensor, "B R T"],
        mixture: Float[Tensor, "B R T"],
        timestep: Float[Tensor, " B"],
        seen: Float[Tensor, "B seen"],
    ) -> Float[Tensor, "B R T"]:
        """What the network says of each cell; timesteps count 0..1000."""
        time = self.time(timestep)
        if self.seen is not None:
            time = time + self.seen(seen)
        of_mixture, of_noisy = self.settings.input_gains
        pair = torch.stack([of_mixture * mixture, of_noisy * noisy], dim=1)
        pair = fold(pair, self.settings.fold)
        entered = self.enter(pair.contiguous(memory_format=torch.channels_last))
        maps, skips = entered, []
        # A caller holds on to what it gave, so maps go from block to block here, not in a module.
        for level, shrink in zip(self.down, self.shrink, strict=True):
            for block in _blocks(level):
                maps = block(maps, time)
            skips.append(maps)
            maps = shrink(maps if len(skips) == len(self.down) else pixel_unshuffle(maps, 2))
        maps = self.interaction(maps, seen)
        for level, grow in zip(self.up, self.grow, strict=True):
            maps = torch.cat([maps, skips.pop()], dim=1)
            for block in _blocks(level):
                maps = block(maps, time)
            maps = grow(interpolate(maps, scale_factor=2.0, mode="nearest") if skips else maps)
        maps = torch.cat([maps, entered], dim=1)
        maps = self.last(maps, time)
        return unfold(self.leave(maps), self.settings.fold)[:, 0]


class TimestepEmbedding(nn.Module):
    """Sines and cosines of the timestep, through two linear layers."""

    def __init__(self, num_sines: int, width: int) -> None:
        super().__init__()
        self.num_sines = num_sines
        self.layers = nn.Sequential(nn.Linear(num_sines, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, timestep: Float[Tensor, " B"]) -> Float[Tensor, "B W"]:
        """An embedding for each timestep, periods from 2 pi to ten thousand times that."""
        half = self.num_sines // 2
        exponents = torch.arange(half, device=timestep.device, dtype=torch.float32) / (half - 1)
        angles = timestep.float()[:, None] * torch.exp(-math.log(_TIME_PERIOD) * exponents)
        sines = torch.cat([angles.sin(), angles.cos()], dim=-1)
        return self.layers(sines)


class FeatureInteraction(nn.Module):
    """Audio and visual features, tiled side by side, interact in the middle (Figure 3 b, Table 3).

    Departure: the paper calls the attention here time-frequency attention, as elsewhere; in the
    code it is full softmax attention, which 16 x 16 cells can afford.
    """

    def __init__(self, settings: SeparationUNetSettings, seen_channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_interaction_layers(settings, seen_channels))

    def forward(
        self, heard: Float[Tensor, "B D f t"], seen: Float[Tensor, "B seen"]
    ) -> Float[Tensor, "B D f t"]:
        """What is heard, knowing what is seen."""
        tiled = seen.to(heard.dtype)[:, :, None, None].expand(-1, -1, *heard.shape[2:])
        maps = torch.cat([heard, tiled], dim=1).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            maps = layer(maps, None) if isinstance(layer, ResNetBlock) else layer(maps)
        return maps


class MapAttention(nn.Module):
    """Full softmax attention among all cells of a small map, with its residual."""

    def __init__(self, num_channels: int, size: AttentionSettings) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        inner = size.num_heads * size.head_width
        self.norm = ChannelNorm(num_channels)
        self.to_heads = nn.Linear(num_channels, 3 * inner, bias=False)
        self.from_heads = nn.Linear(inner, num_channels)

    def forward(self, maps: Float[Tensor, "B D f t"]) -> Float[Tensor, "B D f t"]:
        """Maps in which every cell has looked at all."""
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)
        heads = self.to_heads(self.norm(cells)).unflatten(2, (3, self.num_heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)  # B heads cells width
        answer = scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        answer = self.from_heads(answer).unflatten(1, maps.shape[2:])
        return maps + answer.permute(0, 3, 1, 2)


class _Level(nn.Module):
    """A Convolution-Attention block: three in a row, the first of which takes skipped channels."""

    def __init__(
        self,
        num_channels: int,
        num_skipped: int,
        settings: SeparationUNetSettings,
        num_rows: int,
        time_width: int,
    ) -> None:
        super().__init__()
        made: list[nn.Module] = []
        size = settings.attention
        for place, block in enumerate(settings.blocks):
            if block == "R":
                before = num_channels + (num_skipped if place == 0 else 0)
                made.append(ResNetBlock(before, num_channels, time_width))
            elif block == "TF":
                made.append(TimeFrequencyAttention(num_channels, time_width, size))
            else:
                made.append(TimeAttention(num_channels, num_rows, time_width, size))
        self.blocks = nn.ModuleList(made)


def _blocks(level: nn.Module) -> nn.ModuleList:
    assert isinstance(level, _Level), "the network goes down and up by levels"
    return level.blocks


def fold(maps: Float[Tensor, "B D R T"], cell: tuple[int, int]) -> Float[Tensor, "B E f t"]:
    """Maps with `cell` rows and frames of each channel as channels of one cell."""
    if cell == (1, 1):
        return maps
    rows, frames = cell
    parts = maps.unflatten(3, (-1, frames)).unflatten(2, (-1, rows))  # B D f rows t frames
    return parts.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def unfold(maps: Float[Tensor, "B E f t"], cell: tuple[int, int]) -> Float[Tensor, "B D R T"]:
    """The inverse of `fold`."""
    if cell == (1, 1):
        return maps
    parts = maps.unflatten(1, (-1, *cell))  # B D rows frames f t
    return parts.permute(0, 1, 4, 2, 5, 3).flatten(4).flatten(2, 3)


def _interaction_layers(settings: SeparationUNetSettings, seen_channels: int) -> list[nn.Module]:
    """The rows of Table 3; where it does not say how channels become fewer, a 1 x 1 convolution."""
    own, size = settings.channels[-1], settings.attention
    both = own + seen_channels
    if settings.fusion == "concat":
        return [nn.Conv2d(both, own, 1)]
    if settings.fusion == "point-wise":
        second, third = nn.Conv2d(own, own, 1), nn.Conv2d(own, own, 1)
        return [nn.Conv2d(both, own, 1), nn.SiLU(), second, nn.SiLU(), third]
    if settings.fusion == "global":
        return [nn.Conv2d(both, own, 1), *(MapAttention(own, size) for _ in range(3))]
    between = ResNetBlock(own, own, None) if settings.fusion == "local" else MapAttention(own, size)
    return [ResNetBlock(both, own, None), between, ResNetBlock(own, own, None)]
