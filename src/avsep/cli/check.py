"""The command `avsep check`: find errors in a data set or its split lists before using them."""

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
        typer.Option(
            metavar="OTHER...",
            help="Other folders or lists, which must not train on the test videos of DATA, nor the "
            "reverse: `--against splits/music21 splits/ave`.",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the full report, with every name, as JSON."),
    ] = False,
) -> None:
    """Check data for train-test leaks and for missing, broken, silent or empty files.

    Lists are read in their published formats: csv of iQuery, CCoL, DAVIS and LAVSS, pair files,
    AVE's annotations and orders, FAIR-Play's h5 and txt, MUSIC's json. The file name gives a list's
    role (train, val or test) and, before it, its data set (`davis_train.csv`). A video in two of
    train, val and test of one data set is an error, and so is a test video of DATA in the training
    list of OTHER, or the reverse.

    In folders with sounds and pictures every file is read. The exit code is 2 if there is an error;
    notes, such as repeated pairs or short clips, are not errors.

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
