"""The command `avsep train`: train a model from a recipe and folders of clips."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_error, print_line, spinner, track
from avsep.cli.options import Device

RecipeName = Annotated[
    str | None,
    typer.Argument(
        metavar="[RECIPE]", help="Name of a recipe, such as dgfnet-mini, or a path to TOML."
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(metavar="DIR", help="Folder of clips, of any data set. Repeat for more."),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the run to write to. Default: runs/RECIPE."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Resume the run in the folder given by --run.")
]
InitialWeights = Annotated[
    str | None,
    typer.Option(help="Initial weights: a checkpoint file or a shipped model's name."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting of the recipe: `--set training.batch_size=8`. All are shown by "
        "--dry-run.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Number of processes that prepare clips and mix them; 0: none. Default: the recipe's.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of prepared clips. Default: ~/.cache/avsep/library."),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the complete recipe and the data, then exit."),
]


def train(
    recipe: RecipeName = None,
    data: Data = None,
    run: RunFolder = None,
    resume: Resume = False,
    init: InitialWeights = None,
    overrides: Overrides = None,
    workers: Workers = None,
    device: Device = "auto",
    cache: Cache = None,
    dry_run: DryRun = False,
) -> None:
    """Train a model. Ctrl-C stops after the current step; --resume continues exactly from there.

    Clips are prepared once: sounds are resampled to the model's rate and objects are cropped. A
    share of the clips is held out for validation; the best model by validation SDR is written to
    RUN/model.safetensors. Follow the training in RUN/metrics.csv or with `tensorboard --logdir
    RUN`. A folder that already holds a run is never overwritten.

    Example: `avsep train dgfnet-mini --data band --run runs/mini`
    """
    with spinner("reading the recipe and the clips"):
        from avsep.cli.training_display import Display
        from avsep.training.run import TrainingOptions, TrainingRun

        options = TrainingOptions(
            recipe, data or [], overrides or [], run, resume, init, device, workers, cache
        )
        training = TrainingRun.from_options(options)
        lines = training.summary()
    if dry_run:
        print_line(training.recipe_text())
    for line in lines:
        print_line(line)
    if dry_run:
        return
    training.begin()
    for _ in track(training.prepare(), training.data.num_clips, "clips prepared"):
        pass
    for reason in training.data.skipped:
        print_error(f"warning: left out: {reason}")
    with Display() as display:
        is_finished = training.train(display)
    if is_finished:
        print_line(f"best model: {training.folder.best}; last step: {training.folder.end}")
    else:
        print_line(f"stopped; to resume: avsep train --run {training.folder.path} --resume")
