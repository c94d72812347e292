"""Open a path, bytes or a binary file so that FFmpeg sees this one source and nothing else."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import av
from av.container import InputContainer
from av.error import FFmpegError

from avsep.errors import InputError


@runtime_checkable
class BinaryFile(Protocol):
    """What is asked of a file object: an open file, BytesIO, or anything alike that can seek."""

    def read(self, num_bytes: int = -1, /) -> bytes:
        """The next bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move, and tell the new position."""
        ...

    def seekable(self) -> bool:
        """Whether `seek` works."""
        ...


Source = str | os.PathLike[str] | bytes | BinaryFile

# "none" is no protocol at all: no playlist can make FFmpeg open another file or address.
_OPTIONS = {"protocol_whitelist": "none"}
# Demuxers that draw text as pictures or whose content is a list of other files.
_NOT_MEDIA = {"tty", "bin", "xbin", "adf", "idf", "concat", "hls", "dash", "sdp", "rtsp", "imf"}


@contextmanager
def open_media(source: Source) -> Iterator[InputContainer]:
    """An open container; the source may be opened again, also while it is still open.

    Names are never taken for protocols (`http:`, `concat:`), playlists are not followed.

    Raises:
        InputError: missing, empty, a folder, or nothing that FFmpeg can read.
    """
    name = source_name(source)
    with _binary_file(source, name) as file:
        if file.seek(0, io.SEEK_END) == 0:
            raise InputError(f"{name} is empty (0 bytes); give a sound or video file")
        try:
            container = av.open(
                _Window(file, name), mode="r", options=_OPTIONS, metadata_errors="replace"
            )
        except (FFmpegError, ValueError) as error:
            raise _unreadable(name, reason(error)) from error
        with container:
            if container.format.name in _NOT_MEDIA:
                raise _unreadable(name, f"it looks like '{container.format.name}'")
            yield container


def source_name(source: Source) -> str:
    """What to call a source in messages: its path in quotes, or what kind of object it is."""
    if isinstance(source, bytes):
        return f"the given {len(source)} bytes"
    if isinstance(source, str | os.PathLike):
        return f"'{os.fspath(source)}'"
    name = getattr(source, "name", None)
    return f"'{name}'" if isinstance(name, str) else "the given file object"


def reason(error: Exception) -> str:
    """What FFmpeg says is wrong, without number and file name."""
    return str(getattr(error, "strerror", None) or error)


class _Window:
    """A file as FFmpeg may use it: its own position, no closing, no path but the ending."""

    def __init__(self, file: BinaryFile, name: str) -> None:
        self._file = file
        self._position = 0
        ending = Path(name.strip("'")).suffix
        # Some formats (raw ones) are told by their ending only; nothing else of the name gets in.
        self.name = "source" + (ending if ending[1:].isalnum() else "")

    def read(self, num_bytes: int) -> bytes:
        """The next bytes, wherever others have moved the shared file to."""
        self._file.seek(self._position)
        data = self._file.read(num_bytes)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move, and tell the new position."""
        if whence == io.SEEK_CUR:
            offset, whence = self._position + offset, io.SEEK_SET
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        """The position in the file."""
        return self._position


@contextmanager
def _binary_file(source: Source, name: str) -> Iterator[BinaryFile]:
    """A seekable binary file over any source; a file object that was given stays open."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with _open_path(os.fspath(source), name) as file:
            yield file
    else:
        if not isinstance(source.read(0), bytes):
            raise InputError(f"{name} is open as text; open it with mode 'rb'")
        if not source.seekable():
            raise InputError(f"{name} cannot seek; give a file on disk or its bytes")
        yield source


def _open_path(path: str, name: str) -> io.BufferedReader:
    """An ordinary file opened by Python, so that no part of its name has a meaning to FFmpeg."""
    hint = "; download it first, addresses are not read" if "://" in path else ""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name} is a folder; give a sound or video file")
        if not stat.S_ISREG(mode):
            raise InputError(f"{name} is no ordinary file (a pipe or device); give a file on disk")
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise InputError(
            f"{name} does not exist{hint or '; give a sound or video file'}"
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be opened ({reason(error)}){hint}") from error


def _unreadable(name: str, why: str) -> InputError:
    return InputError(
        f"{name} is no sound or video that can be read ({why}); give a media file, not text or a "
        "playlist, or repair it"
    )
