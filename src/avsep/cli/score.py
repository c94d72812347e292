"""`avsep score`: how good separated files are, against the true ones."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import say_error, say_json, say_table


def score(
    reference: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="The true sources, one sound or video file each."),
    ] = None,
    estimate: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="The separated files, in the order of the sources."),
    ] = None,
    permute: Annotated[
        bool, typer.Option("--permute", help="Find the order of the estimates by best mean SIR.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; a figure that is infinite is null.")
    ] = False,
) -> None:
    """Score separated files against the true ones: SDR, SIR and SAR in dB, higher is better.

    The figures are those of BSS Eval v3 (filters of 512 taps), as in the papers of the field. SDR
    is the source against all else in its estimate, SIR against the other sources, SAR all sources
    against what comes from none of them.

    All files need one sampling rate and one number of channels. Longer ones are cut to the
    shortest, and a line says so. Each channel of stereo files is scored by itself, then their mean
    is taken.

    Example: `avsep score --reference violin.wav piano.wav --estimate 01-violin.wav 02-piano.wav`
    """
    from avsep.evaluation.file_scores import score_files
    from avsep.evaluation.tables import decibels, figures_json

    result = score_files(reference or [], estimate or [], permute=permute)
    names = [
        {"reference": str(truth), "estimate": str(guess)}
        for truth, guess in zip(result.references, result.estimates, strict=True)
    ]
    if as_json:
        say_json(
            {
                "sources": [
                    name | figures_json(row)
                    for name, row in zip(names, result.scores_db.tolist(), strict=True)
                ],
                "mean": figures_json(result.mean_db.tolist()),
                "sample_rate_hz": result.sample_rate_hz,
                "num_channels": result.num_channels,
                "num_samples": result.num_samples,
                "remarks": list(result.remarks),
            }
        )
        return
    for remark in result.remarks:
        say_error(remark)
    labels = [f"{name['estimate']} against {name['reference']}" for name in names]
    figures = [*result.scores_db.tolist(), result.mean_db.tolist()]
    rows = zip([*labels, "mean"], figures, strict=True)
    say_table(
        "Scores in dB",
        ["estimate against reference", "SDR", "SIR", "SAR"],
        ([label, *(decibels(figure_db) for figure_db in row)] for label, row in rows),
    )
