"""The command `avsep evaluate`: score models, baselines and ceilings on a data set."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.catalogue import read_catalogue
from avsep.cli.console import print_json, print_line, print_table, spinner, track
from avsep.cli.options import Device, Labels, Pairs

if TYPE_CHECKING:
    from avsep.evaluation.benchmark import Evaluation
    from avsep.evaluation.results.qualitative import FigureChoice
    from avsep.evaluation.run import EvaluationConfig

_NAMES = read_catalogue()

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Names from `avsep models` or checkpoint files. Baselines are always scored too.",
    ),
]
Data = Annotated[Path, typer.Option(metavar="DIR", help="Folder of clips, of any data set.")]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder for results.json, .csv and .html, tables.md and .tex. The same command "
        "resumes a stopped run there.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=f"Change a setting: `--set num_sources=3`. Settings: "
        f"{', '.join(_NAMES.evaluation_settings)}. Metrics, as in "
        f"`--set metrics=si-sdr,sdri`: {', '.join(_NAMES.metrics)}.",
    ),
]
CueAblations = Annotated[
    list[str],
    typer.Option(
        "--cues",
        help="Change the visual input, to measure what a model depends on: `--cues swapped`. "
        f"Names: {', '.join(_NAMES.cue_ablations)} (see docs/evaluation.md). Repeat for a row "
        "each.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Score only the first N mixtures. Of solos, the number of pairs to draw; default "
        f"{_NAMES.num_mixtures}.",
    ),
]
Seed = Annotated[
    int, typer.Option(min=0, help="Random seed of drawn mixtures and of generative models.")
]
Figures = Annotated[
    int,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of mixtures to draw as papers do, spread from the first model's best to its "
        "worst, into OUT/figures.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print results.json instead of tables.")]
_ALL_CUES = ["all"]


def evaluate(
    data: Data,
    names: Names = None,
    out: Out = None,
    pairs: Pairs = None,
    overrides: Overrides = None,
    labels: Labels = "both",
    cues: CueAblations = _ALL_CUES,
    limit: Limit = None,
    seed: Seed = 0,
    device: Device = "auto",
    figures: Figures = 0,
    as_json: AsJson = False,
) -> None:
    """Separate every mixture and print SDR, SIR and SAR in dB (higher is better).

    Each clip is a mixture of its own sources; of a folder of solos, pairs are drawn and mixed. The
    middle window of each mixture is scored, at the model's length (5.94 s at 11025 Hz unless the
    model has another), as in the papers. `strict` is the mean over mixtures and counts a silent
    estimate as -30 dB; `legacy` leaves it out, as the released codes do. Mixtures that cannot be
    scored are counted with the reason. ± is half a 95 % bootstrap interval over videos. The mixture
    and NMF-MFCC are lower bounds, ideal masks upper bounds. The same seed gives equal files.

    Example: `avsep evaluate dgfnet-mini --data band -o out/scores`

    Example: `avsep evaluate dgfnet-mini --data solos --pairs testsep.csv -o out/solos`
    """
    from avsep.data import open_dataset
    from avsep.devices import find_device
    from avsep.evaluation import run
    from avsep.evaluation.benchmark import Evaluation
    from avsep.evaluation.metrics.registry import choose_metrics
    from avsep.evaluation.mixtures import choose_mixtures
    from avsep.evaluation.results.qualitative import choose_figures
    from avsep.evaluation.results.writing import as_json as results_json
    from avsep.evaluation.results.writing import write_results
    from avsep.recipe import read_overrides

    settings = read_overrides(overrides or [], run.EvaluationSettings)
    # An unknown metric is an error before the data set is read, which can take minutes.
    choose_metrics(settings.metrics)
    clips = open_dataset(data)
    chosen = choose_mixtures(clips, pairs=pairs, limit=limit, settings=settings, seed=seed)
    config = run.EvaluationConfig(
        mixtures=chosen.mixtures,
        names=tuple(names or ()),
        labels=labels,
        ablations=tuple(cues),
        seed=seed,
        device=str(find_device(device)),
        metrics=settings.metrics,
        num_channels=settings.channels,
        mirrored=settings.mirrored,
        sampling=settings.sampling,
    )
    figure_choice = choose_figures(config.mixtures, figures, settings.figure_pairs, out)
    methods = config.methods()
    with run.open_score_log(out, config) as score_log:
        scores = run.run_evaluation(config, methods, settings.workers, score_log)
        results = tuple(track(scores, len(config.mixtures), f"{chosen.unit} scored"))
    warnings = chosen.warnings + config.warnings
    evaluation = Evaluation(methods, results, seed, warnings, config.metrics)
    data_name = data.resolve().name
    if out is not None:
        write_results(evaluation, out, data_name)
        _write_figures(evaluation, config, figure_choice, out, data_name)
    if as_json:
        print_json(results_json(evaluation, data_name))
        return
    _print_tables(evaluation, f"{len(results)} {chosen.unit} of {data}", warnings, out)


def _write_figures(
    evaluation: "Evaluation",
    config: "EvaluationConfig",
    choice: "FigureChoice",
    folder: Path,
    data_name: str,
) -> None:
    from avsep.evaluation.results.qualitative import write_qualitative_figures
    from avsep.evaluation.results.results_page import write_results_page

    with spinner("drawing the best and the worst mixtures"):
        reader = config.reader()
        write_results_page(evaluation, reader, folder, data_name, config.device)
        write_qualitative_figures(evaluation, reader, choice, folder / "figures", config.device)


def _print_tables(
    evaluation: "Evaluation", title: str, warnings: Iterable[str], out: Path | None
) -> None:
    from avsep.evaluation.results.tables import make_tables

    for table in make_tables(evaluation, title):
        print_table(table.title, list(table.head), [list(row) for row in table.rows])
        for warning in table.warnings:
            print_line(warning)
    for warning in warnings:
        print_line(warning)
    if out is not None:
        print_line(
            f"written into {out}: results.html to look at and listen to, tables, every score"
        )
