"""The command `avsep convert`: convert a released checkpoint into avsep's own file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.catalogue import read_catalogue
from avsep.cli.console import print_json, print_line, print_table, spinner

if TYPE_CHECKING:
    from avsep.conversion import Conversion


def convert(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...", help="The files of one checkpoint, or the folder that holds them."
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FILE", help="File to write: *.safetensors.")
    ],
    system: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar=f"[{'|'.join(read_catalogue().released_systems)}]",
            help="System of the checkpoint. Default: recognised by the names of its tensors.",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE",
            help="Take settings that tensors do not show (categories, windows, crops) from a "
            "recipe of `avsep train`, such as davis-ave.",
        ),
    ] = None,
    clip: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="CLIP of DAVIS, which its checkpoints do not contain: a hub id or a folder.",
        ),
    ] = "openai/clip-vit-base-patch32",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Convert a checkpoint that the authors of a paper released.

    The result is one file for `separate`, `evaluate` and `train --init`. Every tensor is converted
    or listed with the reason why it is not. No code in the files is run.

    Example: `avsep convert ckpt/sound_best.pth ckpt/frame_best.pth ckpt/synthesizer_best.pth -o
    sop.safetensors`

    Example: `avsep convert ckpt --as ccol -o ccol.safetensors`
    """
    from avsep import conversion

    conversion.check_output(out)
    with spinner("converting"):
        result = conversion.convert(files, system, recipe, clip)
        conversion.save_conversion(result, out)
    if as_json:
        print_json({"file": str(out), **result.as_json()})
    else:
        _print(result, out)


def _print(result: "Conversion", out: Path) -> None:
    from avsep.conversion import count_reasons, count_released

    print_table(
        f"{out}: {result.system}",
        ["network", "file", "tensors converted", "left out"],
        (
            [
                part.network.title,
                part.file,
                str(count_released(part)),
                str(len(part.translation.left_out)),
            ]
            for part in result.parts
        ),
    )
    for heading, items in (("Left out", result.left_out), ("Added", result.added)):
        for reason, number, name in count_reasons(items):
            tensors = name if number == 1 else f"{number} tensors, such as {name}"
            print_line(f"{heading}: {tensors}: {reason}")
    for name, value in result.changed_settings.items():
        print_line(f"Setting: {name} = {_text(value)}")
    if result.similar:
        print_line(
            f"Checkpoints of {', '.join(result.similar)} have the same names: if it is one, "
            f"type --as {result.similar[0]}"
        )


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
