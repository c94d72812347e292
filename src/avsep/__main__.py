"""The entry point of the command `avsep` and of `python -m avsep`."""

import gc
import os
import sys

# Importing PyTorch makes 200,000 objects, which the collector would walk every 700 new ones.
_COLLECTED_AFTER = 50_000


def start() -> None:
    """Run a command with few garbage collections, and none at its end."""
    _open_standard_files()
    gc.set_threshold(_COLLECTED_AFTER)
    # Not above: worker processes import this module and need no command line.
    from avsep.cli import main

    try:
        main()
    finally:
        # The system takes back what is left, in one step.
        gc.freeze()


def _open_standard_files() -> None:
    """Open the null device in place of each of stdin, stdout and stderr that is closed (`>&-`).

    The next file that is opened would get its number, and output meant for a terminal would be
    written into that file.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            # Worker processes inherit it: without it they would have the same fault.
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


if __name__ == "__main__":
    start()
