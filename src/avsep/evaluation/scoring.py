"""A benchmark run: who is asked about what, on how many cores, going on where it was stopped."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

import avsep
from avsep.checkpoint import find_checkpoint
from avsep.data.clips import ClipFiles, file_facts
from avsep.devices import one_thread
from avsep.evaluation.benchmark import ScoredClip, Scorer
from avsep.evaluation.clip_batches import ClipReader
from avsep.evaluation.contenders import Contender, find_contenders, model_names
from avsep.evaluation.mixtures import Mixture
from avsep.evaluation.score_journal import Facts, ScoreJournal
from avsep.media.whole_file import make_folder
from avsep.workers import in_parallel

# So few mixtures are scored before other processes would have started.
_FEW_MIXTURES = 4


@dataclass(frozen=True)
class Plan:
    """All that decides the figures of a run.

    Attributes:
        names, labels, trials, with_baselines: as `find_contenders` takes them.
        device: the models are on it.
        metrics: names of METRICS, beside SDR, SIR and SAR.
        num_channels: that all hear; none: two where a model has two ears.
        mirrored: all mixtures as a mirror shows them.
    """

    mixtures: tuple[Mixture, ...]
    names: tuple[str, ...] = ()
    labels: str = "both"
    trials: tuple[str, ...] = ("all",)
    with_baselines: bool = True
    seed: int = 0
    device: str = "cpu"
    metrics: tuple[str, ...] = ()
    num_channels: Literal[1, 2] | None = None
    mirrored: bool = False

    def contenders(self) -> tuple[Contender, ...]:
        """Everybody who is asked, models loaded."""
        return find_contenders(
            self.names,
            self.labels,
            self.trials,
            torch.device(self.device),
            with_baselines=self.with_baselines,
            num_channels=self.num_channels,
        )

    def scorer(self, contenders: Sequence[Contender]) -> Scorer:
        """What asks these contenders about the plan's mixtures."""
        return Scorer(
            ClipReader(self.mixtures, mirrored=self.mirrored),
            contenders,
            self.seed,
            torch.device(self.device),
            self.metrics,
        )

    def facts(self) -> Facts:
        """What the figures depend on, in words and digests; files by their content or their stamp.

        Another version of avsep may score otherwise, and another device rounds otherwise.
        """
        return {
            "version": avsep.__version__,
            "seed": self.seed,
            "device": torch.device(self.device).type,
            "separators": {
                **{name: _digest(find_checkpoint(name)) for name in model_names(self.names)},
                "baselines": self.with_baselines or sorted(set(self.names)),
            },
            "labels": self.labels,
            "cues": list(self.trials),
            "metrics": list(self.metrics),
            "channels": self.num_channels,
            "mirrored": self.mirrored,
            "data": _digest_of_mixtures(self.mixtures),
        }


def score_all(
    plan: Plan,
    contenders: Sequence[Contender],
    num_workers: int = 0,
    journal: ScoreJournal | None = None,
) -> Iterator[ScoredClip]:
    """Every mixture of a plan scored, in order; those in the journal are taken from there.

    The figures are the same whatever the number of workers: every process uses one thread.

    Args:
        plan: what is scored.
        contenders: those of the plan, where they are loaded already.
        num_workers: processes; 0: one a core, one alone with an accelerator or few mixtures.
        journal: of what is done, and where what follows is written.
    """
    done = {} if journal is None else journal.done
    missing = [index for index in range(len(plan.mixtures)) if index not in done]
    fresh = _scored(plan, contenders, missing, num_workers)
    for index in range(len(plan.mixtures)):
        if index in done:
            yield done[index]
            continue
        scored = next(fresh)
        if journal is not None:
            journal.write(index, scored)
        yield scored


@contextmanager
def open_journal(folder: Path | None, plan: Plan) -> Iterator[ScoreJournal | None]:
    """The journal of a plan in a folder, which is made where it is missing; none without one."""
    if folder is None:
        yield None
        return
    make_folder(folder)
    with closing(ScoreJournal(folder, plan.facts())) as journal:
        yield journal


def _scored(
    plan: Plan, contenders: Sequence[Contender], indices: Sequence[int], num_workers: int
) -> Iterator[ScoredClip]:
    device = torch.device(plan.device)
    if not num_workers:
        is_small = len(indices) <= _FEW_MIXTURES or device.type != "cpu"
        num_workers = 1 if is_small else os.cpu_count() or 1
    num_workers = min(num_workers, max(1, len(indices)))
    if num_workers > 1:
        begin = partial(_begin, plan)
        yield from in_parallel(_score_in_worker, indices, num_workers, begin)
        return
    scorer = plan.scorer(contenders)
    for index in indices:
        with one_thread():
            scored = scorer.score(index)
        yield scored


# In a worker: what it asks with, made once
_scorers: list[Scorer] = []


def _begin(plan: Plan) -> None:
    torch.set_num_threads(1)
    scorer = plan.scorer(plan.contenders())
    threadpool_limits(limits=1)  # of all that is loaded by now, and for good
    _scorers[:] = [scorer]


def _score_in_worker(index: int) -> ScoredClip:
    return _scorers[0].score(index)


# Digests


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _digest_of_mixtures(mixtures: Sequence[Mixture]) -> str:
    """Of what is mixed and shown, in order, and of the names, sizes and times of the files."""
    facts_of = cache(file_facts)
    digest = hashlib.sha256()

    @cache
    def of_clip(clip: ClipFiles) -> str:
        files = [*(source.path for source in clip.sources), *clip.unseen, clip.video]
        files += [path for path in (clip.sound, clip.motion) if path is not None]
        shown = [[one.category, one.visible.model_dump_json()] for one in clip.sources]
        return json.dumps([clip.name, clip.frame_rate_hz, shown, [facts_of(p) for p in files]])

    for mixture in mixtures:
        digest.update(json.dumps([mixture.name, mixture.rule]).encode())
        for part in mixture.parts:
            digest.update(f"{part.place} {of_clip(part.clip)}".encode())
    return digest.hexdigest()[:32]
