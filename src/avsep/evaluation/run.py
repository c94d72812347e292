"""Run an evaluation in parallel and resume it from its log."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, Literal

import torch
from pydantic import Field, field_validator
from threadpoolctl import threadpool_limits

import avsep
from avsep.checkpoint import find_checkpoint
from avsep.data.clips import ClipFiles, file_facts
from avsep.devices import one_thread
from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluator, MixtureScores
from avsep.evaluation.methods import Method, find_methods, model_names
from avsep.evaluation.mixtures import Mixture, PairSettings
from avsep.evaluation.results.writing import clip_json, clip_of
from avsep.media.atomic import make_folder
from avsep.parallel import parallel_map

# What a benchmark has scored so far, a line a mixture, so that a stopped run goes on


JOURNAL_NAME = "journal.jsonl"
# What decides the figures, each part in words or as a digest.
Facts = dict[str, Any]


class ScoreLog:
    """The journal in a folder of results: its first line says what is scored, by its facts.

    Every line is flushed as it is written. What a run that was ended by force left half written is
    cut off; figures are read back to the bit.
    """

    def __init__(self, folder: Path, facts: Facts) -> None:
        """Open the journal of a folder, or begin one.

        Raises:
            InputError: it is of another evaluation, or cannot be written.
        """
        self.path = folder / JOURNAL_NAME
        self.done: dict[int, MixtureScores] = {}
        head = (json.dumps(facts, allow_nan=False) + "\n").encode()
        try:
            text = self.path.read_bytes() if self.path.exists() else b""
            kept = self._read(text, head)
            self._file: IO[bytes] = self.path.open("r+b" if text else "xb")
            self._file.truncate(kept)
            self._file.seek(kept)
            if not kept:
                self._put(head)
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be used: {error.strerror or error}") from error

    def close(self) -> None:
        """Write nothing more."""
        self._file.close()

    def write(self, index: int, scored: MixtureScores) -> None:
        """Note the mixture of an index as done."""
        line = json.dumps({"index": index, **clip_json(scored)}, allow_nan=False)
        try:
            self._put(line.encode() + b"\n")
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be written: {error.strerror}") from error
        self.done[index] = scored

    def _put(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()

    def _read(self, text: bytes, head: bytes) -> int:
        """Take in what is done; how many bytes of the text are whole lines of this evaluation."""
        lines = text.splitlines(keepends=True)
        if not lines or not lines[0].endswith(b"\n"):
            if head.startswith(text):
                return 0  # nothing, or a first line that was never finished
            raise self._of_another("")
        if lines[0] != head:
            differing = _differing(lines[0], head)
            if differing and len(lines) == 1:
                return 0  # begun and never gone on with
            raise self._of_another(f" (other {', '.join(differing)})" if differing else "")
        kept = len(lines[0])
        for line in lines[1:]:
            try:
                found = json.loads(line)
                index, scored = int(found["index"]), clip_of(found)
            except (ValueError, KeyError, TypeError, RecursionError):
                break
            if not line.endswith(b"\n"):
                break
            self.done[index] = scored
            kept += len(line)
        return kept

    def _of_another(self, what: str) -> InputError:
        return InputError(
            f"'{self.path.parent}' holds results of another evaluation{what}: give a new folder to "
            f"-o, or begin anew there with rm {shlex.quote(str(self.path))}"
        )


def _differing(line: bytes, head: bytes) -> list[str]:
    """Which facts of a first line are others, as the options name them; none of no such line."""
    try:
        before, now = json.loads(line), json.loads(head)
        if before.keys() != now.keys():
            return []
        return [name for name in now if before[name] != now[name]]
    except (ValueError, AttributeError):
        return []


# So few mixtures are scored before other processes would have started.
_FEW_MIXTURES = 4


@dataclass(frozen=True)
class EvaluationConfig:
    """All that decides the figures of a run.

    Attributes:
        names, labels, ablations, with_baselines: as `find_methods` takes them.
        device: the models are on it.
        metrics: names of METRICS, beside SDR, SIR and SAR.
        num_channels: that all hear; none: two where a model has two ears.
        mirrored: all mixtures as a mirror shows them.
    """

    mixtures: tuple[Mixture, ...]
    names: tuple[str, ...] = ()
    labels: str = "both"
    ablations: tuple[str, ...] = ("all",)
    with_baselines: bool = True
    seed: int = 0
    device: str = "cpu"
    metrics: tuple[str, ...] = ()
    num_channels: Literal[1, 2] | None = None
    mirrored: bool = False

    def methods(self) -> tuple[Method, ...]:
        """Everybody who is asked, models loaded."""
        return find_methods(
            self.names,
            self.labels,
            self.ablations,
            torch.device(self.device),
            with_baselines=self.with_baselines,
            num_channels=self.num_channels,
        )

    def evaluator(self, methods: Sequence[Method]) -> Evaluator:
        """What asks these contenders about the plan's mixtures."""
        return Evaluator(
            ClipReader(self.mixtures, mirrored=self.mirrored),
            methods,
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
            "cues": list(self.ablations),
            "metrics": list(self.metrics),
            "channels": self.num_channels,
            "mirrored": self.mirrored,
            "data": _digest_of_mixtures(self.mixtures),
        }


