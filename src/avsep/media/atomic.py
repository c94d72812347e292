"""Write a file atomically: complete or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avsep.errors import InputError


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name in the same folder to write to; it becomes `path` at the end, or vanishes on an error.

    Raises:
        InputError: the folder does not exist or takes no files, `path` is a folder, a full disk.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"'{target}' is a folder; give the name of a file to write")
    if not target.parent.is_dir():
        raise InputError(f"'{target}' cannot be written: make the folder '{target.parent}' first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(f"'{target}' cannot be written: no right to write in '{target.parent}'")
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise InputError(f"'{target}' cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a text (UTF-8) or bytes, whole or not at all; errors are those of `atomic_file`."""
    with atomic_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing.

    Raises:
        InputError: there is no place for it, or a file of that name.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder '{path}': {error.strerror}") from error
