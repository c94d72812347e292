"""Summarise scores: protocols, groups of mixtures and 95 % intervals."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, Shaped

from avsep.data.clips import ClipFiles
from avsep.errors import unknown_name
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.metrics.registry import mean_values
from avsep.evaluation.mixtures import Mixture
from avsep.toyband.folder import ClipPaths, read_record

# A waveform is silent if the sum of its absolute samples is not above this. The threshold is that
# of Sound of Pixels' released code and of all that descend from it.
SILENT_SUM = 1e-5
# The lowest score under `strict`, and all three scores of a silent estimate.
FLOOR_DB = -30.0
# Mixtures in a batch under `legacy`: iQuery's 8 GPUs with 8 each. Other codes use the batch size of
# their training.
LEGACY_BATCH = 64
# The share of resampled means inside an interval.
LEVEL = 0.95
NUM_RESAMPLES = 2000
# One seed for all methods: their resamples are the same, so that differences are paired.
_SEED = 0
# The most weights in memory at once: 16 MB of float64.
_MAX_WEIGHTS = 2_000_000

# Names of the groups of mixtures, as they are in tables and results.json.
SAME, DIFFERENT = "same category", "different categories"
IN_HARMONY = "in harmony"
OFFSCREEN = "with off-screen sound"


@dataclass(frozen=True)
class PairScores:
    """One method's scores on one mixture, complete enough for every protocol.

    Attributes:
        name: of the mixture.
        categories: one for each source.
        scores_db: SDR, SIR, SAR of each source; all NaN if a reference is silent, since BSS Eval is
            then not defined; -inf for an estimate of zeros.
        silent_references: true for sources that are silent in this window.
        silent_estimates: true for estimates that are silent.
    """

    name: str
    categories: tuple[str, ...]
    scores_db: Float64[np.ndarray, "S 3"]
    silent_references: Bool[np.ndarray, " S"]
    silent_estimates: Bool[np.ndarray, " S"]

    def left_out_reason(self, protocol: str) -> str | None:
        """Return the reason a protocol leaves this mixture out, or none if it counts."""
        return _find_protocol(protocol).rule(self)[1]

    def counted_db(self, protocol: str) -> Float64[np.ndarray, "S 3"]:
        """Return SDR, SIR, SAR of each source by a protocol; NaN for a mixture left out."""
        return _find_protocol(protocol).rule(self)[0]

    def mean_db(self, protocol: str) -> Float64[np.ndarray, "3"]:
        """Return the mean SDR, SIR, SAR of the sources by a protocol; NaN if left out."""
        return self.counted_db(protocol).mean(axis=0)


@dataclass(frozen=True)
class Summary:
    """Mean scores of a protocol over the mixtures that count; NaN if none does.

    Attributes:
        num_mixtures: all mixtures, those left out included.
        reasons: reason for leaving mixtures out -> number of mixtures.
        intervals_db: both ends of the 95 % intervals of SDR, SIR, SAR; none if there are too few
            videos, and for `legacy`.
        num_empty_batches: of `legacy`: batches in which no mixture counts, each 0 dB in the mean.
    """

    protocol: str
    num_mixtures: int
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
    """Score several methods' estimates (axis E) of one mixture, in their order.

    Each channel is scored by itself, then averaged. A channel with a silent reference is left out;
    if no channel is left, all scores are NaN. A silent estimate is recorded and raises no error.
    """
    silent = is_silent(references)  # S C
    counted = np.asarray(~silent.any(axis=0))  # C
    scores_db = np.full((*estimates.shape[:2], 3), np.nan)
    if counted.any():
        # Channels to the front, as a batch: all estimates share the work on the references.
        channel_references, channel_estimates = (
            x[..., counted, :].swapaxes(-2, -3) for x in (references, estimates)
        )  # C S N, E C S N
        by_channel_db = bss_eval(channel_references, channel_estimates).table_db  # E C S 3
        scores_db = mean_values(by_channel_db.swapaxes(0, 1))
    # A source counts as silent only if that leaves the mixture without a channel to score.
    silent_references = np.asarray(silent.any(axis=1)) & ~counted.any()
    # Estimates are judged in the scored channels, or in all if there is none.
    checked = counted if counted.any() else ~counted
    silent_estimates = np.asarray(is_silent(estimates)[..., checked].any(axis=-1))  # E S
    return tuple(
        PairScores(name, categories, scores, silent_references, is_silent_estimate)
        for scores, is_silent_estimate in zip(scores_db, silent_estimates, strict=True)
    )


def summarise(
    pairs: Iterable[PairScores], protocol: str = "strict", *, batch_size: int = LEGACY_BATCH
) -> Summary:
    """Return the mean scores of many mixtures by a protocol: `strict` or `legacy`.

    Args:
        pairs: in the order of the list, which `legacy` cuts into batches.
        protocol: a name of PROTOCOLS.
        batch_size: of `legacy`.

    Raises:
        InputError: an unknown protocol.
    """
    rule, average = _find_protocol(protocol).rule, _find_protocol(protocol).average
    results = [rule(pair) for pair in pairs]
    means = [None if reason else scores_db.mean(axis=0) for scores_db, reason in results]
    num_left_out = sum(mean is None for mean in means)
    means_db, num_empty = average(means, batch_size)
    return Summary(
        protocol=protocol,
        num_mixtures=len(results),
        num_left_out=num_left_out,
        reasons=dict(Counter(reason for _, reason in results if reason is not None)),
        sdr_db=float(means_db[0]),
        sir_db=float(means_db[1]),
        sar_db=float(means_db[2]),
        num_empty_batches=num_empty,
    )


# SDR, SIR, SAR.
Scores = Float64[np.ndarray, "3"]
# From a mixture's scores to those that count, and the reason to leave the mixture out.
Rule = Callable[[PairScores], tuple[Float64[np.ndarray, "S 3"], str | None]]
# From the mixtures' scores, none for those left out, and the batch size, to the mean scores and the
# number of batches in which no mixture counts.
Average = Callable[[Sequence[Scores | None], int], tuple[Scores, int]]


@dataclass(frozen=True)
class Protocol:
    """A rule for the scores that count, and their average."""

    rule: Rule
    average: Average


def _strict(pair: PairScores) -> tuple[Float64[np.ndarray, "S 3"], str | None]:
    """Count a silent estimate as a failure, with the lowest score.

    Departure: the released codes leave such a mixture out and average over batches, as `legacy`
    does; here every mixture weighs the same, and a method cannot gain by silence.
    """
    if pair.silent_references.any():
        return _no_scores(pair), "silent reference"
    floored = np.maximum(pair.scores_db, FLOOR_DB)
    return np.where(pair.silent_estimates[:, None], FLOOR_DB, floored), None


def _legacy(pair: PairScores) -> tuple[Float64[np.ndarray, "S 3"], str | None]:
    """Leave out mixtures with a silent estimate, as the released codes of the papers do."""
    if pair.silent_references.any():
        return _no_scores(pair), "silent reference"
    if pair.silent_estimates.any():
        return _no_scores(pair), "silent estimate"
    return pair.scores_db, None


def _no_scores(pair: PairScores) -> Float64[np.ndarray, "S 3"]:
    return np.full_like(pair.scores_db, np.nan)


def _average_mixtures(means: Sequence[Scores | None], _: int) -> tuple[Scores, int]:
    """Return the mean over mixtures; NaN if none counts."""
    counted = [mean for mean in means if mean is not None]
    return (np.mean(counted, axis=0) if counted else np.full(3, np.nan)), 0


def _average_batches(means: Sequence[Scores | None], batch_size: int) -> tuple[Scores, int]:
    """Return the mean over batches of the means within batches, as the released codes do.

    A last, smaller batch thus weighs more than its share, and a batch in which no mixture counts is
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
    "strict": Protocol(_strict, _average_mixtures),
    "legacy": Protocol(_legacy, _average_batches),
}


