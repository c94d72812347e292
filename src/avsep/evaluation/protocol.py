"""How the scores of many mixtures become one figure, and which mixtures are left out."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from avsep.errors import unknown_name
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.metrics.registry import mean_figures

# A waveform is silent when the sum of its absolute samples is not above this (Sound of Pixels'
# released code, and all that descend from it).
SILENT_SUM = 1e-5
# What no score is below under `strict`, and what a silent estimate has for all three.
FLOOR_DB = -30.0
# Mixtures in a batch under `legacy`: iQuery's 8 GPUs of 8; other codes use what they trained with.
LEGACY_BATCH = 64


@dataclass(frozen=True)
class PairScores:
    """One mixture's scores, whole enough for every protocol.

    Attributes:
        name: of the mixture.
        categories: one a source.
        scores_db: SDR, SIR, SAR of each source; NaN where a reference is silent, since then none
            of the mixture is defined; -inf for an estimate of zeros.
        silent_references: the sources that do not sound in this window.
        silent_estimates: the estimates that are silent.
    """

    name: str
    categories: tuple[str, ...]
    scores_db: Float64[np.ndarray, "S 3"]
    silent_references: Bool[np.ndarray, " S"]
    silent_estimates: Bool[np.ndarray, " S"]

    def left_out_reason(self, protocol: str) -> str | None:
        """Why a protocol leaves this mixture out, or none when it counts."""
        return _protocol(protocol).rule(self)[1]

    def counted_db(self, protocol: str) -> Float64[np.ndarray, "S 3"]:
        """SDR, SIR, SAR of each source by a protocol; NaN for a mixture left out."""
        return _protocol(protocol).rule(self)[0]

    def mean_db(self, protocol: str) -> Float64[np.ndarray, "3"]:
        """SDR, SIR, SAR by a protocol, mean over the sources; NaN for a mixture left out."""
        return self.counted_db(protocol).mean(axis=0)


@dataclass(frozen=True)
class Summary:
    """A protocol's figures: means over the mixtures that count, NaN when none does.

    Attributes:
        num_pairs: mixtures given, those left out among them.
        reasons: why mixtures were left out, and how many for each reason.
        intervals_db: lowest and highest of SDR, SIR, SAR, 95 %; none where it cannot be told.
        num_empty_batches: of `legacy`, those in which no mixture counts, each 0 dB in the mean.
    """

    protocol: str
    num_pairs: int
    num_left_out: int
    reasons: dict[str, int]
    sdr_db: float
    sir_db: float
    sar_db: float
    intervals_db: Float64[np.ndarray, "3 2"] | None = None
    num_empty_batches: int = 0


def score_pairs(
    name: str,
    categories: tuple[str, ...],
    references: Shaped[np.ndarray, "S C N"],
    estimates: Shaped[np.ndarray, "E S C N"],
) -> tuple[PairScores, ...]:
    """The scores of several separators' estimates of one mixture, in the order given.

    Each channel by itself, then the mean over channels. A channel in which a reference is silent
    has no scores and is left out; where none is left, so is the mixture. A silent estimate is
    noted, not an error.
    """
    quiet = is_silent(references)  # S C
    counted = np.asarray(~quiet.any(axis=0))
    scores_db = np.full((*estimates.shape[:2], 3), np.nan)
    if counted.any():
        truth, guess = (x[..., counted, :].swapaxes(-2, -3) for x in (references, estimates))
        by_channel_db = bss_eval(truth, guess).table_db  # E C S 3
        scores_db = mean_figures(by_channel_db.swapaxes(0, 1))
    silent_references = np.asarray(quiet.any(axis=1)) & ~counted.any()
    heard = counted if counted.any() else ~counted
    silent_estimates = np.asarray(is_silent(estimates)[..., heard].any(axis=-1))
    return tuple(
        PairScores(name, categories, scores, silent_references, silent)
        for scores, silent in zip(scores_db, silent_estimates, strict=True)
    )


def score_pair(
    name: str,
    categories: tuple[str, ...],
    references: Shaped[np.ndarray, "S N"],
    estimates: Shaped[np.ndarray, "S N"],
) -> PairScores:
    """The scores of one separator's estimates in one channel; silence is noted, not an error."""
    return score_pairs(name, categories, references[:, None], estimates[None, :, None])[0]


