"""Project signals onto delayed references: correlations and Toeplitz least squares."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import pad

AnyEnergies = Float64[Tensor, "..."]

# FFT block length in filter lengths: shorter blocks overlap more, longer ones leave the cache.
_BLOCK_TAPS = 8
# Delays are grouped into blocks of at most 16 rows: matrix products of this size cost little more
# than smaller ones, and the recursion has fewer steps.
_MAX_BLOCK_ROWS = 16
# Random probes per system: their mean estimates the filters' length closely enough for a bound.
_NUM_PROBES = 8
# Error bound in units of the last bit, and the least squared filter length it assumes: of all kinds
# of references in tests/evaluation/test_projection.py, from regular to singular, no energy is off
# by more.
_ROUNDING = 16 * 2.0**-52
_MIN_SQUARED_LENGTH = 2
# Matrices up to this size are factored by LAPACK, larger ones in halves.
_LAPACK_ROWS = 128


@dataclass(frozen=True)
class ProjectedEnergy:
    """Energies of projections of unit-energy signals onto delayed references.

    Attributes:
        energy: squared norm of each projection.
        error: bound of its rounding error; inf if unknown.
    """

    energy: AnyEnergies
    error: AnyEnergies

    def map(self, change: Callable[[AnyEnergies], AnyEnergies]) -> "ProjectedEnergy":
        """Return a copy with the same change of axes applied to energies and errors."""
        return ProjectedEnergy(change(self.energy), change(self.error))


def correlate(
    references: Float64[Tensor, "*B G N"], signals: Sequence[Float64[Tensor, "*B _ _"]], taps: int
) -> Float64[Tensor, "*B G X taps"]:
    """Return inner products of each reference, delayed by 0, 1, ... samples, with each signal.

    Signals come as a sequence of tensors, concatenated along X; they may be longer or shorter than
    the references.

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
    # Overlap: a block of a reference, delayed, reaches taps - 1 samples further into the signal. At
    # the end of the sound the FFT pads with zeros.
    for start in range(0, num_samples, hop_samples):
        block = torch.fft.rfft(references[..., start : start + hop_samples], n=block_samples)
        block = block.conj_physical_().unsqueeze(-2)
        for part, total in zip(signals, spectrum.split(sizes, dim=-2), strict=True):
            signal = torch.fft.rfft(part[..., start : start + block_samples], n=block_samples)
            total.addcmul_(block, signal.unsqueeze(-3))  # correlations add up over blocks
    return torch.fft.irfft(spectrum, n=block_samples)[..., :taps]


def filter_and_add(
    references: Float64[Tensor, "G N"], filters: Float64[Tensor, "X G taps"]
) -> Float64[Tensor, "X longer"]:
    """Return the sum of the filtered references, taps - 1 samples longer than they are.

    >>> click = torch.eye(2, 6, dtype=torch.float64)
    >>> filters = torch.tensor([[[1.0, 2.0], [0.0, 5.0]]], dtype=torch.float64)
    >>> filter_and_add(click, filters).round().abs().tolist()
    [[1.0, 2.0, 5.0, 0.0, 0.0, 0.0, 0.0]]
    """
    taps = filters.shape[-1]
    num_samples = references.shape[-1] + taps - 1
    block_samples, hop_samples = _block_sizes(num_samples, taps)
    responses = torch.fft.rfft(filters, n=block_samples)
    # Overlap-save: each block begins with the taps - 1 samples whose filtered tails reach into it.
    padded = pad(references, (taps - 1, taps - 1 + hop_samples))
    blocks = []
    for start in range(0, num_samples, hop_samples):
        block = torch.fft.rfft(padded[:, start : start + block_samples], n=block_samples)
        spectrum = (responses * block).sum(dim=1)
        blocks.append(torch.fft.irfft(spectrum, n=block_samples)[:, taps - 1 :])
    return torch.cat(blocks, dim=-1)[:, :num_samples]


def _block_sizes(num_samples: int, taps: int) -> tuple[int, int]:
    """Return the FFT length of a block, an even number, and the hop between blocks, in samples."""
    block_samples = min(_BLOCK_TAPS * taps, num_samples + taps)
    block_samples += block_samples % 2
    return block_samples, block_samples - taps + 1


def compute_autocorrelations(
    correlations: Float64[Tensor, "*B G G taps"],
) -> Float64[Tensor, "*B G G lags"]:
    """Extend correlations of references, lags 0 to taps - 1, to lags 1 - taps to taps - 1.

    Entry [i, j, k] is the inner product of references i and j, i delayed by k - taps + 1 samples.
    """
    earlier = correlations.transpose(-3, -2)[..., 1:].flip(-1)
    return torch.cat([earlier, correlations], dim=-1)


# Projected energies by the block Schur recursion, in the square of the taps instead of their cube


