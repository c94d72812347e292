"""Block Toeplitz systems of delayed references, solved in far fewer steps than dense ones."""

import torch
from jaxtyping import Complex128, Float64
from torch import Tensor
from torch.nn.functional import pad

Filters = Float64[Tensor, "B R G taps"]
# Delays are taken several at a time, in blocks of so many rows at most: matrix products of this
# size cost little more than smaller ones, and the recursion has fewer steps.
_MOST_BLOCK_ROWS = 12
_FACTOR_ROWS = 128


class ToeplitzSystem:
    """The inner products of G delayed references with one another, for a batch of them."""

    def __init__(self, lags: Float64[Tensor, "B G G lags"]) -> None:
        self.taps = (lags.shape[-1] + 1) // 2
        self._fft_size = 2 * self.taps
        positive, negative = lags[..., self.taps - 1 :], lags[..., : self.taps - 1]
        circulant = torch.cat([positive, torch.zeros_like(lags[..., :1]), negative], dim=-1)
        self._spectrum = torch.fft.rfft(circulant)

    def multiply(self, filters: Filters) -> Filters:
        """The right-hand sides that filters belong to."""
        spectra = torch.fft.rfft(filters, n=self._fft_size)
        return self._cut(torch.einsum("bghf,brhf->brgf", self._spectrum, spectra))

    def _cut(self, spectra: Complex128[Tensor, "B R C F"]) -> Float64[Tensor, "B R C taps"]:
        return torch.fft.irfft(spectra, n=self._fft_size)[..., : self.taps]


class ToeplitzInverse(ToeplitzSystem):
    """A system and its inverse by recursion, in a time that grows with the square of the taps.

    A block Levinson recursion (Whittle 1963; Golub and Van Loan, Matrix Computations, section 4.7)
    finds the first and last block columns of the inverse, and these are all of it: the formula of
    Gohberg and Heinig (1974) turns a product with the inverse into a few short convolutions.

    It is accurate as far as the system is well conditioned; near a singular one it holds nonsense
    or NaN, and only residuals tell.
    """

    def __init__(self, lags: Float64[Tensor, "B G G lags"]) -> None:
        super().__init__(lags)
        num_channels = lags.shape[1]
        first, last = _end_columns(lags)
        # As scalars' 1 / first entry: the columns are divided by the root of their diagonal block.
        forward = _normalised(first, first[:, :num_channels])
        backward = _normalised(last, last[:, -num_channels:])
        forward, backward = (
            column.unflatten(1, (self.taps, num_channels)).permute(0, 2, 3, 1)
            for column in (forward, backward)
        )
        columns = torch.cat([forward, pad(backward, (1, 0))[..., :-1]], dim=2)
        self._columns = torch.fft.rfft(columns, n=self._fft_size)  # B G 2G F
        self._signs = columns.new_ones(2 * num_channels, 1)
        self._signs[num_channels:] = -1

    def solve(self, sides: Filters) -> Filters:
        """The filters whose products with the references are these right-hand sides."""
        spectra = torch.fft.rfft(sides, n=self._fft_size)
        inner = self._cut(torch.einsum("bgcf,brgf->brcf", self._columns.conj(), spectra))
        spectra = torch.fft.rfft(inner * self._signs, n=self._fft_size)
        return self._cut(torch.einsum("bgcf,brcf->brgf", self._columns, spectra))


class DenseInverse(ToeplitzSystem):
    """A system and its inverse by Cholesky: cubic in the taps, and as accurate as numbers allow."""

    def __init__(self, lags: Float64[Tensor, "B G G lags"]) -> None:
        super().__init__(lags)
        blocks = lags.unfold(-1, self.taps, 1).flip(-1)  # entry [a, b] is the product at lag a - b
        grams = blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        self._factor = torch.stack([_cholesky(gram) for gram in grams])

    def solve(self, sides: Filters) -> Filters:
        """The filters whose products with the references are these right-hand sides."""
        found = torch.cholesky_solve(sides.flatten(2).mT, self._factor).mT
        return found.reshape(sides.shape)


