"""Write the output folder of a separation, and separate many files."""

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.media.audio import write_audio
from avsep.media.names import distinct, plain_name
from avsep.separation.manifest import (
    FILE_NAME,
    PREVIEW_NAME,
    EarlierManifest,
    Manifest,
    ObjectRecord,
)
from avsep.separation.presentation import listening, result_page, write_preview
from avsep.separation.prompts import Objects
from avsep.separation.result import Result
from avsep.separation.separator import Progress, Separator

# The folder of a result: stems, residual, manifest, preview and report, whole or not at all


# What file managers leave in folders without being asked.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}


def write_result(result: Result, folder: Path) -> Manifest:
    """Write all files of a result, and tell what was written.

    Stems are 32-bit float WAV, which holds them to the last bit: together with residual.wav they
    add up to the mixture. An earlier result of the same video in the folder is replaced.

    Raises:
        InputError: the folder holds something else, or cannot be written.
    """
    earlier = earlier_result(folder)
    if earlier and not earlier.input.is_of(result.manifest.input):
        raise InputError(
            f"'{folder}' holds the result of another video, '{earlier.input.name}': give another "
            "folder, or move it away"
        )
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
            changes = {"preview": None, "warnings": (*manifest.warnings, remark)}
            manifest = manifest.model_copy(update=changes)
        write_atomic(part / manifest.report, result_page(result, manifest, sounds, titles))
        content = json.dumps(manifest.model_dump(mode="json"), indent=1)
        write_atomic(part / FILE_NAME, content + "\n")
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


def choose_folder(out: Path, video: Path, taken: Collection[Path]) -> Path:
    """Where the result of a video goes: a folder of its name, or with the next free number behind.

    What holds a result of the very same file is free, and so is what is empty; what holds another
    video's result, or was taken before, is passed over.

    Raises:
        InputError: the folder of its name holds something that is no result.
    """
    name, digest = folder_name(video), None
    first = out / name
    for folder in chain([first], (out / f"{name}-{number}" for number in count(2))):
        if folder in taken:
            continue
        try:
            earlier = earlier_result(folder)
        except InputError:
            if folder == first:
                raise
            continue
        if earlier:
            digest = digest or _sha256(video)
        if earlier is None or (digest and earlier.input.sha256 == digest):
            return folder
    raise AssertionError("numbers do not end")


def earlier_result(folder: Path) -> EarlierManifest | None:
    """The result that a folder holds; none if it is new or empty.

    Raises:
        InputError: it holds anything else, or is no folder.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"'{folder}' is in the way and no folder; give another with -o")
    if not folder.is_dir():
        return None
    earlier = _read_manifest(folder / FILE_NAME)
    there = {path.name for path in folder.iterdir()} - _LITTER
    foreign = sorted(there - (earlier.files if earlier else set()))
    if foreign:
        raise InputError(
            f"'{folder}' holds '{foreign[0]}', which is of no result of avsep separate: give "
            "another folder with -o, or move it away"
        )
    return earlier


def check_place(out: Path) -> None:
    """See that folders can be made in `out`, by making one; it leaves no trace.

    Raises:
        InputError: a file is in the way, or there is no right to write.
    """
    probe, missing = out / f".{secrets.token_hex(6)}.part", list[Path]()
    try:
        missing += [path for path in (out, *out.parents) if not path.exists()]
        probe.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"no folder can be made in '{out}': {error.strerror or error}; give another with -o"
        ) from error
    finally:
        for path in (probe, *missing):
            # Others may have begun to write there.
            with suppress(OSError):
                path.rmdir()


def _read_manifest(path: Path) -> EarlierManifest | None:
    try:
        return EarlierManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sha256(video: Path) -> str | None:
    """The checksum as manifests have it; none for what cannot be read, which is told later."""
    try:
        with video.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the wanted one, which takes its name and place at the end."""
    make_folder(folder.parent)
    part = folder.with_name(f".{secrets.token_hex(6)}.part")
    try:
        # Another command may just have found the folder above empty, and taken it away.
        part.mkdir(parents=True)
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


@dataclass(frozen=True)
class Outcome:
    """What became of one video: a manifest, or the reason why there is none."""

    video: Path
    folder: Path
    manifest: Manifest | None = None
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """For a program to read; `files` is empty where nothing was made."""
        head = {"video": str(self.video), "folder": str(self.folder)}
        if self.manifest is None:
            return {**head, "files": [], "error": self.error}
        manifest = self.manifest.model_dump(mode="json")
        return {**head, "files": sorted(self.manifest.files), "error": None, "manifest": manifest}

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows: each object with its file, category and share of the energy."""
        assert self.manifest is not None, "a table needs a result"
        rows = [
            [
                found.file,
                found.category or "-",
                _how_known(found),
                f"{100 * found.energy_share:.0f}",
            ]
            for found in self.manifest.objects
        ]
        share = f"{100 * self.manifest.residual_energy_share:.0f}"
        rows.append([self.manifest.residual, "-", "-", share])
        return ["file", "category", "how known", "% of energy"], rows


def separate_files(
    videos: Sequence[Path],
    objects: Objects | None,
    out: Path,
    separator: Separator,
    progress: Callable[[Path], Progress],
    text: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Separate and write each video in turn, each into a folder of its name.

    A video whose folder holds the result of another one gets the next free name, NAME-2.

    Raises:
        InputError: nothing can be written to `out`; told before any work.
    """
    check_place(out)
    taken: set[Path] = set()
    for video in videos:
        folder = out / folder_name(video)
        try:
            folder = choose_folder(out, video, taken)
            taken.add(folder)
            result = separator.separate(video, objects, text=text, progress=progress(video))
            yield Outcome(video, folder, write_result(result, folder))
        except InputError as error:
            yield Outcome(video, folder, error=str(error))
        except OSError as error:
            # Of the machine: a full disk, no rights. The next video may lie elsewhere.
            where = error.filename or video
            yield Outcome(video, folder, error=f"'{where}': {error.strerror or error}")


def _how_known(found: ObjectRecord) -> str:
    """In a word: what told the model of an object."""
    if found.known_by != "picture":
        return found.known_by
    return "told" if found.category_from == "label" else "seen"
