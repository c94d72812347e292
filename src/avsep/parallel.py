"""Run jobs in worker processes: results in order, SIGINT ignored, workers exit with the parent."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from threading import Thread, current_thread, main_thread
from typing import TypeVar

from avsep.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    num_workers: int,
    initialize: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order; `initialize` is called once in each worker.

    Workers exit at once after an error, Ctrl-C, or the end of this process. Each waits at one end
    of a pipe. Nothing is sent through it: the other end is closed here, or by the system when this
    process has ended, even after SIGKILL.

    Raises:
        InputError: raised by `function` or `initialize`, or a worker was killed.
    """
    worker_end, parent_end = Pipe(duplex=False)
    # "spawn": a forked copy of a process whose libraries have threads can deadlock.
    context = get_context("spawn")
    with ProcessPoolExecutor(
        num_workers, context, _initialize_worker, (worker_end, initialize)
    ) as pool:
        try:
            with sigint_ignored():  # workers inherit it, so there is no moment without it
                futures = [pool.submit(function, item) for item in items]
            # Not `pool.map`, which cancels pending jobs when its generator is closed. Python 3.11's
            # pool does not handle cancelled jobs when its workers exit, and then waits forever.
            for future in futures:
                yield future.result()
        except BrokenProcessPool as error:
            parent_end.close()
            raise InputError(
                "a worker process was killed, perhaps because memory ran out: try again with one "
                "(toyband --workers 1, evaluate --set workers=1)"
            ) from error
        except BaseException:
            parent_end.close()
            raise


def initialize_loader_worker(_: int) -> None:
    """Make a PyTorch data loader worker ignore SIGINT and exit with the main process.

    PyTorch's own check of the parent is not enough: after SIGKILL of the parent a worker still
    waits to send its last batch through a pipe that is no longer read.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has a parent process"
    parent.join()
    # Not sys.exit, which would end this thread only.
    os._exit(1)


def _initialize_worker(pipe: Connection, initialize: Callable[[], None] | None) -> None:
    """Make this worker exit when the other end of the pipe is closed, then initialize it."""

    def exit_when_closed() -> None:
        pipe.poll(None)
        os._exit(1)

    Thread(target=exit_when_closed, daemon=True).start()
    if initialize is not None:
        initialize()


@contextmanager
def sigint_ignored() -> Iterator[None]:
    """Ignore SIGINT; processes that are started within ignore it too, from their beginning."""
    if current_thread() is not main_thread():  # Python sets signal handlers there only
        yield
        return
    previous_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous_handler)
