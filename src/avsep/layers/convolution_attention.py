"""Blocks of DAVIS' Separation U-Net: ResNet, time-frequency attention, time attention (Figure 3).

Each is conditioned on the timestep by a scale and a shift of its features. Axes: D channels of a
map, f t its rows and columns, W width of the timestep's embedding.
"""

from math import ceil
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import layer_norm, prelu, scaled_dot_product_attention, silu

BlockName = Literal["R", "TF", "T"]
_NUM_GROUPS = 8
_EPSILON = 1e-5


class AttentionSettings(BaseModel):
    """The size of the attentions; the defaults are those of the released code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_heads: int = Field(default=4, gt=0, description="of every attention")
    head_width: int = Field(default=32, gt=0, description="of a cell's query, key and value")
    column_width: int = Field(
        default=512, gt=0, description="of a whole column's query and key, over all of its rows"
    )


class ScaleShift(nn.Module):
    """Feature-wise affine transformation by the timestep (Dumoulin et al., 2018)."""

    def __init__(self, num_channels: int, time_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(time_width, 2 * num_channels)

    def forward(
        self, cells: Float[Tensor, "B cells D"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B cells D"]:
        """Cells times one plus a scale, plus a shift, for each channel."""
        scale, shift = self.linear(silu(time))[:, None].to(cells.dtype).chunk(2, dim=2)
        return torch.addcmul(shift, cells, 1 + scale)


class Convolution(nn.Conv2d):
    """A convolution that can be done in bfloat16, its input and output in float32 all the same."""

    in_bfloat16 = False

    def forward(self, input: Float[Tensor, "B D f t"]) -> Float[Tensor, "B E f t"]:
        """The convolution of maps."""
        kernel, bias = self.kernel(), self.bias
        if not self.in_bfloat16:
            return self._conv_forward(input, kernel, bias)
        bias = None if bias is None else bias.bfloat16()
        return self._conv_forward(input.bfloat16(), kernel.bfloat16(), bias).to(input.dtype)

    def kernel(self) -> Float[Tensor, "E D k k"]:
        """The weight that maps are convolved with."""
        return self.weight


class StandardisedConvolution(Convolution):
    """A convolution whose kernels have mean zero and variance one (Qiao et al., 2019)."""

    def kernel(self) -> Float[Tensor, "E D k k"]:
        """The standardised weight, always computed in float32."""
        flat = self.weight.float().flatten(1)
        flat = layer_norm(flat, flat.shape[1:], eps=_EPSILON)
        kernel = flat.view_as(self.weight).to(self.weight.dtype)
        return kernel.contiguous(memory_format=torch.channels_last)


class ResNetBlock(nn.Module):
    """R: two standardised convolutions with group norm and SiLU, and a shortcut past them.

    Without `time_width` it knows no timestep, as in the feature interaction module.
    """

    def __init__(self, num_before: int, num_after: int, time_width: int | None) -> None:
        super().__init__()
        self.first = StandardisedConvolution(num_before, num_after, 3, padding=1)
        self.first_norm = nn.GroupNorm(_NUM_GROUPS, num_after)
        self.condition = ScaleShift(num_after, time_width) if time_width else None
        self.second = StandardisedConvolution(num_after, num_after, 3, padding=1)
        self.second_norm = nn.GroupNorm(_NUM_GROUPS, num_after)
        self.shortcut: nn.Module = nn.Identity()
        if num_before != num_after:
            self.shortcut = nn.Conv2d(num_before, num_after, 1)

    def forward(
        self, maps: Float[Tensor, "B D f t"], time: Float[Tensor, "B W"] | None
    ) -> Float[Tensor, "B E f t"]:
        """Maps after the block."""
        hidden = self.first_norm(self.first(maps))
        if self.condition is not None:
            assert time is not None, "a conditioned block needs the timestep"
            cells = self.condition(hidden.permute(0, 2, 3, 1).flatten(1, 2), time)
            hidden = cells.unflatten(1, hidden.shape[2:]).permute(0, 3, 1, 2)
        hidden = self.second_norm(self.second(silu(hidden)))
        return silu(hidden) + self.shortcut(maps)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell, with a gain and no bias."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(num_channels))

    def forward(self, cells: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Cells of the same shape, channels last."""
        return layer_norm(cells, cells.shape[-1:], self.gain.to(cells.dtype), eps=_EPSILON)


