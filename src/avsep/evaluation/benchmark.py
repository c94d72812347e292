"""Separators over a data set: every clip's own mixture separated, scored and summed up."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

import avsep
from avsep.data.clips import ClipFiles
from avsep.data.dataset_categories import find_in
from avsep.evaluation.asking import ask
from avsep.evaluation.clip_batches import ClipReader
from avsep.evaluation.contenders import CPU, Contender
from avsep.evaluation.groups import by_category, groups_of, in_order
from avsep.evaluation.protocol import PROTOCOLS, PairScores, Summary, score_pair, summarise
from avsep.evaluation.tables import figures_json
from avsep.records import Separation

ONE_SOURCE = "one source only, nothing to separate it from"


@dataclass(frozen=True)
class ScoredClip:
    """One clip and what every contender scored on it.

    Attributes:
        categories_used: of the contenders that go by categories, the one each source was taken for.
        left_out: why none was asked.
    """

    name: str
    categories: tuple[str, ...]
    scores: dict[str, PairScores]
    groups: tuple[str, ...] = ()
    categories_used: dict[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The scores of a whole data set."""

    contenders: tuple[Contender, ...]
    clips: tuple[ScoredClip, ...]
    seed: int = 0

    @property
    def groups(self) -> list[str]:
        """The groups that any clip belongs to, in the order of the tables."""
        return in_order(group for clip in self.clips for group in clip.groups)

    def summary(self, name: str, protocol: str, group: str | None = None) -> Summary:
        """A contender's figures by a protocol, over all clips or those of a group.

        Clips that nobody was asked count as left out.
        """
        clips = [clip for clip in self.clips if group is None or group in clip.groups]
        found = summarise(self.pairs(name, group), protocol)
        unasked = Counter(clip.left_out for clip in clips if clip.left_out is not None)
        return replace(
            found,
            num_pairs=len(clips),
            num_left_out=found.num_left_out + unasked.total(),
            reasons={**unasked, **found.reasons},
        )

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
        """What a contender scored on each clip it was asked, of all or of a group."""
        return [
            clip.scores[name]
            for clip in self.clips
            if clip.left_out is None and (group is None or group in clip.groups)
        ]


def score_clips(
    clips: Sequence[ClipFiles],
    contenders: Sequence[Contender],
    seed: int = 0,
    device: torch.device = CPU,
) -> Iterator[ScoredClip]:
    """Each clip's middle window separated and scored; one clip in memory at a time.

    A contender that samples draws from the seed and the clip's place in the list alone. Models
    among the contenders are on the device.
    """
    reader = ClipReader(clips)
    for index, clip in enumerate(clips):
        categories = tuple(source.category for source in clip.sources)
        if len(clip.sources) < 2:
            yield ScoredClip(clip.name, categories, {}, left_out=ONE_SOURCE)
            continue
        scores, used = {}, {}
        for contender in contenders:
            asked = ask(contender, reader, index, seed, device)
            scores[contender.name] = score_pair(
                clip.name, categories, asked.references[:, 0], asked.estimates[:, 0]
            )
            used.update(_categories_used(contender, asked.separation))
        yield ScoredClip(clip.name, categories, scores, groups_of(clip), used)


def as_json(evaluation: Evaluation, data_name: str) -> dict[str, object]:
    """Everything measured, each pair included; a figure that is not finite is null."""
    return {
        "avsep": avsep.__version__,
        "data": data_name,
        "seed": evaluation.seed,
        "separators": {
            contender.name: _contender_json(evaluation, contender)
            for contender in evaluation.contenders
        },
        "clips": [_clip_json(clip) for clip in evaluation.clips],
    }


def _contender_json(evaluation: Evaluation, contender: Contender) -> dict[str, object]:
    """All about one contender: what it reads, its figures overall, by group and by category."""
    name = contender.name
    return {
        "reads": contender.reads,
        "front_end": contender.front_end.settings.model_dump(mode="json"),
        **_summaries_json(evaluation, name),
        "category_accuracy": evaluation.category_accuracy(name),
        "groups": {group: _summaries_json(evaluation, name, group) for group in evaluation.groups},
        "categories": {
            protocol: _categories_json(evaluation.pairs(name), protocol) for protocol in PROTOCOLS
        },
    }


def _summaries_json(
    evaluation: Evaluation, name: str, group: str | None = None
) -> dict[str, object]:
    """A contender's figures by every protocol."""
    found = {protocol: evaluation.summary(name, protocol, group) for protocol in PROTOCOLS}
    return {
        protocol: {
            **figures_json([summary.sdr_db, summary.sir_db, summary.sar_db]),
            "num_pairs": summary.num_pairs,
            "num_left_out": summary.num_left_out,
            "reasons": summary.reasons,
        }
        for protocol, summary in found.items()
    }


def _categories_json(pairs: Sequence[PairScores], protocol: str) -> dict[str, object]:
    """Means over the sources of each category, not over pairs."""
    return {
        category: {**figures_json(rows_db.mean(axis=0).tolist()), "num_sources": len(rows_db)}
        for category, rows_db in by_category(pairs, protocol).items()
    }


def _clip_json(clip: ScoredClip) -> dict[str, object]:
    scores = {
        name: {
            "sources": [figures_json(row) for row in pair.scores_db.tolist()],
            "left_out": {protocol: pair.left_out_reason(protocol) for protocol in PROTOCOLS},
        }
        for name, pair in clip.scores.items()
    }
    for name, used in clip.categories_used.items():
        scores[name]["categories_used"] = list(used)
    return {
        "name": clip.name,
        "categories": list(clip.categories),
        "groups": list(clip.groups),
        "left_out": clip.left_out,
        "scores": scores,
    }


def _categories_used(contender: Contender, answer: Separation) -> dict[str, tuple[str, ...]]:
    """What a model took each source for, by the contender's name; empty where it does not say."""
    used = answer.facts.get("category")
    if contender.reading is None or not isinstance(used, torch.Tensor):
        return {}
    names = contender.reading.categories
    return {contender.name: tuple(names[int(index)] for index in used[0])}
