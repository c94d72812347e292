"""Options shared by several commands, list options, and help text taken from settings classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperOption

if TYPE_CHECKING:
    from pydantic import BaseModel

Device = Annotated[
    str,
    typer.Option(help="Device of the models: auto (an accelerator if there is one), cpu, cuda:1."),
]
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


# Help text taken from the module that defines the values


@dataclass(frozen=True)
class OptionHelp:
    """Help of one option: its text, its choices (empty: any value) and its default."""

    text: str
    choices: tuple[str, ...] = ()
    default: object = None


class HelpCommand(TyperCommand):
    """A command whose option help is completed only when it is printed.

    Choices, defaults and names are defined once, in settings classes and registries. Importing
    their modules loads PyTorch, which takes seconds, so `avsep --help` and the parsing of arguments
    do without; values are checked when the command builds its settings.
    """

    def option_help(self) -> dict[str, OptionHelp]:
        """Return the help of options by parameter name; commands override it."""
        return {}

    def complete_help(self) -> None:
        """Write text, choices and defaults into the options."""
        option_help = self.option_help()
        for parameter in self.params:
            if isinstance(parameter, TyperOption) and parameter.name in option_help:
                item = option_help[parameter.name]
                parameter.help = item.text
                parameter.default = item.default
                if item.choices:
                    parameter.metavar = f"[{'|'.join(item.choices)}]"

    # The context is of typer's own copy of click, or of click's, depending on typer's version.
    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help page after completing it."""
        self.complete_help()
        super().format_help(ctx, formatter)


def settings_help(settings: "type[BaseModel]") -> dict[str, OptionHelp]:
    """Return the help of options that are fields of a settings class, by field name."""
    return {
        name: OptionHelp(
            f"{(field.description or '')[:1].upper()}{(field.description or '')[1:]}.",
            get_args(field.annotation) if get_origin(field.annotation) is Literal else (),
            field.default,
        )
        for name, field in settings.model_fields.items()
    }


# Options that take several values after one name: `--reference a.wav b.wav`


class ListCommand(HelpCommand):
    """A command whose repeatable options also take a list: `--x a b` is read as `--x a --x b`.

    Register a function with `app.command(cls=ListCommand)(function)`. This applies to every option
    of type `list`. The list ends at the next word that begins with a dash; a value that begins with
    a dash is written `--x=-value`. Words after `--` are not changed.
    """

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
