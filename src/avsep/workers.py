"""How worker processes begin: deaf to Ctrl-C, and never outliving their parent."""

import multiprocessing
import os
import signal
from threading import Thread


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
