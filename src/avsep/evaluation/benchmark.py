"""Separators over a data set: every clip's own mixture separated, scored and summed up."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import avsep
from avsep.data.clips import ClipFiles
from avsep.data.mixing import mixture_of, to_batch
from avsep.errors import unknown_name
from avsep.evaluation.baselines import BASELINES, waveforms
from avsep.evaluation.protocol import PROTOCOLS, PairScores, Summary, score_pair, summarise
from avsep.evaluation.tables import figures_json
from avsep.records import Separates
from avsep.sound.front_end import FrontEnd, FrontEndSettings

ONE_SOURCE = "one source only, nothing to separate it from"


@dataclass(frozen=True)
class ScoredClip:
    """One clip and what every separator scored on it; `left_out` tells why none was asked."""

    name: str
    categories: tuple[str, ...]
    scores: dict[str, PairScores]
    left_out: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The scores of a whole data set."""

    separators: tuple[str, ...]
    clips: tuple[ScoredClip, ...]
    front_end: FrontEndSettings

    def summary(self, separator: str, protocol: str) -> Summary:
        """A separator's figures by a protocol, clips that nobody was asked left out too."""
        scored = [clip.scores[separator] for clip in self.clips if clip.left_out is None]
        found = summarise(scored, protocol)
        unasked = Counter(clip.left_out for clip in self.clips if clip.left_out is not None)
        return replace(
            found,
            num_pairs=len(self.clips),
            num_left_out=found.num_left_out + unasked.total(),
            reasons={**unasked, **found.reasons},
        )


def find_separators(names: Sequence[str], front_end: FrontEnd) -> dict[str, Separates]:
    """Separators by name, all of them for no names; an unknown one is an InputError."""
    for name in names:
        if name not in BASELINES:
            raise unknown_name("separator", name, BASELINES)
    return {name: make(front_end) for name, make in BASELINES.items() if name in (names or [name])}


def score_clips(
    clips: Sequence[ClipFiles], separators: dict[str, Separates], front_end: FrontEnd
) -> Iterator[ScoredClip]:
    """Each clip's middle window separated and scored; one clip in memory at a time."""
    for clip in clips:
        categories = tuple(source.category for source in clip.sources)
        if len(clip.sources) < 2:
            yield ScoredClip(clip.name, categories, {}, ONE_SOURCE)
            continue
        item = mixture_of(clip, front_end.settings)
        batch = to_batch([item])
        scores = {}
        for name, separator in separators.items():
            answer = separator.separate(batch)
            estimates = waveforms(answer, front_end)[0, :, 0].numpy()  # S N
            references = item.sources[:, : estimates.shape[1]]
            scores[name] = score_pair(clip.name, categories, references, estimates)
        yield ScoredClip(clip.name, categories, scores)


def as_json(evaluation: Evaluation, data_name: str) -> dict[str, object]:
    """Everything measured, each pair included; a figure that is not finite is null."""
    return {
        "avsep": avsep.__version__,
        "data": data_name,
        "front_end": evaluation.front_end.model_dump(mode="json"),
        "separators": {
            name: {
                protocol: _summary_json(evaluation.summary(name, protocol))
                for protocol in PROTOCOLS
            }
            for name in evaluation.separators
        },
        "clips": [_clip_json(clip) for clip in evaluation.clips],
    }


def _summary_json(summary: Summary) -> dict[str, object]:
    return {
        **figures_json([summary.sdr_db, summary.sir_db, summary.sar_db]),
        "num_pairs": summary.num_pairs,
        "num_left_out": summary.num_left_out,
        "reasons": summary.reasons,
    }


def _clip_json(clip: ScoredClip) -> dict[str, object]:
    scores = {
        name: {
            "sources": [figures_json(row) for row in pair.scores_db.tolist()],
            "left_out": {protocol: pair.left_out_reason(protocol) for protocol in PROTOCOLS},
        }
        for name, pair in clip.scores.items()
    }
    return {
        "name": clip.name,
        "categories": list(clip.categories),
        "left_out": clip.left_out,
        "scores": scores,
    }
