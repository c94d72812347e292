"""BSS Eval v3: how much of an estimate is its source, how much other sources, how much neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Complex128, Float64, Int64, Shaped
from scipy.fft import next_fast_len
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from avsep.errors import InputError

Waveforms = Shaped[np.ndarray, "..."] | Shaped[Tensor, "..."] | Sequence[object]

# A projection is settled when the next step would change its energy by less than this share of the
# estimate's: an amplitude of 3e-13, which moves even an SIR of 90 dB by less than 1e-7 dB.
_SETTLED_SHARE = 1e-25
# References without energy in part of the band need the most; what is left then is ill-posed.
_MAX_STEPS = 16
# Steps' gains need not fall evenly: on their way down they rose to twice the last at most on the
# low-passed noise of the tests, and to 4 and 10 times where nothing but rounding was left.
_MOST_RISE = 4.0
_MAX_CHUNK_BYTES = 2**28


@dataclass(frozen=True)
class BssScores:
    """Scores of each source in decibels, higher is better; rounding decides above 100 dB.

    Attributes:
        sdr_db: source to distortion: the source against everything else in its estimate.
        sir_db: source to interference: the source against the other sources; inf with one source.
        sar_db: sources to artifacts: all sources against what none of them explains.
        permutation: which estimate was scored for each reference.
    """

    sdr_db: Float64[np.ndarray, "*batch S"]
    sir_db: Float64[np.ndarray, "*batch S"]
    sar_db: Float64[np.ndarray, "*batch S"]
    permutation: Int64[np.ndarray, "*batch S"]

    @property
    def table_db(self) -> Float64[np.ndarray, "*batch S 3"]:
        """SDR, SIR and SAR of each source side by side."""
        return np.stack([self.sdr_db, self.sir_db, self.sar_db], axis=-1)


def bss_eval(
    references: Waveforms,
    estimates: Waveforms,
    *,
    permute: bool = False,
    filter_taps: int = 512,
) -> BssScores:
    """SDR, SIR and SAR of estimates [..., sources, samples] against the true sources, in float64.

    An estimate is split in three (Vincent, Gribonval, Fevotte 2006, section III): what a filter of
    `filter_taps` taps can make of its own reference, what such filters can make of all references
    beyond that, and the rest. So a gain, a short delay and a mild equaliser are forgiven. Leading
    axes are a batch of independent mixtures; CUDA tensors are scored where they are.

    With `permute` each reference gets the estimate that the assignment of best mean SIR gives it.
    An estimate of zeros scores -inf throughout: it holds nothing of its source. A reference of
    zeros is an InputError: no score is defined against it.

    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> bss_eval(noise, noise + 0.1 * noise[::-1]).sir_db.round()
    array([20., 20.])
    """
    truth, guess = _as_tensors(references, estimates)
    _check(truth, guess, filter_taps)
    *batch, num_sources, num_samples = truth.shape
    truth, guess = (_unit_energy(x.reshape(-1, num_sources, num_samples)) for x in (truth, guess))
    num_at_once = _num_mixtures_at_once(num_sources, num_samples, filter_taps)
    chunks = zip(truth.split(num_at_once), guess.split(num_at_once), strict=True)
    table = torch.cat([_score(*chunk, permute, filter_taps) for chunk in chunks]).cpu().numpy()
    if permute:
        order = np.stack([_best_order(sir_db) for sir_db in table[..., 1]])
        table = np.take_along_axis(table, order[:, :, None, None], axis=2)
    else:
        order = np.tile(np.arange(num_sources), (len(table), 1))
    scores_db = table[:, :, 0].reshape(*batch, num_sources, 3)
    return BssScores(
        sdr_db=scores_db[..., 0],
        sir_db=scores_db[..., 1],
        sar_db=scores_db[..., 2],
        permutation=order.reshape(*batch, num_sources),
    )


def _score(
    references: Float64[Tensor, "B S N"],
    estimates: Float64[Tensor, "B S N"],
    permute: bool,
    filter_taps: int,
) -> Float64[Tensor, "B S estimates 3"]:
    """SDR, SIR, SAR of each reference with its own estimate, or with every one to choose from."""
    B, S, N = references.shape
    # Long enough for every filtered source, so circular convolution is the plain one; even, so
    # that `_energy` knows the last bin.
    fft_samples = 2 * cast(int, next_fast_len((N + filter_taps) // 2))
    sources, mixed = (torch.fft.rfft(x, n=fft_samples) for x in (references, estimates))
    mixed_by_source = mixed[:, None].expand(B, S, S, -1) if permute else mixed[:, :, None]
    own = _project(
        mixed_by_source.reshape(B * S, -1, mixed.shape[-1]),
        sources.reshape(B * S, 1, -1),
        filter_taps,
        fft_samples,
    ).reshape(mixed_by_source.shape)
    whole = own
    if S > 1:
        whole = _project(mixed, sources, filter_taps, fft_samples)
        whole = whole[:, None] if permute else whole[:, :, None]
    energies = [
        _energy(part, fft_samples).expand(own.shape[:-1])
        for part in (own, mixed_by_source - own, whole - own, whole, mixed_by_source - whole)
    ]
    target, distortion, interference, explained, artifacts = energies
    ratios = target / distortion, target / interference, explained / artifacts
    # Only an estimate of zeros has nothing above and below the line.
    return 10 * torch.log10(torch.stack(ratios, dim=-1).nan_to_num(nan=0.0, posinf=torch.inf))


def _project(
    estimates: Complex128[Tensor, "B Q F"],
    references: Complex128[Tensor, "B G F"],
    filter_taps: int,
    fft_samples: int,
) -> Complex128[Tensor, "B Q F"]:
    """What filtered references can make of each estimate: least squares over their filters.

    The normal equations square the condition of the problem, and sound without energy in part of
    the band leaves them near singular. So they only precondition conjugate gradients on the
    residual itself (Bjorck, Numerical Methods for Least Squares Problems, chapter 7): the first
    step is their solution, one or two more remove its rounding.

    Departure: mir_eval stops at that solution, or takes a pseudo-inverse where the equations are
    singular to the last bit. On sound low-passed by 8th-order filters it is off by up to 1 dB.
    """
    factor = _cholesky(_gram_matrix(references, filter_taps, fft_samples))
    projection = torch.zeros_like(estimates)
    limit = _SETTLED_SHARE * _energy(estimates, fft_samples)
    settled = torch.zeros_like(limit, dtype=torch.bool)
    direction, last_gain = None, torch.full_like(limit, torch.inf)
    for _ in range(_MAX_STEPS):
        gradient = _correlate(references, estimates - projection, filter_taps, fft_samples)
        step = torch.cholesky_solve(gradient.mT, factor).mT
        gain = (gradient * step).sum(-1)
        # A gain that rises much is rounding: to follow it would add up to noise.
        settled = settled | (gain <= limit) | (gain >= _MOST_RISE * last_gain)
        if settled.all():
            break
        if direction is not None:
            step = step + torch.where(settled, 0.0, gain / last_gain)[..., None] * direction
        direction, last_gain = step, gain
        change = _filter(references, direction, filter_taps, fft_samples)
        change_energy = _energy(change, fft_samples)
        # Filters that cancel out (equal references) leave only rounding to follow.
        settled = settled | (change_energy < 1e-4 * gain)
        projection = (
            projection + torch.where(settled, 0.0, gain / change_energy)[..., None] * change
        )
    return projection


def _correlate(
    references: Complex128[Tensor, "B G F"],
    signals: Complex128[Tensor, "B Q F"],
    filter_taps: int,
    fft_samples: int,
) -> Float64[Tensor, "B Q taps"]:
    """Inner products of signals with each reference delayed by 0, 1, ... samples, G after G."""
    products = references.conj()[:, None] * signals[:, :, None]
    return torch.fft.irfft(products, n=fft_samples)[..., :filter_taps].flatten(-2)


def _filter(
    references: Complex128[Tensor, "B G F"],
    filters: Float64[Tensor, "B Q taps"],
    filter_taps: int,
    fft_samples: int,
) -> Complex128[Tensor, "B Q F"]:
    """The sum of the references, each through its filter."""
    responses = torch.fft.rfft(filters.unflatten(-1, (-1, filter_taps)), n=fft_samples)
    return torch.einsum("bgf,bqgf->bqf", references, responses)


def _gram_matrix(
    references: Complex128[Tensor, "B G F"], filter_taps: int, fft_samples: int
) -> Float64[Tensor, "B taps taps"]:
    """Inner products of all delayed references with one another: Toeplitz blocks."""
    products = references.conj()[:, :, None] * references[:, None]
    by_lag = torch.fft.irfft(products, n=fft_samples)
    first = fft_samples - filter_taps + 1
    by_lag = torch.cat([by_lag[..., first:], by_lag[..., :filter_taps]], dim=-1)
    # Entry [a, b] of a block is the product at lag a - b.
    blocks = by_lag.unfold(-1, filter_taps, 1).flip(-1)
    return blocks.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _cholesky(gram: Float64[Tensor, "B taps taps"]) -> Float64[Tensor, "B taps taps"]:
    """Cholesky factors of the matrices, each with the least ridge that lets it have one."""
    exponent = -15
    gram.diagonal(dim1=-2, dim2=-1).add_(10.0**exponent)
    factors, info = torch.linalg.cholesky_ex(gram.mT)
    while info.any():
        failed = info > 0
        exponent += 1
        gram.diagonal(dim1=-2, dim2=-1).add_(10.0**exponent)
        factors[failed], info[failed] = torch.linalg.cholesky_ex(gram[failed])
    return factors


def _energy(spectra: Complex128[Tensor, "*batch F"], fft_samples: int) -> Float64[Tensor, "*batch"]:
    """Energy of the signals behind the spectra of real signals of even length (Parseval)."""
    edges = spectra[..., [0, -1]]
    total = torch.linalg.vector_norm(torch.view_as_real(spectra), dim=(-2, -1)).square()
    return (2 * total - edges.abs().square().sum(-1)) / fft_samples


def _best_order(sir_db: Float64[np.ndarray, "S S"]) -> Int64[np.ndarray, " S"]:
    """The estimate for each reference in the assignment of best mean SIR."""
    # Infinities cannot be summed, and above 200 dB rounding would choose.
    return linear_sum_assignment(sir_db.clip(-1000, 200), maximize=True)[1].astype(np.int64)


def _unit_energy(waveforms: Float64[Tensor, "B S N"]) -> Float64[Tensor, "B S N"]:
    """Each waveform scaled to energy 1, by its peak first lest squares underflow; zeros stay."""
    for order in (torch.inf, 2):
        norm = torch.linalg.vector_norm(waveforms, ord=order, dim=-1, keepdim=True)
        waveforms = waveforms / torch.where(norm > 0, norm, 1.0)
    return waveforms


def _num_mixtures_at_once(num_sources: int, num_samples: int, filter_taps: int) -> int:
    """How many mixtures fit a chunk: their matrices and about four spectra for each two sources."""
    matrices = 3 * (num_sources * filter_taps) ** 2
    spectra = 4 * num_sources**2 * (num_samples + filter_taps)
    return max(1, _MAX_CHUNK_BYTES // (8 * (matrices + spectra)))


# What is given, checked.


def _as_tensors(
    references: Waveforms, estimates: Waveforms
) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Both as float64 on one device: that of a CUDA tensor among them, else the CPU."""
    devices = [x.device for x in (estimates, references) if isinstance(x, Tensor) and x.is_cuda]
    device = devices[0] if devices else torch.device("cpu")
    truth, guess = _as_tensor(references, "references"), _as_tensor(estimates, "estimates")
    return truth.to(device, torch.float64), guess.to(device, torch.float64)


