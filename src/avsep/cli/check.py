"""avsep check: find faults of a data set or its lists before training and evaluation."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_json, print_line, print_table, track


def check(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A folder of clips, a list of videos or pairs, or a folder of lists.",
        ),
    ],
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="OTHER...", help="Others of these, whose videos must not leak."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything, every name included, as JSON.")
    ] = False,
) -> None:
    """Find leaks between lists, and missing, damaged, silent or empty files.

    Published lists are read as they are: csv of iQuery, CCoL, DAVIS and LAVSS, pairs, AVE's
    annotations and orders, FAIR-Play's h5 and txt, MUSIC's json. The name of a list contains its
    role (train, val or test) and, before it, its set (`davis_train.csv`). A video in two of train,
    val and test of one set is wrong, and so is one that is held out in DATA and trained on in
    OTHER, or the other way round.

    In a folder of clips every file is read. The exit code is 2 if anything is wrong; notes, such
    as repeated pairs or short clips, leave it 0.

    Example: `avsep check splits/music --against splits/music21`
    """
    from avsep.data.checks.check import open_check

    opened = open_check(data, against or [])
    report = opened.report(track(opened.examine(), len(opened.jobs), "clips read"))
    if as_json:
        print_json(report.as_json())
    else:
        if report.findings:
            print_table(f"Findings in {data}", *report.table())
        print_line(report.verdict)
    if not report.is_well:
        raise typer.Exit(2)
