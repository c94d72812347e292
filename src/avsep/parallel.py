"""Work in other processes: deaf to Ctrl-C, in order, and never outliving who asked for it."""

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
    make: Callable[[Item], Result],
    items: Sequence[Item],
    num_workers: int,
    begin: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """What `make` gives for each item, in order; `begin` is called once in each worker.

    Workers end at once with an error, Ctrl-C or this process. Each waits at one end of a pipe.
    Nothing is sent through it: its other end is closed on purpose, or by the system when this
    process has gone, even by force.

    Raises:
        InputError: of `make` or `begin`; a worker that was ended by force.
    """
    watched, held = Pipe(duplex=False)
    with ProcessPoolExecutor(num_workers, get_context("spawn"), _watch, (watched, begin)) as pool:
        try:
            with _ignoring_ctrl_c():  # as workers then do from their first moment
                done = [pool.submit(make, item) for item in items]
            # Not by `map`, which cancels what is not begun when it is left. Python 3.11's pool
            # does not get over cancelled work when its workers end, and then waits for ever.
            for future in done:
                yield future.result()
        except BrokenProcessPool as error:
            held.close()
            raise InputError(
                "a worker process was ended by force, for want of memory perhaps: try again with "
                "one (toyband --workers 1, evaluate --set workers=1)"
            ) from error
        except BaseException:
            held.close()
            raise


def begin_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, which ends its workers, and end when it is gone.

    It may go by force. What a worker had ready then lies in a pipe that nobody reads, and PyTorch's
    own watch of the parent waits for ever to get it rid.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker was started by another process"
    parent.join()
    os._exit(1)


def _watch(pipe: Connection, begin: Callable[[], None] | None) -> None:
    """End this worker when the other end of the pipe is closed."""

    def wait_and_end() -> None:
        pipe.poll(None)
        os._exit(1)

    Thread(target=wait_and_end, daemon=True).start()
    if begin is not None:
        begin()


@contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    if current_thread() is not main_thread():  # only the main thread may say so
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
