"""avsep separate: one sound file for each visible object of a video."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.console import print_error, print_json, print_table, track
from avsep.cli.options import Device, Text

if TYPE_CHECKING:
    from avsep.separation.output import Outcome


class Quality(StrEnum):
    """What `--quality` takes."""

    FAST = "fast"
    BALANCED = "balanced"
    BEST = "best"


class Rate(StrEnum):
    """What `--rate` takes."""

    NATIVE = "native"
    MODEL = "model"


def separate(
    videos: Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Files to separate.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder in which each video gets one of its own.")
    ],
    objects: Annotated[
        list[str] | None,
        typer.Option(
            "--object",
            help='LABEL@x1,y1,x2,y2, box 0..1 from the top left; "violin": the whole picture; '
            '"@x1,y1,x2,y2": the picture tells what it is. Once for each object.',
        ),
    ] = None,
    objects_file: Annotated[
        Path | None,
        typer.Option(
            "--objects",
            metavar="FILE",
            help='The same as JSON: [{"label": "violin", "box": [0.1, 0.2, 0.5, 0.9]}, ...]',
        ),
    ] = None,
    text: Text = None,
    model: Annotated[
        str, typer.Option(help="A name that `avsep models` lists, or a checkpoint.")
    ] = "dgfnet-mini",
    quality: Annotated[
        Quality, typer.Option(help="How long models that sample take for an answer.")
    ] = Quality.FAST,
    rate: Annotated[
        Rate, typer.Option(help="The video's rate and channels, or the model's and one channel.")
    ] = Rate.NATIVE,
    seed: Annotated[int, typer.Option(min=0, help="Of models that draw at random.")] = 0,
    device: Device = "auto",
    i3d: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="I3D's weights, for a model that reads motion features."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Take the sound of each visible object out of a video; what is left is the residual.

    OUT/VIDEO/, called like the file, gets 01-violin.wav, 02-piano.wav, ... in the order given, at
    its rate, channels and length; residual.wav, which makes them add up to the video's sound;
    preview.mp4 with one audio track an object; report.html to look and listen; manifest.json.
    Objects that are named here replace the file beside the video (VIDEO/objects.json), which
    toyband clips have. A video that fails leaves the others alone; the exit code is 2 then.

    Example: `avsep separate duet.mp4 --object "violin@0.1,0.2,0.5,0.9" --object piano -o out`

    Example: `avsep separate duet.mp4 --text violin --quality best --model FILE -o out`
    """
    from avsep.recipe import check_settings
    from avsep.separation.output import separate_files
    from avsep.separation.separator import Separator
    from avsep.separation.settings import SeparatorSettings

    given = {"rate": rate.value, "quality": quality.value, "seed": seed, "device": device}
    settings = check_settings(given | {"i3d": i3d}, SeparatorSettings, "avsep separate")
    done = []
    outcomes = separate_files(
        videos,
        objects or objects_file,
        out,
        Separator(model, settings),
        lambda video: lambda windows, total: track(windows, total, f"{video.name}, windows"),
        text or (),
    )
    for outcome in outcomes:
        _say_outcome(outcome, with_table=not as_json)
        done.append(outcome.as_json())
    if as_json:
        print_json(done)
    if any(not outcome["files"] for outcome in done):
        raise typer.Exit(2)


def _say_outcome(outcome: "Outcome", *, with_table: bool) -> None:
    """What was noticed, and what was made or went wrong."""
    for remark in outcome.manifest.warnings if outcome.manifest else ():
        print_error(f"warning: '{outcome.video}': {remark}")
    if outcome.error:
        print_error(outcome.error)
    elif with_table:
        print_table(str(outcome.folder), *outcome.table())
