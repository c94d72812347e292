"""The command `avsep motion`: compute the I3D motion features of a prepared folder."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_error, print_json, print_line, track
from avsep.cli.options import Device


def motion(
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="A prepared folder: see docs/data.md.")
    ],
    weights: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="Downloaded I3D weights, in the layout of FAME or of pytorch-i3d.",
        ),
    ],
    device: Device = "auto",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result of each clip as JSON.")
    ] = False,
) -> None:
    """Compute motion features for every clip of a prepared folder that has none yet.

    I3D reads one frame per second, at most 160, resized to 320 pixels, and its features are written
    to DATA/features/motion/CATEGORY/ID.npy, where the recipes for MUSIC and MUSIC-21 read them.
    Existing files are kept, so the same command resumes a stopped run. If a clip cannot be read the
    others are still computed, and the exit code is 2.

    Example: `avsep motion music --weights I3D_pretrained.pth.tar`
    """
    from avsep.cues.i3d_features import clips_with_pictures, write_motion_features
    from avsep.devices import find_device
    from avsep.vision.i3d import load_i3d

    clips = clips_with_pictures(data)
    missing = [clip for clip in clips if clip.i3d_features is None]
    model = load_i3d(weights).to(find_device(device))
    outcomes = []
    for outcome in track(write_motion_features(data, missing, model), len(missing), "clips"):
        if outcome.error:
            print_error(outcome.error)
        outcomes.append(outcome)
    num_existing = len(clips) - len(missing)
    num_written = sum(not outcome.error for outcome in outcomes)
    if as_json:
        print_json({"kept": num_existing, "clips": [outcome.as_json() for outcome in outcomes]})
    else:
        print_line(
            f"motion features of {num_written} clips written into {data}; "
            f"{num_existing} clips had them already"
        )
    if num_written < len(missing):
        raise typer.Exit(2)
