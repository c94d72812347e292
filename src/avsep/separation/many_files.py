"""Separate many files into one folder: plan, run here or elsewhere, and report in order."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from avsep.errors import InputError
from avsep.media.opening import source_name
from avsep.records import VisibleObject
from avsep.separation.input_files import InputFile, find_inputs
from avsep.separation.output import write_stream
from avsep.separation.output_folder import (
    check_writable,
    choose_folder,
    file_sha256,
    folder_name,
    is_result_folder,
    result_files,
)
from avsep.separation.presentation import MAX_REPORT_SECONDS
from avsep.separation.prompt_words import ObjectPrompts, PromptWords, resolve_prompts
from avsep.separation.result import Manifest, objects_sha256
from avsep.separation.resume import ResumeCheck
from avsep.separation.separator import Separator
from avsep.separation.settings import OutputSettings
from avsep.separation.timeline_project import require_timeline


@dataclass(frozen=True)
class FileTask:
    """One file to separate: its number among all, its objects, and the folder of its result."""

    index: int
    video: Path
    folder: Path
    objects: tuple[VisibleObject, ...]
    words: PromptWords
    output: OutputSettings


@dataclass(frozen=True)
class Started:
    """Event: the separation of a file begins."""

    video: Path
    folder: Path

    def as_json(self) -> dict[str, object]:
        """Return the line of `--json`."""
        return {"event": "started", "video": str(self.video), "folder": str(self.folder)}


@dataclass(frozen=True)
class StageProgress:
    """Event: seconds of a stage that are done, and all of them; none: not known."""

    video: Path
    stage: str
    done_seconds: float
    all_seconds: float | None

    def as_json(self) -> dict[str, object]:
        """Return the line of `--json`."""
        return {
            "event": "progress",
            "video": str(self.video),
            "stage": self.stage,
            "done_seconds": round(self.done_seconds, 3),
            "all_seconds": self.all_seconds and round(self.all_seconds, 3),
        }


@dataclass(frozen=True)
class Outcome:
    """Event: the end of one file, with the manifest of its result, or an error.

    Attributes:
        was_complete: the result was there already, and nothing was done.
        seconds: wall time.
    """

    video: Path
    folder: Path
    manifest: Manifest | None = None
    error: str = ""
    was_complete: bool = False
    seconds: float = 0.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings of this run; those of a result that was there are not repeated."""
        return () if self.manifest is None or self.was_complete else self.manifest.warnings

    def as_json(self) -> dict[str, object]:
        """Return the line of `--json`: finished, skipped or failed."""
        head = {"video": str(self.video), "folder": str(self.folder)}
        if self.manifest is None:
            return {"event": "failed", **head, "error": self.error}
        return {
            "event": "skipped" if self.was_complete else "finished",
            **head,
            "seconds": round(self.seconds, 3),
            "files": sorted(result_files(self.manifest)),
            "manifest": self.manifest.model_dump(mode="json"),
        }

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows: file, category and energy share of each object."""
        assert self.manifest is not None, "a table needs a result"
        rows = []
        for item in self.manifest.objects:
            if item.file is None and not item.is_excluded:  # its stem was not asked for
                continue
            file = item.file or f"(not {item.label}: in {self.manifest.residual})"
            source = item.category_from or "-" if item.prompt_kind == "visual" else item.prompt_kind
            share = f"{100 * item.energy_share:.0f}"
            rows.append([file, item.category or "-", source, item.presence_state, share])
        share = f"{100 * self.manifest.residual_energy_share:.0f}"
        rows.append([self.manifest.residual, "-", "-", "-", share])
        return ["file", "category", "category from", "heard", "% of energy"], rows


@dataclass(frozen=True)
class FileOptions:
    """Options of `separate_files` for each of its files.

    Attributes:
        words: prompts in words beside the objects.
        output: settings of the files that are written.
        resume: leave results that are complete and of the same file, model, settings and objects.
    """

    words: PromptWords = field(default_factory=PromptWords)
    output: OutputSettings = field(default_factory=OutputSettings)
    resume: bool = False


# The index and the outcome of each file; a generator, which can be closed.
Outcomes = Generator[tuple[int, Outcome], None, None]
Watch = Callable[[Started | StageProgress | Outcome], None]


@runtime_checkable
class FileRunner(Protocol):
    """A place where files are separated: this process, worker processes, or a cluster."""

    def resume_check(self) -> ResumeCheck:
        """Return the check for results of the same model and settings."""
        ...

    def run(self, tasks: Iterator[FileTask], watch: Watch) -> Outcomes:
        """Separate files; yield the index and the outcome of each, in the order of their ends.

        `watch` is called with all events but outcomes; an exception that it raises ends all.
        """
        ...


class ThisProcess:
    """Separate files one after the other with a loaded model."""

    def __init__(self, separator: Separator) -> None:
        self._separator = separator

    def resume_check(self) -> ResumeCheck:
        """Return the check for results of the same model and settings."""
        return ResumeCheck(self._separator.record, self._separator.recorded_settings)

    def run(self, tasks: Iterator[FileTask], watch: Watch) -> Outcomes:
        """Separate each file in turn."""
        for task in tasks:
            yield task.index, separate_file(self._separator, task, watch)


def ignore_events(event: Started | StageProgress | Outcome) -> None:
    """Do nothing."""


def separate_files(
    inputs: Sequence[str | Path],
    objects: ObjectPrompts | None,
    out: Path,
    runner: FileRunner,
    options: FileOptions | None = None,
    *,
    watch: Watch = ignore_events,
) -> Generator[Outcome, None, None]:
    """Separate files and write each result into a folder named as the file, in their order.

    Stems are written while they are separated: memory does not depend on the length of a video. A
    file whose folder contains the result of another one gets the next free name, NAME-2. Those
    of an input folder keep their place: IN/a/b/x.mp4 is written to OUT/a/b/x/.

    Args:
        inputs: files, folders, patterns and lists, as `find_inputs` takes them.
        objects: objects to separate in each; none: the file beside each video.
        out: folder of the results.
        runner: where the files are separated: `ThisProcess`, `WorkerProcesses`, `RayCluster`.
        options: further options; none: the defaults.
        watch: called with every event as it happens; an exception that it raises ends all, and
            nothing half-written stays.

    Raises:
        InputError: an input that contains no file, `out` cannot be written, or a project needs a
            package, all before any separation; or a model that cannot be loaded.
    """
    options = options or FileOptions()
    if options.output.project:
        require_timeline()
    files = find_inputs(inputs)
    check_writable(out)
    resume_check = runner.resume_check() if options.resume else None
    planner = _Planner(out, objects, options, resume_check, files)
    ready: dict[int, Outcome] = {}

    def tasks() -> Iterator[FileTask]:
        for index, item in enumerate(files):
            task = planner.plan(index, item)
            if isinstance(task, FileTask):
                yield task
            else:
                watch(task)
                ready[index] = task

    next_index = 0
    with closing(runner.run(tasks(), watch)) as outcomes:
        for index, outcome in outcomes:
            watch(outcome)
            ready[index] = outcome
            while next_index in ready:
                yield ready.pop(next_index)
                next_index += 1
    yield from (ready[index] for index in sorted(ready))


class _Planner:
    """Choose the folder of each file, and settle those that need no separation."""

    def __init__(
        self,
        out: Path,
        objects: ObjectPrompts | None,
        options: FileOptions,
        resume_check: ResumeCheck | None,
        files: Sequence[InputFile],
    ) -> None:
        self._out, self._objects, self._options = out, objects, options
        self._resume_check = resume_check
        self._used: set[Path] = set()
        # Folders that will contain results are none themselves: beside a/b.mp4, a.mp4 is a-2.
        for item in files:
            folder = out / item.subfolder
            self._used.update((folder, *folder.parents))

    def plan(self, index: int, item: InputFile) -> FileTask | Outcome:
        """Return the task of a file, or its outcome: an error, or a complete result."""
        folder = self._out / item.subfolder / folder_name(item.path)
        # Read at most once, and only where it is needed: it takes the whole file.
        sha256 = cache(partial(file_sha256, item.path))
        try:
            self._check_place(item)
            folder = choose_folder(folder.parent, item.path, self._used, sha256)
            self._used.add(folder)
            objects = resolve_prompts(
                self._objects, item.path, source_name(item.path), (), self._options.words
            )
        except InputError as error:
            return Outcome(item.path, folder, error=str(error))
        except OSError as error:
            return Outcome(item.path, folder, error=_describe(error, item.path))
        if self._resume_check is not None:
            manifest = self._resume_check.complete_manifest(
                folder, sha256, objects_sha256(objects), self._options.output
            )
            if manifest is not None:
                return Outcome(item.path, folder, manifest, was_complete=True)
        # Words are in the objects already, unless those are still to be found.
        words = PromptWords() if objects else self._options.words
        return FileTask(index, item.path, folder, objects, words, self._options.output)

    def _check_place(self, item: InputFile) -> None:
        """Check that the result will not be inside another one, which it would make foreign."""
        for parent in (item.subfolder, *item.subfolder.parents):
            if parent.parts and is_result_folder(self._out / parent):
                raise InputError(
                    f"'{self._out / parent}' contains the result of a video, and no folder of "
                    "others; give another folder with -o, or move it away"
                )


def separate_file(separator: Separator, task: FileTask, watch: Watch) -> Outcome:
    """Separate one file into its folder; errors of the file or the disk are in the outcome."""
    begin = time.perf_counter()
    watch(Started(task.video, task.folder))

    def progress(stage: str, done_seconds: float, all_seconds: float | None) -> None:
        # Stages begin with the name of the file, which the event has.
        stage = stage.rpartition(": ")[2]
        watch(StageProgress(task.video, stage, done_seconds, all_seconds))

    def outcome(manifest: Manifest | None = None, error: str = "") -> Outcome:
        seconds = time.perf_counter() - begin
        return Outcome(task.video, task.folder, manifest, error, seconds=seconds)

    try:
        stream = separator.stream(
            task.video,
            task.objects,
            words=task.words,
            progress=progress,
            max_gate_seconds=MAX_REPORT_SECONDS,
        )
        return outcome(write_stream(stream, task.folder, progress, task.output))
    except InputError as error:
        return outcome(error=str(error))
    except OSError as error:
        # A full disk or missing rights: the next video may be on another disk.
        return outcome(error=_describe(error, task.video))


def _describe(error: OSError, video: Path) -> str:
    return f"'{error.filename or video}': {error.strerror or error}"


@dataclass
class BatchSummary:
    """Numbers of files that were separated, skipped and failed, and the time."""

    num_done: int = 0
    num_skipped: int = 0
    num_failed: int = 0
    sound_seconds: float = 0.0
    _begin: float = field(default_factory=time.perf_counter)

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        if outcome.manifest is None:
            self.num_failed += 1
        elif outcome.was_complete:
            self.num_skipped += 1
        else:
            self.num_done += 1
            self.sound_seconds += outcome.manifest.input.duration_seconds

    @property
    def num_files(self) -> int:
        """Number of files that were counted."""
        return self.num_done + self.num_skipped + self.num_failed

    @property
    def seconds(self) -> float:
        """Wall time since the beginning."""
        return time.perf_counter() - self._begin

    def as_json(self) -> dict[str, object]:
        """Return the last line of `--json`; the factor is none if nothing was separated."""
        seconds = self.seconds
        return {
            "event": "summary",
            "done": self.num_done,
            "skipped": self.num_skipped,
            "failed": self.num_failed,
            "seconds": round(seconds, 3),
            "sound_seconds": round(self.sound_seconds, 3),
            "real_time_factor": round(seconds / self.sound_seconds, 4)
            if self.sound_seconds
            else None,
        }

    def line(self) -> str:
        """Return the summary in words."""
        text = (
            f"{self.num_files} files: {self.num_done} separated, {self.num_skipped} skipped, "
            f"{self.num_failed} failed, in {self.seconds:.1f} s"
        )
        if self.sound_seconds:
            text += f", {self.seconds / self.sound_seconds:.2f} times the length of their sound"
        return text
