"""The inner products of delayed references, inverted as accurately as numbers allow."""

import torch
from jaxtyping import Float64
from torch import Tensor

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
