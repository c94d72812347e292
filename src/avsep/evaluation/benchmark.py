"""Separators over a list of mixtures: every one separated, scored and summed up."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64

from avsep.data.categories import find_in
from avsep.data.clips import ClipFiles
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.methods import CPU, Method, Prediction, ask
from avsep.evaluation.metrics.registry import METRICS, choose_metrics, measure
from avsep.evaluation.mixtures import Mixture
from avsep.evaluation.protocol import (
    FLOOR_DB,
    PairScores,
    Resamples,
    Summary,
    by_category,
    groups_of,
    in_order,
    score_pairs,
    summarise,
)
from avsep.records import Separation

ONE_SOURCE = "one source only, nothing to separate it from"


@dataclass(frozen=True)
class MixtureScores:
    """One mixture and what every contender scored on it.

    Attributes:
        videos: the clips it is made of.
        categories_used: of the contenders that go by categories, the one each source was taken for.
        left_out: why none was asked.
        metrics: of every contender, what other metrics say of each source; NaN where nothing.
    """

    name: str
    categories: tuple[str, ...]
    scores: dict[str, PairScores]
    groups: tuple[str, ...] = ()
    categories_used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: str | None = None
    videos: tuple[str, ...] = ()
    metrics: dict[str, dict[str, Float64[np.ndarray, " S"]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """How much better one contender is than another on the same mixtures.

    Attributes:
        num_pairs: mixtures that count for both.
        means_db: of SDR, SIR and SAR, positive where the first is better; NaN for no mixtures.
        intervals_db: lowest and highest of each, 95 %; none where it cannot be told.
    """

    num_pairs: int
    means_db: Float64[np.ndarray, "3"]
    intervals_db: Float64[np.ndarray, "3 2"] | None


@dataclass(frozen=True)
class MetricSummary:
    """The mean of a metric over mixtures, each the mean over its sources; NaN where none counts.

    Attributes:
        num_pairs: mixtures in which every source has a figure.
        interval: lowest and highest, 95 %; none where it cannot be told.
    """

    num_pairs: int
    mean: float
    interval: Float64[np.ndarray, "2"] | None


@dataclass(frozen=True)
class Evaluation:
    """The scores of a whole list of mixtures.

    Attributes:
        metrics: names of METRICS beside SDR, SIR and SAR.
        warnings: what the reader of the figures has to know of the list.
    """

    methods: tuple[Method, ...]
    clips: tuple[MixtureScores, ...]
    seed: int = 0
    warnings: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str]:
        """The groups that any mixture belongs to, in the order of the tables."""
        return in_order(group for clip in self.clips for group in clip.groups)

    @property
    def reference(self) -> str | None:
        """Whom the others are compared with: the first model, or the first of the rest."""
        models = [row.name for row in self.methods if row.is_model]
        return next(iter([*models, *(row.name for row in self.methods)]), None)

    def summary(self, name: str, protocol: str, group: str | None = None) -> Summary:
        """A contender's figures by a protocol, over all mixtures or those of a group.

        Mixtures that nobody was asked count as left out. Intervals are those of a mean over
        mixtures, which `legacy` is not.
        """
        clips = [clip for clip in self.clips if group is None or group in clip.groups]
        found = summarise(self.pairs(name, group), protocol)
        unasked = Counter(clip.left_out for clip in clips if clip.left_out is not None)
        intervals_db = None
        if protocol == "strict":
            intervals_db = self._intervals(*self._counted(name, group))
        return replace(
            found,
            num_pairs=len(clips),
            num_left_out=found.num_left_out + unasked.total(),
            reasons={**unasked, **found.reasons},
            intervals_db=intervals_db,
        )

    def difference(self, name: str, other: str, group: str | None = None) -> Difference:
        """A contender less another by `strict`, mixture by mixture, where both count."""
        (own_db, own), (other_db, others) = (self._counted(one, group) for one in (name, other))
        both = np.intersect1d(own, others)
        change_db = own_db[np.isin(own, both)] - other_db[np.isin(others, both)]
        means_db = change_db.mean(axis=0) if len(both) else np.full(3, np.nan)
        return Difference(len(both), means_db, self._intervals(change_db, both))

    def metric(self, name: str, metric: str) -> MetricSummary:
        """What another metric says of a contender, over the mixtures that count by `strict`."""
        means, places = [], []
        for place in self._counted(name, None)[1].tolist():
            mean = float(self.clips[place].metrics[name][metric].mean())
            if not math.isnan(mean):
                means.append(mean)
                places.append(place)
        values = np.array(means)[:, None]
        found = self._resamples.intervals(values, np.array(places, np.int64)) if means else None
        mean = float(np.mean(means)) if means else math.nan
        return MetricSummary(len(means), mean, None if found is None else found[0])

    def by_category(
        self, name: str, protocol: str
    ) -> dict[str, tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "3 2"] | None]]:
        """SDR, SIR, SAR of every source that counts by its category, and the means' intervals."""
        asked = [index for index, clip in enumerate(self.clips) if clip.left_out is None]
        found = by_category(self.pairs(name), protocol)
        return {
            category: (rows_db, self._intervals(rows_db, np.array(asked)[pairs]))
            for category, (rows_db, pairs) in found.items()
        }

    def category_accuracy(self, name: str) -> float | None:
        """The share of sources taken for what they are; none where categories play no part."""
        asked = [clip for clip in self.clips if name in clip.categories_used]
        right = [
            find_in([used], truth) == 0
            for clip in asked
            for used, truth in zip(clip.categories_used[name], clip.categories, strict=True)
        ]
        return sum(right) / len(right) if right else None

    def pairs(self, name: str, group: str | None = None) -> list[PairScores]:
        """What a contender scored on each mixture it was asked, of all or of a group."""
        return [
            clip.scores[name]
            for clip in self.clips
            if clip.left_out is None and (group is None or group in clip.groups)
        ]

    def _counted(
        self, name: str, group: str | None
    ) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, " n"]]:
        """The figures by `strict` of each mixture that counts, and its place among all."""
        places = [
            place
            for place, clip in enumerate(self.clips)
            if clip.left_out is None
            and (group is None or group in clip.groups)
            and clip.scores[name].left_out_reason("strict") is None
        ]
        rows_db = [self.clips[place].scores[name].mean_db("strict") for place in places]
        return np.array(rows_db).reshape(-1, 3), np.array(places, np.int64)

    def _intervals(
        self, values_db: Float64[np.ndarray, "n 3"], mixtures: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "3 2"] | None:
        return self._resamples.intervals(values_db, mixtures)

    @cached_property
    def _resamples(self) -> Resamples:
        return Resamples.draw([clip.videos or (clip.name,) for clip in self.clips])


