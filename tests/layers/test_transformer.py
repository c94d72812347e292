"""Transformer layers: sizes, and padding that has no effect whatever its values."""

import torch

from avsep.layers.transformer import (
    Attention,
    CrossLayer,
    DecoderLayer,
    EncoderLayer,
    sine_positions,
)

WIDTH = 16


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_of_the_layers() -> None:
    """REFERENCE 8.1: an encoder layer, an ordinary decoder layer, a motion layer, at 256."""
    assert num_parameters(EncoderLayer(256, 8, 1024)) == 789_760
    assert num_parameters(DecoderLayer(256, 8, 1024)) == 1_053_440
    assert num_parameters(CrossLayer(256, 8, 1024)) == 789_760


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = CrossLayer(WIDTH, 2, 32).eval()
    queries, places = torch.randn(2, 3, WIDTH), torch.randn(3, WIDTH)
    memory = torch.randn(2, 5, WIDTH)
    padding = torch.tensor([[False] * 5, [False, False, True, True, True]])
    times = sine_positions(torch.arange(5), WIDTH)
    result = layer(queries, places, memory, times, padding)
    other = memory.clone()
    other[1, 2:] = 100.0
    assert torch.equal(result, layer(queries, places, other, times, padding))
    alone = layer(queries[1:], places, memory[1:, :2], times[:2])
    # The same two tokens without padding, up to rounding.
    torch.testing.assert_close(result[1:], alone, atol=1e-5, rtol=1e-5)
    unmasked = layer(queries, places, memory, times)
    assert not torch.allclose(result[1], unmasked[1], atol=1e-3)


def test_a_memory_of_padding_alone_has_no_effect() -> None:
    torch.manual_seed(0)
    attention = Attention(WIDTH, 2).eval()
    tokens, places = torch.randn(2, 3, WIDTH), torch.zeros(3, WIDTH)
    memory = torch.randn(2, 4, WIDTH)
    padding = torch.tensor([[True] * 4, [False] * 4])
    result = attention(tokens, places, memory, None, padding)
    assert torch.isfinite(result).all()
    assert torch.equal(result[0], attention.norm(tokens[0]))
    assert not torch.allclose(result[1], attention.norm(tokens[1]))
