"""The output of all commands: results to stdout, progress and errors to stderr."""

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
# Headers of number columns are wrapped to the width of the numbers, but never narrower than this.
_MIN_NUMBER_WIDTH = 5
# A longer word is a path or the like, which may be broken anywhere.
_MAX_WORD_WIDTH = 24
# Characters that rich adds for each column ("│ " before, " " after) and once for the right border.
_COLUMN_BORDER, _TABLE_BORDER = 3, 1
# Output often holds file names, in which rich would replace [b] and :smile:.
_out = Console(markup=False, emoji=False, highlight=False)
# For a file or a pipe, which have no width.
_wide = Console(markup=False, emoji=False, highlight=False, width=100_000)
_err = Console(markup=False, emoji=False, highlight=False, stderr=True)


def print_line(text: str) -> None:
    """Print a line of results to stdout."""
    _out.print(_printable(text), soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value as JSON to stdout. Infinity and NaN are errors: JSON does not have them."""
    # Not through rich, which would wrap long lines.
    _out.file.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_error(text: str) -> None:
    """Print an error or warning to stderr, on one line."""
    _err.print(f"avsep: {_printable(' '.join(text.split()))}", soft_wrap=True)


def print_table(title: str, head: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table to stdout, with numbers aligned to the right. No cell is ever cut.

    On a terminal the table fits its width: headers are wrapped to the width of the numbers below
    them, then words are wrapped, and columns that still do not fit follow in further tables, each
    of which repeats the first column. In a file or pipe no line is wrapped.
    """
    on_terminal = _out.is_terminal
    cells = [[_printable(cell) for cell in row] for row in rows]
    if on_terminal:
        cells = [[cell.replace(" ± ", " ±") for cell in row] for row in cells]
    _out.print(Text(_printable(title), "bold"), soft_wrap=True)
    columns = [[row[index] for row in cells] for index in range(len(head))]
    widths = [_min_width(name, column) for name, column in zip(head, columns, strict=True)]
    for indices in _split_columns(widths, _out.width) if on_terminal else [range(len(head))]:
        table = Table()
        for index in indices:
            if _are_numbers(columns[index]):
                name = fill(head[index], widths[index]) if on_terminal else head[index]
                table.add_column(name, justify="right", overflow="fold")
            else:
                table.add_column(head[index], overflow="fold")
        for row in cells:
            table.add_row(*(row[index] for index in indices))
        (_out if on_terminal else _wide).print(table)


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show a spinner on stderr during a step of some seconds, on a terminal only."""
    if not _err.is_terminal:
        yield
        return
    with _err.status(text):
        yield


def track(items: Iterable[Item], total: int, description: str) -> Iterator[Item]:
    """Yield the items, with a progress bar on stderr if that is a terminal."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    is_quiet = not _err.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=_err, disable=is_quiet) as progress:
        yield from progress.track(items, total=total, description=description)


def _printable(text: str) -> str:
    """Escape characters that move the cursor or colour a terminal: file names may contain them."""
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )


def _min_width(name: str, column: list[str]) -> int:
    """Return the least width of a column: numbers stay whole, text is wrapped between words."""
    if _are_numbers(column):
        return max(_MIN_NUMBER_WIDTH, *map(len, column)) if column else _MIN_NUMBER_WIDTH
    words = [word for cell in (name, *column) for word in cell.split()]
    return min(_MAX_WORD_WIDTH, max(map(len, words), default=0))


def _split_columns(widths: list[int], max_width: int) -> Iterator[list[int]]:
    """Yield groups of columns that fit a width side by side, the first column in every group."""
    first_width = widths[0] + _COLUMN_BORDER + _TABLE_BORDER
    indices, width = [0], first_width
    for index in range(1, len(widths)):
        # A group has at least two columns, so a column wider than the terminal gets one too.
        if width + widths[index] + _COLUMN_BORDER > max_width and len(indices) > 1:
            yield indices
            indices, width = [0], first_width
        indices.append(index)
        width += widths[index] + _COLUMN_BORDER
    yield indices


def _are_numbers(column: Iterable[str]) -> bool:
    return all(_is_number(cell) for cell in column)


def _is_number(cell: str) -> bool:
    """Return True for "1.5", "1.5 ±0.2", ">100" and "-", which stands for no value."""
    try:
        for part in cell.split(" ±"):
            float("0" if part == "-" else part.removeprefix(">"))
    except ValueError:
        return False
    return True