class Evaluator:
    """Asks contenders about the mixtures of a list, any of them at any time, and scores them.

    A contender that samples draws from the seed and the mixture's place in the list alone. Models
    among the contenders are on the device. One mixture is in memory at a time.
    """

    def __init__(
        self,
        mixtures: ClipReader | Sequence[ClipFiles | Mixture],
        methods: Sequence[Method],
        seed: int = 0,
        device: torch.device = CPU,
        metrics: Sequence[str] = (),
    ) -> None:
        self.metrics = tuple(metric.name for metric in choose_metrics(metrics))
        self.reader = mixtures if isinstance(mixtures, ClipReader) else ClipReader(mixtures)
        self.methods = tuple(methods)
        self.seed = seed
        self.device = device

    def score(self, index: int) -> MixtureScores:
        """The mixture of this index, separated by everybody and scored."""
        mixture = self.reader.mixtures[index]
        if len(mixture.parts) < 2:
            return MixtureScores(
                mixture.name, mixture.categories, {}, left_out=ONE_SOURCE, videos=mixture.videos
            )
        asked = {
            method.name: ask(method, self.reader, index, self.seed, self.device)
            for method in self.methods
        }
        used: dict[str, tuple[str, ...]] = {}
        for method in self.methods:
            used.update(_categories_used(method, asked[method.name].separation))
        scores = self._scores(mixture, asked)
        metrics = {
            method.name: self._measured(method, asked[method.name], scores)
            for method in self.methods
            if self.metrics
        }
        return MixtureScores(
            name=mixture.name,
            categories=mixture.categories,
            scores=scores,
            metrics=metrics,
            groups=groups_of(mixture),
            categories_used=used,
            videos=mixture.videos,
        )

    def _scores(self, mixture: Mixture, asked: dict[str, Prediction]) -> dict[str, PairScores]:
        """The scores of everybody; those who are compared with the same truth are scored at once.

        All have the same truth but where their front ends differ.
        """
        together: dict[tuple[object, int], list[str]] = {}
        for method in self.methods:
            settings = method.front_end.settings
            truth = settings.sample_rate_hz, settings.window_samples, settings.num_channels
            num_samples = asked[method.name].estimates.shape[-1]
            together.setdefault((truth, num_samples), []).append(method.name)
        found: dict[str, PairScores] = {}
        for names in together.values():
            references = asked[names[0]].references
            estimates = np.stack([asked[name].estimates for name in names])
            pairs = score_pairs(mixture.name, mixture.categories, references, estimates)
            found.update(zip(names, pairs, strict=True))
        return {method.name: found[method.name] for method in self.methods}

    def _measured(
        self, method: Method, asked: Prediction, scores: dict[str, PairScores]
    ) -> dict[str, Float64[np.ndarray, " S"]]:
        """What the other metrics say; as under `strict`, no figure in dB is below the floor."""
        if scores[method.name].silent_references.any():
            return {name: np.full(len(asked.references), np.nan) for name in self.metrics}
        found = measure(
            self.metrics,
            asked.references,
            asked.estimates,
            asked.item.mixture[:, : asked.estimates.shape[-1]],
            method.front_end.settings.sample_rate_hz,
        )
        for name, figures in found.items():
            if METRICS[name].is_score:
                figures = np.maximum(figures, FLOOR_DB)
            found[name] = np.where(np.isfinite(figures), figures, np.nan)
        return found


def score_clips(
    clips: Sequence[ClipFiles | Mixture],
    methods: Sequence[Method],
    seed: int = 0,
    device: torch.device = CPU,
) -> Iterator[MixtureScores]:
    """Every mixture in turn, separated and scored; a clip stands for that of its own sources."""
    evaluator = Evaluator(clips, methods, seed, device)
    return (evaluator.score(index) for index in range(len(clips)))


def _categories_used(method: Method, answer: Separation) -> dict[str, tuple[str, ...]]:
    """What a model took each source for, by the contender's name; empty where it does not say."""
    used = answer.metadata.get("category")
    if method.cue_settings is None or not isinstance(used, torch.Tensor):
        return {}
    names = method.cue_settings.categories
    return {method.name: tuple(names[int(index)] for index in used[0])}
