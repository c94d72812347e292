"""Project signals onto delayed references: correlations and Toeplitz least squares."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Self

import torch
from jaxtyping import Bool, Complex128, Float64, Int64
from torch import Tensor
from torch.nn.functional import pad

AnyEnergies = Float64[Tensor, "..."]

# FFT block length in filter lengths: shorter blocks overlap more, longer ones leave the cache.
_BLOCK_TAPS = 8
# Delays are grouped into blocks of at most 16 rows: matrix products of this size cost little more
# than smaller ones, and the recursion has fewer steps.
_MAX_BLOCK_ROWS = 16
# Error bound, in standard deviations of the error that independent rounding of every inner product
# by a unit of its last bit causes, and the least deviation it assumes. Of the 68 notes of
# tests/evaluation/test_projection.py half are off by less than 0.7 of them, none by more than 2.8.
# The rest is room for references of a narrow band, whose rounding is not independent.
_ROUNDING = 12 * 2.0**-52
_MIN_DEVIATION = 2
# Samples whose squares are added up before the sums are.
_NORM_SAMPLES = 256
# Blocks that are transformed at a time: with filters of 512 taps the spectra of 32 blocks of one
# waveform take 1 MiB.
_MAX_BLOCKS = 32


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

    def replaced(self, where: Bool[Tensor, "..."], other: "ProjectedEnergy") -> "ProjectedEnergy":
        """Return a copy with other energies and errors where the mask is true."""
        energy, error = self.energy.clone(), self.error.clone()
        energy[where], error[where] = other.energy, other.error
        return ProjectedEnergy(energy, error)


def norms(waveforms: Float64[Tensor, "*B N"]) -> Float64[Tensor, "*B"]:
    """Return the norms of waveforms, to the last bits of double precision.

    Sums of parts are added up: one sum over a long waveform loses two digits.
    """
    num_samples = waveforms.shape[-1]
    rest = num_samples % _NORM_SAMPLES
    whole = waveforms[..., : num_samples - rest].unflatten(-1, (-1, _NORM_SAMPLES))
    parts = [torch.linalg.vector_norm(whole, dim=-1)]
    parts.append(torch.linalg.vector_norm(waveforms[..., num_samples - rest :], dim=-1)[..., None])
    return torch.linalg.vector_norm(torch.cat(parts, dim=-1), dim=-1)


class DelayedReferences:
    """References [G, N] of one mixture, at every delay from 0 to `taps` - 1 samples.

    Inner products and sums are computed by FFTs of blocks. The references are divided by `scales`
    [G], without a copy.
    """

    def __init__(
        self,
        references: Float64[Tensor, "G N"],
        scales: Float64[Tensor, " G"],
        taps: int,
    ) -> None:
        self.references, self.scales, self.taps = references, scales, taps
        num_samples = references.shape[-1]
        # Short blocks overlap more, long ones leave the cache. Their length is even.
        self._block_samples = min(_BLOCK_TAPS * taps, num_samples + taps)
        self._block_samples += self._block_samples % 2
        self._hop_samples = self._block_samples - taps + 1
        # Blocks are transformed some at a time, which limits the memory that a long sound takes.
        self._num_blocks = -(-num_samples // self._hop_samples)
        self._starts = range(0, self._num_blocks, _MAX_BLOCKS)
        self._short_spectra: Complex128[Tensor, "G blocks bins"] | None = None

    def channels(self, first: int, number: int) -> Self:
        """Return some of the references, with what is computed of them."""
        part = copy(self)
        chosen = slice(first, first + number)
        part.references, part.scales = self.references[chosen], self.scales[chosen]
        part._short_spectra = None if self._short_spectra is None else self._short_spectra[chosen]
        return part

    def correlate(
        self, signals: Sequence[Float64[Tensor, "_ longer"]]
    ) -> Float64[Tensor, "G X taps"]:
        """Return inner products of each reference, delayed by 0, 1, ... samples, with each signal.

        Signals come as a sequence of tensors, concatenated along X; they may be longer or shorter
        than the references.

        >>> click = torch.zeros(1, 50, dtype=torch.float64)
        >>> click[0, 7] = 1.0
        >>> references = DelayedReferences(click, click.new_ones(1), 4)
        >>> products = references.correlate([click, click.roll(2)])
        >>> products.round().abs().tolist()
        [[[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]]
        """
        sizes = [len(part) for part in signals]
        shape = (len(self.references), sum(sizes), self._block_samples // 2 + 1)
        total = self.references.new_zeros(shape, dtype=torch.complex128)
        for first in self._starts:
            blocks = self._spectra(first)
            # A block of a reference, delayed, reaches taps - 1 samples further into the signal.
            frames = [self._frames(part, first, self._block_samples) for part in signals]
            # Conjugated at once: products of lazily conjugated spectra copy them.
            spectra = [torch.fft.rfft(part).conj_physical_() for part in frames]
            for index in range(blocks.shape[1]):
                block = blocks[:, index, None]
                for part, place in zip(spectra, total.split(sizes, dim=1), strict=True):
                    place.addcmul_(block, part[:, index])  # correlations add up over blocks
        products = torch.fft.irfft(total.conj(), n=self._block_samples)[..., : self.taps]
        return products / self.scales[:, None, None]

    def filter_and_add(self, filters: Float64[Tensor, "X G taps"]) -> Float64[Tensor, "X longer"]:
        """Return the sum of the filtered references, taps - 1 samples longer than they are.

        >>> click = torch.eye(2, 6, dtype=torch.float64)
        >>> filters = torch.tensor([[[1.0, 2.0], [0.0, 5.0]]], dtype=torch.float64)
        >>> references = DelayedReferences(click, click.new_ones(2), 2)
        >>> references.filter_and_add(filters).round().abs().tolist()
        [[1.0, 2.0, 5.0, 0.0, 0.0, 0.0, 0.0]]
        """
        hop, tail = self._hop_samples, self.taps - 1
        total = filters.new_zeros(len(filters), self._num_blocks * hop + tail)
        scaled = filters / self.scales[:, None]
        responses = torch.fft.rfft(scaled, n=self._block_samples)
        for first in self._starts:
            spectra = self._spectra(first)
            sums = responses[:, 0, None] * spectra[0]
            for channel in range(1, len(spectra)):
                sums.addcmul_(responses[:, channel, None], spectra[channel])
            filtered = torch.fft.irfft(sums, n=self._block_samples)  # X blocks samples
            # A block is as long as its part of the sound and the tail that its filters add.
            place = total[:, first * hop : (first + filtered.shape[1]) * hop + tail]
            place[:, : -tail or None].unflatten(1, (-1, hop)).add_(filtered[..., :hop])
            if tail:
                place[:, hop:].unfold(1, tail, hop).add_(filtered[..., hop:])
        return total[:, : self.references.shape[1] + tail]

    def _spectra(self, first: int) -> Complex128[Tensor, "G blocks bins"]:
        """Return the spectra of a group of blocks; those of a short sound are kept."""
        if self._short_spectra is not None:
            return self._short_spectra
        frames = self._frames(self.references, first, self._hop_samples)
        spectra = torch.fft.rfft(frames, n=self._block_samples)
        if len(self._starts) == 1:
            self._short_spectra = spectra
        return spectra

    def _frames(
        self, waveforms: Float64[Tensor, "X _"], first: int, length: int
    ) -> Float64[Tensor, "X blocks length"]:
        """Cut a group of blocks out of waveforms; beyond their ends are zeros."""
        number = min(_MAX_BLOCKS, self._num_blocks - first)
        start = first * self._hop_samples
        num_samples = (number - 1) * self._hop_samples + length
        piece = waveforms[:, start : start + num_samples]
        piece = pad(piece, (0, num_samples - piece.shape[1]))
        return piece.unfold(1, length, self._hop_samples)


def compute_autocorrelations(
    correlations: Float64[Tensor, "*B G G taps"],
) -> Float64[Tensor, "*B G G lags"]:
    """Extend correlations of references, lags 0 to taps - 1, to lags 1 - taps to taps - 1.

    Entry [i, j, k] is the inner product of references i and j, i delayed by k - taps + 1 samples.
    """
    earlier = correlations.transpose(-3, -2)[..., 1:].flip(-1)
    return torch.cat([earlier, correlations], dim=-1)


# Projected energies by the block Schur recursion, in the square of the taps instead of their cube


class ToeplitzSystems:
    """Least squares of signals on delayed references, for K systems of one size.

    With the right-hand side b and the references' inner products T = L L' the explained energy is
    b'T⁻¹b, the squared norm of L⁻¹b. T is block Toeplitz, and the difference of T and its copy
    shifted one block down has low rank: the block Schur algorithm (Kailath and Sayed, Displacement
    structure, SIAM Review 37, 1995) computes L one block column at a time from the few columns of
    that difference. It is as stable as a dense factorisation when its rotations are applied in
    mixed form (Chandrasekaran and Sayed, SIAM J. Matrix Anal. Appl. 17, 1996).

    Attributes:
        autocorrelations: [K, G, G, lags], inner products of references of energy 1.
        cross_correlations: [K, X, G, taps], inner products of signals and delayed references.
        filters: [K, X, G, taps], least-squares filters T⁻¹b of the signals.
        energies: [K, X], explained energies. NaN with an error of inf where rounding leaves T
            without a Cholesky factor: what LAPACK returns then is finite and meaningless.
    """

    def __init__(
        self,
        autocorrelations: Float64[Tensor, "K G G lags"],
        cross_correlations: Float64[Tensor, "K X G taps"],
    ) -> None:
        self.autocorrelations = autocorrelations
        self.cross_correlations = cross_correlations
        self._columns: list[Float64[Tensor, "K rows d"]] = []  # the block columns of L
        self._solve_signals(self._factor())

    def pick(self, index: Int64[Tensor, " picked"]) -> Self:
        """Return some of the systems, with their factors."""
        picked = copy(self)
        picked.autocorrelations = self.autocorrelations[index]
        picked.cross_correlations = self.cross_correlations[index]
        picked.energies = self.energies.map(lambda values: values[index])
        picked.filters = self.filters[index]
        picked._columns = [column[index] for column in self._columns]
        return picked

    def with_ridge(self) -> Self:
        """Return the systems with small ridges on T, with which all have a factor.

        Factored densely: the recursion is not stable enough for systems that rounding leaves
        singular, and these are rare.
        """
        taps = self.cross_correlations.shape[-1]
        # Entry [a, b] of a block is the inner product at lag a - b.
        blocks = self.autocorrelations.unfold(-1, taps, 1).flip(-1)  # K G G taps taps
        grams = blocks.permute(0, 3, 1, 4, 2).flatten(3, 4).flatten(1, 2)
        dense = copy(self)
        dense._columns = [torch.stack([_ridge_cholesky(gram) for gram in grams])]
        dense._solve_signals(dense._columns)
        return dense

    def solve(
        self, cross_correlations: Float64[Tensor, "K X G taps"]
    ) -> Float64[Tensor, "K X G taps"]:
        """Return the least-squares filters for these right-hand sides."""
        return self._substitute(self._eliminate(self._columns, _as_columns(cross_correlations)))

    def _substitute(self, heads: Float64[Tensor, "K rows X"]) -> Float64[Tensor, "K X G taps"]:
        """Return L'⁻¹ times L⁻¹ times right-hand sides, as filters."""
        filters = torch.empty_like(heads)
        end = heads.shape[1]
        for column in reversed(self._columns):
            d = column.shape[2]
            start = end - d
            explained = column[:, d:].mT @ filters[:, end:]
            filters[:, start:end] = torch.linalg.solve_triangular(
                column[:, :d].mT, heads[:, start:end] - explained, upper=True
            )
            end = start
        num_channels = self.autocorrelations.shape[1]
        return filters.unflatten(1, (-1, num_channels)).permute(0, 3, 2, 1)

    def _solve_signals(self, columns: Iterable[Float64[Tensor, "K _ d"]]) -> None:
        """Compute filters and energies of the signals, with bounds of their rounding errors."""
        heads = self._eliminate(columns, _as_columns(self.cross_correlations))
        self.filters = self._substitute(heads)
        energy = heads.square().sum(1)
        error = _ROUNDING * (_MIN_DEVIATION + self._deviations())
        has_bound = energy.isfinite() & error.isfinite()
        self.energies = ProjectedEnergy(energy, torch.where(has_bound, error, torch.inf))

    def _deviations(self) -> AnyEnergies:
        """Return how far rounding of the inner products moves the energies, in units of it.

        A change of T changes the energy b'T⁻¹b by x'(change)x, with the filters x = T⁻¹b. If every
        inner product is off by a share of its own, independently, the standard deviation sums the
        squares of them all, each times the filters' inner product at that lag.
        """
        taps = self.filters.shape[-1]
        spectra = torch.fft.rfft(self.filters, n=2 * taps)
        variance = self.filters.new_zeros(self.filters.shape[:2])
        for i, j in combinations_with_replacement(range(self.filters.shape[2]), 2):
            products = torch.fft.irfft(spectra[:, :, i] * spectra[:, :, j].conj(), n=2 * taps)
            products = products.roll(taps - 1, dims=-1)[..., :-1]  # in the order of T's lags
            products *= self.autocorrelations[:, None, i, j]
            variance += (1 if i == j else 2) * products.square().sum(-1)
        return variance.sqrt()

    def _factor(self) -> Iterator[Float64[Tensor, "K rows d"]]:
        """Compute, keep and yield the block columns of L, from its diagonal blocks on."""
        blocks = _first_block_column(self.autocorrelations)
        num_blocks, d = blocks.shape[1:3]
        root = _cholesky(blocks[:, 0])
        plus = torch.linalg.solve_triangular(root.mT, blocks.flatten(1, 2), upper=True, left=False)
        minus = plus[:, d:]
        for index in range(num_blocks):
            if index:
                plus, minus = _rotate(plus[:, :-d], minus)
            self._columns.append(plus)
            yield plus

    def _eliminate(
        self, columns: Iterable[Float64[Tensor, "K _ d"]], sides: Float64[Tensor, "K rows X"]
    ) -> Float64[Tensor, "K rows X"]:
        """Return L⁻¹ times the right-hand sides."""
        heads = sides.clone()
        start = 0
        for column in columns:
            end = start + column.shape[2]
            head = heads[:, start:end]
            head.copy_(torch.linalg.solve_triangular(column[:, : end - start], head, upper=False))
            heads[:, end:].baddbmm_(column[:, end - start :], head, alpha=-1)
            start = end
        return heads


def _as_columns(sides: Float64[Tensor, "K X G taps"]) -> Float64[Tensor, "K rows X"]:
    """Return right-hand sides in the order of T: all channels of one delay follow each other."""
    return sides.permute(0, 3, 2, 1).flatten(1, 2)


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
    root, other_root = _cholesky(pair)
    inverse = torch.linalg.solve_triangular(root, unit.expand_as(root), upper=False).mT
    # In place: `baddbmm` would copy its first argument.
    plus = (plus @ inverse).baddbmm_(minus, ratio.mT @ inverse, alpha=-1)
    across = torch.linalg.solve_triangular(other_root, ratio.mT @ root, upper=False).mT
    minus = (minus[:, d:] @ other_root).baddbmm_(plus[:, d:], across, alpha=-1)
    return plus, minus


def _cholesky(matrices: Float64[Tensor, "*B d d"]) -> Float64[Tensor, "*B d d"]:
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


def _ridge_cholesky(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """Return the Cholesky factor with the smallest ridge for which there is one.

    The diagonal is 1, so that a ridge of 1 is more than enough. It is added in place.
    """
    for exponent in range(-15, 1):
        gram.diagonal().add_(10.0**exponent)
        factor, info = torch.linalg.cholesky_ex(gram)
        if not info:
            return factor
    raise AssertionError("inner products that are finite have a factor with such a ridge")
