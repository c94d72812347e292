"""The entry point of the command `avsep` and of `python -m avsep`."""

import gc

# Importing PyTorch makes 200,000 objects, which the collector would walk every 700 new ones.
_COLLECTED_AFTER = 50_000


def start() -> None:
    """Run a command with few garbage collections, and none at its end."""
    gc.set_threshold(_COLLECTED_AFTER)
    # Not above: worker processes import this module and need no command line.
    from avsep.cli import main

    try:
        main()
    finally:
        # The system takes back what is left, in one step.
        gc.freeze()


if __name__ == "__main__":
    start()
