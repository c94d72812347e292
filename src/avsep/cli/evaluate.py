"""avsep evaluate: floor, ceiling and separators over a data set."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.console import say, say_json, say_table, track

if TYPE_CHECKING:
    from avsep.evaluation.benchmark import Evaluation


def evaluate(
    data: Annotated[Path, typer.Option(metavar="DIR", help="A toyband or prepared folder.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Separators of `avsep models`, checkpoint files. Default: floor and ceilings.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for results.json, every pair in it.")
    ] = None,
    labels: Annotated[
        str,
        typer.Option(help="What tells a model the category: told (the label), picture, or both."),
    ] = "both",
    cues: Annotated[
        list[str] | None,
        typer.Option(
            help="Change what models see: all (nothing), no-motion, swapped, wrong, blurred, "
            "hidden. Several: a row each."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N clips.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="For separators that sample.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, or as PyTorch names it.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json instead.")] = False,
) -> None:
    """Separate the mixture of every clip and print SDR, SIR and SAR in dB, higher is better.

    The middle window of the separator's own length, 5.94 seconds at 11025 Hz unless a model says
    otherwise, as the field's papers test. `strict` counts an estimate that is silent as a failure,
    `legacy` leaves it out as released codes do; what was left out is counted, with the reason. The
    mixture is the floor, ideal masks are the ceiling. A second table shows the SDR by kind of clip.

    Example: `avsep evaluate mixture dgfnet-mini ideal-ratio-mask --data band -o out/scores`
    """
    from avsep.data import open_dataset
    from avsep.devices import find_device
    from avsep.evaluation import benchmark
    from avsep.evaluation.contenders import find_contenders
    from avsep.media.whole_file import make_folder, write_whole

    place = find_device(device)
    contenders = find_contenders(names or [], labels, cues or ["all"], place)
    clips = open_dataset(data)[:limit]
    if out is not None:
        make_folder(out)
    scored = benchmark.score_clips(clips, contenders, seed, place)
    done = tuple(track(scored, total=len(clips), what="clips scored"))
    evaluation = benchmark.Evaluation(contenders, done, seed)
    result = benchmark.as_json(evaluation, data.resolve().name)
    if out is not None:
        write_whole(out / "results.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    if as_json:
        say_json(result)
        return
    _show(evaluation, f"{len(clips)} clips of {data} (dB)")


def _show(evaluation: "Evaluation", title: str) -> None:
    """A table for each protocol, then one of the kinds of clips."""
    from avsep.evaluation.protocol import PROTOCOLS
    from avsep.evaluation.tables import group_table, summary_table

    contenders = evaluation.contenders
    for protocol in PROTOCOLS:
        head, rows, remarks = summary_table(
            (row.name, row.reads, evaluation.summary(row.name, protocol)) for row in contenders
        )
        say_table(f"{title}, {protocol}", head, rows)
        for remark in remarks:
            say(remark)
    rows_by_group = [
        (group, [evaluation.summary(row.name, "strict", group) for row in contenders])
        for group in evaluation.groups
    ]
    if rows_by_group:
        head, rows = group_table([row.name for row in contenders], rows_by_group)
        say_table("SDR by kind of clip (dB), strict", head, rows)
