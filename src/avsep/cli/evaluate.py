"""avsep evaluate: floor, ceiling and separators over a data set."""

import json
from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import say, say_json, say_table, track


def evaluate(
    data: Annotated[Path, typer.Option(metavar="DIR", help="A toyband folder.")],
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Separators, see `avsep models`. Default: all."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for results.json, every pair in it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json instead.")] = False,
) -> None:
    """Separate the mixture of every clip and print SDR, SIR and SAR in dB, higher is better.

    The middle 5.94 seconds at 11025 Hz, as the field's papers test. `strict` counts an estimate
    that is silent as a failure, `legacy` leaves it out as released codes do; what was left out is
    counted, with the reason. The mixture is the floor, ideal masks are the ceiling.

    Example: `avsep evaluate --data band -o out/scores`
    """
    from avsep.data import DATASETS
    from avsep.evaluation import benchmark
    from avsep.evaluation.protocol import PROTOCOLS
    from avsep.evaluation.tables import summary_table
    from avsep.media.whole_file import make_folder, write_whole
    from avsep.sound.front_end import FrontEnd

    front_end = FrontEnd()
    separators = benchmark.find_separators(names or [], front_end)
    clips = DATASETS["toyband"](data)
    if out is not None:
        make_folder(out)
    scored = benchmark.score_clips(clips, separators, front_end)
    done = tuple(track(scored, total=len(clips), what="clips scored"))
    evaluation = benchmark.Evaluation(tuple(separators), done, front_end.settings)
    result = benchmark.as_json(evaluation, data.resolve().name)
    if out is not None:
        write_whole(out / "results.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    if as_json:
        say_json(result)
        return
    head, rows, remarks = summary_table(
        (name, evaluation.summary(name, protocol)) for protocol in PROTOCOLS for name in separators
    )
    say_table(f"{len(clips)} clips of {data} (dB)", head, rows)
    for remark in remarks:
        say(remark)
