"""The command `avsep demo`: make a duet, separate it, score it and write a page about it."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_line, print_table, spinner


def demo(
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", help="Folder to write to: new, empty, or holding an earlier demo."
        ),
    ] = Path("out/demo"),
    seed: Annotated[
        int, typer.Option(min=0, help="Random seed; each seed makes a different duet.")
    ] = 19,
) -> None:
    """Make a duet video, separate it, score it, and write a page to watch and listen.

    The table compares the shipped model with two bounds: the unseparated mixture, and ideal masks
    computed from the true sources. Open OUT/report.html.

    Example: `avsep demo -o out/demo --seed 8`
    """
    with spinner("making a duet, separating and scoring it"):
        from avsep.separation.demo import make_demo

        result = make_demo(out, seed)
    print_table(f"{result.title} (dB)", result.head, result.rows)
    print_line(f"page to watch and listen: {out / 'report.html'}")