class TimeFrequencyAttention(nn.Module):
    """TF: every cell looks at every other, in linear time (Shen et al., Efficient attention, 2021).

    Keys are normalised over cells and meet the values first, so that no cell-by-cell matrix is
    ever held. The heads go through one matrix product and what crosses between them is dropped, so
    that no head's numbers need to be brought together in memory.
    """

    heads: Float[Tensor, "inner inner"]

    def __init__(self, num_channels: int, time_width: int, size: AttentionSettings) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        inner = size.num_heads * size.head_width
        self.norm = ChannelNorm(num_channels)
        self.condition = ScaleShift(num_channels, time_width)
        self.to_heads = nn.Linear(num_channels, 3 * inner, bias=False)
        self.from_heads = nn.Linear(inner, num_channels)
        self.last_norm = ChannelNorm(num_channels)
        head = torch.full((size.head_width, size.head_width), size.head_width**-0.5)
        heads = torch.block_diag(*[head] * size.num_heads)
        self.register_buffer("heads", heads, persistent=False)

    def forward(
        self, maps: Float[Tensor, "B D f t"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B D f t"]:
        """Maps after the block, the residual included."""
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)  # channels lie last in memory: no copy
        projected = self.to_heads(self.condition(self.norm(cells), time))
        queries, keys, values = projected.chunk(3, dim=2)
        queries = queries.unflatten(2, (self.num_heads, -1)).softmax(-1).flatten(2)
        context = keys.softmax(1).mT @ values  # B inner inner
        answer = queries.to(context.dtype) @ (context * self.heads.to(context.dtype))
        answer = self.last_norm(self.from_heads(answer)).unflatten(1, maps.shape[2:])
        return maps + answer.permute(0, 3, 1, 2)


class TimeAttention(nn.Module):
    """T: whole columns look at each other along time (TF-GridNet, Wang et al., 2023).

    A head's query is all rows of a column with few channels each, so the number of rows is fixed.
    Departure: the paper says pre-norm; the released code counts no norm in front, its norms stand
    behind each projection, as in TF-GridNet.
    """

    def __init__(
        self, num_channels: int, num_rows: int, time_width: int, size: AttentionSettings
    ) -> None:
        super().__init__()
        heads = size.num_heads
        if num_channels % heads:
            raise ValueError(f"{num_channels} channels cannot be parted in {heads} heads")
        width, value_width = ceil(size.column_width / num_rows), num_channels // heads
        self.condition = ScaleShift(num_channels, time_width)
        self.queries = _ColumnProjection(num_channels, heads, width, num_rows)
        self.keys = _ColumnProjection(num_channels, heads, width, num_rows)
        self.values = _ColumnProjection(num_channels, heads, value_width, num_rows)
        self.join = _ColumnProjection(num_channels, 1, num_channels, num_rows)

    def forward(
        self, maps: Float[Tensor, "B D f t"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B D f t"]:
        """Maps after the block, the residual included."""
        columns = self.condition(maps.permute(0, 3, 2, 1).flatten(1, 2), time)
        columns = columns.unflatten(1, (maps.shape[3], -1))  # B t f D
        queries, keys, values = (
            project(columns).flatten(3) for project in (self.queries, self.keys, self.values)
        )  # B heads t column
        answer = scaled_dot_product_attention(queries, keys, values)
        answer = answer.unflatten(3, (maps.shape[2], -1))  # B heads t f width
        joined = self.join(answer.permute(0, 2, 3, 1, 4).flatten(3))[:, 0]  # B t f D
        return maps + joined.permute(0, 3, 2, 1)


class _ColumnProjection(nn.Module):
    """A linear layer, PReLU and a norm over each column's rows and channels, for every head."""

    def __init__(self, num_channels: int, num_heads: int, width: int, num_rows: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_channels, num_heads * width)
        self.slopes = nn.Parameter(torch.full((num_heads,), 0.25))
        self.gain = nn.Parameter(torch.ones(num_heads, 1, num_rows, width))
        self.bias = nn.Parameter(torch.zeros(num_heads, 1, num_rows, width))

    def forward(self, columns: Float[Tensor, "B t f D"]) -> Float[Tensor, "B heads t f width"]:
        """Each head's columns."""
        hidden = self.linear(columns)
        slopes = self.slopes.repeat_interleave(self.gain.shape[3]).to(hidden.dtype)
        hidden = prelu(hidden.flatten(0, 2), slopes).view_as(hidden)
        hidden = hidden.unflatten(3, (len(self.slopes), -1)).permute(0, 3, 1, 2, 4)
        normed = layer_norm(hidden, hidden.shape[3:], eps=_EPSILON)
        return torch.addcmul(self.bias.to(normed.dtype), normed, self.gain.to(normed.dtype))
