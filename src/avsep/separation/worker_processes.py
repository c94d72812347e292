"""Separate files in worker processes, so that a decoder that crashes or hangs ends no other file.

Each worker has a pipe of its own: a queue that all share stays locked when a worker is killed while
it writes.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import NoReturn

from avsep.devices import available_cores, limit_threads
from avsep.errors import InputError
from avsep.parallel import sigint_ignored
from avsep.separation.many_files import (
    FileTask,
    Outcome,
    Outcomes,
    StageProgress,
    Started,
    Watch,
    separate_file,
)
from avsep.separation.output_folder import remove_left_parts
from avsep.separation.progress import Throttle
from avsep.separation.resume import ResumeCheck
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings

# A worker that is told to end removes what is half-written, which takes as long as a window.
_GRACE_SECONDS = 10.0
# How often the workers' time without progress is compared with the limit.
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class _Loaded:
    """Message of a worker that has loaded the model."""


@dataclass(frozen=True)
class _LoadError:
    """Message of a worker that cannot load the model."""

    text: str


class WorkerProcesses:
    """Separate files in several processes, each of which loads the model once.

    Args:
        model: a name listed by `avsep models`, or the path of a checkpoint.
        settings: settings of the separation.
        num_workers: processes, at least 1; the cores are shared out among them.
        timeout_seconds: a worker that reports no progress for this long is ended, and its file
            has failed.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        settings: SeparatorSettings,
        num_workers: int,
        timeout_seconds: float,
    ) -> None:
        self._model, self._settings = model, settings
        self._num_workers, self._timeout_seconds = num_workers, timeout_seconds

    def resume_check(self) -> ResumeCheck:
        """Return the check for results of the same model and settings."""
        return ResumeCheck.of_model(self._model, self._settings)

    def run(self, tasks: Iterator[FileTask], watch: Watch) -> Outcomes:
        """Separate files; yield the index and the outcome of each, in the order of their ends.

        Raises:
            InputError: the model cannot be loaded.
        """
        workers: list[_Worker] = []
        try:
            while self._hand_out(tasks, workers):
                for worker in self._with_messages(workers):
                    outcome = worker.receive(watch)
                    if outcome is not None:
                        yield worker.finish(outcome)
                for worker in workers:
                    if worker.has_stalled(self._timeout_seconds):
                        yield worker.end_stalled(self._timeout_seconds)
                workers = [worker for worker in workers if worker.is_alive]
        finally:
            _end_all(workers)

    def _hand_out(self, tasks: Iterator[FileTask], workers: list["_Worker"]) -> bool:
        """Give tasks to free workers, and to new ones up to their number; False: all is done."""
        while True:
            free = [item for item in workers if item.task is None]
            # One may have been killed while it waited.
            ended = [item for item in free if not item.process.is_alive()]
            workers[:] = [item for item in workers if item not in ended]
            free = [item for item in free if item not in ended]
            if not free and len(workers) == self._num_workers:
                break
            task = next(tasks, None)
            if task is None:
                break
            if not free:
                num_threads = max(1, available_cores() // self._num_workers)
                free = [_Worker.start(self._model, self._settings, num_threads)]
                workers.extend(free)
            free[0].begin(task)
        return any(item.task is not None for item in workers)

    def _with_messages(self, workers: list["_Worker"]) -> list["_Worker"]:
        """Return the workers that have sent something or have ended; wait a while for one."""
        busy = [item for item in workers if item.task is not None]
        ready = wait([item.connection for item in busy], _POLL_SECONDS)
        return [item for item in busy if item.connection in ready]


@dataclass(eq=False)
class _Worker:
    """A worker process as its parent sees it."""

    process: SpawnProcess
    connection: Connection
    task: FileTask | None = None
    is_alive: bool = True
    is_loaded: bool = False
    _begin: float = 0.0
    _last_message: float = field(default_factory=time.monotonic)

    @classmethod
    def start(
        cls, model: str | os.PathLike[str], settings: SeparatorSettings, num_threads: int
    ) -> "_Worker":
        """Start a process, which loads the model while its first file is chosen."""
        # "spawn": a forked copy of a process whose libraries have threads can deadlock.
        context = multiprocessing.get_context("spawn")
        parent_end, worker_end = context.Pipe()
        process = context.Process(
            target=_run_worker, args=(worker_end, model, settings, num_threads), daemon=True
        )
        with sigint_ignored():  # the worker inherits it: Ctrl-C is the parent's to handle
            process.start()
        # Only the worker holds its end now, so that its end is noticed.
        worker_end.close()
        return cls(process, parent_end)

    def has_stalled(self, limit_seconds: float) -> bool:
        """Return True if there is a task, and no message about it for this long.

        The time that the model takes to load does not count.
        """
        is_late = time.monotonic() - self._last_message > limit_seconds
        is_busy = self.is_loaded and self.task is not None
        # A message may be waiting, where this process did something else meanwhile.
        return is_busy and is_late and not self.connection.poll()

    def begin(self, task: FileTask) -> None:
        """Send a task."""
        self.task, self._begin = task, time.monotonic()
        self._last_message = self._begin
        try:
            self.connection.send(task)
        except OSError:
            # It has ended, which `receive` will notice.
            return

    def receive(self, watch: Watch) -> Outcome | None:
        """Receive a message: pass on an event, or return the outcome of the current file.

        Raises:
            InputError: the worker cannot load the model.
        """
        assert self.task is not None, "only workers with a task send messages"
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.is_alive = False
            remove_left_parts(self.task.folder.parent)
            return self._failed(
                f"the decoder ended the process ({_reason(self.process)}), or memory ran out; "
                "leave the file out, or convert it"
            )
        self._last_message = time.monotonic()
        if isinstance(message, _LoadError):
            raise InputError(message.text)
        if isinstance(message, Outcome):
            return message
        if isinstance(message, _Loaded):
            self.is_loaded = True
        else:
            watch(message)
        return None

    def finish(self, outcome: Outcome) -> tuple[int, Outcome]:
        """Return the index of the current file, which has ended, with its outcome."""
        assert self.task is not None, "an outcome is of a task"
        index, self.task = self.task.index, None
        return index, outcome

    def end_stalled(self, limit_seconds: float) -> tuple[int, Outcome]:
        """End the process, which hangs, and return the failure of its file."""
        assert self.task is not None, "a worker without a task does not hang"
        self.process.kill()
        self.process.join()
        self.is_alive = False
        remove_left_parts(self.task.folder.parent)
        return self.finish(
            self._failed(
                f"no progress for {limit_seconds:g} s: its process hung, and was ended; give more "
                "time with --timeout, or leave the file out"
            )
        )

    def _failed(self, reason: str) -> Outcome:
        assert self.task is not None, "a failure is of a task"
        error = f"'{self.task.video}': {reason}"
        seconds = time.monotonic() - self._begin
        return Outcome(self.task.video, self.task.folder, error=error, seconds=seconds)


def _reason(process: SpawnProcess) -> str:
    """Return the exit code of a process in words."""
    code = process.exitcode
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _end_all(workers: list[_Worker]) -> None:
    """End all workers; those that do not react are killed, and what they left is removed."""
    alive = [worker for worker in workers if worker.is_alive]
    for worker in alive:
        worker.process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for worker in alive:
        worker.process.join(max(0.0, deadline - time.monotonic()))
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        if worker.task is not None:
            remove_left_parts(worker.task.folder.parent)
        worker.connection.close()


# In the worker


def _run_worker(
    connection: Connection,
    model: str | os.PathLike[str],
    settings: SeparatorSettings,
    num_threads: int,
) -> None:
    """Load the model and separate files, until the process is ended."""
    signal.signal(signal.SIGTERM, _exit)
    Thread(target=_end_with_parent, daemon=True).start()
    limit_threads(num_threads)
    throttle = Throttle()

    def send(message: Started | StageProgress | Outcome | _Loaded | _LoadError) -> None:
        try:
            connection.send(message)
        except OSError:
            # The parent has ended. Not an OSError: that would be an error of the file.
            raise SystemExit(1) from None

    def watch(event: Started | StageProgress | Outcome) -> None:
        if not isinstance(event, StageProgress) or throttle.is_due(
            event.stage, event.done_seconds, event.all_seconds
        ):
            send(event)

    try:
        separator = Separator(model, settings)
    except InputError as error:
        send(_LoadError(str(error)))
        return
    send(_Loaded())
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):
            return
        send(separate_file(separator, task, watch))


def _exit(number: int, _: object) -> NoReturn:
    """Exit on SIGTERM through SystemExit, which removes what is half-written."""
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End this process when its parent has ended, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent process"
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
