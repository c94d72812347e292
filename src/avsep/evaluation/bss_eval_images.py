"""Compute BSS Eval v3 scores of multichannel source images: SDR, ISR, SIR and SAR."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from avsep.evaluation.bss_eval import select_estimates
from avsep.evaluation.projection.energies import (
    Estimates,
    References,
    ScoreTable,
    decompose_signals,
    score_in_batches,
)
from avsep.evaluation.projection.least_squares import norms
from avsep.evaluation.waveforms import (
    UndefinedScoreError,
    Waveforms,
    as_tensors,
    check_shapes,
    check_values,
    rescale_extremes,
)  # fmt: skip

# Squares of peaks below this, or above its inverse, may under- or overflow in float64.
_MIN_PEAK = 1e-100


@dataclass(frozen=True)
class ImageScores:
    """Scores of each source's image in decibels, higher is better; rounding decides above 100 dB.

    Attributes:
        sdr_db: source to distortion: the image against its difference from the estimate.
        isr_db: image to spatial distortion: the image against changes that filters between its own
            channels explain.
        sir_db: source to interference: the source, filtered or not, against the other sources.
        sar_db: sources to artifacts: all sources against what none of them explains.
        permutation: index of the estimate scored for each reference.
    """

    sdr_db: Float64[np.ndarray, "*batch S"]
    isr_db: Float64[np.ndarray, "*batch S"]
    sir_db: Float64[np.ndarray, "*batch S"]
    sar_db: Float64[np.ndarray, "*batch S"]
    permutation: Int64[np.ndarray, "*batch S"]


def bss_eval_images(
    references: Waveforms,
    estimates: Waveforms,
    *,
    permute: bool = False,
    filter_taps: int = 512,
) -> ImageScores:
    """Return scores of estimates [..., sources, channels, samples] against the true images.

    A source's image is its sound in every channel of the mixture. Gains, delays and equalisers are
    not forgiven here but counted as spatial distortion (Vincent et al., First stereo audio source
    separation evaluation campaign, 2007): the filters go from every channel of the references to
    each channel of the estimate. Silence and errors are those of `bss_eval`.

    Raises:
        InputError: as `bss_eval`, or a reference is silent in one of its channels.

    >>> rng = np.random.default_rng(0)
    >>> ears = rng.standard_normal((2, 2, 8000))
    >>> bss_eval_images(ears, 0.5 * ears).isr_db.round(2)
    array([6.02, 6.02])
    """
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, channels, samples", filter_taps)
    num_sources = truth.shape[-3]

    def score(sources: References, guesses: Estimates) -> ScoreTable:
        sources, guesses = _rescale_together(sources, guesses)
        indices = torch.arange(guesses.shape[1] * num_sources, device=guesses.device)
        by_model = indices.unflatten(0, (-1, num_sources))  # M S
        compared = indices.expand(num_sources, -1) if permute else by_model.T  # S K
        table_db = _table_db(sources, guesses.flatten(1, 2), compared, filter_taps)
        return table_db.unflatten(2, (len(by_model), -1)).transpose(1, 2).cpu().numpy()

    try:
        table_db = score_in_batches(truth, guess, score)  # [..., S, estimates, 4]
    except UndefinedScoreError:
        # Checked only now: on valid input, the usual case, looking for NaN would cost time.
        check_values(truth, guess)
        raise
    scores_db, order = select_estimates(table_db, 2, permute)
    return ImageScores(*np.moveaxis(scores_db, -1, 0), permutation=order)


def _table_db(
    sources: References,
    estimates: Float64[Tensor, "B K C N"],
    compared: Int64[Tensor, "S Q"],
    taps: int,
) -> Float64[Tensor, "B S Q 4"]:
    """Return SDR, ISR, SIR, SAR of the estimates that each source is compared with."""
    num_channels = sources.shape[2]
    channels = torch.arange(num_channels, device=compared.device)
    signals = (compared[..., None] * num_channels + channels).flatten(1)  # S Q*C
    # SIR and SAR depend only on the levels of an estimate's channels relative to one another.
    levelled = rescale_extremes(estimates.flatten(2)).view_as(estimates)
    shares = decompose_signals(
        rescale_extremes(sources, may_be_silent=False),
        rescale_extremes(levelled.flatten(1, 2)),
        signals,
        taps,
    )

    def sum_over_channels(
        share: Float64[Tensor, "B S _"], energies: Float64[Tensor, "B K C"]
    ) -> Float64[Tensor, "B S Q"]:
        # Shares are of each channel's own energy; weight them by it before adding them up.
        energy = energies.flatten(1)[:, signals]
        return (share * energy).unflatten(-1, (-1, num_channels)).sum(-1)

    # By norms: squares of all samples would take as much memory as the waveforms.
    energies = norms(levelled).square()
    target, interference, explained, artifacts = (
        sum_over_channels(share, energies)
        for share in (shares.target, shares.interference, shares.explained, shares.artifacts)
    )
    unexplained = sum_over_channels(1 - shares.target, norms(estimates).square())
    is_silent = (energies == 0).all(-1)  # B K
    tables = []
    for index, indices in enumerate(compared):
        image = sources[:, index, None]  # B 1 C N
        image_energy = norms(image).square().sum(-1)
        distortion = norms(estimates[:, indices] - image).square().sum(-1)
        # |P - r|² = |e - r|² - |e - P|², since the span onto which P projects e has r in it.
        spatial = distortion - unexplained[:, index]
        ratios = (
            image_energy / distortion,
            image_energy / spatial.clamp(min=0),
            target[:, index] / interference[:, index],
            explained[:, index] / artifacts[:, index],
        )
        tables.append(torch.stack(ratios, dim=-1).masked_fill(is_silent[:, indices, None], 0.0))
    return 10 * torch.log10(torch.stack(tables, dim=1))


def _rescale_together(sources: References, estimates: Estimates) -> tuple[References, Estimates]:
    """Divide each mixture's sources and estimates by one level where squares may be lost."""
    peaks = [
        torch.linalg.vector_norm(x.flatten(1), ord=torch.inf, dim=1) for x in (sources, estimates)
    ]
    # One factor for both: unlike `bss_eval`, these scores depend on the estimate's level.
    level = torch.maximum(*peaks)
    if bool(((level > _MIN_PEAK) & (level < 1 / _MIN_PEAK)).all()):
        return sources, estimates
    level = torch.where((level > 0) & level.isfinite(), level, 1.0)[:, None, None, None]  # B S C N
    return sources / level, estimates / level[..., None]
