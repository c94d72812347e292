"""The entry point of `python -m avsep`, the same as the command `avsep`."""

from avsep.cli import main

if __name__ == "__main__":
    main()