def _as_tensor(given: Waveforms, name: str) -> Shaped[Tensor, "..."]:
    """One of both as real numbers, still on its device unless that has no float64."""
    if isinstance(given, Tensor):
        found = given.detach().to("cpu" if given.device.type == "mps" else given.device)
    else:
        try:
            array = np.asarray(given)
            kind = np.complex128 if np.iscomplexobj(array) else np.float64
            found = torch.from_numpy(np.array(array, dtype=kind, order="C"))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{name} are no array of numbers [..., sources, samples] ({error})"
            ) from error
    if found.is_complex():
        raise InputError(f"{name} are complex numbers; BSS Eval takes real waveforms")
    return found


def _check(
    references: Float64[Tensor, "..."], estimates: Float64[Tensor, "..."], filter_taps: int
) -> None:
    """Raise an InputError for what has no score."""
    shape, other = list(references.shape), list(estimates.shape)
    if shape != other:
        raise InputError(
            f"references have shape {shape}, estimates {other}; both must have one shape "
            "[..., sources, samples]: cut the longer ones"
        )
    if len(shape) < 2 or 0 in shape:
        raise InputError(
            f"references and estimates have shape {shape}; [..., sources, samples] are needed, "
            "at least one of each"
        )
    if filter_taps < 1:
        raise InputError(f"filter_taps is {filter_taps}; it must be 1 or more (the field uses 512)")
    num_needed = (shape[-2] - 1) * filter_taps + 2 if shape[-2] > 1 else 1
    if shape[-1] < num_needed:
        raise InputError(
            f"{shape[-1]} samples are too short: filters of {filter_taps} taps on {shape[-2]} "
            f"sources fit anything exactly; {num_needed} samples or more are needed"
        )
    for name, given in (("reference", references), ("estimate", estimates)):
        if not given.isfinite().all():
            first = (~given.isfinite()).any(-1).nonzero()[0].tolist()
            raise InputError(f"{name} {_index(first)} holds NaN or infinite samples; repair it")
    silent = (references == 0).all(-1)
    if silent.any():
        raise InputError(
            f"reference {_index(silent.nonzero()[0].tolist())} is silent: no score is defined "
            "against it; leave this mixture out"
        )


def _index(index: list[int]) -> str:
    """An index as it is typed, counted from 0: source 1, or [3, 1] in a batch."""
    return str(index[0]) if len(index) == 1 else str(index)
