"""Baselines and ceilings: the mixture itself, NMF-MFCC and ideal masks."""

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float, Float64, Int64
from scipy.fft import dct
from torch import Generator, Tensor

from avsep.errors import InputError
from avsep.evaluation.bss_eval import assign_estimates
from avsep.models.base import SeparationMethod
from avsep.records import Batch, Separation
from avsep.sound.front_end import FrontEnd
from avsep.sound.magnitudes import MAXIMUM_RATIO, binary_mask, ratio_mask

# The true sources of a batch, for separators that are made from them


def require_sources(batch: Batch) -> Float[Tensor, "B S C N"]:
    """The true sources; InputError for a batch that holds none."""
    if batch.sources is None:
        raise InputError(
            "baselines and ceilings are made from the true sources, and this batch holds none: "
            "give a data set with stems"
        )
    return batch.sources


# NMF-MFCC: what a mixture is made of, sorted by timbre; the baseline that has learned nothing


COMPONENTS_PER_SOURCE = 12
NUM_ITERATIONS = 100
NUM_COEFFICIENTS = 13
NUM_MEL_BANDS = 40
_NUM_STARTS = 4  # of k-means, the best of which counts
# Keeps the logarithm of a band finite: 60 dB below a template's energy.
_FLOOR = 1e-6
# Squared correlations stay this far from 0 and 1: 100 dB either way.
_CLOSEST = 1e-10


class NmfMfcc:
    """Factors the mixture's magnitude and sorts the templates by the sound of their spectra.

    Spiertz and Gnann, "Source-filter based clustering for monaural blind source separation" (DAFx
    2009): non-negative matrix factorisation, MFCCs of each template, k-means into as many clusters
    as there are sources, Wiener masks of what each cluster adds up to. The zeroth coefficient, a
    template's level, says nothing of its timbre and is left out.

    Which cluster is which source nobody knows, nor how many sources sound. Both are taken from the
    truth, the order by the best mean scale-invariant SDR, which favours this baseline.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """The masked mixture; always the same for a mixture, whatever the generator."""
        sources = require_sources(batch)
        mixture, phase = self.front_end.spectrogram(batch.mixture)
        sounding = sources.abs().sum((-1, -2)) > 0  # B S
        magnitudes = torch.stack(
            [self._masked(*one) for one in zip(mixture, phase, sources, sounding, strict=True)]
        )
        return Separation(magnitudes, sounding.to(sources.dtype), phase)

    def _masked(
        self,
        mixture: Float[Tensor, "C F T"],
        phase: Complex[Tensor, "C F T"],
        sources: Float[Tensor, "S C N"],
        sounding: Bool[Tensor, " S"],
    ) -> Float[Tensor, "S C F T"]:
        """The mixture's magnitude for each source that sounds; zeros for those that do not."""
        answer = mixture.new_zeros(len(sources), *mixture.shape)
        num_sounding = int(sounding.sum())
        if num_sounding == 0:
            return answer
        rate_hz = self.front_end.settings.sample_rate_hz
        masks = cluster_masks(mixture.mean(0).cpu().numpy(), num_sounding, rate_hz)
        masked = mixture * torch.from_numpy(masks).to(mixture)[:, None]  # S C F T
        estimates = self.front_end.waveform(masked, phase)
        truth = sources[sounding, :, : estimates.shape[-1]]
        order = torch.from_numpy(_order(truth, estimates[..., : truth.shape[-1]]))
        answer[sounding] = masked[order.to(masked.device)]
        return answer


def cluster_masks(
    magnitude: Float[np.ndarray, "F T"], num_clusters: int, sample_rate_hz: int
) -> Float[np.ndarray, "S F T"]:
    """Masks that add up to one, a cluster each; equal ones for silence.

    Where the sound has fewer templates than there are clusters, the last masks are zero.
    """
    peak = magnitude.max()
    if peak == 0:
        return np.full((num_clusters, *magnitude.shape), 1 / num_clusters, magnitude.dtype)
    templates, activations = _factors(magnitude / peak, COMPONENTS_PER_SOURCE * num_clusters)
    labels = _clusters(_timbre(templates, sample_rate_hz), num_clusters)
    powers = np.stack(
        [
            np.square(templates[:, labels == cluster] @ activations[labels == cluster])
            for cluster in range(num_clusters)
        ]
    )
    total = powers.sum(axis=0)
    # Where no template sounds, nothing is known of either.
    return np.where(total > 0, powers / np.where(total > 0, total, 1), 1 / num_clusters)


def _factors(
    magnitude: Float[np.ndarray, "F T"], num_components: int
) -> tuple[Float[np.ndarray, "F K"], Float[np.ndarray, "K T"]]:
    """Templates and when they sound; those that stay empty are left out."""
    from sklearn.decomposition import NMF

    model = NMF(
        min(num_components, *magnitude.shape),
        init="nndsvd",
        max_iter=NUM_ITERATIONS,
        tol=0,  # so many steps, whether it has settled or not
        random_state=0,
    )
    templates = model.fit_transform(magnitude)
    sounding = templates.any(axis=0) & model.components_.any(axis=1)
    return templates[:, sounding], model.components_[sounding]


def _timbre(
    templates: Float[np.ndarray, "F K"], sample_rate_hz: int
) -> Float64[np.ndarray, "K coefficients"]:
    """The MFCCs of each template, from the first on."""
    powers = np.square(templates.astype(np.float64))
    powers /= powers.sum(axis=0)
    levels = np.log(mel_bands(len(templates), sample_rate_hz) @ powers + _FLOOR)
    coefficients = np.asarray(dct(levels, axis=0, norm="ortho"))
    return coefficients[1 : NUM_COEFFICIENTS + 1].T


