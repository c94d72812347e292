"""The folder of a result: stems, residual, manifest, preview and report, whole or not at all."""

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from avsep.errors import InputError
from avsep.media.audio_files import write_audio
from avsep.media.whole_file import make_folder, write_whole
from avsep.separation.listening import listening
from avsep.separation.manifest import FILE_NAME, PREVIEW_NAME, Manifest
from avsep.separation.names import distinct, plain_name
from avsep.separation.page import result_page
from avsep.separation.preview import write_preview
from avsep.separation.result import Result

# What file managers leave in folders without being asked.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}


def write_result(result: Result, folder: Path) -> Manifest:
    """Write all files of a result, and tell what was written.

    Stems are 32-bit float WAV, which holds them to the last bit: together with residual.wav they
    add up to the mixture. An earlier result in the folder is replaced.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    check_free(folder)
    with _whole_folder(folder) as part:
        for found, record in zip(result.objects, result.manifest.objects, strict=True):
            write_audio(part / record.file, found.stem, result.sample_rate_hz)
        write_audio(part / result.manifest.residual, result.residual, result.sample_rate_hz)
        sounds = listening(result)
        titles = distinct(found.label for found in result.objects)
        manifest = result.manifest
        try:
            write_preview(part / PREVIEW_NAME, result, sounds, titles)
        except InputError as error:
            remark = f"there is no {PREVIEW_NAME}: {error}"
            changes = {"preview": None, "remarks": (*manifest.remarks, remark)}
            manifest = manifest.model_copy(update=changes)
        write_whole(part / manifest.report, result_page(result, manifest, sounds, titles))
        content = json.dumps(manifest.model_dump(mode="json"), indent=1)
        write_whole(part / FILE_NAME, content + "\n")
    return manifest


def folder_name(video: Path) -> str:
    """What the folder of a video's result is called: as the video, without its ending.

    >>> folder_name(Path("some/duet (2).mp4")), folder_name(Path(".hidden.mp4"))
    ('duet (2)', 'hidden')
    """
    # A file's name names a folder as well, unless that would hide it or lead out of its place.
    if video.stem.isprintable() and not video.stem.startswith("."):
        return video.stem
    return plain_name(video.stem, "video")


def check_free(folder: Path) -> None:
    """See that a folder is new, empty, or holds an earlier result and nothing else."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"'{folder}' is in the way and no folder; give another with -o")
    if not folder.is_dir():
        return
    there = {path.name for path in folder.iterdir()} - _LITTER
    foreign = sorted(there - _names_of_result(folder))
    if foreign:
        raise InputError(
            f"'{folder}' holds '{foreign[0]}', which is of no result of avsep separate: give "
            "another folder with -o, or move it away"
        )


def _names_of_result(folder: Path) -> set[str]:
    """Files of the result that a folder holds; none if it holds none."""
    try:
        text = (folder / FILE_NAME).read_text(encoding="utf-8")
        return Manifest.model_validate_json(text).files
    except (OSError, ValueError, ValidationError):
        return set()


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the wanted one, which takes its name and place at the end."""
    make_folder(folder.parent)
    part = folder.with_name(f".{secrets.token_hex(6)}.part")
    try:
        part.mkdir()
        yield part
        _put_in_place(part, folder)
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put_in_place(part: Path, folder: Path) -> None:
    """Give a new folder its name; what had that name goes when it is done, and else stays."""
    old = folder.with_name(f".{secrets.token_hex(6)}.old")
    try:
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        # An interrupt may come between any two steps: what counts is what lies on the disk.
        if not part.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            _put_back(old, folder)


def _put_back(old: Path, folder: Path) -> None:
    try:
        old.rename(folder)
    except OSError as error:
        raise InputError(
            f"'{folder}' cannot be written: {error.strerror or error}; the earlier result is kept "
            f"as '{old}', move it back"
        ) from error
