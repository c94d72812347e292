"""Baselines and ceilings: the mixture itself, ideal masks and NMF-MFCC."""

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

# Settings of NMF-MFCC. They are ours: a change of any of them changes every published row of the
# baseline.
COMPONENTS_PER_SOURCE = 12
NUM_ITERATIONS = 100
NUM_COEFFICIENTS = 13
NUM_MEL_BANDS = 40
_NUM_KMEANS_STARTS = 4  # the best of them is used: k-means finds local minima only
# Keeps the logarithm of a mel band finite: 60 dB below a template's energy.
_ENERGY_FLOOR = 1e-6
# Squared correlations are kept this far from 0 and 1, which bounds the SDR to 100 dB either way.
_CORRELATION_MARGIN = 1e-10


def require_sources(batch: Batch) -> Float[Tensor, "B S C N"]:
    """Return the true sources of a batch; InputError if it has none."""
    if batch.sources is None:
        raise InputError(
            "baselines and ceilings need the true sources, and this batch holds none: "
            "give a data set with stems"
        )
    return batch.sources


class MixtureBaseline:
    """The mixture as the estimate of every source: the score without any separation."""

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Return the mixture's magnitude once for each source."""
        sources = require_sources(batch)
        magnitude, phase = self.front_end.spectrogram(batch.mixture)
        magnitudes = magnitude[:, None].expand(-1, sources.shape[1], -1, -1, -1)  # B S C F T
        return Separation(magnitudes, sources.new_ones(sources.shape[:2]), phase)


class IdealMask:
    """Ideal masks, computed from the true sources: the ceiling of mask-based methods.

    Args:
        front_end: of the spectrograms.
        kind: ratio masks, or binary masks.
        maximum: upper limit of ratio masks.
        logarithmic: compute the masks on the logarithmic rows on which networks predict them.
    """

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
        """Return the mixture's magnitude times the ideal mask of each source."""
        sources = require_sources(batch)
        mixture, phase = self.front_end.spectrogram(batch.mixture)
        magnitudes, _ = self.front_end.spectrogram(sources)  # B S C F T
        masks = self._masks(magnitudes, mixture[:, None])
        sounding = (sources.abs().sum((-1, -2)) > 0).to(sources.dtype)
        return Separation(mixture[:, None] * masks, sounding, phase)

    def _masks(
        self, sources: Float[Tensor, "B S C F T"], mixture: Float[Tensor, "B 1 C F T"]
    ) -> Float[Tensor, "B S C F T"]:
        """Return masks on the linear axis, computed on the logarithmic rows if so configured."""
        if self.logarithmic:
            sources, mixture = self.front_end.to_rows(sources), self.front_end.to_rows(mixture)
        if self.kind == "ratio":
            masks = ratio_mask(sources, mixture, self.maximum)
        else:
            masks = binary_mask(sources, mixture)
        if self.logarithmic:
            masks = self.front_end.to_bins(masks)
        # Resampling blurs the edges of a binary mask. The released codes of the papers threshold it
        # again on the linear axis when they test, so do we.
        return (masks > 0.5).to(masks.dtype) if self.kind == "binary" else masks


def waveforms(
    separation: Separation, front_end: FrontEnd, num_samples: int | None = None
) -> Float[Tensor, "B S C N"]:
    """Return the estimates as waveforms: each magnitude with the mixture's phase."""
    return front_end.waveform(separation.magnitudes, separation.phase[:, None], num_samples)


# NMF-MFCC