def _find_protocol(name: str) -> Protocol:
    """Return a protocol by its name; InputError with the known names for another."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def is_silent(waveforms: Shaped[np.ndarray, "*axes N"]) -> Bool[np.ndarray, "*axes"]:
    """Return True for each waveform that is silent by the threshold of the field's codes."""
    # In float64, lest the rounding of a long float32 sum decides near the threshold.
    return np.asarray(np.abs(waveforms).sum(axis=-1, dtype=np.float64) <= SILENT_SUM)


# 95 % intervals of means over mixtures, by resampling videos


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of videos, from which each mixture's weight follows.

    Mixtures that share a video are not independent: 250 pairs of 25 videos hold much less evidence
    than 250 videos. So videos are drawn with replacement, and a mixture's weight is the product of
    its videos' counts: the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Annals of
    Applied Statistics 1(2), 2007), here with one list of videos for all places in a mixture. Its
    intervals are conservative.

    Attributes:
        counts: number of times each video is drawn; a last column of ones stands for no video.
        videos_of: the videos of each mixture, padded with that column.
    """

    counts: Int64[np.ndarray, "R videos"]
    videos_of: Int64[np.ndarray, "M places"]

    @classmethod
    def draw(
        cls, videos: Sequence[Sequence[str]], num_resamples: int = NUM_RESAMPLES
    ) -> "Resamples":
        """Draw resamples for mixtures, each given as the names of its videos."""
        names = sorted({name for mixture_videos in videos for name in mixture_videos})
        place_of = {name: place for place, name in enumerate(names)}
        num_places = max((len(set(mixture_videos)) for mixture_videos in videos), default=0)
        videos_of = np.full((len(videos), num_places), len(names), np.int64)
        for row, mixture_videos in enumerate(videos):
            # A set: a mixture of two sources of one video depends on it once, not by its square.
            places = sorted({place_of[name] for name in mixture_videos})
            videos_of[row, : len(places)] = places
        counts = np.ones((num_resamples, len(names) + 1), np.int64)
        if names:
            shares = np.full(len(names), 1 / len(names))
            generator = np.random.default_rng(_SEED)
            counts[:, :-1] = generator.multinomial(len(names), shares, num_resamples)
        return cls(counts, videos_of)

    def intervals(
        self, values: Float64[np.ndarray, "n K"], mixtures: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "K 2"] | None:
        """Return the 95 % interval of each column's mean: percentiles of the resamples' means.

        None if the rows are of fewer than two videos or two mixtures: two sources of one mixture
        are in every resample together, so that their mean would seem to be certain.

        Args:
            values: no NaN among them.
            mixtures: index of each row's mixture; several rows may be of one.
        """
        videos = self.videos_of[mixtures]
        no_video = self.counts.shape[1] - 1
        if len(set(mixtures.tolist())) < 2 or len(set(videos.flat) - {no_video}) < 2:
            return None
        means = np.concatenate(list(self._means(values, videos)))
        edges = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return np.percentile(means, edges, axis=0).T

    def _means(
        self, values: Float64[np.ndarray, "n K"], videos: Int64[np.ndarray, "n places"]
    ) -> Iterator[Float64[np.ndarray, "_ K"]]:
        """Yield the means of the resamples that hold any of the values, in blocks."""
        num_at_once = max(1, _MAX_WEIGHTS // max(1, videos.size))
        for start in range(0, len(self.counts), num_at_once):
            counts = self.counts[start : start + num_at_once]
            weights = counts[:, videos].prod(axis=2).astype(np.float64)  # R n
            total = weights.sum(axis=1, keepdims=True)
            is_defined = total[:, 0] > 0
            yield weights[is_defined] @ values / total[is_defined]


# Groups of mixtures and categories of sources, since one mean hides the easy and the hard cases


def mixture_groups(mixture: Mixture) -> tuple[str, ...]:
    """Return the groups of a mixture; none for a single source, which is not scored.

    `same category` has two or more sources of one category. `in harmony` is for clips of toyband
    whose musical score has all players in one tempo and one sequence of chords.
    """
    num_sources = len(mixture.parts)
    if num_sources < 2:
        return ()
    groups = [DIFFERENT if len(set(mixture.categories)) == num_sources else SAME]
    # Sampled and listed pairs are of several clips: neither harmony nor off-screen sounds apply.
    clip = mixture.parts[0].clip if mixture.rule is None else None
    if clip is not None and _is_in_harmony(clip):
        groups.append(IN_HARMONY)
    groups.append(f"{num_sources} sources")
    if clip is not None and clip.offscreen:
        groups.append(OFFSCREEN)
    return tuple(groups)


def sort_groups(groups: Iterable[str]) -> list[str]:
    """Return the groups in the order of the tables, each once."""
    # Rank 3 is left for the groups by number of sources.
    rank = {DIFFERENT: 0, SAME: 1, IN_HARMONY: 2, OFFSCREEN: 4}
    return sorted(set(groups), key=lambda group: (rank.get(group, 3), group))


def scores_by_category(
    pairs: Sequence[PairScores], protocol: str
) -> Mapping[str, tuple[Float64[np.ndarray, "sources 3"], Int64[np.ndarray, " sources"]]]:
    """Return SDR, SIR, SAR of the counted sources by category, and the indices of their pairs."""
    rows: dict[str, list[tuple[np.ndarray, int]]] = {}
    for index, pair in enumerate(pairs):
        if pair.left_out_reason(protocol) is None:
            for category, row_db in zip(pair.categories, pair.counted_db(protocol), strict=True):
                rows.setdefault(category, []).append((row_db, index))
    return {
        category: (
            np.stack([row_db for row_db, _ in rows[category]]),
            np.array([index for _, index in rows[category]], np.int64),
        )
        for category in sorted(rows)
    }


def _is_in_harmony(clip: ClipFiles) -> bool:
    path = ClipPaths(clip.video.parent, clip.name).score
    return path.is_file() and read_record(path).score.together
