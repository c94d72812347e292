"""Open a path, bytes or a binary file with FFmpeg, without access to any other file or address."""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

import av
from av.audio.layout import AudioLayout
from av.container import InputContainer
from av.error import FFmpegError

from avsep.errors import InputError


@runtime_checkable
class BinaryFile(Protocol):
    """A seekable binary file object: an open file, BytesIO or similar."""

    def read(self, num_bytes: int = -1, /) -> bytes:
        """Read the next bytes."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move to a position and return it."""
        ...

    def seekable(self) -> bool:
        """True if `seek` works."""
        ...


MediaSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryFile

# No protocol is named "none", so that no playlist can make FFmpeg open another file or address.
_OPTIONS = {"protocol_whitelist": "none"}
# Demuxers that render text as pictures, and playlists, whose content is a list of other files.
_NOT_MEDIA = {"tty", "bin", "xbin", "adf", "idf", "concat", "hls", "dash", "sdp", "rtsp", "imf"}

# Standard layouts of FFmpeg in which MOV and CAF state the channels in another order.
_STANDARD = (
    *("mono", "stereo", "2.1", "3.0", "3.0(back)", "3.1", "4.0", "quad", "quad(side)", "4.1"),
    *("5.0", "5.0(side)", "5.1", "5.1(side)", "6.0", "6.0(front)", "hexagonal", "6.1"),
    *("6.1(back)", "6.1(front)", "7.0", "7.0(front)", "7.1", "7.1(wide)", "7.1(wide-side)"),
    *("octagonal", "hexadecagonal", "22.2"),
)


@contextmanager
def open_media(source: MediaSource) -> Iterator[InputContainer]:
    """Open a source as a container; it may be opened again while it is still open.

    Names are never interpreted as protocols (`http:`, `concat:`), playlists are not followed.

    Raises:
        InputError: missing, empty, a folder, or not readable by FFmpeg.
    """
    name = source_name(source)
    with open_binary(source, name) as file:
        if file.seek(0, io.SEEK_END) == 0:
            raise InputError(f"{name} is empty (0 bytes); give a sound or video file")
        try:
            # "replace": tags that are not UTF-8 would otherwise raise.
            container = av.open(
                _FileView(file, name), mode="r", options=_OPTIONS, metadata_errors="replace"
            )
        except (FFmpegError, ValueError) as error:
            file.seek(0)
            # Cameras write the index at the end: without it nothing can be found in the file.
            hint = "; its index, at the end, is missing" if file.read(8)[4:] == b"ftyp" else ""
            raise _unreadable(name, ffmpeg_message(error) + hint) from error
        with container:
            if container.format.name in _NOT_MEDIA:
                raise _unreadable(name, f"FFmpeg detects '{container.format.name}'")
            _standardise_layouts(container)
            yield container


def source_name(source: object) -> str:
    """Return the name of a source for messages: its quoted path, or its kind of object.

    Raises:
        InputError: something that is no `MediaSource`.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return f"the given {memoryview(source).nbytes} bytes"
    if isinstance(source, str | os.PathLike):
        return f"'{os.fspath(source)}'"
    if not isinstance(source, BinaryFile):
        raise InputError(
            f"a {type(source).__name__} is no sound or video; give the path of a file, its bytes, "
            "or a file that is open with mode 'rb' (to separate also arrays, as avsep.records.Clip)"
        )
    name = getattr(source, "name", None)
    return f"'{name}'" if isinstance(name, str) else "the given file object"


def ffmpeg_message(error: Exception) -> str:
    """Return the text of an error of FFmpeg, without its number and file name."""
    return str(getattr(error, "strerror", None) or error)


class _FileView:
    """A file object with its own position and without a path, for FFmpeg to read."""

    def __init__(self, file: BinaryFile, name: str) -> None:
        self._file = file
        self._position = 0
        ending = Path(name.strip("'")).suffix
        # FFmpeg detects some raw formats by the file ending only; it gets no other part of the
        # name, which could be read as a protocol.
        self.name = "source" + (ending if ending[1:].isalnum() else "")

    def read(self, num_bytes: int) -> bytes:
        """Read the next bytes of this view; other views may have moved the shared file."""
        self._file.seek(self._position)
        data = self._file.read(num_bytes)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it."""
        if whence == io.SEEK_CUR:
            offset, whence = self._position + offset, io.SEEK_SET
        self._position = self._file.seek(offset, whence)
        return self._position

    def tell(self) -> int:
        """Return the position in the file."""
        return self._position


@contextmanager
def open_binary(source: MediaSource, name: str) -> Iterator[BinaryFile]:
    """Yield a seekable binary file for any source; file objects are left open at the end.

    Raises:
        InputError: missing, a folder, a pipe, open as text, or not seekable.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        # `bytes` is no copy of bytes, and joins the parts of a view that skips some.
        yield io.BytesIO(bytes(source))
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
    """Open a regular file with Python, so that FFmpeg never interprets its name."""
    hint = "; download it first, addresses are not read" if "://" in path else ""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{name} is a folder; give a sound or video file")
        # A pipe would block until somebody writes to it, and cannot seek.
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{name} is not a regular file but a pipe or device; give a file on disk"
            )
        return Path(path).open("rb")
    except FileNotFoundError as error:
        raise InputError(
            f"{name} does not exist{hint or '; give a sound or video file'}"
        ) from error
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name} cannot be opened ({ffmpeg_message(error)}){hint}") from error


def _unreadable(name: str, problem: str) -> InputError:
    return InputError(
        f"{name} is no sound or video that can be read ({problem}); give a media file, not text "
        "or a playlist, or repair it"
    )


# Channel layouts


def _standardise_layouts(container: InputContainer) -> None:
    """Replace the layout of each audio stream by a standard one of the same channels.

    Channels keep the order of the file. To be called before anything else asks for a layout: PyAV
    copies a layout together with the pointer to its list of channels, which a layout in an order of
    its own has (MOV: 6.1 and 7.1), and frees that list with every copy: the process would abort.
    """
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is None:
            continue
        layout = context.layout
        if layout.nb_channels:
            # The context forgets the list of channels, which only `layout` frees from now on.
            context.layout = _standard_layout(layout)


def _standard_layout(layout: AudioLayout) -> AudioLayout:
    """Return the standard layout of the same channels, or one that only counts them."""
    channels = sorted(channel.name for channel in layout.channels)
    for name in _STANDARD:
        standard = av.AudioLayout(name)
        if sorted(channel.name for channel in standard.channels) == channels:
            return standard
    return av.AudioLayout(f"{layout.nb_channels} channels")