@lru_cache
def mel_bands(num_bins: int, sample_rate_hz: int) -> Float64[np.ndarray, "bands F"]:
    """Triangles evenly wide in mel (2595 log10(1 + f / 700), HTK), from 0 Hz to half the rate."""
    bins_mel = _mel(np.linspace(0, sample_rate_hz / 2, num_bins))
    corners = np.linspace(0, bins_mel[-1], NUM_MEL_BANDS + 2)
    step = corners[1]
    return np.clip(1 - np.abs(bins_mel - corners[1:-1, None]) / step, 0, None)


def _mel(frequency_hz: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return 2595 * np.log10(1 + frequency_hz / 700)


def _clusters(
    points: Float64[np.ndarray, "K coefficients"], num_clusters: int
) -> Int64[np.ndarray, " K"]:
    """The cluster of each point by k-means."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    num_clusters = min(num_clusters, len(points))
    means = KMeans(num_clusters, n_init=_NUM_STARTS, random_state=0)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # Equal templates are fewer points than they seem: some clusters then stay empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(means.fit_predict(points), np.int64)


def _order(
    references: Float[Tensor, "S C N"], estimates: Float[Tensor, "S C N"]
) -> Int64[np.ndarray, " S"]:
    """The estimate for each reference that makes the mean scale-invariant SDR best."""
    truth, guess = (x.double().flatten(1).cpu().numpy() for x in (references, estimates))
    energies = np.outer(np.square(truth).sum(axis=1), np.square(guess).sum(axis=1))
    shares = np.square(truth @ guess.T) / np.where(energies > 0, energies, 1)
    shares = shares.clip(_CLOSEST, 1 - _CLOSEST)
    sdr_db = 10 * np.log10(shares / (1 - shares))
    return assign_estimates(sdr_db)


class MixtureBaseline:
    """Answers the mixture for every source: the score that doing nothing has."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """The mixture's magnitude, once for each source."""
        sources = require_sources(batch)
        magnitude, phase = self.front_end.spectrogram(batch.mixture)
        magnitudes = magnitude[:, None].expand(-1, sources.shape[1], -1, -1, -1)  # B S C F T
        return Separation(magnitudes, sources.new_ones(sources.shape[:2]), phase)


class IdealMask:
    """Answers with the masks that the true sources give: the ceiling of mask-based separators."""

    def __init__(
        self,
        front_end: FrontEnd,
        kind: Literal["ratio", "binary"] = "ratio",
        *,
        maximum: float = MAXIMUM_RATIO,
        logarithmic: bool = True,
    ) -> None:
        self.front_end = front_end
        self.kind = kind
        self.maximum = maximum
        self.logarithmic = logarithmic

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """The mixture's magnitude times each source's own mask."""
        sources = require_sources(batch)
        mixture, phase = self.front_end.spectrogram(batch.mixture)
        magnitudes, _ = self.front_end.spectrogram(sources)  # B S C F T
        masks = self._masks(magnitudes, mixture[:, None])
        sounding = (sources.abs().sum((-1, -2)) > 0).to(sources.dtype)
        return Separation(mixture[:, None] * masks, sounding, phase)

    def _masks(
        self, sources: Float[Tensor, "B S C F T"], mixture: Float[Tensor, "B 1 C F T"]
    ) -> Float[Tensor, "B S C F T"]:
        """Masks on the linear axis, by way of the logarithmic one where networks predict them."""
        if self.logarithmic:
            sources, mixture = self.front_end.to_rows(sources), self.front_end.to_rows(mixture)
        if self.kind == "ratio":
            masks = ratio_mask(sources, mixture, self.maximum)
        else:
            masks = binary_mask(sources, mixture)
        if self.logarithmic:
            masks = self.front_end.to_bins(masks)
        # A binary mask is decided on the linear axis again, as the papers' codes do when they test.
        return (masks > 0.5).to(masks.dtype) if self.kind == "binary" else masks


# Name -> how it is made. The order is the order of rows in every table.
BASELINES: dict[str, Callable[[FrontEnd], SeparationMethod]] = {
    "mixture": MixtureBaseline,
    "nmf-mfcc": NmfMfcc,
    "ideal-ratio-mask": lambda front_end: IdealMask(front_end, "ratio"),
    "ideal-binary-mask": lambda front_end: IdealMask(front_end, "binary"),
}
# Name -> what it is, in the words of `avsep models`.
DESCRIPTIONS = {
    "mixture": "baseline: the mixture as every estimate, the score of doing nothing",
    "nmf-mfcc": "baseline: NMF templates of the mixture sorted by timbre; learns and sees nothing",
    "ideal-ratio-mask": "ceiling: ratio masks made from the true sources, phase of the mixture",
    "ideal-binary-mask": "ceiling: binary masks made from the true sources, phase of the mixture",
}
# Name -> what it reads beside the mixture, for the table of results.
INPUTS = {
    "mixture": "nothing",
    "nmf-mfcc": "true order",
    "ideal-ratio-mask": "true sources",
    "ideal-binary-mask": "true sources",
}


def waveforms(
    separation: Separation, front_end: FrontEnd, num_samples: int | None = None
) -> Float[Tensor, "B S C N"]:
    """The estimates as sound: each magnitude under the mixture's phase."""
    return front_end.waveform(separation.magnitudes, separation.phase[:, None], num_samples)
