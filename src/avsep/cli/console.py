"""The output of all commands: results to stdout, progress and errors to stderr."""

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import fill
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text
from typing_extensions import Buffer

Item = TypeVar("Item")
# Headers of number columns are wrapped to the width of the numbers, but never narrower than this.
_MIN_NUMBER_WIDTH = 5
# Numbers as tables show them: "1.5", "+1.5 ±0.2", ">100", and "-" for no value.
_VALUE = r"(-|>?[-+]?(\d+(\.\d+)?(e[-+]?\d+)?|inf|nan))"
_NUMBER = re.compile(f"{_VALUE}( ± ?{_VALUE})?")
# A longer word is a path or the like, which may be broken anywhere.
_MAX_WORD_WIDTH = 24
# Characters that rich adds for each column ("│ " before, " " after) and once for the right border.
_COLUMN_BORDER, _TABLE_BORDER = 3, 1
# Output often holds file names, in which rich would replace [b] and :smile:.
_out = Console(markup=False, emoji=False, highlight=False)
# For a file or a pipe, which have no width.
_wide = Console(markup=False, emoji=False, highlight=False, width=100_000)
_err = Console(markup=False, emoji=False, highlight=False, stderr=True)


class LastingFile(io.FileIO):
    """The file of stdout or stderr, to which writing never fails; the first error is stored.

    A reader that ends early or a full disk must not end the work, whose result is in other files.
    """

    error: OSError | None = None

    def write(self, data: Buffer, /) -> int:
        """Write bytes and return their number, also after an error, when they are dropped."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def make_lasting(name: str) -> LastingFile | None:
    """Replace `sys.stdout` or `sys.stderr`, by name, with one to which writing never fails.

    A terminal is left as it is, and so is a stream without a file.
    """
    stream = getattr(sys, name)
    try:
        number = stream.fileno()
    except (AttributeError, OSError):
        return None
    if stream.isatty():
        return None
    file = LastingFile(number, "w", closefd=False)
    lasting = io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=stream.encoding,
        # File names that the encoding cannot write are printed with escapes.
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    setattr(sys, name, lasting)
    return file


@contextmanager
def results_alone() -> Iterator[None]:
    """Leave stdout to the results: what another package prints to it goes to stderr."""
    stdout = sys.stdout
    _out.file = _wide.file = stdout
    sys.stdout = sys.stderr
    try:
        yield
    finally:
        sys.stdout = stdout
        # Each console looks for sys.stdout by itself again.
        _out._file = _wide._file = None


def print_line(text: str) -> None:
    """Print a line of results to stdout."""
    _out.print(_printable(text), soft_wrap=True)


def print_json(value: object) -> None:
    """Print a value as JSON to stdout. Infinity and NaN are errors: JSON does not have them."""
    # Not through rich, which would wrap long lines.
    _out.file.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_event(value: object) -> None:
    """Print a value as JSON on one line to stdout, at once: its reader follows the work."""
    _out.file.write(json.dumps(value, allow_nan=False) + "\n")
    _out.file.flush()


def print_error(text: str) -> None:
    """Print an error or warning to stderr, on one line."""
    _err.print(f"avsep: {_printable(' '.join(text.split()))}", soft_wrap=True)


def print_table(title: str, head: list[str], rows: Iterable[list[str]]) -> None:
    """Print a table to stdout, with numbers aligned to the right. No cell is ever cut.

    On a terminal the table fits its width: headers are wrapped to the width of the numbers below
    them, then words are wrapped, and columns that still do not fit follow in further tables, each
    of which repeats the first column. In a file or pipe no line is wrapped.
    """
    rows = [list(map(_printable, row)) for row in rows]
    _out.print(Text(_printable(title), "bold"), soft_wrap=True)
    if not _out.is_terminal:
        _wide.print(_table(head, rows))
        return
    rows = [[cell.replace(" ± ", " ±") for cell in row] for row in rows]
    widths, head = [], head.copy()
    for index, column in enumerate(zip(head, *rows, strict=True)):
        widths.append(_min_width(column))
        if _are_numbers(column[1:]):
            head[index] = fill(head[index], widths[-1])
    for indices in _split_columns(widths, _out.width):
        part = [[row[index] for index in indices] for row in (head, *rows)]
        _out.print(_table(part[0], part[1:]))


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


@contextmanager
def progress_bars() -> Iterator["ProgressBars"]:
    """Yield bars for the stages of files, shown on stderr if that is a terminal."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn()
    is_quiet = not _err.is_terminal
    with Progress(*columns, TimeRemainingColumn(), console=_err, disable=is_quiet) as progress:
        yield ProgressBars(progress)


class ProgressBars:
    """Bars with the time that is left, one for each stage of each file."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def show(self, file: str, stage: str, done: float, total: float | None) -> None:
        """Show the seconds of a stage that are done, and all of them if they are known."""
        key = file, stage
        if key not in self._tasks:
            description = _printable(f"{file}: {stage}")
            self._tasks[key] = self._progress.add_task(description, total=total)
        self._progress.update(self._tasks[key], completed=done, total=total)

    def clear(self, file: str) -> None:
        """Remove the bars of a file."""
        for key in [key for key in self._tasks if key[0] == file]:
            self._progress.remove_task(self._tasks.pop(key))


def _table(head: list[str], rows: list[list[str]]) -> Table:
    table = Table()
    for name, *column in zip(head, *rows, strict=True):
        table.add_column(name, justify="right" if _are_numbers(column) else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _printable(text: str) -> str:
    """Escape characters that move the cursor or colour a terminal: file names may contain them."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()
        for sign in text
    )


def _min_width(column: Sequence[str]) -> int:
    """Return the least width of a column, headed by its name.

    Numbers stay whole, text is wrapped between words.
    """
    if _are_numbers(column[1:]):
        return max([_MIN_NUMBER_WIDTH, *map(len, column[1:])])
    words = [word for cell in column for word in cell.split()]
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
    return all(map(_NUMBER.fullmatch, column))