def score_all(
    config: EvaluationConfig,
    methods: Sequence[Method],
    num_workers: int = 0,
    score_log: ScoreLog | None = None,
) -> Iterator[MixtureScores]:
    """Every mixture of a plan scored, in order; those in the journal are taken from there.

    The figures are the same whatever the number of workers: every process uses one thread.

    Args:
        config: what is scored.
        methods: those of the plan, where they are loaded already.
        num_workers: processes; 0: one a core, one alone with an accelerator or few mixtures.
        score_log: of what is done, and where what follows is written.
    """
    done = {} if score_log is None else score_log.done
    missing = [index for index in range(len(config.mixtures)) if index not in done]
    fresh = _scored(config, methods, missing, num_workers)
    for index in range(len(config.mixtures)):
        if index in done:
            yield done[index]
            continue
        scored = next(fresh)
        if score_log is not None:
            score_log.write(index, scored)
        yield scored


@contextmanager
def open_score_log(folder: Path | None, config: EvaluationConfig) -> Iterator[ScoreLog | None]:
    """The journal of a plan in a folder, which is made where it is missing; none without one."""
    if folder is None:
        yield None
        return
    make_folder(folder)
    with closing(ScoreLog(folder, config.facts())) as score_log:
        yield score_log


def _scored(
    config: EvaluationConfig, methods: Sequence[Method], indices: Sequence[int], num_workers: int
) -> Iterator[MixtureScores]:
    device = torch.device(config.device)
    if not num_workers:
        is_small = len(indices) <= _FEW_MIXTURES or device.type != "cpu"
        num_workers = 1 if is_small else os.cpu_count() or 1
    num_workers = min(num_workers, max(1, len(indices)))
    if num_workers > 1:
        begin = partial(_begin, config)
        yield from parallel_map(_score_in_worker, indices, num_workers, begin)
        return
    evaluator = config.evaluator(methods)
    for index in indices:
        with one_thread():
            scored = evaluator.score(index)
        yield scored


# In a worker: what it asks with, made once
_scorers: list[Evaluator] = []


def _begin(config: EvaluationConfig) -> None:
    torch.set_num_threads(1)
    evaluator = config.evaluator(config.methods())
    threadpool_limits(limits=1)  # of all that is loaded by now, and for good
    _scorers[:] = [evaluator]


def _score_in_worker(index: int) -> MixtureScores:
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
        files = [*(source.path for source in clip.sources), *clip.offscreen, clip.video]
        files += [path for path in (clip.sound, clip.i3d_features) if path is not None]
        shown = [[one.category, one.visible.model_dump_json()] for one in clip.sources]
        return json.dumps([clip.name, clip.frame_rate_hz, shown, [facts_of(p) for p in files]])

    for mixture in mixtures:
        digest.update(json.dumps([mixture.name, mixture.rule]).encode())
        for part in mixture.parts:
            digest.update(f"{part.place} {of_clip(part.clip)}".encode())
    return digest.hexdigest()[:32]


# Settings of an evaluation that few change: how solos are mixed, further metrics, processes


class EvaluationSettings(PairSettings):
    """What `avsep evaluate --set NAME=VALUE` takes."""

    metrics: tuple[str, ...] = Field(
        default=(), description="names of METRICS, a column each: si-sdr,sdri"
    )
    figure_pairs: tuple[str, ...] = Field(
        default=(), description="names of mixtures to draw beside those of --figures"
    )
    channels: Literal[1, 2] | None = Field(
        default=None,
        description="1: all channels are averaged; 2: two ears, each scored; none: two where a "
        "separator that is asked hears with two",
    )
    mirrored: bool = Field(
        default=False, description="as a mirror shows all: ears, boxes and pictures change sides"
    )
    workers: int = Field(
        default=0, ge=0, description="processes; 0 means one a core, or one with a GPU"
    )

    @field_validator("metrics", "figure_pairs", mode="before")
    @classmethod
    def _from_words(cls, value: object) -> object:
        """A list may be written as words with commas between."""
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
