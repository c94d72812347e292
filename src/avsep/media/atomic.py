"""Write a file atomically: complete or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avsep.errors import InputError


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it at the end, delete it on an error.

    Raises:
        InputError: `path` is a folder, its folder is missing or not writable, the disk is full.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"'{target}' is a folder; give the name of a file to write")
    if not target.parent.is_dir():
        raise InputError(f"'{target}' cannot be written: make the folder '{target.parent}' first")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise InputError(
            f"'{target}' cannot be written: no permission to write in '{target.parent}'"
        )
    # In the same folder, because a rename is atomic only within one file system. The dot hides it
    # from listings, the random name keeps two writers of one path apart.
    part = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        yield part
        part.replace(target)
    except OSError as error:
        raise InputError(f"'{target}' cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def write_atomic(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write text (as UTF-8) or bytes to a file atomically.

    Raises:
        InputError: as `atomic_file`.
    """
    with atomic_file(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents.

    Raises:
        InputError: no permission, no space, or a file of that name exists.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder '{path}': {error.strerror}") from error
