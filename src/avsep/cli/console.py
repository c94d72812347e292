"""The one place that prints: results to stdout, progress and errors to stderr."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from textwrap import fill
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")
# Of a column of figures: its head is broken into lines of so many letters at least.
_NARROWEST = 5
# What is printed are often names of files, in which [b] and :smile: are to stay as they are.
_out = Console(markup=False, emoji=False, highlight=False)
# For a file or another program, which have no width.
_wide = Console(markup=False, emoji=False, highlight=False, width=100_000)
_err = Console(markup=False, emoji=False, highlight=False, stderr=True)


def say(text: str) -> None:
    """Print a line of the answer."""
    _out.print(text, soft_wrap=True)


def say_json(value: object) -> None:
    """Print a value for a program to read, and nothing else."""
    _out.file.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def say_error(text: str) -> None:
    """Print one line of what went wrong."""
    _err.print(f"avsep: {' '.join(text.split())}", soft_wrap=True)


def say_table(title: str, head: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table; columns of figures stand to the right.

    On a terminal it is as wide as that at most: a head is no wider than the figures below it, and
    words are broken before figures are. Elsewhere no line is broken. No cell is ever cut.
    """
    table = Table()
    cells, narrow = list(rows), _out.is_terminal
    if narrow:
        cells = [[cell.replace(" ± ", " ±") for cell in row] for row in cells]
    for index, name in enumerate(head):
        column = [row[index] for row in cells]
        if all(_is_figure(cell) for cell in column):
            widest = max(_NARROWEST, *map(len, column)) if column else _NARROWEST
            shown = fill(name, widest) if narrow else name
            table.add_column(shown, justify="right", overflow="fold")
        else:
            table.add_column(name, overflow="fold")
    for row in cells:
        table.add_row(*row)
    _out.print(Text(title, "bold"), soft_wrap=True)
    (_out if narrow else _wide).print(table)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A turning sign on stderr while one step of some seconds is under way, on a terminal only."""
    if not _err.is_terminal:
        yield
        return
    with _err.status(what):
        yield


def _is_figure(cell: str) -> bool:
    try:
        for part in cell.split(" ±"):
            float("0" if part == "-" else part.removeprefix(">"))
    except ValueError:
        return False
    return True


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass items on, with a progress bar on stderr while they go by if that is a terminal."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    quiet = not _err.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=_err, disable=quiet) as progress:
        yield from progress.track(items, total=total, description=what)
