"""Blocks of the Separation U-Net: sizes as released, and attention written out by hand."""

import pytest
import torch
from torch import Tensor, nn

from avsep.models.davis.convolution_attention import (
    ConvolutionAttentionSettings,
    ResNetBlock,
    StandardisedConvolution,
    TimeAttention,
    TimeFrequencyAttention,
)

# Channels and rows of the five levels down and the five up, at the paper's size.
LEVELS = [(64, 256), (64, 128), (128, 64), (256, 32), (256, 16)]
LEVELS += [(512, 16), (256, 32), (256, 64), (128, 128), (64, 256)]
TIME_WIDTH = 256
PAPER = ConvolutionAttentionSettings()
SMALL = ConvolutionAttentionSettings(num_heads=2, head_width=4, column_width=24)
NUM_CHANNELS, NUM_ROWS, NUM_FRAMES = 16, 6, 10


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("make", "released"),
    [
        (lambda d, f: ResNetBlock(d, d, TIME_WIDTH), 11_279_872),
        (lambda d, f: TimeFrequencyAttention(d, TIME_WIDTH, PAPER), 2_041_536),
        (lambda d, f: TimeAttention(d, f, TIME_WIDTH, PAPER), 2_982_754),
    ],
)
def test_sizes_of_the_blocks(make: object, released: int) -> None:
    """REFERENCE 8.3: parameters of each block over all levels."""
    with torch.device("meta"):
        assert sum(num_parameters(make(*level)) for level in LEVELS) == released  # type: ignore[operator]


def block(kind: str, size: ConvolutionAttentionSettings = SMALL) -> nn.Module:
    """Build a small block with every parameter drawn at random."""
    torch.manual_seed(0)
    layer = {
        "R": lambda: ResNetBlock(NUM_CHANNELS, NUM_CHANNELS, 8),
        "TF": lambda: TimeFrequencyAttention(NUM_CHANNELS, 8, size),
        "T": lambda: TimeAttention(NUM_CHANNELS, NUM_ROWS, 8, size),
    }[kind]()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double()


def inputs() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    maps = torch.randn(2, NUM_CHANNELS, NUM_ROWS, NUM_FRAMES, dtype=torch.float64)
    return maps, torch.randn(2, 8, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["R", "TF", "T"])
def test_the_timestep_and_the_memory_format(kind: str) -> None:
    layer, (maps, time) = block(kind), inputs()
    output = layer(maps, time)
    assert output.shape == maps.shape
    assert not torch.allclose(output, layer(maps, time + 1), atol=1e-3)
    last = layer(maps.contiguous(memory_format=torch.channels_last), time)
    torch.testing.assert_close(last, output)


