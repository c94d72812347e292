"""avsep demo: make a duet, separate it, score it, show it."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_line, print_table, working


def demo(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to write into: new, empty, or of a demo.")
    ] = Path("out/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another duet.")] = 19,
) -> None:
    """Make a duet video, separate it, score it, and write a page to look at and listen.

    Beside the shipped model stand the mixture, the score of doing nothing, and ideal masks, made
    from the true sources: the ceiling. Open OUT/report.html.

    Example: `avsep demo -o out/demo --seed 8`
    """
    with working("making a duet, separating and scoring it"):
        from avsep.separation.demo import make_demo

        result = make_demo(out, seed)
    print_table(f"{result.title} (dB)", result.head, result.rows)
    print_line(f"look and listen: {out / 'report.html'}")
