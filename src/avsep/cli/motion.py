"""avsep motion: the I3D features that the papers' models read, for a prepared folder."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_error, print_json, print_line, track
from avsep.cli.options import Device


def motion(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A prepared folder.")],
    weights: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="I3D's weights, downloaded: FAME's, or in pytorch-i3d's layout."
        ),
    ],
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")] = False,
) -> None:
    """Compute motion features for every clip of a prepared folder that has none yet.

    I3D looks at one picture a second, at most 160 of them, shrunk to 320 pixels, and writes
    DATA/features/motion/CATEGORY/ID.npy, which the recipes of MUSIC and MUSIC-21 read. What is
    there is left alone, so a run that was stopped goes on when the command is given again. A clip
    that cannot be read leaves the others alone; the exit code is 2 then.

    Example: `avsep motion music --weights I3D_pretrained.pth.tar`
    """
    from avsep.cues.i3d_features import clips_with_pictures, write_motion_features
    from avsep.devices import find_device
    from avsep.vision.i3d import load_i3d

    clips = clips_with_pictures(data)
    missing = [clip for clip in clips if clip.i3d_features is None]
    model = load_i3d(weights).to(find_device(device))
    done = []
    for outcome in track(write_motion_features(data, missing, model), len(missing), "clips"):
        if outcome.error:
            print_error(outcome.error)
        done.append(outcome)
    num_kept, num_made = len(clips) - len(missing), sum(not one.error for one in done)
    if as_json:
        print_json({"kept": num_kept, "clips": [outcome.as_json() for outcome in done]})
    else:
        print_line(
            f"motion features of {num_made} clips written into {data}; {num_kept} had theirs"
        )
    if num_made < len(missing):
        raise typer.Exit(2)
