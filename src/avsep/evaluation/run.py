"""Run an evaluation in parallel and resume it from its log."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import IO, Any, Literal

import torch
from pydantic import Field, field_validator
from threadpoolctl import threadpool_limits

import avsep
from avsep.checkpoint import find_checkpoint
from avsep.data.clips import ClipFiles, file_facts
from avsep.devices import available_cores, one_thread
from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluator, MixtureScores
from avsep.evaluation.methods import Method, find_methods, model_names
from avsep.evaluation.mixtures import Mixture, PairSettings
from avsep.evaluation.results.writing import mixture_json, parse_mixture
from avsep.media.atomic import make_folder
from avsep.parallel import parallel_map

SCORE_LOG_NAME = "score_log.jsonl"
# Everything that the scores depend on, as words or digests.
Fingerprint = dict[str, Any]
# For so few mixtures one process is done before others would have started.
_FEW_MIXTURES = 4


@dataclass(frozen=True)
class EvaluationConfig:
    """The inputs and settings that the scores of an evaluation depend on.

    Attributes:
        names, labels, ablations, with_baselines, num_channels, sampling: the arguments of
            `find_methods`.
        device: of the models.
        metrics: names of METRICS, beside SDR, SIR and SAR.
        mirrored: mirror all mixtures left to right: channels, boxes and pictures.
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
    sampling: Mapping[str, object] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines on settings that differ from the models' own, for the reader of the scores."""
        changes = ", ".join(f"{name} = {value}" for name, value in self.sampling.items())
        return (f"sampling of models that generate: {changes}",) if changes else ()

    def methods(self) -> tuple[Method, ...]:
        """Return the methods, with their models loaded."""
        return find_methods(
            self.names,
            self.labels,
            self.ablations,
            torch.device(self.device),
            with_baselines=self.with_baselines,
            num_channels=self.num_channels,
            sampling=self.sampling,
        )

    def reader(self) -> ClipReader:
        """Return a reader of the mixtures, which are read as they are scored."""
        return ClipReader(self.mixtures, mirrored=self.mirrored)

    def evaluator(self, methods: Sequence[Method]) -> Evaluator:
        """Return an evaluator of methods on the mixtures."""
        return Evaluator(self.reader(), methods, self.seed, torch.device(self.device), self.metrics)

    def fingerprint(self) -> Fingerprint:
        """Return what the scores depend on: two evaluations with equal ones have equal scores.

        The keys are those that messages name. Another version of avsep may score differently, and
        another device rounds differently.
        """
        return {
            "version": avsep.__version__,
            "seed": self.seed,
            "device": torch.device(self.device).type,
            "methods": {
                **{name: _digest_file(find_checkpoint(name)) for name in model_names(self.names)},
                "baselines": self.with_baselines or sorted(set(self.names)),
            },
            "labels": self.labels,
            "cues": list(self.ablations),
            "metrics": list(self.metrics),
            "channels": self.num_channels,
            "mirrored": self.mirrored,
            "sampling": dict(self.sampling),
            "data": _digest_mixtures(self.mixtures),
        }


def run_evaluation(
    config: EvaluationConfig,
    methods: Sequence[Method],
    num_workers: int = 0,
    score_log: "ScoreLog | None" = None,
) -> Iterator[MixtureScores]:
    """Yield the scores of each mixture in order, from the score log if they are there.

    The scores do not depend on the number of workers: every process uses one thread.

    Args:
        config: of the evaluation.
        methods: those of the config, loaded.
        num_workers: processes; 0: one per core, or one with a GPU or few mixtures.
        score_log: of finished mixtures; new scores are written to it.
    """
    done = {} if score_log is None else score_log.done
    missing = [index for index in range(len(config.mixtures)) if index not in done]
    new_scores = _score_mixtures(config, methods, missing, num_workers)
    for index in range(len(config.mixtures)):
        if index in done:
            yield done[index]
            continue
        scores = next(new_scores)
        if score_log is not None:
            score_log.write(index, scores)
        yield scores


def _score_mixtures(
    config: EvaluationConfig, methods: Sequence[Method], indices: Sequence[int], num_workers: int
) -> Iterator[MixtureScores]:
    device = torch.device(config.device)
    if not num_workers:
        is_small = len(indices) <= _FEW_MIXTURES or device.type != "cpu"
        num_workers = 1 if is_small else available_cores()
    num_workers = min(num_workers, max(1, len(indices)))
    if num_workers > 1:
        start = partial(_start_worker, config)
        yield from parallel_map(_score_in_worker, indices, num_workers, start)
        return
    evaluator = config.evaluator(methods)
    for index in indices:
        # Sums in several threads round differently: one thread here, as in the workers.
        with one_thread():
            scores = evaluator.score(index)
        yield scores


# The evaluator of a worker process, made once.
_worker_evaluators: list[Evaluator] = []


def _start_worker(config: EvaluationConfig) -> None:
    torch.set_num_threads(1)
    evaluator = config.evaluator(config.methods())
    # After the models: it limits the thread pools of libraries that are loaded by now.
    threadpool_limits(limits=1)
    _worker_evaluators[:] = [evaluator]


def _score_in_worker(index: int) -> MixtureScores:
    return _worker_evaluators[0].score(index)


# The log of finished mixtures, from which a stopped evaluation is resumed


