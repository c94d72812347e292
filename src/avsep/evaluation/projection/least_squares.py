"""Least-squares projection onto delayed references: correlations and factorisations."""

from collections.abc import Sequence

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

from avsep.evaluation.projection.decomposition import ProjectedEnergy

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


# How much delayed references explain, by recursion: in the square of the taps, not their cube


# Delays are taken several at a time, in blocks of so many rows at most: matrix products of this
# size cost little more than smaller ones, and the recursion has fewer steps.
_MOST_BLOCK_ROWS = 16
_NUM_PROBES = 8
# How much the last bit counts, and the least length: of all kinds of references in
# tests/evaluation/test_projection.py, from regular to singular, no energy is off by more.
_ROUNDING = 16 * 2.0**-52
_LEAST_SQUARED_LENGTH = 2


def explained_by_recursion(
    lags: Float64[Tensor, "B G G lags"], sides: Float64[Tensor, "B R G taps"]
) -> ProjectedEnergy:
    """Energies that G delayed references explain of R signals, and how far off they may be.

    With the right-hand side b and the references' inner products T = L L' the energy is b'T⁻¹b, the
    squares of L⁻¹b. T is block Toeplitz, and less its own copy one block further down it has low
    rank: the block Schur algorithm (Kailath and Sayed, Displacement structure, SIAM Review 37,
    1995) makes L a block column at a time from the few columns that are left. It is as stable as
    a dense factorisation when its rotations are applied in mixed form (Chandrasekaran and Sayed,
    SIAM J. Matrix Anal. Appl. 17, 1996). Each column of L is used at once and forgotten.

    Rounding in the last bit of T moves the energy by that share of the squared length of the
    filters x = T⁻¹b. Random probes r carried along measure it: x'r is (L⁻¹b)'(L⁻¹r), whose mean
    square is the squared length. Nothing is known, and the energy NaN, where rounding leaves T
    without a factor: what LAPACK leaves of one then looks like numbers, and is none.
    """
    blocks = _blocks(lags)
    num_systems, num_blocks, d, _ = blocks.shape
    num_signals = sides.shape[1]
    probes = torch.randn(
        num_blocks * d,
        _NUM_PROBES,
        dtype=lags.dtype,
        device="cpu",  # the same everywhere, whatever the default
        generator=torch.Generator("cpu").manual_seed(0),
    ).to(lags.device)
    rest = torch.cat(
        [sides.permute(0, 3, 2, 1).flatten(1, 2), probes.expand(num_systems, -1, -1)], dim=2
    )
    products = rest.new_zeros(num_systems, num_signals, rest.shape[2])
    root = _factor(blocks[:, 0])
    plus = torch.linalg.solve_triangular(root.mT, blocks.flatten(1, 2), upper=True, left=False)
    minus = plus[:, d:]
    while True:
        # `plus` is the column of L that begins here.
        head = torch.linalg.solve_triangular(plus[:, :d], rest[:, :d], upper=False)
        products += head[:, :, :num_signals].mT @ head
        if plus.shape[1] == d:
            break
        rest = torch.baddbmm(rest[:, d:], plus[:, d:], head, alpha=-1)
        plus, minus = _rotated(plus[:, :-d], minus)
    energy = products[:, :, :num_signals].diagonal(dim1=1, dim2=2)
    squared_length = products[:, :, num_signals:].square().mean(-1)
    error = _ROUNDING * (_LEAST_SQUARED_LENGTH + squared_length)
    return ProjectedEnergy(energy, torch.where(energy.isfinite(), error, torch.inf))


def _rotated(
    plus: Float64[Tensor, "B rows d"], minus: Float64[Tensor, "B rows d"]
) -> tuple[Float64[Tensor, "B rows d"], Float64[Tensor, "B fewer d"]]:
    """Both generators after the hyperbolic rotation that clears the first block of `minus`.

    plus plus' - minus minus' stays as it is. The second is made from the rotated first, which keeps
    every factor below one and rounding with it.
    """
    d = plus.shape[2]
    ratio = torch.linalg.solve_triangular(plus[:, :d], minus[:, :d], upper=False)
    unit = torch.eye(d, dtype=plus.dtype, device=plus.device)
    pair = unit - torch.stack([ratio @ ratio.mT, ratio.mT @ ratio])
    root, other_root = _factor(pair)
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=False).mT
    plus = torch.baddbmm(plus @ inverse, minus, ratio.mT @ inverse, alpha=-1)
    across = torch.linalg.solve_triangular(other_root, ratio.mT @ root, upper=False).mT
    minus = torch.baddbmm(minus[:, d:] @ other_root, plus[:, d:], across, alpha=-1)
    return plus, minus


def _factor(matrices: Float64[Tensor, "*B d d"]) -> Float64[Tensor, "*B d d"]:
    """The Cholesky factors; NaN where there is none, which every later figure inherits."""
    factors, info = torch.linalg.cholesky_ex(matrices)
    return factors.masked_fill((info > 0)[..., None, None], torch.nan)


def _blocks(lags: Float64[Tensor, "B G G lags"]) -> Float64[Tensor, "B blocks d d"]:
    """The first block column of T, several delays to a block."""
    num_channels, taps = lags.shape[1], (lags.shape[-1] + 1) // 2
    delays = 1
    while taps % (2 * delays) == 0 and 2 * delays * num_channels <= _MOST_BLOCK_ROWS:
        delays *= 2
    inside = torch.arange(delays, device=lags.device)
    starts = torch.arange(0, taps, delays, device=lags.device)
    which = starts[:, None, None] + inside[:, None] - inside + taps - 1
    found = lags[..., which]  # B G G blocks delays delays
    return found.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


# The inner products of delayed references, inverted as accurately as numbers allow


_FACTOR_ROWS = 128


class DenseInverse:
    """The inverse of the inner products of G delayed references, by Cholesky."""

    def __init__(self, lags: Float64[Tensor, "G G lags"]) -> None:
        self.taps = (lags.shape[-1] + 1) // 2
        blocks = lags.unfold(-1, self.taps, 1).flip(-1)  # entry [a, b] is the product at lag a - b
        self._factor = _cholesky(blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1))

    def solve(self, sides: Float64[Tensor, "R G taps"]) -> Float64[Tensor, "R G taps"]:
        """The filters whose products with the references are these right-hand sides."""
        found = torch.cholesky_solve(sides.flatten(1).mT, self._factor).mT
        return found.reshape(sides.shape)


def _cholesky(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """Its Cholesky factor, with the least ridge that lets it have one.

    Args:
        gram: of a diagonal of ones, so that a ridge of one is more than any needs.
    """
    for exponent in range(-15, 1):
        gram.diagonal().add_(10.0**exponent)
        factor = factor_in_blocks(gram)
        if bool(factor.diagonal().isfinite().all()):
            return factor
    raise AssertionError("inner products that are finite have a factor with such a ridge")


def factor_in_blocks(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """The Cholesky factor, NaN where there is none; faster than LAPACK's (`make bench`: both)."""
    half = len(gram) // 2
    if len(gram) <= _FACTOR_ROWS:
        factor, info = torch.linalg.cholesky_ex(gram)
        return factor if not info else torch.full_like(gram, torch.nan)
    factor = torch.zeros_like(gram)
    upper = factor[:half, :half] = factor_in_blocks(gram[:half, :half])
    side = torch.linalg.solve_triangular(upper, gram[half:, :half].mT, upper=False).mT
    factor[half:, :half] = side
    factor[half:, half:] = factor_in_blocks(gram[half:, half:] - side @ side.mT)
    return factor
