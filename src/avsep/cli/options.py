"""Options shared by several commands, and options that take several values."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Device = Annotated[str, typer.Option(help="auto, cpu, or as PyTorch names it.")]
Labels = Annotated[
    str,
    typer.Option(
        help="Source of the category: given (the label), predicted (from the picture), or both. No "
        "effect on models that read no category."
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


# Options that take several values after one name: `--reference a.wav b.wav`


class ListCommand(TyperCommand):
    """A command whose repeatable options also take a list: `--x a b` is read as `--x a --x b`.

    Register a function with `app.command(cls=ListCommand)(function)`. Every option of type `list`
    becomes such a one. Its list ends at the next word that begins with a dash; a value that itself
    begins with one is written `--x=-value`. What stands after `--` is left as it is.
    """

    # The context is of typer's own copy of click, or of click's, depending on typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with the lists written out; same results and errors as the base's."""
        names = {
            name
            for parameter in self.params
            if parameter.param_type_name == "option" and getattr(parameter, "multiple", False)
            for name in parameter.opts
        }
        return super().parse_args(ctx, expand_lists(args, names))


def expand_lists(args: list[str], names: set[str]) -> list[str]:
    """The arguments with one option name before every value of a list.

    >>> expand_lists(["--to", "a", "b", "--fast", "c"], {"--to"})
    ['--to', 'a', '--to', 'b', '--fast', 'c']
    """
    expanded: list[str] = []
    listing, num_values = "", 0
    for position, word in enumerate(args):
        if word == "--":
            return expanded + args[position:]
        if word.startswith("-") and word != "-":
            name = word.partition("=")[0]
            listing = name if name in names else ""
            num_values = int("=" in word)
        elif listing:
            if num_values:
                expanded.append(listing)
            num_values += 1
        expanded.append(word)
    return expanded
