"""avsep evaluate: baselines, ceilings and separators over a data set."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.console import print_json, print_line, print_table, track, working
from avsep.cli.options import Device, Labels, Pairs

if TYPE_CHECKING:
    from avsep.evaluation.benchmark import Evaluation
    from avsep.evaluation.results.qualitative import FigureChoice
    from avsep.evaluation.results.tables import Table
    from avsep.evaluation.run import EvaluationConfig

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Models of `avsep models`, checkpoint files. Baselines stand beside in any case.",
    ),
]
Data = Annotated[Path, typer.Option(metavar="DIR", help="A folder of clips, of any data set.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for results.json, .csv and .html, tables.md and .tex. A run that was stopped "
        "goes on there when the same command is given again.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Mixing of solos: num_sources=3, same_category_probability=1, rule=sum. More columns: "
        "metrics=si-sdr,sdri (sa-sdr, spectral, pesq, clap, ...; of two ears ild-error, itd-error, "
        "sdr-left, ...). channels=2, mirrored=true, figure_pairs=NAME, workers=1.",
    ),
]
CueTrials = Annotated[
    list[str] | None,
    typer.Option(
        help="Change what models see: all (nothing), no-motion, swapped, "
        "swapped-boxes, wrong, blurred, hidden, word (no picture, for models that know words). "
        "Several: a row each."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Only the first N mixtures; of solos N are drawn instead of 256."
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="For pairs that are drawn and separators that sample.")
]
Figures = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Draw N mixtures as papers do, spread from the first model's best to its worst, into "
        "figures of the folder.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print results.json instead.")]


def evaluate(
    data: Data,
    names: Names = None,
    out: Out = None,
    pairs: Pairs = None,
    overrides: Overrides = None,
    labels: Labels = "both",
    cues: CueTrials = None,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = "auto",
    figures: Figures = 0,
    as_json: AsJson = False,
) -> None:
    """Separate every mixture and print SDR, SIR and SAR in dB, higher is better, with intervals.

    A clip is a mixture of its own sources; of a folder of solos, pairs are mixed. The window is
    the middle one of the separator's own length, 5.94 seconds at 11025 Hz unless a model says
    otherwise, as the field's papers test. `strict` is the mean over mixtures and counts a silent
    estimate as -30 dB; `legacy` counts as the released codes do, which leave it out. What was left
    out is told, with the reason. ± is half a 95 % interval, from resampled videos. The mixture and
    NMF-MFCC are the floor, ideal masks the ceiling. The same seed gives the same files to the byte.

    Example: `avsep evaluate dgfnet-mini --data band -o out/scores`

    Example: `avsep evaluate dgfnet-mini --data solos --pairs testsep.csv -o out/solos`
    """
    from avsep.data import open_dataset
    from avsep.devices import find_device
    from avsep.evaluation.benchmark import Evaluation
    from avsep.evaluation.metrics.registry import choose_metrics
    from avsep.evaluation.mixtures import choose_mixtures
    from avsep.evaluation.results.qualitative import choose_figures
    from avsep.evaluation.results.result_tables import make_tables
    from avsep.evaluation.results.writing import as_json as all_of
    from avsep.evaluation.results.writing import write_results
    from avsep.evaluation.run import (
        EvaluationConfig,
        EvaluationSettings,
        open_score_log,
        run_evaluation,
    )
    from avsep.recipe import read_overrides

    settings = read_overrides(overrides or [], EvaluationSettings)
    choose_metrics(settings.metrics)
    clips = open_dataset(data)
    chosen = choose_mixtures(clips, pairs=pairs, limit=limit, settings=settings, seed=seed)
    config = EvaluationConfig(
        mixtures=chosen.mixtures,
        names=tuple(names or ()),
        labels=labels,
        ablations=tuple(cues or ["all"]),
        seed=seed,
        device=str(find_device(device)),
        metrics=settings.metrics,
        num_channels=settings.channels,
        mirrored=settings.mirrored,
    )
    drawn = choose_figures(config.mixtures, figures, settings.figure_pairs, out)
    methods = config.methods()
    with open_score_log(out, config) as score_log:
        scored = run_evaluation(config, methods, settings.workers, score_log)
        done = tuple(track(scored, total=len(config.mixtures), what=f"{chosen.unit} scored"))
    evaluation = Evaluation(methods, done, seed, chosen.warnings, config.metrics)
    data_name = data.resolve().name
    if out is not None:
        write_results(evaluation, out, data_name)
        _draw(evaluation, config, drawn, out, data_name)
    if as_json:
        print_json(all_of(evaluation, data_name))
        return
    _show(make_tables(evaluation, f"{len(done)} {chosen.unit} of {data}"), chosen.warnings)
    if out is not None:
        print_line(f"written into {out}: results.html to look and listen, the tables, every figure")


def _draw(
    evaluation: "Evaluation",
    config: "EvaluationConfig",
    choice: "FigureChoice",
    folder: Path,
    data_name: str,
) -> None:
    from avsep.evaluation.results.qualitative import write_qualitative_figures
    from avsep.evaluation.results.results_page import write_results_page

    with working("drawing the best and the worst"):
        write_results_page(evaluation, config.mixtures, folder, data_name, config.device)
        write_qualitative_figures(
            evaluation, config.mixtures, choice, folder / "figures", config.device
        )


def _show(tables: Iterable["Table"], warnings: Iterable[str]) -> None:
    for table in tables:
        print_table(table.title, list(table.head), [list(row) for row in table.rows])
        for remark in table.warnings:
            print_line(remark)
    for remark in warnings:
        print_line(remark)