class ScoreLog:
    """The log in a folder of results: a line with the fingerprint, then a line for each mixture.

    Lines are flushed as they are written. A last line cut short by a crash is removed on opening.
    Scores are read back exactly.
    """

    def __init__(self, folder: Path, fingerprint: Fingerprint) -> None:
        """Open the log in a folder, or create it.

        Raises:
            InputError: it belongs to another evaluation, or cannot be read or written.
        """
        self.path = folder / SCORE_LOG_NAME
        self.done: dict[int, MixtureScores] = {}
        head = (json.dumps(fingerprint, allow_nan=False) + "\n").encode()
        try:
            text = self.path.read_bytes() if self.path.exists() else b""
            num_bytes = self._read(text, head)
            self._file: IO[bytes] = self.path.open("r+b" if text else "xb")
            self._file.truncate(num_bytes)
            self._file.seek(num_bytes)
            if not num_bytes:
                self._append(head)
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be used: {error.strerror or error}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def write(self, index: int, scores: MixtureScores) -> None:
        """Append the scores of the mixture at an index."""
        line = json.dumps({"index": index, **mixture_json(scores)}, allow_nan=False)
        try:
            self._append(line.encode() + b"\n")
        except OSError as error:
            raise InputError(f"'{self.path}' cannot be written: {error.strerror}") from error
        self.done[index] = scores

    def _append(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()

    def _read(self, text: bytes, head: bytes) -> int:
        """Read finished mixtures; return the number of bytes of valid lines.

        Reading stops at the first damaged line: that mixture and all later ones are scored again.
        """
        lines = text.splitlines(keepends=True)
        if not lines or not lines[0].endswith(b"\n"):
            if head.startswith(text):
                return 0  # an empty file, or a first line cut short
            raise self._other_evaluation_error("")
        if lines[0] != head:
            differing = _differing_keys(lines[0], head)
            if differing and len(lines) == 1:
                return 0  # a log of another evaluation without any scores to lose
            raise self._other_evaluation_error(
                f" (other {', '.join(differing)})" if differing else ""
            )
        num_bytes = len(lines[0])
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                index, scores = int(entry["index"]), parse_mixture(entry)
            except (ValueError, KeyError, TypeError, RecursionError):
                break
            if not line.endswith(b"\n"):
                break
            self.done[index] = scores
            num_bytes += len(line)
        return num_bytes

    def _other_evaluation_error(self, differences: str) -> InputError:
        return InputError(
            f"'{self.path.parent}' holds results of another evaluation{differences}: give a new "
            f"folder to -o, or start over there with rm {shlex.quote(str(self.path))}"
        )


@contextmanager
def open_score_log(folder: Path | None, config: EvaluationConfig) -> Iterator[ScoreLog | None]:
    """Open the score log of a config in a folder, which is created; without a folder yield none."""
    if folder is None:
        yield None
        return
    make_folder(folder)
    with closing(ScoreLog(folder, config.fingerprint())) as score_log:
        yield score_log


def _differing_keys(line: bytes, head: bytes) -> list[str]:
    """Return the keys with other values in two first lines; none if a line is no fingerprint."""
    try:
        before, now = json.loads(line), json.loads(head)
        if before.keys() != now.keys():
            return []
        return [name for name in now if before[name] != now[name]]
    except (ValueError, AttributeError):
        return []


# Digests


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _digest_mixtures(mixtures: Sequence[Mixture]) -> str:
    """Return a digest of the mixtures in order: objects, rules, and names and stamps of files.

    Contents of sounds and videos are not read, which would take longer than the scores.
    """
    # Clips recur in many mixtures: each file is looked up once.
    file_stamp = cache(file_facts)
    digest = hashlib.sha256()

    @cache
    def clip_text(clip: ClipFiles) -> str:
        files = [*(source.path for source in clip.sources), *clip.offscreen, clip.video]
        files += [path for path in (clip.sound, clip.i3d_features) if path is not None]
        objects = [[source.category, source.visible.model_dump_json()] for source in clip.sources]
        stamps = [file_stamp(path) for path in files]
        return json.dumps([clip.name, clip.frame_rate_hz, objects, stamps])

    for mixture in mixtures:
        digest.update(json.dumps([mixture.name, mixture.rule]).encode())
        for part in mixture.parts:
            digest.update(f"{part.place} {clip_text(part.clip)}".encode())
    return digest.hexdigest()[:32]


# Settings for --set of `avsep evaluate`


class EvaluationSettings(PairSettings):
    """Settings of `avsep evaluate --set NAME=VALUE`."""

    metrics: tuple[str, ...] = Field(
        default=(), description="names of METRICS, a column each: si-sdr,sdri"
    )
    figure_pairs: tuple[str, ...] = Field(
        default=(), description="names of mixtures to draw beside those of --figures"
    )
    channels: Literal[1, 2] | None = Field(
        default=None,
        description="1: all channels are averaged; 2: two ears, each scored; none: two if a model "
        "is binaural, else one",
    )
    mirrored: bool = Field(
        default=False, description="mirror all mixtures left to right: ears, boxes and pictures"
    )
    sampling: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description="changed sampling settings of models that generate: "
        "sampling.silence=equation-5",
    )
    workers: int = Field(
        default=0, ge=0, description="processes; 0: one per core, or one with a GPU"
    )

    @field_validator("metrics", "figure_pairs", mode="before")
    @classmethod
    def _from_words(cls, value: object) -> object:
        """Split words with commas between them into a tuple."""
        if not isinstance(value, str):
            return value
        return tuple(dict.fromkeys(word.strip() for word in value.split(",") if word.strip()))
