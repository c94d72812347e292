"""Options shared by several commands, and options that take a list of values."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

Device = Annotated[
    str,
    typer.Option(help="Device of the models: auto (an accelerator if there is one), cpu, cuda:1."),
]
Labels = Annotated[
    str,
    typer.Option(
        help="Source of the category: given (the label), predicted (by the model, from the "
        "picture), both of them, or named (by the shipped namer, from the picture). No effect on "
        "models that read no category."
    ),
]
Text = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORD",
        help="Separate by a word alone, without box or crop, for models with a vocabulary: "
        "`--text violin`. Repeat for each object; can be combined with --object.",
    ),
]
Pairs = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Mix the solos listed in a published pair file: `--pairs testsep.csv`."
    ),
]


# Options that take several values after one name: `--reference a.wav b.wav`


class ListCommand(TyperCommand):
    """A command whose repeatable options also take a list: `--x a b` is read as `--x a --x b`.

    Register a function with `app.command(cls=ListCommand)(function)`. This applies to every option
    of type `list`. The list ends at the next word that begins with a dash; a value that begins with
    a dash is written `--x=-value`. Words after `--` are not changed.
    """

    # The context is of typer's own copy of click, or of click's, depending on typer's version.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with lists written out; results and errors are those of the base."""
        names = {
            name
            for parameter in self.params
            if parameter.param_type_name == "option" and getattr(parameter, "multiple", False)
            for name in parameter.opts
        }
        return super().parse_args(ctx, expand_lists(args, names))


def expand_lists(args: list[str], names: set[str]) -> list[str]:
    """Return the arguments with the option name repeated before every value of a list.

    >>> expand_lists(["--to", "a", "b", "--fast", "c"], {"--to"})
    ['--to', 'a', '--to', 'b', '--fast', 'c']
    """
    expanded: list[str] = []
    list_name, num_values = "", 0
    for position, word in enumerate(args):
        if word == "--":
            return expanded + args[position:]
        # A single "-" is a value: by convention it names standard input.
        if word.startswith("-") and word != "-":
            name = word.partition("=")[0]
            list_name = name if name in names else ""
            num_values = int("=" in word)
        elif list_name:
            # The name is already there before the first value; only later ones need it again.
            if num_values:
                expanded.append(list_name)
            num_values += 1
        expanded.append(word)
    return expanded
