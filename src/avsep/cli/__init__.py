"""The command line: one file per command, which parses arguments, calls avsep and prints."""

import io
import signal
import sys
from typing import Annotated, NoReturn

import typer

import avsep
from avsep.cli.check import check
from avsep.cli.console import make_lasting, print_error, print_line
from avsep.cli.convert import convert
from avsep.cli.demo import demo
from avsep.cli.doctor import doctor
from avsep.cli.evaluate import evaluate
from avsep.cli.listen import listen
from avsep.cli.models import models
from avsep.cli.motion import motion
from avsep.cli.objects import objects
from avsep.cli.options import ListCommand
from avsep.cli.score import score
from avsep.cli.separate import separate
from avsep.cli.toyband import toyband
from avsep.cli.train import train
from avsep.errors import InputError

# 128 + SIGPIPE (13), the exit status that a shell reports for programs ended by that signal.
_BROKEN_PIPE_STATUS = 141

app = typer.Typer(
    name="avsep",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
# In the order of `avsep --help`: first what a new user tries, last what is for bug reports.
app.command()(demo)
app.command()(separate)
app.command()(objects)
app.command()(toyband)
app.command()(motion)
app.command()(train)
app.command()(evaluate)
app.command(cls=ListCommand)(score)
app.command(cls=ListCommand)(check)
app.command(cls=ListCommand)(listen)
app.command()(convert)
app.command()(models)
app.command()(doctor)


@app.callback()
def version(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    """Separate the sound of every visible object in a video, and evaluate separation models."""
    if show:
        print_line(avsep.__version__)
        raise typer.Exit


def main() -> None:
    """Run a command: exit 0 on success, 2 for bad input, 1 for an error in avsep itself.

    If the reader of the output ends first (`| head`), the work is finished without it, and it exits
    silently with 141, as other programs do.
    """
    # File names that the terminal's encoding cannot write are printed with escapes.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    results = make_lasting("stdout")
    make_lasting("stderr")
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        _run()
    except SystemExit as end:
        if results is not None and not end.code:
            sys.stdout.flush()
            _exit_on_lost_results(results.error)
        raise


def _run() -> None:
    try:
        app(prog_name="avsep")
    except InputError as error:
        print_error(str(error))
        sys.exit(2)
    except OSError as error:
        # Conditions of the machine: a full disk, missing rights, a file name that is too long.
        print_error(f"{error.strerror}: '{error.filename}'" if error.filename else str(error))
        sys.exit(2)


def _exit_on_lost_results(error: OSError | None) -> None:
    """Exit with the status for an error of writing to stdout; none: all was written."""
    if isinstance(error, BrokenPipeError):
        sys.exit(_BROKEN_PIPE_STATUS)
    if error is not None:
        print_error(f"the output could not be written to stdout: {error.strerror}")
        sys.exit(2)


def _on_sigterm(number: int, _: object) -> NoReturn:
    """Exit on SIGTERM through SystemExit: partial files are removed and workers are ended."""
    sys.exit(128 + number)
