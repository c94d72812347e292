"""The command line: one file a command, each parses, calls and prints; no logic lives here."""

import io
import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

import avsep
from avsep.cli.check import check
from avsep.cli.console import print_error, print_line
from avsep.cli.demo import demo
from avsep.cli.doctor import doctor
from avsep.cli.evaluate import evaluate
from avsep.cli.listen import listen
from avsep.cli.models import models
from avsep.cli.motion import motion
from avsep.cli.options import ListCommand
from avsep.cli.score import score
from avsep.cli.separate import separate
from avsep.cli.toyband import toyband
from avsep.cli.train import train
from avsep.errors import InputError

# 128 and the number of SIGPIPE, by which other programs are ended.
_PIPE_IS_BROKEN = 141

app = typer.Typer(
    name="avsep",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (demo, separate, toyband, motion, train, evaluate, models, doctor):
    app.command()(command)
for command in (score, check, listen):
    app.command(cls=ListCommand)(command)


@app.callback()
def version(
    show: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    """Separate the sound of every visible object in a video, and score whoever does."""
    if show:
        print_line(avsep.__version__)
        raise typer.Exit


def main() -> None:
    """Run a command: exit 0 when all went well, 2 for bad input, 1 for a fault of ours.

    Where what reads the output ends before (`| head`), it ends without a word too, with 141 as
    other programs do.
    """
    # A name of a file that the terminal has no letters for is written with escapes.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        try:
            _run()
        finally:
            sys.stdout.flush()  # what is left of the answer; at the very end it would be too late
    except BrokenPipeError:
        _exit_on_broken_pipe()
    except SystemExit as end:
        # What prints has caught it before us, and wants to exit with 1.
        if isinstance(end.__context__, BrokenPipeError):
            _exit_on_broken_pipe()
        raise


def _run() -> None:
    try:
        app(prog_name="avsep")
    except InputError as error:
        print_error(str(error))
        sys.exit(2)
    except OSError as error:
        # Of the machine, not of ours: a full disk, no rights, a name that is too long.
        print_error(f"{error.strerror}: '{error.filename}'" if error.filename else str(error))
        sys.exit(2)


def _exit_on_broken_pipe() -> NoReturn:
    """End when nobody reads what is printed, and let nothing more be written there."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    sys.exit(_PIPE_IS_BROKEN)


def _on_sigterm(number: int, _: object) -> NoReturn:
    """End in order when asked to: half files are removed, and worker processes are not left."""
    sys.exit(128 + number)
