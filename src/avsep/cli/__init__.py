"""The command line: one file a command, each parses, calls and prints; no logic lives here."""

import sys

import typer

from avsep.cli.console import say_error
from avsep.cli.demo import demo
from avsep.cli.doctor import doctor
from avsep.cli.evaluate import evaluate
from avsep.cli.lists import ListCommand
from avsep.cli.models import models
from avsep.cli.score import score
from avsep.cli.toyband import toyband
from avsep.errors import InputError

app = typer.Typer(
    name="avsep",
    help="Separate the sound of every visible object in a video, and score whoever does.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (demo, toyband, evaluate, models, doctor):
    app.command()(command)
app.command(cls=ListCommand)(score)


def main() -> None:
    """Run a command: exit 0 when all went well, 2 for bad input, 1 for a fault of ours."""
    try:
        app()
    except InputError as error:
        say_error(str(error))
        sys.exit(2)
