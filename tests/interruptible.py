"""Start processes that SIGINT ends, however the tests were started."""

import signal


def accept_sigint() -> None:
    """Be the `preexec_fn` of a process that a test interrupts.

    Shells start background processes with SIGINT ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
