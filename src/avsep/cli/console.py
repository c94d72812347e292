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
# A longer word is a path or the like, and is broken anywhere.
_WIDEST_WORD = 24
# What is printed are often names of files, in which [b] and :smile: are to stay as they are.
_out = Console(markup=False, emoji=False, highlight=False)
# For a file or another program, which have no width.
_wide = Console(markup=False, emoji=False, highlight=False, width=100_000)
_err = Console(markup=False, emoji=False, highlight=False, stderr=True)


def print_line(text: str) -> None:
    """Print a line of the answer."""
    _out.print(_printable(text), soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value for a program to read, and nothing else."""
    _out.file.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_error(text: str) -> None:
    """Print one line of what went wrong."""
    _err.print(f"avsep: {_printable(' '.join(text.split()))}", soft_wrap=True)


def print_table(title: str, head: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table; columns of figures stand to the right.

    On a terminal it is as wide as that at most: a head is no wider than the figures below it, and
    words are broken before figures are, and columns that still have no place follow below, each
    part with the first column. Elsewhere no line is broken. No cell is ever cut.
    """
    cells, narrow = [[_printable(cell) for cell in row] for row in rows], _out.is_terminal
    if narrow:
        cells = [[cell.replace(" ± ", " ±") for cell in row] for row in cells]
    _out.print(Text(_printable(title), "bold"), soft_wrap=True)
    columns = [[row[index] for row in cells] for index in range(len(head))]
    widths = [_least_width(name, column) for name, column in zip(head, columns, strict=True)]
    for part in _beside(widths, _out.width) if narrow else [range(len(head))]:
        table = Table()
        for index in part:
            if _are_figures(columns[index]):
                name = fill(head[index], widths[index]) if narrow else head[index]
                table.add_column(name, justify="right", overflow="fold")
            else:
                table.add_column(head[index], overflow="fold")
        for row in cells:
            table.add_row(*(row[index] for index in part))
        (_out if narrow else _wide).print(table)


def _printable(text: str) -> str:
    """A text in which nothing moves the cursor or colours a terminal: names come from outside."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )


def _least_width(name: str, column: list[str]) -> int:
    """How narrow a column can be: figures stay whole, words are broken between words."""
    if _are_figures(column):
        return max(_NARROWEST, *map(len, column)) if column else _NARROWEST
    words = [word for cell in (name, *column) for word in cell.split()]
    return min(_WIDEST_WORD, max(map(len, words), default=0))


def _beside(widths: list[int], most: int) -> Iterator[list[int]]:
    """The columns that stand beside one another within a width, the first in every part."""
    part, used = [0], widths[0] + 4
    for index in range(1, len(widths)):
        if used + widths[index] + 3 > most and len(part) > 1:
            yield part
            part, used = [0], widths[0] + 4
        part.append(index)
        used += widths[index] + 3
    yield part


@contextmanager
def working(what: str) -> Iterator[None]:
    """A turning sign on stderr while one step of some seconds is under way, on a terminal only."""
    if not _err.is_terminal:
        yield
        return
    with _err.status(what):
        yield


def _are_figures(column: Iterable[str]) -> bool:
    return all(_is_figure(cell) for cell in column)


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
