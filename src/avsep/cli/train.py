"""avsep train: a model from a recipe and folders of clips."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_error, print_line, track, working
from avsep.cli.options import Device


def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="A recipe's name, or a path to TOML.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Folder of clips, of any data set; repeat."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run. Default: runs/RECIPE.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in that folder.")
    ] = False,
    init: Annotated[
        str | None, typer.Option(help="Begin with the weights of a checkpoint or shipped model.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: training.batch_size=8.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes that prepare clips and mix; 0: none.")
    ] = None,
    device: Device = "auto",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of prepared clips. Default: ~/.cache/avsep/library.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the whole recipe and what it would train on.")
    ] = False,
) -> None:
    """Train a model. Ctrl-C ends it after the step under way; --resume goes on exactly there.

    Clips are prepared once: sounds at the model's rate, pictures of each object. A share of them is
    kept to validate with. The best model by that is RUN/model.safetensors; RUN/metrics.csv and
    `tensorboard --logdir RUN` show how it goes. A folder that holds a run is never overwritten.

    Example: `avsep train dgfnet-mini --data band --run runs/mini`
    """
    with working("reading the recipe and the clips"):
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
    for _ in track(training.prepare(), total=training.data.num_clips, what="clips prepared"):
        pass
    for reason in training.data.skipped:
        print_error(f"warning: left out: {reason}")
    with Display() as display:
        is_done = training.train(display)
    if is_done:
        print_line(f"best model: {training.folder.best}; the last step's: {training.folder.end}")
    else:
        print_line(f"stopped; to go on: avsep train --run {training.folder.path} --resume")
