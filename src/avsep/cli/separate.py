"""The command `avsep separate`: write one sound file for each visible object of a video."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsep.catalogue import read_catalogue
from avsep.cli.console import print_error, print_json, print_table, track
from avsep.cli.options import Text

if TYPE_CHECKING:
    from avsep.separation.output import Outcome


_SETTINGS = read_catalogue().separator_settings


def _setting(name: str, **rules: Any) -> Any:
    """Return the option of a field of `SeparatorSettings`, with its text and choices."""
    item = _SETTINGS[name]
    if item.choices:
        rules["metavar"] = f"[{'|'.join(item.choices)}]"
    return typer.Option(help=item.text, **rules)


Videos = Annotated[list[Path], typer.Argument(metavar="VIDEO...", help="Video files to separate.")]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder to write to; each video gets a folder in it."),
]
ObjectsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--object",
        help="LABEL@x1,y1,x2,y2 with the box in 0..1 from the top left: "
        '"violin@0.1,0.2,0.5,0.9". "violin": the whole picture. "@x1,y1,x2,y2": the label is '
        "predicted from the picture. Repeat for each object.",
    ),
]
ObjectsFile = Annotated[
    Path | None,
    typer.Option(
        "--objects",
        metavar="FILE",
        help='Objects as JSON: [{"label": "violin", "box": [0.1, 0.2, 0.5, 0.9]}, ...]. '
        "Default: VIDEO/objects.json beside the video.",
    ),
]
Model = Annotated[str, typer.Option(help="A name from `avsep models`, or a checkpoint file.")]
Quality = Annotated[str, _setting("quality")]
Rate = Annotated[str, _setting("rate")]
Seed = Annotated[int, _setting("seed", min=0)]
Device = Annotated[str, _setting("device")]
I3D = Annotated[Path | None, _setting("i3d", metavar="FILE")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the results as JSON instead of a table.")
]


def separate(
    videos: Videos,
    out: Out,
    objects: ObjectsOption = None,
    objects_file: ObjectsFile = None,
    text: Text = None,
    model: Model = read_catalogue().default_model,
    quality: Quality = _SETTINGS["quality"].default,
    rate: Rate = _SETTINGS["rate"].default,
    seed: Seed = _SETTINGS["seed"].default,
    device: Device = _SETTINGS["device"].default,
    i3d: I3D = _SETTINGS["i3d"].default,
    as_json: AsJson = False,
) -> None:
    """Extract the sound of each visible object of a video, and the residual.

    OUT/VIDEO/ gets 01-violin.wav, 02-piano.wav, ... in the order of the objects, at the video's
    rate, channels and length; residual.wav, so that all files add up to the video's sound;
    preview.mp4 with one audio track per object; report.html to watch and listen; manifest.json with
    every setting. Without --object, --objects and --text, the objects are read from
    VIDEO/objects.json, which toyband clips have. If a video fails the others are still separated,
    and the exit code is 2.

    Example: `avsep separate duet.mp4 --object "violin@0.1,0.2,0.5,0.9" --object piano -o out`

    Example: `avsep separate duet.mp4 --text violin --quality best --model davis-mini -o out`
    """
    from avsep.recipe import check_settings
    from avsep.separation.output import separate_files
    from avsep.separation.separator import Separator
    from avsep.separation.settings import SeparatorSettings

    values = {"rate": rate, "quality": quality, "seed": seed, "device": device, "i3d": i3d}
    settings = check_settings(values, SeparatorSettings, "avsep separate")
    results = []
    outcomes = separate_files(
        videos,
        objects or objects_file,
        out,
        Separator(model, settings),
        track,
        text or (),
    )
    has_failed = False
    for outcome in outcomes:
        _print_outcome(outcome, with_table=not as_json)
        if as_json:
            results.append(outcome.as_json())
        has_failed |= bool(outcome.error)
    if as_json:
        print_json(results)
    if has_failed:
        raise typer.Exit(2)


def _print_outcome(outcome: "Outcome", *, with_table: bool) -> None:
    """Print the warnings of one video to stderr, then its error or the table of its files."""
    for warning in outcome.manifest.warnings if outcome.manifest else ():
        print_error(f"warning: '{outcome.video}': {warning}")
    if outcome.error:
        print_error(outcome.error)
    elif with_table:
        print_table(str(outcome.folder), *outcome.table())
