"""Blocks of DAVIS' Separation U-Net: ResNet, time-frequency attention, time attention (Figure 3).

Each is conditioned on the timestep by a scale and a shift of its features. Without gradients the
attentions overwrite their input maps. Axes: D E channels of a map, f t its rows and columns, W
width of the timestep embedding.
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
# Groups of the group norms, as in the released code.
_NUM_GROUPS = 8
# Epsilon of all norms; PyTorch's default.
_EPSILON = 1e-5
# Cells in a portion of an attention on a CPU: their intermediate results fit its cache.
_PORTION_CELLS = 4096
# Size of a portion that takes all cells.
_ALL_CELLS = 2**31


class ConvolutionAttentionSettings(BaseModel):
    """Sizes of the attention blocks; the defaults are those of the released code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_heads: int = Field(default=4, gt=0, description="of every attention")
    head_width: int = Field(default=32, gt=0, description="of a cell's query, key and value")
    column_width: int = Field(
        default=512, gt=0, description="of a column's query and key in time attention, all rows"
    )
    divide_values: bool = Field(
        default=True,
        description="values of the time-frequency attention divided by rows times columns, as "
        "released; the layer norm after it makes that another network",
    )


class ScaleShift(nn.Module):
    """FiLM: feature-wise scale and shift by the timestep (Dumoulin et al., 2018)."""

    def __init__(self, num_channels: int, time_width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(time_width, 2 * num_channels)

    def forward(
        self, cells: Float[Tensor, "B cells D"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B cells D"]:
        """Return (1 + scale) cells + shift, for each channel."""
        scale, shift = self._scale_and_shift(time)
        # Under autocast the dtypes of embedding and cells can differ.
        return torch.addcmul(shift.to(cells.dtype), cells, scale.to(cells.dtype))

    def fold_into(
        self, weight: Float[Tensor, "E D"], gain: Float[Tensor, " D"], time: Float[Tensor, "B W"]
    ) -> tuple[Float[Tensor, "B D E"], Float[Tensor, "B 1 E"]]:
        """Return weight and bias of a projection with a norm's gain and this scale and shift.

        W ((1 + scale) gain x + shift) = (W (1 + scale) gain) x + W shift, for each item.
        """
        scale, shift = self._scale_and_shift(time)
        return (scale * gain).mT * weight.T, shift @ weight.T

    def _scale_and_shift(
        self, time: Float[Tensor, "B W"]
    ) -> tuple[Float[Tensor, "B 1 D"], Float[Tensor, "B 1 D"]]:
        scale, shift = self.linear(silu(time))[:, None].chunk(2, dim=2)
        return 1 + scale, shift


class Convolution(nn.Conv2d):
    """Convolution that can compute in bfloat16; input and output keep their dtype."""

    in_bfloat16 = False

    def forward(self, input: Float[Tensor, "B D f t"]) -> Float[Tensor, "B E f t"]:
        """Convolve maps."""
        kernel, bias = self.kernel(), self.bias
        if not self.in_bfloat16:
            return self._conv_forward(input, kernel, bias)
        bias = None if bias is None else bias.bfloat16()
        return self._conv_forward(input.bfloat16(), kernel.bfloat16(), bias).to(input.dtype)

    def kernel(self) -> Float[Tensor, "E D k k"]:
        """Return the kernels."""
        return self.weight


class StandardisedConvolution(Convolution):
    """Convolution whose kernels have mean zero and variance one (Qiao et al., 2019)."""

    def kernel(self) -> Float[Tensor, "E D k k"]:
        """Return the standardised kernels, computed in float32."""
        # The weight is stored with channels last in memory: this permutation copies nothing.
        weight = self.weight.float().permute(0, 2, 3, 1)
        kernel = layer_norm(weight, weight.shape[1:], eps=_EPSILON)
        return kernel.permute(0, 3, 1, 2).to(self.weight.dtype)


class ResNetBlock(nn.Module):
    """R: two standardised convolutions with group norm and SiLU, and a shortcut.

    Without `time_width` it is not conditioned on the timestep, as in the feature interaction
    module.
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
        """Return maps after the block."""
        hidden = self.first_norm(self.first(maps))
        if self.condition is not None:
            assert time is not None, "a conditioned block needs the timestep"
            cells = self.condition(hidden.permute(0, 2, 3, 1).flatten(1, 2), time)
            hidden = cells.unflatten(1, hidden.shape[2:]).permute(0, 3, 1, 2)
        hidden = self.second_norm(self.second(_silu(hidden)))
        return _add(_silu(hidden), self.shortcut(maps))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell, with a gain and no bias."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(num_channels))

    def forward(self, cells: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch D"]:
        """Normalise cells, channels last."""
        return layer_norm(cells, cells.shape[-1:], self.gain.to(cells.dtype), eps=_EPSILON)


class TimeFrequencyAttention(nn.Module):
    """TF: attention among all cells in linear time (Shen et al., Efficient attention, 2021).

    Keys are normalised over cells and multiplied with the values first, so that no cell-by-cell
    matrix is built. Cells go through it in portions, in two passes: the first sums keys times
    values to one matrix per head (the context), the second multiplies the queries with it. The
    intermediate results of a portion stay in the processor's cache. Like those of convolutions, the
    projections can be computed in bfloat16.

    Departure: the released code divides the values by the number of cells, which efficient
    attention (section 3.3) does not and the default here does; the minis do not
    (`divide_values`).
    """

    in_bfloat16 = False

    def __init__(
        self, num_channels: int, time_width: int, size: ConvolutionAttentionSettings
    ) -> None:
        super().__init__()
        self.num_heads = size.num_heads
        self.divide_values = size.divide_values
        inner = size.num_heads * size.head_width
        self.norm = ChannelNorm(num_channels)
        self.condition = ScaleShift(num_channels, time_width)
        self.to_heads = nn.Linear(num_channels, 3 * inner, bias=False)
        self.from_heads = nn.Linear(inner, num_channels)
        self.last_norm = ChannelNorm(num_channels)

    def forward(
        self, maps: Float[Tensor, "B D f t"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B D f t"]:
        """Return maps after the block, including the residual."""
        cells = maps.permute(0, 2, 3, 1).flatten(1, 2)  # channels are last in memory: no copy
        portions = cells.split(_portion_size(cells, len(cells)), dim=1)
        weight, bias = self.condition.fold_into(self.to_heads.weight, self.norm.gain, time)
        context = self._context(portions, weight, bias)
        updates = (self._update(portion, weight, bias, context) for portion in portions)
        updated = _replace(cells, portions, updates, 1)
        return updated.unflatten(1, maps.shape[2:]).permute(0, 3, 1, 2)

    def _context(
        self,
        portions: Sequence[Float[Tensor, "B _ D"]],
        weight: Float[Tensor, "B D projected"],
        bias: Float[Tensor, "B 1 projected"],
    ) -> Float[Tensor, "B inner D"]:
        """Return softmax(keys)ᵀ values of all cells, times the output projection and the scale."""
        # The softmax over cells is accumulated over the portions: after each one the sums are
        # rescaled to the largest key so far, which keeps the exponentials finite.
        inner = self.from_heads.in_features
        largest = bias.new_full((len(bias), 1, inner), -torch.inf)
        total, context = torch.zeros_like(largest), bias.new_zeros(())
        for portion in portions:
            # A softmax does not change with a constant added to all keys, so their bias is left
            # out; its weights sum to one, so the bias of the values is added at the end.
            keys, values = self._project(portion, weight[..., inner:]).chunk(2, dim=2)
            keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
            larger = torch.maximum(largest, keys.detach().amax(1, keepdim=True))
            weights, rescale = (keys - larger).exp(), (largest - larger).exp()
            total = rescale * total + weights.sum(1, keepdim=True)
            products = self._heads(weights).permute(0, 2, 3, 1) @ self._heads(values).transpose(
                1, 2
            )
            context = self._heads(rescale)[:, 0, ..., None] * context + products
            largest = larger
        context = context / self._heads(total)[:, 0, ..., None]
        context = context + self._heads(bias[..., 2 * inner :])[:, 0, :, None]
        if self.divide_values:
            context = context / sum(portion.shape[1] for portion in portions)
        # (q context) W = q (context W): the output projection is applied once, not for each cell.
        out = self.from_heads.weight.T.unflatten(0, (self.num_heads, -1))  # heads head D
        return (context @ out).flatten(1, 2) * context.shape[-1] ** -0.5

    def _update(
        self,
        portion: Float[Tensor, "B cells D"],
        weight: Float[Tensor, "B D projected"],
        bias: Float[Tensor, "B 1 projected"],
        context: Float[Tensor, "B inner D"],
    ) -> Float[Tensor, "B cells D"]:
        """Return the cells of a portion after the block."""
        inner = self.from_heads.in_features
        queries = self._project(portion, weight[..., :inner]) + bias[..., :inner]
        queries = self._heads(queries).softmax(-1).flatten(2)
        return portion + self.last_norm(queries @ context + self.from_heads.bias)

    def _project(
        self, portion: Float[Tensor, "B cells D"], weight: Float[Tensor, "B D E"]
    ) -> Float[Tensor, "B cells E"]:
        """Multiply normalised cells with a matrix."""
        normed = layer_norm(portion, portion.shape[-1:], eps=_EPSILON)
        if not self.in_bfloat16:
            return normed @ weight
        return (normed.bfloat16() @ weight.bfloat16()).to(normed.dtype)

    def _heads(self, cells: Float[Tensor, "*batch inner"]) -> Float[Tensor, "*batch heads head"]:
        return cells.unflatten(-1, (self.num_heads, -1))


class TimeAttention(nn.Module):
    """T: attention among whole columns along time (TF-GridNet, Wang et al., 2023).

    The query of a head is all rows of a column with few channels each, so the number of rows is
    fixed. Columns are projected in portions, as in `TimeFrequencyAttention`.

    Departure: the paper says pre-norm; the released code has no norm in front but one after each
    projection, as in TF-GridNet.
    """

    def __init__(
        self, num_channels: int, num_rows: int, time_width: int, size: ConvolutionAttentionSettings
    ) -> None:
        super().__init__()
        heads = size.num_heads
        if num_channels % heads:
            raise ValueError(f"{num_channels} channels cannot be parted in {heads} heads")
        # Each row has ceil(512 / rows) channels of a query (REFERENCE 3.3).
        width, value_width = ceil(size.column_width / num_rows), num_channels // heads
        self.condition = ScaleShift(num_channels, time_width)
        self.queries = _ColumnProjection(num_channels, heads, width, num_rows)
        self.keys = _ColumnProjection(num_channels, heads, width, num_rows)
        self.values = _ColumnProjection(num_channels, heads, value_width, num_rows)
        self.join = _ColumnProjection(num_channels, 1, num_channels, num_rows)

    def forward(
        self, maps: Float[Tensor, "B D f t"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B D f t"]:
        """Return maps after the block, including the residual."""
        columns = maps.permute(0, 3, 2, 1)  # B t f D
        size = _portion_size(maps, len(maps) * maps.shape[2])
        portions = columns.split(size, dim=1)
        attended = self._attend(portions, time).split(size, dim=1)
        updates = (
            (portion + self.join(part.flatten(3))[:, 0]).transpose(1, 2)  # B f t D
            for portion, part in zip(portions, attended, strict=True)
        )
        rows = columns.transpose(1, 2)
        return _replace(rows, rows.split(size, dim=2), updates, 2).permute(0, 3, 1, 2)

    def _attend(
        self, portions: Sequence[Float[Tensor, "B _ f D"]], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B t f heads width"]:
        """Return the result of the attention for each column, before the output projection."""

        def project(projection: _ColumnProjection) -> Float[Tensor, "B heads t column"]:
            parts = (projection(self._modulate(part, time)).flatten(3) for part in portions)
            return _concatenate(parts, 2, sum(portion.shape[1] for portion in portions))

        queries, keys, values = (project(p) for p in (self.queries, self.keys, self.values))
        attended = scaled_dot_product_attention(queries, keys, values)
        return attended.unflatten(3, (portions[0].shape[2], -1)).permute(0, 2, 3, 1, 4)

    def _modulate(
        self, columns: Float[Tensor, "B t f D"], time: Float[Tensor, "B W"]
    ) -> Float[Tensor, "B t f D"]:
        return self.condition(columns.flatten(1, 2), time).unflatten(1, columns.shape[1:3])


class _ColumnProjection(nn.Module):
    """Linear layer, PReLU and layer norm over the rows and channels of a column, per head."""

    def __init__(self, num_channels: int, num_heads: int, width: int, num_rows: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_channels, num_heads * width)
        self.slopes = nn.Parameter(torch.full((num_heads,), 0.25))
        self.gain = nn.Parameter(torch.ones(num_heads, 1, num_rows, width))
        self.bias = nn.Parameter(torch.zeros(num_heads, 1, num_rows, width))

    def forward(self, columns: Float[Tensor, "B t f D"]) -> Float[Tensor, "B heads t f width"]:
        """Return the columns of each head."""
        # All heads share one matrix product; PReLU slopes and norms are the head's.
        hidden = self.linear(columns)
        slopes = self.slopes.repeat_interleave(self.gain.shape[3]).to(hidden.dtype)
        hidden = prelu(hidden.flatten(0, 2), slopes).view_as(hidden)
        hidden = hidden.unflatten(3, (len(self.slopes), -1)).permute(0, 3, 1, 2, 4)
        normed = layer_norm(hidden, hidden.shape[3:], eps=_EPSILON)
        return torch.addcmul(self.bias.to(normed.dtype), normed, self.gain.to(normed.dtype))


# Portions, and memory reuse where no gradient is needed


def _portion_size(maps: Float[Tensor, "..."], num_cells: int) -> int:
    """Return how many groups of `num_cells` cells make a portion."""
    # On a GPU all of them: each portion costs kernel launches, and there is no cache to fit.
    return max(1, _PORTION_CELLS // num_cells) if maps.device.type == "cpu" else _ALL_CELLS


# Without gradients maps are overwritten: allocating new memory costs time as well.


def _silu(maps: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Apply SiLU, in place without gradients."""
    return silu(maps, inplace=not torch.is_grad_enabled())


def _add(maps: Float[Tensor, "*batch"], other: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Add `other` to maps, in place without gradients."""
    return maps + other if torch.is_grad_enabled() else maps.add_(other)


def _replace(
    cells: Float[Tensor, "*whole"],
    portions: Sequence[Float[Tensor, "..."]],
    updates: Iterable[Float[Tensor, "..."]],
    dim: int,
) -> Float[Tensor, "*whole"]:
    """Replace each portion of cells along an axis by its update, in place without gradients."""
    if torch.is_grad_enabled():
        return torch.cat(list(updates), dim)
    # The updates are a generator: each is computed just before its portion is overwritten.
    for portion, update in zip(portions, updates, strict=True):
        portion.copy_(update)
    return cells


def _concatenate(
    portions: Iterable[Float[Tensor, "..."]], dim: int, size: int
) -> Float[Tensor, "*whole"]:
    """Concatenate portions along an axis whose total size is known."""
    if torch.is_grad_enabled():
        return torch.cat(list(portions), dim)
    # Filled one by one, so that all portions never exist beside the whole.
    whole, end = None, 0
    for portion in portions:
        if whole is None:
            whole = portion.new_empty((*portion.shape[:dim], size, *portion.shape[dim + 1 :]))
        begin, end = end, end + portion.shape[dim]
        whole.narrow(dim, begin, end - begin).copy_(portion)
    assert whole is not None, "there is at least one portion"
    return whole