class NmfMfcc:
    """NMF of the mixture's magnitude, with the templates clustered by their MFCCs.

    Spiertz and Gnann, "Source-filter based clustering for monaural blind source separation" (DAFx
    2009): non-negative matrix factorisation, MFCCs of each template, k-means with one cluster per
    sounding source, Wiener masks from the power of each cluster. The zeroth coefficient is a
    template's level, not its timbre, and is left out.

    The method itself gives neither the number of sounding sources nor the assignment of clusters to
    sources. Both are taken from the true sources, the assignment by the best mean scale-invariant
    SDR, which favours this baseline.
    """

    def __init__(self, front_end: FrontEnd) -> None:
        self.front_end = front_end

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Return the masked mixture; deterministic, the generator is not used."""
        sources = require_sources(batch)
        mixture, phase = self.front_end.spectrogram(batch.mixture)
        sounding = sources.abs().sum((-1, -2)) > 0  # B S
        magnitudes = torch.stack(
            [self._masked(*item) for item in zip(mixture, phase, sources, sounding, strict=True)]
        )
        return Separation(magnitudes, sounding.to(sources.dtype), phase)

    def _masked(
        self,
        mixture: Float[Tensor, "C F T"],
        phase: Complex[Tensor, "C F T"],
        sources: Float[Tensor, "S C N"],
        sounding: Bool[Tensor, " S"],
    ) -> Float[Tensor, "S C F T"]:
        """Return the masked magnitude for each sounding source; zeros for the silent ones."""
        magnitudes = mixture.new_zeros(len(sources), *mixture.shape)
        num_sounding = int(sounding.sum())
        if num_sounding == 0:
            return magnitudes
        rate_hz = self.front_end.settings.sample_rate_hz
        masks = cluster_masks(mixture.mean(0).cpu().numpy(), num_sounding, rate_hz)
        masked = mixture * torch.from_numpy(masks).to(mixture)[:, None]  # S C F T
        estimates = self.front_end.waveform(masked, phase)
        references = sources[sounding, :, : estimates.shape[-1]]
        order = torch.from_numpy(_best_order(references, estimates[..., : references.shape[-1]]))
        magnitudes[sounding] = masked[order.to(masked.device)]
        return magnitudes


def cluster_masks(
    magnitude: Float[np.ndarray, "F T"], num_clusters: int, sample_rate_hz: int
) -> Float[np.ndarray, "S F T"]:
    """Return one mask per cluster, which sum to one; equal masks for silence.

    If there are fewer templates than clusters, the last masks are zero.
    """
    peak = magnitude.max()
    if peak == 0:
        return np.full((num_clusters, *magnitude.shape), 1 / num_clusters, magnitude.dtype)
    # Scaled to a peak of 1: the epsilons inside scikit-learn's NMF are absolute.
    templates, activations = _factorise(magnitude / peak, COMPONENTS_PER_SOURCE * num_clusters)
    labels = _kmeans_labels(_template_mfccs(templates, sample_rate_hz), num_clusters)
    powers = np.stack(
        [
            np.square(templates[:, labels == cluster] @ activations[labels == cluster])
            for cluster in range(num_clusters)
        ]
    )
    total = powers.sum(axis=0)
    # Cells without any template power would be 0 / 0; equal shares keep the sum of the masks at 1.
    return np.where(total > 0, powers / np.where(total > 0, total, 1), 1 / num_clusters)


def _factorise(
    magnitude: Float[np.ndarray, "F T"], num_components: int
) -> tuple[Float[np.ndarray, "F K"], Float[np.ndarray, "K T"]]:
    """Return NMF templates and activations; components that are all zero are left out."""
    from sklearn.decomposition import NMF  # imported here, since scikit-learn is slow to load

    model = NMF(
        min(num_components, *magnitude.shape),
        init="nndsvd",  # deterministic
        max_iter=NUM_ITERATIONS,
        tol=0,  # always NUM_ITERATIONS steps, so that the time does not depend on the sound
        random_state=0,
    )
    templates = model.fit_transform(magnitude)
    sounding = templates.any(axis=0) & model.components_.any(axis=1)
    return templates[:, sounding], model.components_[sounding]


def _template_mfccs(
    templates: Float[np.ndarray, "F K"], sample_rate_hz: int
) -> Float64[np.ndarray, "K coefficients"]:
    """Return the MFCCs of each template without the zeroth, which is its level."""
    powers = np.square(templates.astype(np.float64))
    powers /= powers.sum(axis=0)
    levels = np.log(mel_bands(len(templates), sample_rate_hz) @ powers + _ENERGY_FLOOR)
    coefficients = np.asarray(dct(levels, axis=0, norm="ortho"))
    return coefficients[1 : NUM_COEFFICIENTS + 1].T


@lru_cache
def mel_bands(num_bins: int, sample_rate_hz: int) -> Float64[np.ndarray, "bands F"]:
    """Return triangular filters, equally wide in mel, from 0 Hz to half the sample rate."""
    bins_mel = _mel(np.linspace(0, sample_rate_hz / 2, num_bins))
    corners = np.linspace(0, bins_mel[-1], NUM_MEL_BANDS + 2)
    step = corners[1]  # the first corner is 0 mel
    return np.clip(1 - np.abs(bins_mel - corners[1:-1, None]) / step, 0, None)


def _mel(frequency_hz: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    # The mel scale of HTK.
    return 2595 * np.log10(1 + frequency_hz / 700)


def _kmeans_labels(
    points: Float64[np.ndarray, "K coefficients"], num_clusters: int
) -> Int64[np.ndarray, " K"]:
    """Return the cluster of each point by k-means."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    num_clusters = min(num_clusters, len(points))
    means = KMeans(num_clusters, n_init=_NUM_KMEANS_STARTS, random_state=0)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # scikit-learn warns if equal templates leave clusters empty; their masks are then zero.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(means.fit_predict(points), np.int64)


def _best_order(
    references: Float[Tensor, "S C N"], estimates: Float[Tensor, "S C N"]
) -> Int64[np.ndarray, " S"]:
    """Return the estimate for each reference that gives the best mean scale-invariant SDR."""
    reference, estimate = (x.double().flatten(1).cpu().numpy() for x in (references, estimates))
    energies = np.outer(np.square(reference).sum(axis=1), np.square(estimate).sum(axis=1))
    shares = np.square(reference @ estimate.T) / np.where(energies > 0, energies, 1)
    shares = shares.clip(_CORRELATION_MARGIN, 1 - _CORRELATION_MARGIN)
    sdr_db = 10 * np.log10(shares / (1 - shares))
    return assign_estimates(sdr_db)


# Registry of baselines and ceilings


# Name -> constructor. The order is the order of rows in every table.
BASELINES: dict[str, Callable[[FrontEnd], SeparationMethod]] = {
    "mixture": MixtureBaseline,
    "nmf-mfcc": NmfMfcc,
    "ideal-ratio-mask": lambda front_end: IdealMask(front_end, "ratio"),
    "ideal-binary-mask": lambda front_end: IdealMask(front_end, "binary"),
}
# Name -> its description in `avsep models`.
DESCRIPTIONS = {
    "mixture": "baseline: the mixture as every estimate, the score without separation",
    "nmf-mfcc": "baseline: NMF templates of the mixture clustered by timbre, no training, no video",
    "ideal-ratio-mask": "ceiling: ratio masks from the true sources, phase of the mixture",
    "ideal-binary-mask": "ceiling: binary masks from the true sources, phase of the mixture",
}
# Name -> its inputs beside the mixture, for the tables of results.
INPUTS = {
    "mixture": "nothing",
    "nmf-mfcc": "true order",
    "ideal-ratio-mask": "true sources",
    "ideal-binary-mask": "true sources",
}
