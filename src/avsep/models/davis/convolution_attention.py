"""Blocks of DAVIS' Separation U-Net: ResNet, time-frequency attention, time attention (Figure 3).

Each is conditioned on the timestep by a scale and a shift of its features. Where no gradient is
wanted the attentions write over the maps they are given. Axes: D channels of a map, f t its rows
and columns, W width of the timestep's embedding.
"""

from collections.abc import Iterable, Sequence
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
# Cells that go through an attention at a time: what is made of them fits a processor's cache.
_PORTION_CELLS = 4096
_EVERY = 2**31


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
        scale, shift = self._scale_and_shift(time)
        return torch.addcmul(shift.to(cells.dtype), cells, scale.to(cells.dtype))

    def before(
        self, weight: Float[Tensor, "E D"], gain: Float[Tensor, " D"], time: Float[Tensor, "B W"]
    ) -> tuple[Float[Tensor, "B D E"], Float[Tensor, "B 1 E"]]:
        """A projection of each item's own that has the gain, scale and shift before it in it."""
        scale, shift = self._scale_and_shift(time)
        return (scale * gain).mT * weight.T, shift @ weight.T

    def _scale_and_shift(
        self, time: Float[Tensor, "B W"]
    ) -> tuple[Float[Tensor, "B 1 D"], Float[Tensor, "B 1 D"]]:
        scale, shift = self.linear(silu(time))[:, None].chunk(2, dim=2)
        return 1 + scale, shift


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
        weight = self.weight.float().permute(0, 2, 3, 1)  # as channels lie last in memory
        kernel = layer_norm(weight, weight.shape[1:], eps=_EPSILON)
        return kernel.permute(0, 3, 1, 2).to(self.weight.dtype)


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
        hidden = self.second_norm(self.second(_silu(hidden)))
        return _plus(_silu(hidden), self.shortcut(maps))


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
    ever held. Some thousand cells at a time go through all of it, once for what the values hold
    and once for what the queries take of it: between the two passes only one matrix a head is kept,
    and what a pass makes of its cells stays in the processor's cache. As of convolutions, the
    projections can be done in bfloat16.
    """

    in_bfloat16 = False

    def __init__(self, num_channels: int, time_width: int, size: AttentionSettings) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        inner = size.num_heads * size.head_width
        self.norm = ChannelNorm(num_channels)
        self.condition = ScaleShift(num_channels, time_width)
        self.to_heads = nn.Linear(num_channels, 3 * inner, bias=False)
        self.from_heads = nn.Linear(inner, num_channels)
        self.last_norm = ChannelNorm(num_channels)

    def forward(
        self, maps: Float[Tensor, "B D f t"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B D f t"]:
        """Maps after the block, the residual included."""
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)  # channels lie last in memory: no copy
        portions = cells.split(_at_a_time(cells, len(cells)), dim=1)
        weight, bias = self.condition.before(self.to_heads.weight, self.norm.gain, time)
        context = self._context(portions, weight, bias)
        answers = (self._answer(portion, weight, bias, context) for portion in portions)
        answer = _replaced(cells, portions, answers, 1)
        return answer.unflatten(1, maps.shape[2:]).permute(0, 3, 1, 2)

    def _context(
        self,
        portions: Sequence[Float[Tensor, "B _ D"]],
        weight: Float[Tensor, "B D projected"],
        bias: Float[Tensor, "B 1 projected"],
    ) -> Float[Tensor, "B inner D"]:
        """What a query's channels take of all values, on its way out of the heads.

        The softmax over cells goes on from portion to portion: sums so far are scaled to the
        largest key so far. It is the same whatever is added to all keys, and its weights add up to
        one, so that keys need no bias and values may have theirs at the end.
        """
        inner = self.from_heads.in_features
        largest = bias.new_full((len(bias), 1, inner), -torch.inf)
        total, context = torch.zeros_like(largest), bias.new_zeros(())
        for portion in portions:
            keys, values = self._projected(portion, weight[..., inner:]).chunk(2, dim=2)
            keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
            larger = torch.maximum(largest, keys.detach().amax(1, keepdim=True))
            weights, kept = (keys - larger).exp(), (largest - larger).exp()
            total = kept * total + weights.sum(1, keepdim=True)
            met = self._parted(weights).permute(0, 2, 3, 1) @ self._parted(values).transpose(1, 2)
            context = self._parted(kept)[:, 0, ..., None] * context + met
            largest = larger
        context = context / self._parted(total)[:, 0, ..., None]
        context = context + self._parted(bias[..., 2 * inner :])[:, 0, :, None]
        out = self.from_heads.weight.T.unflatten(0, (self.num_heads, -1))  # heads head D
        return (context @ out).flatten(1, 2) * context.shape[-1] ** -0.5

    def _answer(
        self,
        portion: Float[Tensor, "B cells D"],
        weight: Float[Tensor, "B D projected"],
        bias: Float[Tensor, "B 1 projected"],
        context: Float[Tensor, "B inner D"],
    ) -> Float[Tensor, "B cells D"]:
        """Cells after the block."""
        inner = self.from_heads.in_features
        queries = self._projected(portion, weight[..., :inner]) + bias[..., :inner]
        queries = self._parted(queries).softmax(-1).flatten(2)
        return portion + self.last_norm(queries @ context + self.from_heads.bias)

    def _projected(
        self, portion: Float[Tensor, "B cells D"], weight: Float[Tensor, "B D E"]
    ) -> Float[Tensor, "B cells E"]:
        """Normalised cells times a matrix."""
        normed = layer_norm(portion, portion.shape[-1:], eps=_EPSILON)
        if not self.in_bfloat16:
            return normed @ weight
        return (normed.bfloat16() @ weight.bfloat16()).to(normed.dtype)

    def _parted(self, cells: Float[Tensor, "*batch inner"]) -> Float[Tensor, "*batch heads head"]:
        return cells.unflatten(-1, (self.num_heads, -1))


class TimeAttention(nn.Module):
    """T: whole columns look at each other along time (TF-GridNet, Wang et al., 2023).

    A head's query is all rows of a column with few channels each, so the number of rows is fixed.
    Columns are projected some at a time, as in `TimeFrequencyAttention`.
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
        columns = maps.permute(0, 3, 2, 1)  # B t f D
        size = _at_a_time(maps, len(maps) * maps.shape[2])
        portions = columns.split(size, dim=1)
        seen = self._attended(portions, time).split(size, dim=1)
        joined = (
            (portion + self.join(part.flatten(3))[:, 0]).transpose(1, 2)  # B f t D
            for portion, part in zip(portions, seen, strict=True)
        )
        rows = columns.transpose(1, 2)
        return _replaced(rows, rows.split(size, dim=2), joined, 2).permute(0, 3, 1, 2)

    def _attended(
        self, portions: Sequence[Float[Tensor, "B _ f D"]], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B t f heads width"]:
        """What each column takes of all others."""

        def projected(part: _ColumnProjection) -> Float[Tensor, "B heads t column"]:
            found = (part(self._conditioned(portion, time)).flatten(3) for portion in portions)
            return _gathered(found, 2, sum(portion.shape[1] for portion in portions))

        queries, keys, values = (projected(p) for p in (self.queries, self.keys, self.values))
        answer = scaled_dot_product_attention(queries, keys, values)
        return answer.unflatten(3, (portions[0].shape[2], -1)).permute(0, 2, 3, 1, 4)

    def _conditioned(
        self, columns: Float[Tensor, "B t f D"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B t f D"]:
        return self.condition(columns.flatten(1, 2), time).unflatten(1, columns.shape[1:3])


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


def _at_a_time(maps: Float[Tensor, "..."], num_cells: int) -> int:
    """How many groups of so many cells to take; all on a GPU, where every step is a launch."""
    return max(1, _PORTION_CELLS // num_cells) if maps.device.type == "cpu" else _EVERY


# Where nothing is learnt, maps are written over and filled in place: fresh memory costs time, too.


def _silu(maps: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """SiLU of maps that nobody needs any more."""
    return silu(maps, inplace=not torch.is_grad_enabled())


def _plus(maps: Float[Tensor, "*batch"], more: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The sum, in place of maps that nobody needs any more."""
    return maps + more if torch.is_grad_enabled() else maps.add_(more)


def _replaced(
    cells: Float[Tensor, "*whole"],
    portions: Sequence[Float[Tensor, "..."]],
    answers: Iterable[Float[Tensor, "..."]],
    dim: int,
) -> Float[Tensor, "*whole"]:
    """The answers to all portions of cells along an axis, each in the place of its portion."""
    if torch.is_grad_enabled():
        return torch.cat(list(answers), dim)
    for portion, answer in zip(portions, answers, strict=True):
        portion.copy_(answer)
    return cells


def _gathered(
    portions: Iterable[Float[Tensor, "..."]], dim: int, size: int
) -> Float[Tensor, "*whole"]:
    """Portions one after the other along an axis of this size."""
    if torch.is_grad_enabled():
        return torch.cat(list(portions), dim)
    whole, end = None, 0
    for portion in portions:
        if whole is None:
            whole = portion.new_empty((*portion.shape[:dim], size, *portion.shape[dim + 1 :]))
        begin, end = end, end + portion.shape[dim]
        whole.narrow(dim, begin, end - begin).copy_(portion)
    assert whole is not None, "there is at least one portion"
    return whole
