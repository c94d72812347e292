"""Score methods on a list of mixtures, and summarise, compare and group their scores."""

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
from avsep.devices import own_settings
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.methods import CPU, Method, Prediction, run_method
from avsep.evaluation.metrics.registry import METRICS, choose_metrics, measure
from avsep.evaluation.mixtures import Mixture
from avsep.evaluation.protocol import (
    FLOOR_DB,
    PairScores,
    Resamples,
    Summary,
    mixture_groups,
    score_pairs,
    scores_by_category,
    sort_groups,
    summarise,
)
from avsep.models.base import SeparationModel
from avsep.records import Separation

# The reason for leaving out a mixture of one source, as it is in tables.
ONE_SOURCE = "one source only, nothing to separate it from"


@dataclass(frozen=True)
class MixtureScores:
    """The scores of all methods on one mixture; the keys of its dicts are names of methods.

    Attributes:
        videos: names of the mixture's clips.
        categories_used: of methods that use a category, the one each source was separated as.
        left_out: the reason no method was run, or none.
        metrics: values of further metrics for each source; NaN if not defined.
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
    """The difference of two methods' scores on the same mixtures.

    Attributes:
        num_mixtures: mixtures that count for both.
        means_db: of SDR, SIR and SAR, positive if the first is better; NaN without mixtures.
        intervals_db: both ends of the 95 % intervals; none with too few videos.
    """

    num_mixtures: int
    means_db: Float64[np.ndarray, "3"]
    intervals_db: Float64[np.ndarray, "3 2"] | None


@dataclass(frozen=True)
class MetricSummary:
    """The mean of a metric over mixtures, each the mean over its sources; NaN if none counts.

    Attributes:
        num_mixtures: mixtures in which the metric is defined for every source.
        interval: both ends of the 95 % interval; none with too few videos.
    """

    num_mixtures: int
    mean: float
    interval: Float64[np.ndarray, "2"] | None


@dataclass(frozen=True)
class Evaluation:
    """The scores of all methods on a whole list of mixtures.

    Attributes:
        metrics: names of METRICS beside SDR, SIR and SAR.
        warnings: lines about the list for the reader of the scores.
    """

    methods: tuple[Method, ...]
    mixtures: tuple[MixtureScores, ...]
    seed: int = 0
    warnings: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str]:
        """The groups of all mixtures, in the order of the tables."""
        return sort_groups(group for mixture in self.mixtures for group in mixture.groups)

    @property
    def reference(self) -> str | None:
        """The method that the others are compared with: the first model, else the first method."""
        models = [method.name for method in self.methods if method.is_model]
        return next(iter([*models, *(method.name for method in self.methods)]), None)

    def summary(self, name: str, protocol: str, group: str | None = None) -> Summary:
        """Return a method's mean scores by a protocol, over all mixtures or those of a group.

        Mixtures on which no method was run count as left out. Intervals are those of a mean over
        mixtures, which `legacy` is not.
        """
        mixtures = [m for m in self.mixtures if group is None or group in m.groups]
        summary = summarise(self.pairs(name, group), protocol)
        reasons = Counter(m.left_out for m in mixtures if m.left_out is not None)
        intervals_db = None
        if protocol == "strict":
            intervals_db = self._intervals(*self._counted(name, group))
        return replace(
            summary,
            num_mixtures=len(mixtures),
            num_left_out=summary.num_left_out + reasons.total(),
            reasons={**reasons, **summary.reasons},
            intervals_db=intervals_db,
        )

    def difference(self, name: str, other: str, group: str | None = None) -> Difference:
        """Return a method's scores minus another's by `strict`, over mixtures that count for both.

        The differences are paired: what makes a mixture hard for both cancels.
        """
        first_db, first = self._counted(name, group)
        second_db, second = self._counted(other, group)
        both = np.intersect1d(first, second)
        change_db = first_db[np.isin(first, both)] - second_db[np.isin(second, both)]
        means_db = change_db.mean(axis=0) if len(both) else np.full(3, np.nan)
        return Difference(len(both), means_db, self._intervals(change_db, both))

    def metric(self, name: str, metric: str) -> MetricSummary:
        """Return the mean of a further metric of a method, over mixtures that count by `strict`."""
        means, indices = [], []
        for index in self._counted(name, None)[1].tolist():
            mean = float(self.mixtures[index].metrics[name][metric].mean())
            if not math.isnan(mean):
                means.append(mean)
                indices.append(index)
        values = np.array(means)[:, None]
        intervals = None
        if means:
            intervals = self._resamples.intervals(values, np.array(indices, np.int64))
        mean = float(np.mean(means)) if means else math.nan
        return MetricSummary(len(means), mean, None if intervals is None else intervals[0])

    def by_category(
        self, name: str, protocol: str
    ) -> dict[str, tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "3 2"] | None]]:
        """Return SDR, SIR, SAR of the counted sources of each category, and the means' intervals.

        The means are over sources, not over mixtures: a mixture of one category counts twice.
        """
        # `pairs` holds the mixtures that were run; their indices among all mixtures are here.
        indices = np.array([i for i, m in enumerate(self.mixtures) if m.left_out is None])
        categories = scores_by_category(self.pairs(name), protocol)
        return {
            category: (rows_db, self._intervals(rows_db, indices[pairs]))
            for category, (rows_db, pairs) in categories.items()
        }

    def category_accuracy(self, name: str) -> float | None:
        """Return the share of sources separated as their true category; none without categories."""
        mixtures = [mixture for mixture in self.mixtures if name in mixture.categories_used]
        is_right = [
            find_in([used], true_category) == 0
            for mixture in mixtures
            for used, true_category in zip(
                mixture.categories_used[name], mixture.categories, strict=True
            )
        ]
        return sum(is_right) / len(is_right) if is_right else None

    def pairs(self, name: str, group: str | None = None) -> list[PairScores]:
        """Return a method's scores on each mixture it was run on, of all or of a group."""
        return [
            mixture.scores[name]
            for mixture in self.mixtures
            if mixture.left_out is None and (group is None or group in mixture.groups)
        ]

    def _counted(
        self, name: str, group: str | None
    ) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, " n"]]:
        """Return the mean scores by `strict` of the mixtures that count, and their indices."""
        indices = [
            index
            for index, mixture in enumerate(self.mixtures)
            if mixture.left_out is None
            and (group is None or group in mixture.groups)
            and mixture.scores[name].left_out_reason("strict") is None
        ]
        rows_db = [self.mixtures[index].scores[name].mean_db("strict") for index in indices]
        return np.array(rows_db).reshape(-1, 3), np.array(indices, np.int64)

    def _intervals(
        self, values_db: Float64[np.ndarray, "n 3"], mixtures: Int64[np.ndarray, " n"]
    ) -> Float64[np.ndarray, "3 2"] | None:
        return self._resamples.intervals(values_db, mixtures)

    @cached_property
    def _resamples(self) -> Resamples:
        # Of all mixtures and for all methods the same, so that differences are paired here too.
        return Resamples.draw([m.videos or (m.name,) for m in self.mixtures])


