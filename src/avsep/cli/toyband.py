"""The command `avsep toyband`: make a folder of generated clips."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_line, track

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder to write to; created if missing.")
]
Clips = Annotated[int, typer.Option("--clips", min=1, help="Number of clips.")]
Seed = Annotated[
    int,
    typer.Option(
        min=0,
        help="Random seed. Seeds from 1000 up use only held-out notes, for test sets; lower "
        "seeds never use them.",
    ),
]
RecipeName = Annotated[
    str,
    typer.Option(help="Name of a toyband recipe, such as toyband-duets, or a path to TOML."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting of the recipe: `--set clip_seconds=5`. All are in docs/toyband.md.",
    ),
]
Sounds = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Recorded single notes, instead of the shipped bank."),
]
Photos = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Photographs of instruments, instead of drawings."),
]
Noise = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Background sounds without a visible object.")
]
Chorales = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Four-part scores as JSON, instead of composed ones."),
]
Binaural = Annotated[
    bool,
    typer.Option("--binaural", help="Render two ears: positions in the picture are directions."),
]
MeasuredHead = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Measured head-related transfer functions as SOFA, for --binaural. Default: a "
        "rigid sphere of random size.",
    ),
]
Workers = Annotated[int, typer.Option(min=0, help="Number of processes; 0: one per CPU core.")]


def toyband(
    folder: Folder,
    clips: Clips = 10,
    seed: Seed = 0,
    recipe: RecipeName = "toyband",
    overrides: Overrides = None,
    sounds: Sounds = None,
    photos: Photos = None,
    noise: Noise = None,
    chorales: Chorales = None,
    binaural: Binaural = False,
    head: MeasuredHead = None,
    workers: Workers = 0,
) -> None:
    """Make videos of musicians who move with their notes, with the true sources beside each.

    DIR/000001.mp4 is a clip; DIR/000001/ holds objects.json (labels and boxes), stems/ (which add
    up to the clip's sound, to the sample) and score.json (the notes). The same seed and recipe give
    the same clips. The same command resumes a stopped run.

    Example: `avsep toyband band --clips 20 --seed 1000 --recipe toyband-duets`
    """
    from avsep.recipe import load_recipe
    from avsep.toyband.build import make_toyband
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.music.notes import is_held_out

    settings = load_recipe(recipe, "toyband", ToybandSettings, overrides or [])
    settings = settings.with_binaural(binaural, head)
    material = Material.read(sounds, photos, noise, chorales, head)
    for warning in material.warnings():
        print_line(warning)
    names = make_toyband(folder, clips, seed, settings, material, num_workers=workers)
    num_clips = len(list(track(names, clips, f"clips into {folder}")))
    kind = "held-out" if is_held_out(seed) else "training"
    print_line(f"{num_clips} clips in {folder}, seed {seed} ({kind} notes)")
