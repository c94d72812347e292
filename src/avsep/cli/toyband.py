"""avsep toyband: make a folder of generated clips."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_line, track


def toyband(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the clips are written.")],
    clips: Annotated[int, typer.Option("--clips", min=1, help="How many.")] = 10,
    seed: Annotated[
        int, typer.Option(min=0, help="1000 and upward play held-out notes only, others never.")
    ] = 0,
    recipe: Annotated[str, typer.Option(help="A recipe's name, or a path to TOML.")] = "toyband",
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting: clip_seconds=5.")
    ] = None,
    sounds: Annotated[Path | None, typer.Option(help="Folder of recorded notes to play.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of photographs to show.")] = None,
    noise: Annotated[Path | None, typer.Option(help="Folder of sounds without an object.")] = None,
    chorales: Annotated[Path | None, typer.Option(help="JSON of four-part scores to play.")] = None,
    binaural: Annotated[
        bool, typer.Option("--binaural", help="Two ears hear it; places are directions.")
    ] = False,
    head: Annotated[
        Path | None, typer.Option(help="SOFA file of a measured head; else spheres are drawn.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 means one a core.")] = 0,
) -> None:
    """Make videos of musicians who move with their notes, the truth beside each.

    DIR/000001.mp4 is the clip; DIR/000001/ holds objects.json (labels and boxes), stems/ (they add
    up to the clip's sound, to the sample) and score.json. The same seed and recipe make the same
    clips. A run that was stopped goes on where it left off when the same command is given again.

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
    for remark in material.warnings():
        print_line(remark)
    names = make_toyband(folder, clips, seed, settings, material, num_workers=workers)
    done = list(track(names, total=clips, what=f"clips into {folder}"))
    kind = "held-out" if is_held_out(seed) else "training"
    print_line(f"{len(done)} clips in {folder}, seed {seed} (plays {kind} notes)")