def test_kernels_are_standardised() -> None:
    torch.manual_seed(0)
    convolution = StandardisedConvolution(3, 4, 3, padding=1)
    kernel = convolution.kernel().flatten(1)
    torch.testing.assert_close(kernel.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    # The weight's variance is about 1/27, beside which the 1e-5 under the root is 3e-4.
    torch.testing.assert_close(kernel.var(1, correction=0), torch.ones(4), atol=1e-3, rtol=0)
    maps = torch.randn(1, 3, 5, 5)
    before = convolution(maps)
    with torch.no_grad():
        convolution.weight.mul_(7).add_(3)
    torch.testing.assert_close(convolution(maps), before, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("divide_values", [True, False])
def test_time_frequency_attention_in_words(divide_values: bool) -> None:
    """Head by head: softmax over a query's channels, over all cells for keys, then products."""
    size = SMALL.model_copy(update={"divide_values": divide_values})
    layer, (maps, time) = block("TF", size), inputs()
    assert isinstance(layer, TimeFrequencyAttention)
    cells = maps.permute(0, 2, 3, 1).flatten(1, 2)
    projected = layer.to_heads(layer.condition(layer.norm(cells), time))
    queries, keys, values = (part.chunk(2, dim=2) for part in projected.chunk(3, dim=2))
    heads = []
    for query, key, value in zip(queries, keys, values, strict=True):
        value = value / cells.shape[1] if divide_values else value
        context = torch.einsum("bck,bcv->bkv", key.softmax(1), value)
        heads.append(torch.einsum("bck,bkv->bcv", query.softmax(2) / 2, context))  # sqrt(4)
    output = layer.last_norm(layer.from_heads(torch.cat(heads, 2)))
    expected = maps + output.unflatten(1, maps.shape[2:]).permute(0, 3, 1, 2)
    torch.testing.assert_close(layer(maps, time), expected)


def test_time_attention_in_words() -> None:
    """Head by head and column by column, with the softmax over time written out."""
    layer, (maps, time) = block("T"), inputs()
    assert isinstance(layer, TimeAttention)
    scale, shift = layer.condition.linear(nn.functional.silu(time)).chunk(2, dim=1)
    conditioned = maps * (1 + scale)[:, :, None, None] + shift[:, :, None, None]

    def project(part: nn.Module, head: int) -> Tensor:
        """One head's columns, [B, t, f * width]."""
        width = part.gain.shape[3]  # type: ignore[union-attr,index]
        rows = slice(head * width, (head + 1) * width)
        weight, bias = part.linear.weight[rows], part.linear.bias[rows]  # type: ignore[union-attr,index]
        hidden = torch.einsum("ed,bdft->btfe", weight, conditioned) + bias
        hidden = torch.where(hidden > 0, hidden, part.slopes[head] * hidden)  # type: ignore[index]
        centred = hidden - hidden.mean((2, 3), keepdim=True)
        spread = (centred.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        return (centred / spread * part.gain[head, 0] + part.bias[head, 0]).flatten(2)  # type: ignore[index]

    outputs = []
    for head in range(2):
        query, key, value = (project(p, head) for p in (layer.queries, layer.keys, layer.values))
        weights = (query @ key.mT / query.shape[2] ** 0.5).softmax(-1)
        outputs.append((weights @ value).unflatten(2, (NUM_ROWS, -1)))
    conditioned = torch.cat(outputs, dim=3).permute(0, 3, 2, 1)  # read by `project` below
    joined = project(layer.join, 0).unflatten(2, (NUM_ROWS, -1)).permute(0, 3, 2, 1)
    torch.testing.assert_close(layer(maps, time), maps + joined)


@pytest.mark.parametrize("kind", ["TF", "T"])
@pytest.mark.parametrize("num_cells", [1, 14, 50, 10_000])
def test_portions_change_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: str, num_cells: int
) -> None:
    """Neither the output, in place or not, nor the gradients, of one portion or many."""
    layer, (maps, time) = block(kind), inputs()
    maps = maps.contiguous(memory_format=torch.channels_last)

    def run() -> tuple[Tensor, list[Tensor]]:
        output = layer(maps, time)
        return output, list(torch.autograd.grad(output.sin().sum(), list(layer.parameters())))

    output, gradients = run()
    monkeypatch.setattr("avsep.models.davis.convolution_attention._PORTION_CELLS", num_cells)
    again, others = run()
    torch.testing.assert_close(again, output)
    torch.testing.assert_close(others, gradients)
    with torch.no_grad():
        copy = maps.clone(memory_format=torch.channels_last)
        torch.testing.assert_close(layer(copy, time), output)
        assert not torch.equal(copy, maps)  # overwritten


def test_keys_as_large_as_they_may_be_do_not_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The softmax over cells is accumulated over portions at the largest key so far."""
    layer, (maps, time) = block("TF").float(), inputs()
    maps, time = maps.float(), time.float()
    with torch.no_grad():
        layer.to_heads.weight[8:16] *= 1000  # type: ignore[index,union-attr]
        monkeypatch.setattr("avsep.models.davis.convolution_attention._PORTION_CELLS", 20)
        assert bool(layer(maps.clone(), time).isfinite().all())


@pytest.mark.parametrize("kind", ["TF", "T"])
def test_attention_does_not_depend_on_the_order_of_frames(kind: str) -> None:
    layer, (maps, time) = block(kind), inputs()
    order = torch.randperm(NUM_FRAMES)
    torch.testing.assert_close(layer(maps[..., order], time), layer(maps, time)[..., order])


def test_channels_that_cannot_be_parted() -> None:
    with pytest.raises(ValueError, match="18 channels cannot be parted in 4 heads"):
        TimeAttention(18, 8, 8, PAPER)