def _end_columns(
    lags: Float64[Tensor, "B G G lags"],
) -> tuple[Float64[Tensor, "B rows G"], Float64[Tensor, "B rows G"]]:
    """The first and the last block column of the inverse; rows go by delays, then by references."""
    num_channels = lags.shape[1]
    blocks = _blocks(lags)
    num_systems, num_blocks, d, _ = blocks.shape
    # Both predictors grow by a block in each step. The forward one stands at the top of its rows,
    # the backward one at their end, so that its delay by a block costs nothing.
    first = blocks.new_zeros(num_systems, num_blocks * d, d)
    last = torch.zeros_like(first)
    first[:, :d] = last[:, -d:] = torch.eye(d, dtype=lags.dtype, device=lags.device)
    first_error = last_error = blocks[:, 0]
    latest_first = blocks.flip(1).transpose(1, 2).flatten(2)  # B d rows
    for num_done in range(1, num_blocks):
        forward, backward = first[:, : (num_done + 1) * d], last[:, -(num_done + 1) * d :]
        miss = latest_first[:, :, -(num_done + 1) * d : -d] @ forward[:, :-d]
        roots = torch.linalg.cholesky_ex(torch.stack([last_error, first_error]))[0]
        step, step_back = torch.cholesky_solve(torch.stack([miss, miss.mT]), roots)
        grown = torch.baddbmm(forward, backward, step, alpha=-1)
        backward.baddbmm_(forward, step_back, alpha=-1)
        forward.copy_(grown)
        first_error, last_error = first_error - miss.mT @ step, last_error - miss @ step_back
    unit = torch.eye(d, dtype=lags.dtype, device=lags.device)
    first_inverse, last_inverse = torch.linalg.inv_ex(torch.stack([first_error, last_error]))[0]
    return first @ (first_inverse @ unit[:, :num_channels]), last @ (
        last_inverse @ unit[:, -num_channels:]
    )


def _blocks(lags: Float64[Tensor, "B G G lags"]) -> Float64[Tensor, "B blocks d d"]:
    """The first block column of the system, several delays to a block."""
    num_channels, taps = lags.shape[1], (lags.shape[-1] + 1) // 2
    delays = 1
    while taps % (2 * delays) == 0 and 2 * delays * num_channels <= _MOST_BLOCK_ROWS:
        delays *= 2
    inside = torch.arange(delays, device=lags.device)
    starts = torch.arange(0, taps, delays, device=lags.device)
    which = starts[:, None, None] + inside[:, None] - inside + taps - 1
    found = lags[..., which]  # B G G blocks delays delays
    return found.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3)


def _normalised(
    column: Float64[Tensor, "B rows G"], corner: Float64[Tensor, "B G G"]
) -> Float64[Tensor, "B rows G"]:
    """The column over the root of its block on the diagonal."""
    root = torch.linalg.cholesky_ex(corner)[0]
    return torch.linalg.solve_triangular(root.mT, column, upper=True, left=False)


def _cholesky(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """Its Cholesky factor, with the least ridge that lets it have one."""
    ridge = 1e-15
    while True:
        gram.diagonal().add_(ridge)
        factor = _factor_in_blocks(gram)
        if bool(factor.isfinite().all()):
            return factor
        ridge *= 10


def _factor_in_blocks(gram: Float64[Tensor, "rows rows"]) -> Float64[Tensor, "rows rows"]:
    """The Cholesky factor, NaN where there is none; on some processors in half of LAPACK's time."""
    half = len(gram) // 2
    if len(gram) <= _FACTOR_ROWS:
        factor, info = torch.linalg.cholesky_ex(gram)
        return factor if not info else torch.full_like(gram, torch.nan)
    factor = torch.zeros_like(gram)
    upper = factor[:half, :half] = _factor_in_blocks(gram[:half, :half])
    side = torch.linalg.solve_triangular(upper, gram[half:, :half].mT, upper=False).mT
    factor[half:, :half] = side
    factor[half:, half:] = _factor_in_blocks(gram[half:, half:] - side @ side.mT)
    return factor
