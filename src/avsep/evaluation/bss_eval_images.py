"""BSS Eval v3 of sources as they sound in several channels: SDR, ISR, SIR and SAR."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from avsep.evaluation.bss_eval import in_order
from avsep.evaluation.projection.energies import (
    Estimates,
    References,
    Table,
    energies_of_parts,
    in_batches,
)
from avsep.evaluation.waveforms import (
    NoScoreError,
    Waveforms,
    as_tensors,
    check_shapes,
    check_values,
    evened,
)  # fmt: skip

# Squares of peaks below this, or above one over it, might be lost.
_LEAST_PEAK = 1e-100


@dataclass(frozen=True)
class ImageScores:
    """Scores of each source's image in decibels, higher is better; rounding decides above 100 dB.

    Attributes:
        sdr_db: the image against everything that its estimate differs by.
        isr_db: the image against what filters between its own channels change of it.
        sir_db: all of the source that is there, filtered or not, against the other sources.
        sar_db: all sources against what none of them explains.
        permutation: which estimate was scored for each reference.
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
    """Scores of estimates [..., sources, channels, samples] against the sources' true images.

    A source's image is how it sounds in every channel. Gains, delays and equalisers are not
    forgiven here but counted as spatial distortion (Vincent et al., First stereo audio source
    separation evaluation campaign, 2007): the filters go from every channel of the references to
    each channel of the estimate. For silence and errors see `bss_eval`; a channel that is silent
    in a reference has no delays to filter, and is an InputError too.

    >>> rng = np.random.default_rng(0)
    >>> ears = rng.standard_normal((2, 2, 8000))
    >>> bss_eval_images(ears, 0.5 * ears).isr_db.round(2)
    array([6.02, 6.02])
    """
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, channels, samples", filter_taps)
    num_sources = truth.shape[-3]

    def score(sources: References, answers: Estimates) -> Table:
        sources, answers = _evened_together(sources, answers)
        places = torch.arange(answers.shape[1] * num_sources, device=answers.device)
        by_answer = places.unflatten(0, (-1, num_sources))  # M S
        asked = places.expand(num_sources, -1) if permute else by_answer.T  # S K
        table_db = _table_db(sources, answers.flatten(1, 2), asked, filter_taps)
        return table_db.unflatten(2, (len(by_answer), -1)).transpose(1, 2).cpu().numpy()

    try:
        table_db = in_batches(truth, guess, score)  # [..., S, estimates, 4]
    except NoScoreError:
        check_values(truth, guess)
        raise
    scores_db, order = in_order(table_db, 2, permute)
    return ImageScores(*np.moveaxis(scores_db, -1, 0), permutation=order)


def _table_db(
    sources: References,
    answers: Float64[Tensor, "B K C N"],
    asked: Int64[Tensor, "S Q"],
    taps: int,
) -> Float64[Tensor, "B S Q 4"]:
    """SDR, ISR, SIR, SAR of the answers that each source is compared with."""
    num_channels = sources.shape[2]
    channels = torch.arange(num_channels, device=asked.device)
    signals = (asked[..., None] * num_channels + channels).flatten(1)  # S Q*C
    # What is made of an answer depends on its channels' levels beside one another alone.
    heard = evened(answers.flatten(2)).view_as(answers)
    shares = energies_of_parts(
        evened(sources, may_be_silent=False), evened(heard.flatten(1, 2)), signals, taps
    )

    def over_channels(
        share: Float64[Tensor, "B S _"], waveforms: Float64[Tensor, "B K C N"]
    ) -> Float64[Tensor, "B S Q"]:
        energy = waveforms.square().sum(-1).flatten(1)[:, signals]
        return (share * energy).unflatten(-1, (-1, num_channels)).sum(-1)

    own, interference, explained, artifacts = (
        over_channels(share, heard)
        for share in (shares.target, shares.interference, shares.explained, shares.artifacts)
    )
    target = over_channels(shares.target, answers)
    is_silent = (heard == 0).flatten(2).all(-1)  # B K
    found = []
    for index, which in enumerate(asked):
        image, mine = sources[:, index, None], answers[:, which]  # B Q C N
        true_energy = image.square().sum((-2, -1))
        spatial = target[:, index] - 2 * (image * mine).sum((-2, -1)) + true_energy
        ratios = (
            true_energy / (mine - image).square().sum((-2, -1)),
            true_energy / spatial.clamp(min=0),
            own[:, index] / interference[:, index],
            explained[:, index] / artifacts[:, index],
        )
        found.append(torch.stack(ratios, dim=-1).masked_fill(is_silent[:, which, None], 0.0))
    return 10 * torch.log10(torch.stack(found, dim=1))


def _evened_together(sources: References, answers: Estimates) -> tuple[References, Estimates]:
    """Each mixture's sources and answers divided by one level where squares might be lost."""
    peaks = [
        torch.linalg.vector_norm(x.flatten(1), ord=torch.inf, dim=1) for x in (sources, answers)
    ]
    level = torch.maximum(*peaks)
    if bool(((level > _LEAST_PEAK) & (level < 1 / _LEAST_PEAK)).all()):
        return sources, answers
    level = torch.where((level > 0) & level.isfinite(), level, 1.0)[:, None, None, None]  # B S C N
    return sources / level, answers / level[..., None]
