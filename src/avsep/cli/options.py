"""Options that several commands take, in the same words."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option(help="auto, cpu, or as PyTorch names it.")]
Labels = Annotated[
    str,
    typer.Option(
        help="What tells a model the category: told (the label), picture, or both. A model that "
        "reads none goes by the picture."
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD",
        help="An object by its word alone, no box and no picture, for a model that knows words: "
        "--text violin. Once for each; goes with --object.",
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Mix the solos that a published pair file lists."),
]