def project_energies(
    autocorrelations: Float64[Tensor, "B G G lags"],
    cross_correlations: Float64[Tensor, "B R G taps"],
) -> ProjectedEnergy:
    """Compute the energies that G delayed references explain of R signals, with error bounds.

    With the right-hand side b and the references' inner products T = L L' the energy is b'T⁻¹b, the
    squared norm of L⁻¹b. T is block Toeplitz, and the difference of T and its copy shifted one
    block down has low rank: the block Schur algorithm (Kailath and Sayed, Displacement structure,
    SIAM Review 37, 1995) computes L one block column at a time from the few columns of that
    difference. It is as stable as a dense factorisation when its rotations are applied in mixed
    form (Chandrasekaran and Sayed, SIAM J. Matrix Anal. Appl. 17, 1996). Each column of L is used
    at once and discarded.

    A relative rounding error in T moves the energy by that share of the squared length of the
    filters x = T⁻¹b. Random probes r carried along measure it: x'r is (L⁻¹b)'(L⁻¹r), whose mean
    square is the squared length. The energy is NaN and its error inf where rounding leaves T
    without a Cholesky factor: what LAPACK returns then is finite and meaningless.
    """
    blocks = _first_block_column(autocorrelations)
    num_systems, num_blocks, d, _ = blocks.shape
    num_signals = cross_correlations.shape[1]
    probes = torch.randn(
        num_blocks * d,
        _NUM_PROBES,
        dtype=autocorrelations.dtype,
        device="cpu",  # the same numbers on every device, whatever the default device
        generator=torch.Generator("cpu").manual_seed(0),
    ).to(autocorrelations.device)
    # Right-hand sides and probes are eliminated together, as columns of one matrix.
    remaining = torch.cat(
        [
            cross_correlations.permute(0, 3, 2, 1).flatten(1, 2),
            probes.expand(num_systems, -1, -1),
        ],
        dim=2,
    )
    products = remaining.new_zeros(num_systems, num_signals, remaining.shape[2])
    root = _factor(blocks[:, 0])
    plus = torch.linalg.solve_triangular(root.mT, blocks.flatten(1, 2), upper=True, left=False)
    minus = plus[:, d:]
    while True:
        # `plus` holds the block column of L that begins here; `head` is this block of L⁻¹b, L⁻¹r.
        head = torch.linalg.solve_triangular(plus[:, :d], remaining[:, :d], upper=False)
        products += head[:, :, :num_signals].mT @ head
        if plus.shape[1] == d:
            break
        remaining = torch.baddbmm(remaining[:, d:], plus[:, d:], head, alpha=-1)
        plus, minus = _rotate(plus[:, :-d], minus)
    energy = products[:, :, :num_signals].diagonal(dim1=1, dim2=2)
    squared_length = products[:, :, num_signals:].square().mean(-1)
    error = _ROUNDING * (_MIN_SQUARED_LENGTH + squared_length)
    return ProjectedEnergy(energy, torch.where(energy.isfinite(), error, torch.inf))


def _rotate(
    plus: Float64[Tensor, "B rows d"], minus: Float64[Tensor, "B rows d"]
) -> tuple[Float64[Tensor, "B rows d"], Float64[Tensor, "B fewer d"]]:
    """Rotate both generators hyperbolically, so that the first block of `minus` becomes 0.

    plus plus' - minus minus' is preserved. `minus` is computed from the rotated `plus` (mixed
    form), which keeps every factor below 1 and so bounds the rounding.
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
    """Return Cholesky factors; NaN for matrices without one, which propagates to the energies."""
    factors, info = torch.linalg.cholesky_ex(matrices)
    return factors.masked_fill((info > 0)[..., None, None], torch.nan)


def _first_block_column(
    autocorrelations: Float64[Tensor, "B G G lags"],
) -> Float64[Tensor, "B blocks d d"]:
    """Return the first block column of T, with several delays in a block."""
    num_channels, taps = autocorrelations.shape[1], (autocorrelations.shape[-1] + 1) // 2
    delays = 1
    while taps % (2 * delays) == 0 and 2 * delays * num_channels <= _MAX_BLOCK_ROWS:
        delays *= 2
    within = torch.arange(delays, device=autocorrelations.device)
    starts = torch.arange(0, taps, delays, device=autocorrelations.device)
    lags = starts[:, None, None] + within[:, None] - within + taps - 1
    blocks = autocorrelations[..., lags]  # B G G blocks delays delays
    return blocks.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


# Filters by a dense factorisation, for the systems that need refinement


class DenseInverse:
    """The inverse of the inner products of G delayed references, by Cholesky factorisation."""

    def __init__(self, autocorrelations: Float64[Tensor, "G G lags"]) -> None:
        self.taps = (autocorrelations.shape[-1] + 1) // 2
        # Entry [a, b] of a block is the inner product at lag a - b.
        blocks = autocorrelations.unfold(-1, self.taps, 1).flip(-1)
        self._factor = _ridge_cholesky(blocks.transpose(1, 2).flatten(2, 3).flatten(0, 1))

    def solve(self, cross_correlations: Float64[Tensor, "R G taps"]) -> Float64[Tensor, "R G taps"]:
        """Return the least-squares filters for these right-hand sides."""
        filters = torch.cholesky_solve(cross_correlations.flatten(1).mT, self._factor).mT
        return filters.reshape(cross_correlations.shape)


def _ridge_cholesky(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """Return the Cholesky factor, with the smallest ridge for which there is one.

    Args:
        gram: its diagonal is 1, so that a ridge of 1 is more than enough. The ridge is added in
            place.
    """
    for exponent in range(-15, 1):
        gram.diagonal().add_(10.0**exponent)
        factor = factor_in_blocks(gram)
        if bool(factor.diagonal().isfinite().all()):
            return factor
    raise AssertionError("inner products that are finite have a factor with such a ridge")


def factor_in_blocks(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """Return the Cholesky factor, NaN if there is none, by recursion on halves.

    Most work becomes matrix products, which is faster than LAPACK's routine (`make bench` times
    both).
    """
    half = len(gram) // 2
    if len(gram) <= _LAPACK_ROWS:
        factor, info = torch.linalg.cholesky_ex(gram)
        return factor if not info else torch.full_like(gram, torch.nan)
    factor = torch.zeros_like(gram)
    upper = factor[:half, :half] = factor_in_blocks(gram[:half, :half])
    side = torch.linalg.solve_triangular(upper, gram[half:, :half].mT, upper=False).mT
    factor[half:, :half] = side
    factor[half:, half:] = factor_in_blocks(gram[half:, half:] - side @ side.mT)
    return factor