class Evaluator:
    """Runs methods on the mixtures of a list, in any order, and scores them.

    A method that samples draws from the seed and the mixture's index alone. One mixture is in
    memory at a time.

    Args:
        mixtures: their reader, or a list of them.
        methods: models are on the device.
        seed: of methods that sample.
        device: of the batches.
        metrics: names of METRICS, beside SDR, SIR and SAR.
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

    @own_settings()
    def score(self, index: int) -> MixtureScores:
        """Run all methods on the mixture at an index and return their scores."""
        mixture = self.reader.mixtures[index]
        if len(mixture.parts) < 2:
            return MixtureScores(
                mixture.name, mixture.categories, {}, left_out=ONE_SOURCE, videos=mixture.videos
            )
        predictions = self._predictions(index)
        categories_used: dict[str, tuple[str, ...]] = {}
        for method in self.methods:
            categories_used.update(_categories_used(method, predictions[method.name].separation))
        scores = self._bss_eval_scores(mixture, predictions)
        metrics = {
            method.name: self._metric_values(method, predictions[method.name], scores)
            for method in self.methods
            if self.metrics
        }
        return MixtureScores(
            name=mixture.name,
            categories=mixture.categories,
            scores=scores,
            metrics=metrics,
            groups=mixture_groups(mixture),
            categories_used=categories_used,
            videos=mixture.videos,
        )

    def _predictions(self, index: int) -> dict[str, Prediction]:
        """Run all methods on a mixture; one that would repeat another's work takes its result."""
        predictions: dict[str, Prediction] = {}
        # Methods with given labels last: their models may have predicted these labels by then.
        for method in sorted(self.methods, key=_is_given_labels):
            prediction = self._prediction_with_labels(method, index, predictions)
            if prediction is None:
                prediction = run_method(method, self.reader, index, self.seed, self.device)
            predictions[method.name] = prediction
        return predictions

    def _prediction_with_labels(
        self, method: Method, index: int, predictions: dict[str, Prediction]
    ) -> Prediction | None:
        """Return the prediction of the same model that took the given labels by itself, if any."""
        model, cue_settings = method.separator, method.cue_settings
        if not isinstance(model, SeparationModel) or not model.takes_predicted_category:
            return None
        for other in self.methods:
            if other.separator is not model or other.name not in predictions:
                continue
            assert cue_settings is not None and other.cue_settings is not None, "a model has cues"
            if replace(other.cue_settings, labels=cue_settings.labels) == cue_settings:
                _, batch = self.reader.batch(index, method.front_end.settings, cue_settings)
                category = predictions[other.name].separation.metadata["category"]
                assert isinstance(category, torch.Tensor), "the model reads a category"
                if batch.cues.category is not None and category.cpu().equal(batch.cues.category):
                    return predictions[other.name]
        return None

    def _bss_eval_scores(
        self, mixture: Mixture, predictions: dict[str, Prediction]
    ) -> dict[str, PairScores]:
        """Return the scores of all methods; those with equal references are scored in one call.

        References are equal for methods of one sample rate, window and number of channels. One call
        shares the work on the references, which is most of it.
        """
        batches: dict[tuple[object, int], list[str]] = {}
        for method in self.methods:
            key = method.front_end.settings.window_format
            num_samples = predictions[method.name].estimates.shape[-1]
            batches.setdefault((key, num_samples), []).append(method.name)
        scores: dict[str, PairScores] = {}
        for names in batches.values():
            references = predictions[names[0]].references
            estimates = np.stack([predictions[name].estimates for name in names])
            pairs = score_pairs(mixture.name, mixture.categories, references, estimates)
            scores.update(zip(names, pairs, strict=True))
        return {method.name: scores[method.name] for method in self.methods}

    def _metric_values(
        self, method: Method, prediction: Prediction, scores: dict[str, PairScores]
    ) -> dict[str, Float64[np.ndarray, " S"]]:
        """Return the values of the further metrics; scores in dB have the floor of `strict`."""
        if scores[method.name].silent_references.any():
            return {name: np.full(len(prediction.references), np.nan) for name in self.metrics}
        metrics = measure(
            self.metrics,
            prediction.references,
            prediction.estimates,
            prediction.item.mixture[:, : prediction.estimates.shape[-1]],
            method.front_end.settings.sample_rate_hz,
        )
        for name, values in metrics.items():
            if METRICS[name].is_score:
                values = np.maximum(values, FLOOR_DB)
            # One infinite value would make the mean over mixtures infinite.
            metrics[name] = np.where(np.isfinite(values), values, np.nan)
        return metrics


def score_clips(
    clips: Sequence[ClipFiles | Mixture],
    methods: Sequence[Method],
    seed: int = 0,
    device: torch.device = CPU,
) -> Iterator[MixtureScores]:
    """Yield the scores of each mixture in turn; a clip is the mixture of its own sources."""
    evaluator = Evaluator(clips, methods, seed, device)
    return (evaluator.score(index) for index in range(len(clips)))


def _is_given_labels(method: Method) -> bool:
    return method.cue_settings is not None and method.cue_settings.labels == "given"


def _categories_used(method: Method, separation: Separation) -> dict[str, tuple[str, ...]]:
    """Return the method's name -> the category used for each source; empty without categories."""
    category = separation.metadata.get("category")
    if method.cue_settings is None or not isinstance(category, torch.Tensor):
        return {}
    names = method.cue_settings.categories
    return {method.name: tuple(names[int(index)] for index in category[0])}
