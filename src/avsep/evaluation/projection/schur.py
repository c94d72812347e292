"""How much delayed references explain, by recursion: in the square of the taps, not their cube."""

import torch
from jaxtyping import Float64
from torch import Tensor

from avsep.evaluation.projection.explained import Explained

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
) -> Explained:
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
    return Explained(energy, torch.where(energy.isfinite(), error, torch.inf))


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
