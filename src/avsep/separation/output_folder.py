"""Choose the output folder of a video, and replace its earlier result in one step."""

import hashlib
import os
import secrets
import shutil
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count, filterfalse
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from avsep.errors import InputError
from avsep.media.atomic import make_folder
from avsep.media.names import plain_name
from avsep.separation.result import (
    MANIFEST_NAME,
    PREVIEW_NAME,
    PROJECT_NAME,
    REPORT_NAME,
    RESIDUAL_NAME,
    Manifest,
)
from avsep.separation.video_input import VideoInput

_PRESENTATION = {PREVIEW_NAME, "preview.mkv", REPORT_NAME, PROJECT_NAME}
# File managers leave these in folders that a user opens; they do not make a folder foreign.
_SYSTEM_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}


class _Read(BaseModel):
    # Lenient: every version of avsep has its own fields, and one unknown to this version would
    # make its results foreign.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EarlierInput(_Read):
    """Video of an earlier result."""

    name: str = ""
    sha256: str | None = None
    num_samples: int | None = None

    def is_same_video(self, video_input: VideoInput) -> bool:
        """True if the checksums are equal; arrays have none, so name and length decide."""
        sha256, _ = video_input.fingerprint or (None, None)
        if self.sha256 is None and sha256 is None:
            sound = video_input.sound
            num_samples = round(sound.stated_seconds * sound.sample_rate_hz)
            return (self.name, self.num_samples) == (video_input.file_name, num_samples)
        return self.sha256 == sha256


class EarlierObject(_Read):
    """Object of an earlier result."""

    file: str | None


class EarlierManifest(_Read):
    """The part of a manifest, of any version, that is needed to replace a result."""

    made_by: Literal["avsep separate"]
    input: EarlierInput = EarlierInput()
    objects: tuple[EarlierObject, ...] = ()
    residual: str = RESIDUAL_NAME
    preview: str | None = PREVIEW_NAME
    report: str | None = REPORT_NAME
    project: str | None = None


def result_files(manifest: Manifest | EarlierManifest) -> set[str]:
    """Return the names of all files of a result, the manifest included."""
    stems = {item.file for item in manifest.objects if item.file}
    others = (manifest.preview, manifest.report, manifest.project)
    return stems | {MANIFEST_NAME, manifest.residual} | {name for name in others if name}


def folder_name(video: Path) -> str:
    """Return the name of a video's output folder: the file's name without its ending.

    >>> folder_name(Path("some/duet (2).mp4")), folder_name(Path(".hidden.mp4"))
    ('duet (2)', 'hidden')
    """
    # Any file name is a folder name too, except where the folder would be hidden or outside `out`.
    if video.stem.isprintable() and not video.stem.startswith("."):
        return video.stem
    return plain_name(video.stem, "video")


def choose_folder(
    out: Path, video: Path, used: Collection[Path], sha256: Callable[[], str | None]
) -> Path:
    """Return the output folder of a video: its name, or with the next free number appended.

    Free is an empty folder, and one that contains a result of the very same file. A result of
    another video, or a folder in `used`, is passed over. `sha256` computes the video's checksum,
    where it is needed.

    Raises:
        InputError: the folder of the plain name contains something that is no result.
    """
    name = folder_name(video)
    plain_folder = out / name
    for number in count(1):
        folder = plain_folder if number == 1 else out / f"{name}-{number}"
        if folder in used:
            continue
        try:
            earlier = earlier_result(folder)
        except InputError:
            if folder == plain_folder:
                raise
            continue
        if earlier is None or (earlier.input.sha256 and earlier.input.sha256 == sha256()):
            return folder
    raise AssertionError("numbers do not end")


def earlier_result(folder: Path) -> EarlierManifest | None:
    """Return the manifest of the result in a folder; none if it is new or empty.

    Raises:
        InputError: it contains anything else, or is not a folder.
    """
    # A link is refused, since replacing the folder would replace the link, not what it points to.
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"'{folder}' exists and is not a folder; give another with -o")
    if not folder.is_dir():
        return None
    earlier = _read_manifest(folder / MANIFEST_NAME)
    names = {path.name for path in folder.iterdir()} - _SYSTEM_FILES
    # Preview, report and project may be there before the manifest names them.
    ours = result_files(earlier) | _PRESENTATION if earlier else set()
    foreign = sorted(names - ours)
    if foreign:
        raise InputError(
            f"'{folder}' contains '{foreign[0]}', which avsep separate did not write: give another "
            "folder with -o, or move it away"
        )
    return earlier


def is_result_folder(folder: Path) -> bool:
    """Return True if a folder contains a result of any version of avsep."""
    return _read_manifest(folder / MANIFEST_NAME) is not None


def _read_manifest(path: Path) -> EarlierManifest | None:
    try:
        return EarlierManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def file_sha256(video: Path) -> str | None:
    """Return the checksum as in manifests; none for an unreadable file, refused when opened."""
    try:
        with video.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


# Atomic writing: files are made in a hidden folder and renamed when they are complete


def check_writable(out: Path) -> None:
    """Check that folders can be made in `out` by making one and removing it.

    Raises:
        InputError: a file is in the way, or there is no right to write.
    """
    probe, missing = out / f".{secrets.token_hex(6)}.part", list[Path]()
    try:
        missing += filterfalse(Path.exists, (out, *out.parents))
        probe.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"cannot make a folder in '{out}': {error.strerror or error}; give another with -o"
        ) from error
    finally:
        for path in (probe, *missing):
            # Another process may have written there meanwhile: rmdir then fails, as it should.
            with suppress(OSError):
                path.rmdir()


@contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `folder`, which is removed at the end.

    Hidden folders beside it that killed processes left are removed too.
    """
    make_folder(folder.parent)
    remove_left_parts(folder.parent)
    # Beside it: renaming is atomic on one file system only.
    part = folder.with_name(f"{_part_prefix(os.getpid())}{secrets.token_hex(6)}.part")
    try:
        # Another process' check_writable may just have removed the empty folder above.
        part.mkdir(parents=True)
        yield part
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_left_parts(parent: Path) -> None:
    """Remove the hidden folders of this machine's processes that ended without removing them."""
    # os.kill(pid, 0), which looks for a process elsewhere, ends it on Windows.
    if sys.platform == "win32":
        return
    for part in parent.glob(f"{_part_prefix('*')}*.part"):
        pid = part.name.split("-")[1]
        if pid.isdecimal() and not _is_running(int(pid)):
            shutil.rmtree(part, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # another user's
    return True


def _part_prefix(pid: int | str) -> str:
    """Return the first part of a hidden folder's name: the machine, then the process."""
    return f".{_machine_digest()}-{pid}-"


@cache
def _machine_digest() -> str:
    """Return a word for this machine and, in a container, its own numbering of processes.

    On a shared file system the processes of other machines cannot be looked up.
    """
    names = [socket.gethostname()]
    with suppress(OSError):
        names.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]


def replace_folder(part: Path, folder: Path) -> None:
    """Rename `part` to `folder`; an earlier folder is removed after that, or restored."""
    old = folder.with_name(f".{secrets.token_hex(6)}.old")
    try:
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        # Ctrl-C may come between any two steps: the disk tells which of them were done.
        if not part.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            _restore_folder(old, folder)


def _restore_folder(old: Path, folder: Path) -> None:
    try:
        old.rename(folder)
    except OSError as error:
        raise InputError(
            f"'{folder}' cannot be written: {error.strerror or error}; the earlier result is kept "
            f"as '{old}', move it back"
        ) from error
