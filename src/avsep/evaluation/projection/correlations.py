"""Signals against delayed references: inner products and filters, block by block by the FFT."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

# Blocks are so many times the filters: shorter ones overlap more, longer ones leave the cache.
_BLOCK_TAPS = 8


def correlate(
    references: Float64[Tensor, "*B G N"], signals: Sequence[Float64[Tensor, "*B _ _"]], taps: int
) -> Float64[Tensor, "*B G X taps"]:
    """Inner products of each reference, delayed by 0, 1, ... samples, with each signal.

    Signals come in parts, which are taken one after the other; they may be longer or shorter than
    references.

    >>> click = torch.zeros(1, 50, dtype=torch.float64)
    >>> click[0, 7] = 1.0
    >>> correlate(click, [click, click.roll(2)], 4).round().abs().tolist()
    [[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]]
    """
    num_samples = references.shape[-1]
    block_samples, hop_samples = _block_sizes(num_samples, taps)
    sizes = [part.shape[-2] for part in signals]
    shape = (*references.shape[:-1], sum(sizes), block_samples // 2 + 1)
    spectrum = references.new_zeros(shape, dtype=torch.complex128)
    # A delayed block of a reference meets the signal for taps - 1 samples more; where the last one
    # ends the FFT fills up with zeros.
    for start in range(0, num_samples, hop_samples):
        block = torch.fft.rfft(references[..., start : start + hop_samples], n=block_samples)
        block = block.conj_physical_().unsqueeze(-2)
        for part, found in zip(signals, spectrum.split(sizes, dim=-2), strict=True):
            heard = torch.fft.rfft(part[..., start : start + block_samples], n=block_samples)
            found.addcmul_(block, heard.unsqueeze(-3))
    return torch.fft.irfft(spectrum, n=block_samples)[..., :taps]


def filter_and_add(
    references: Float64[Tensor, "G N"], filters: Float64[Tensor, "X G taps"]
) -> Float64[Tensor, "X longer"]:
    """Sums of the references, each through its filter; taps - 1 samples longer than they are.

    >>> click = torch.eye(2, 6, dtype=torch.float64)
    >>> filters = torch.tensor([[[1.0, 2.0], [0.0, 5.0]]], dtype=torch.float64)
    >>> filter_and_add(click, filters).round().abs().tolist()
    [[1.0, 2.0, 5.0, 0.0, 0.0, 0.0, 0.0]]
    """
    taps = filters.shape[-1]
    num_samples = references.shape[-1] + taps - 1
    block_samples, hop_samples = _block_sizes(num_samples, taps)
    responses = torch.fft.rfft(filters, n=block_samples)
    # A block begins with the samples whose echoes reach into it.
    padded = pad(references, (taps - 1, taps - 1 + hop_samples))
    blocks = []
    for start in range(0, num_samples, hop_samples):
        block = torch.fft.rfft(padded[:, start : start + block_samples], n=block_samples)
        spectrum = (responses * block).sum(dim=1)
        blocks.append(torch.fft.irfft(spectrum, n=block_samples)[:, taps - 1 :])
    return torch.cat(blocks, dim=-1)[:, :num_samples]


def _block_sizes(num_samples: int, taps: int) -> tuple[int, int]:
    """Samples of a block's FFT, an even number, and from one block to the next."""
    block_samples = min(_BLOCK_TAPS * taps, num_samples + taps)
    block_samples += block_samples % 2
    return block_samples, block_samples - taps + 1


def lags_of(correlations: Float64[Tensor, "*B G G taps"]) -> Float64[Tensor, "*B G G lags"]:
    """Inner products of references at lags 1 - taps to taps - 1, from those that `correlate` has.

    Entry [i, j, k] is that of reference j later by k - taps + 1 samples than i.
    """
    earlier = correlations.transpose(-3, -2)[..., 1:].flip(-1)
    return torch.cat([earlier, correlations], dim=-1)
