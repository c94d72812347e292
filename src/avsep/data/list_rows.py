"""The lines of a list as cells: blanks, quotes, byte order marks and missing line ends aside."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from avsep.errors import InputError

MOST_COLUMNS = 4
# Lists of the field have less than 1 MB; a file of this size is something else.
_MOST_BYTES = 256 * 2**20
_LFS_MARK = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Row:
    """The cells of one line, stripped of blanks; `line` counts from 1."""

    line: int
    cells: tuple[str, ...]


def check_is_file(path: Path) -> None:
    """Raise an InputError for what is no ordinary file, or only git LFS's pointer to one."""
    if not path.is_file():
        what = "is no ordinary file" if path.exists() else "does not exist"
        what = "is a folder" if path.is_dir() else what
        raise InputError(f"'{path}' {what}; give a list: csv, txt, json or h5")
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    if num_bytes > _MOST_BYTES:
        raise InputError(f"'{path}' has {num_bytes} bytes: that is no list of videos")
    check_is_fetched(path, "list")


def check_is_fetched(path: Path, what: str) -> None:
    """Raise an InputError for git LFS's pointer to a file in place of the file, a `what`."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_LFS_MARK)) == _LFS_MARK
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    if is_pointer:
        raise InputError(
            f"'{path}' is a pointer of git LFS, not the {what} itself: fetch it with `git lfs "
            "pull` in the repository it comes from"
        )


def read_text(path: Path) -> str:
    """A text in UTF-8, without a byte order mark; anything else is an InputError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no text in UTF-8 ({error}): save it as one") from error
    if "\0" in text:
        raise InputError(f"'{path}' is no text: it holds zero bytes")
    return text


def read_rows(path: Path) -> tuple[Row, ...]:
    """The lines of a list that are not blank, one at least, all of as many cells as the first.

    Raises:
        InputError: no text, nothing in it, quotes that do not close, lines of unequal cells.
    """
    try:
        reader = csv.reader(
            io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True
        )
        rows = tuple(
            Row(reader.line_num, cells)
            for line in reader
            if any(cells := tuple(cell.strip() for cell in line))
        )
    except csv.Error as error:
        raise InputError(f"cannot read '{path}' as a list: {error}") from error
    if not rows:
        raise InputError(f"'{path}' lists nothing: give a list with one video at least")
    is_annotation = "&" in rows[0].cells[0]
    for row in rows:
        if is_annotation:
            continue  # AVE's rows are cut at & alone
        if len(row.cells) != len(rows[0].cells):
            raise InputError(
                f"'{path}', line {row.line} has {len(row.cells)} columns, line {rows[0].line} has "
                f"{len(rows[0].cells)}: a line is damaged, or a label with a comma lacks its quotes"
            )
        if len(row.cells) > MOST_COLUMNS:
            raise InputError(
                f"'{path}', line {row.line} has {len(row.cells)} columns; lists of the field have "
                f"one to {MOST_COLUMNS}"
            )
    return rows
