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
        scores_db = mean_values(by_channel_db.swapaxes(0, 1))
    silent_references = np.asarray(quiet.any(axis=1)) & ~counted.any()
    heard = counted if counted.any() else ~counted
    silent_estimates = np.asarray(is_silent(estimates)[..., heard].any(axis=-1))
    return tuple(
        PairScores(name, categories, scores, silent_references, silent)
        for scores, silent in zip(scores_db, silent_estimates, strict=True)
    )


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


# How far a mean over mixtures may be off: 95 % intervals by resampling videos, not mixtures


LEVEL = 0.95
NUM_RESAMPLES = 2000
_SEED = 0  # the same resamples for everybody, so that differences are paired
# Weights held at once.
_MOST_WEIGHTS = 2_000_000


@dataclass(frozen=True)
class Resamples:
    """Draws of videos with replacement, and how often each mixture is in them.

    Mixtures that share a video are not independent: 250 pairs of 25 videos say much less than 250
    videos would. So videos are drawn, and a mixture counts as often as the product of its videos'
    multiplicities: the pigeonhole bootstrap (Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1(2), 2007), here with one list of videos for all places in a mixture. It errs on
    the side of wide intervals.

    Attributes:
        counts: how often each video is drawn; a last column of ones stands for no video.
        videos_of: the videos of each mixture, filled up with that column.
    """

    counts: Int64[np.ndarray, "R videos"]
    videos_of: Int64[np.ndarray, "M places"]

    @classmethod
    def draw(
        cls, videos: Sequence[Sequence[str]], num_resamples: int = NUM_RESAMPLES
    ) -> "Resamples":
        """Resamples for mixtures, each given as the videos it is made of."""
        names = sorted({name for some in videos for name in some})
        place_of = {name: place for place, name in enumerate(names)}
        most = max((len(set(some)) for some in videos), default=0)
        videos_of = np.full((len(videos), most), len(names), np.int64)
        for row, some in enumerate(videos):
            own = sorted({place_of[name] for name in some})
            videos_of[row, : len(own)] = own
        counts = np.ones((num_resamples, len(names) + 1), np.int64)
        if names:
            shares = np.full(len(names), 1 / len(names))
            generator = np.random.default_rng(_SEED)
            counts[:, :-1] = generator.multinomial(len(names), shares, num_resamples)
        return cls(counts, videos_of)

    def intervals(
        self, values: Float64[np.ndarray, "n K"], mixtures: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "K 2"] | None:
        """Lowest and highest of the mean of each column: the middle 95 % of the resamples' means.

        None where fewer than two videos or two mixtures say anything: two sources of one mixture
        are in every resample together.

        Args:
            values: all of them numbers.
            mixtures: which mixture each row is of; several rows may be of one.
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
        """The mean in each resample that holds any of the values; a few resamples at a time."""
        num_at_once = max(1, _MOST_WEIGHTS // max(1, videos.size))
        for start in range(0, len(self.counts), num_at_once):
            counts = self.counts[start : start + num_at_once]
            weights = counts[:, videos].prod(axis=2).astype(np.float64)  # R n
            total = weights.sum(axis=1, keepdims=True)
            held = total[:, 0] > 0
            yield weights[held] @ values / total[held]


# Kinds of mixtures and of sources, so that one figure does not hide the easy and the hard


SAME, DIFFERENT = "same category", "different categories"
IN_HARMONY = "in harmony"
OFFSCREEN = "with an unseen sound"


def groups_of(mixture: Mixture) -> tuple[str, ...]:
    """The groups a mixture belongs to; none with a single source, which is not scored.

    Two of a kind among its sources make it one of `same category`. In harmony it is where a
    toyband's score says that all play together, in one tempo and one sequence of chords.
    """
    num_sources = len(mixture.parts)
    if num_sources < 2:
        return ()
    found = [DIFFERENT if len(set(mixture.categories)) == num_sources else SAME]
    clip = mixture.parts[0].clip if mixture.rule is None else None
    if clip is not None and _plays_together(clip):
        found.append(IN_HARMONY)
    found.append(f"{num_sources} sources")
    if clip is not None and clip.offscreen:
        found.append(OFFSCREEN)
    return tuple(found)


def in_order(groups: Iterable[str]) -> list[str]:
    """Groups each once, in the order of the tables."""
    rank = {DIFFERENT: 0, SAME: 1, IN_HARMONY: 2, OFFSCREEN: 4}
    return sorted(set(groups), key=lambda group: (rank.get(group, 3), group))


def by_category(
    pairs: Sequence[PairScores], protocol: str
) -> Mapping[str, tuple[Float64[np.ndarray, "sources 3"], Int64[np.ndarray, " sources"]]]:
    """SDR, SIR, SAR of every source that counts by its own category, and which pair it is of."""
    found: dict[str, list[tuple[np.ndarray, int]]] = {}
    for place, pair in enumerate(pairs):
        if pair.left_out_reason(protocol) is None:
            for category, row in zip(pair.categories, pair.counted_db(protocol), strict=True):
                found.setdefault(category, []).append((row, place))
    return {
        category: (
            np.stack([row for row, _ in found[category]]),
            np.array([place for _, place in found[category]], np.int64),
        )
        for category in sorted(found)
    }


def _plays_together(clip: ClipFiles) -> bool:
    path = ClipPaths(clip.video.parent, clip.name).score
    return path.is_file() and read_record(path).score.together