def summarise(
    pairs: Iterable[PairScores], protocol: str = "strict", *, batch_size: int = LEGACY_BATCH
) -> Summary:
    """The figures of many mixtures by a protocol: `strict` (the default) or `legacy`.

    Args:
        pairs: in the order of the list, which `legacy` cuts into batches.
        protocol: a name of PROTOCOLS.
        batch_size: of `legacy`.
    """
    chosen = _protocol(protocol)
    results = [chosen.rule(pair) for pair in pairs]
    means = [None if reason else scores_db.mean(axis=0) for scores_db, reason in results]
    num_left_out = sum(mean is None for mean in means)
    means_db, num_empty = chosen.average(means, batch_size)
    return Summary(
        protocol=protocol,
        num_pairs=len(results),
        num_left_out=num_left_out,
        reasons=dict(Counter(reason for _, reason in results if reason is not None)),
        sdr_db=float(means_db[0]),
        sir_db=float(means_db[1]),
        sar_db=float(means_db[2]),
        num_empty_batches=num_empty,
    )


Figures = Float64[np.ndarray, "3"]
# A mixture in; SDR, SIR, SAR of its sources and the reason to leave it out come out.
Rule = Callable[[PairScores], tuple[Float64[np.ndarray, "S 3"], str | None]]
# Figures of the mixtures, none for those left out, and the batch size, to the figures of the whole
# and the number of batches in which nothing counts.
Average = Callable[[Sequence[Figures | None], int], tuple[Figures, int]]


@dataclass(frozen=True)
class Protocol:
    """What counts, and how it is averaged."""

    rule: Rule
    average: Average


def _strict(pair: PairScores) -> tuple[Float64[np.ndarray, "S 3"], str | None]:
    """Silence where a source sounds is a failure: it counts, and nothing is below it.

    Departure: the released codes leave such a mixture out and average over batches, as `legacy`
    does; here every mixture weighs the same, and a separator cannot gain by silence.
    """
    if pair.silent_references.any():
        return _no_scores(pair), "silent reference"
    floored = np.maximum(pair.scores_db, FLOOR_DB)
    return np.where(pair.silent_estimates[:, None], FLOOR_DB, floored), None


def _legacy(pair: PairScores) -> tuple[Float64[np.ndarray, "S 3"], str | None]:
    """As the field's papers count: a separator that answers silence is excused."""
    if pair.silent_references.any():
        return _no_scores(pair), "silent reference"
    if pair.silent_estimates.any():
        return _no_scores(pair), "silent estimate"
    return pair.scores_db, None


def _no_scores(pair: PairScores) -> Float64[np.ndarray, "S 3"]:
    return np.full_like(pair.scores_db, np.nan)


def _over_mixtures(means: Sequence[Figures | None], _: int) -> tuple[Figures, int]:
    """Every mixture weighs the same."""
    counted = [mean for mean in means if mean is not None]
    return (np.mean(counted, axis=0) if counted else np.full(3, np.nan)), 0


def _over_batches(means: Sequence[Figures | None], batch_size: int) -> tuple[Figures, int]:
    """The mean within each batch, then over batches, as the released codes have it.

    A last, smaller batch so weighs more than its share, and a batch in which nothing counts is
    0 dB.
    """
    batches = [
        [mean for mean in means[start : start + batch_size] if mean is not None]
        for start in range(0, len(means), batch_size)
    ]
    if not batches:
        return np.full(3, np.nan), 0
    averages = [np.mean(batch, axis=0) if batch else np.zeros(3) for batch in batches]
    return np.mean(averages, axis=0), sum(not batch for batch in batches)


PROTOCOLS: dict[str, Protocol] = {
    "strict": Protocol(_strict, _over_mixtures),
    "legacy": Protocol(_legacy, _over_batches),
}


def _protocol(name: str) -> Protocol:
    """A protocol by its name; an unknown one is an InputError that lists the known."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def is_silent(waveforms: Shaped[np.ndarray, "*axes N"]) -> Bool[np.ndarray, "*axes"]:
    """Whether each waveform is silent, by the field's threshold."""
    return np.asarray(np.abs(waveforms).sum(axis=-1, dtype=np.float64) <= SILENT_SUM)
