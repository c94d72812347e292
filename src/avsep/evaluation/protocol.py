"""How the scores of many mixtures become one figure, and which mixtures are left out."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Shaped

from avsep.errors import unknown_name
from avsep.evaluation.bss_eval import bss_eval

# A waveform is silent when the sum of its absolute samples is not above this (Sound of Pixels'
# released code, and all that descend from it).
SILENT_SUM = 1e-5
# What `strict` gives for an estimate that is silent although its source sounds.
SILENT_ESTIMATE_DB = -30.0


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
        return _protocol(protocol)(self)[1]

    def counted_db(self, protocol: str) -> Float64[np.ndarray, "S 3"]:
        """SDR, SIR, SAR of each source by a protocol; NaN for a mixture left out."""
        return _protocol(protocol)(self)[0]

    def mean_db(self, protocol: str) -> Float64[np.ndarray, "3"]:
        """SDR, SIR, SAR by a protocol, mean over the sources; NaN for a mixture left out."""
        return self.counted_db(protocol).mean(axis=0)


@dataclass(frozen=True)
class Summary:
    """A protocol's figures: means over the mixtures that count, NaN when none does.

    Attributes:
        num_pairs: mixtures given, those left out among them.
        reasons: why mixtures were left out, and how many for each reason.
    """

    protocol: str
    num_pairs: int
    num_left_out: int
    reasons: dict[str, int]
    sdr_db: float
    sir_db: float
    sar_db: float


def score_pair(
    name: str,
    categories: tuple[str, ...],
    references: Shaped[np.ndarray, "S N"],
    estimates: Shaped[np.ndarray, "S N"],
) -> PairScores:
    """The scores of one mixture's estimates, in the order given; silence is noted, not an error."""
    silent_references, silent_estimates = (
        np.abs(x).sum(-1, dtype=np.float64) <= SILENT_SUM for x in (references, estimates)
    )
    scores_db = np.full((len(references), 3), np.nan)
    if not silent_references.any():
        scores_db = bss_eval(references, estimates).table_db
    return PairScores(name, categories, scores_db, silent_references, silent_estimates)


def summarise(pairs: Iterable[PairScores], protocol: str = "strict") -> Summary:
    """The figures of many mixtures by a protocol: `strict` (the default) or `legacy`.

    Departure: the released codes average over batches of mixtures, in which a last, smaller batch
    weighs too much and one of nothing but silence counts 0 dB. Here every mixture weighs the same.
    """
    rule = _protocol(protocol)
    results = [rule(pair) for pair in pairs]
    counted = [scores_db.mean(axis=0) for scores_db, reason in results if reason is None]
    means_db = np.mean(counted, axis=0) if counted else np.full(3, np.nan)
    return Summary(
        protocol=protocol,
        num_pairs=len(results),
        num_left_out=len(results) - len(counted),
        reasons=dict(Counter(reason for _, reason in results if reason is not None)),
        sdr_db=float(means_db[0]),
        sir_db=float(means_db[1]),
        sar_db=float(means_db[2]),
    )


# A protocol: a mixture in; SDR, SIR, SAR of its sources and the reason to leave it out come out.
Rule = Callable[[PairScores], tuple[Float64[np.ndarray, "S 3"], str | None]]


def _strict(pair: PairScores) -> tuple[Float64[np.ndarray, "S 3"], str | None]:
    """Silence where a source sounds is a failure: it counts, with a low score."""
    if pair.silent_references.any():
        return _no_scores(pair), "silent reference"
    return np.where(pair.silent_estimates[:, None], SILENT_ESTIMATE_DB, pair.scores_db), None


def _legacy(pair: PairScores) -> tuple[Float64[np.ndarray, "S 3"], str | None]:
    """As the field's papers count: a separator that answers silence is excused."""
    if pair.silent_references.any():
        return _no_scores(pair), "silent reference"
    if pair.silent_estimates.any():
        return _no_scores(pair), "silent estimate"
    return pair.scores_db, None


def _no_scores(pair: PairScores) -> Float64[np.ndarray, "S 3"]:
    return np.full_like(pair.scores_db, np.nan)


PROTOCOLS: dict[str, Rule] = {"strict": _strict, "legacy": _legacy}


def _protocol(name: str) -> Rule:
    """A protocol by its name; an unknown one is an InputError that lists the known."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
