"""Write the output folder of a separation, and separate many files."""

import hashlib
import json
import secrets
import shutil
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, filterfalse
from operator import attrgetter
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.media.audio import write_audio
from avsep.media.names import distinct, plain_name
from avsep.separation.presentation import playback_audio, report_page, write_preview
from avsep.separation.prompts import ObjectPrompts
from avsep.separation.result import (
    MANIFEST_NAME,
    PREVIEW_NAME,
    REPORT_NAME,
    RESIDUAL_NAME,
    InputRecord,
    Manifest,
    Result,
)
from avsep.separation.separator import Progress, Separator

# File managers leave these in folders that a user opens; they do not make a folder foreign.
_SYSTEM_FILES = {".DS_Store", "Thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Outcome:
    """Outcome for one video: the manifest of what was written, or an error."""

    video: Path
    folder: Path
    manifest: Manifest | None = None
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the entry of `--json`; `files` is empty after an error."""
        head = {"video": str(self.video), "folder": str(self.folder)}
        if self.manifest is None:
            return {**head, "files": [], "error": self.error}
        manifest = self.manifest.model_dump(mode="json")
        return {**head, "files": sorted(result_files(self.manifest)), "error": None,
                "manifest": manifest}  # fmt: skip

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return head and rows: file, category and energy share of each object."""
        assert self.manifest is not None, "a table needs a result"
        rows = []
        for item in self.manifest.objects:
            source = item.category_from or "-" if item.prompt_kind == "visual" else item.prompt_kind
            share = f"{100 * item.energy_share:.0f}"
            rows.append([item.file, item.category or "-", source, share])
        share = f"{100 * self.manifest.residual_energy_share:.0f}"
        rows.append([self.manifest.residual, "-", "-", share])
        return ["file", "category", "category from", "% of energy"], rows


def separate_files(
    videos: Sequence[Path],
    objects: ObjectPrompts | None,
    out: Path,
    separator: Separator,
    progress: Progress,
    text: Sequence[str] = (),
) -> Iterator[Outcome]:
    """Separate the videos in turn and write each result into a folder named as the video.

    A video whose folder contains the result of another one gets the next free name, NAME-2.

    Raises:
        InputError: `out` cannot be written, checked before any separation.
    """
    check_writable(out)
    used: set[Path] = set()
    for video in videos:
        folder = out / folder_name(video)
        try:
            folder = choose_folder(out, video, used)
            used.add(folder)
            result = separator.separate(video, objects, text=text, progress=progress)
            yield Outcome(video, folder, write_result(result, folder))
        except InputError as error:
            yield Outcome(video, folder, error=str(error))
        except OSError as error:
            # A full disk or missing rights: the next video may be on another disk.
            where = error.filename or video
            yield Outcome(video, folder, error=f"'{where}': {error.strerror or error}")


def write_result(result: Result, folder: Path) -> Manifest:
    """Write all files of a result and return the manifest as written.

    First the stems, with a manifest that names no preview and no report; they take the place of an
    earlier result of the same video in one step. Then preview, report and the whole manifest.
    Stems are 32-bit float WAV, which is exact: with residual.wav they sum to the mixture.

    Raises:
        InputError: the folder contains something else, or cannot be written.
    """
    earlier = earlier_result(folder)
    if earlier and not earlier.input.is_same_video(result.manifest.input):
        raise InputError(
            f"'{folder}' contains the result of another video, '{earlier.input.name}': give "
            "another folder, or move it away"
        )
    with _part_folder(folder) as part:
        for item, record in zip(result.objects, result.manifest.objects, strict=True):
            write_audio(part / record.file, item.stem, result.sample_rate_hz)
        write_audio(part / result.manifest.residual, result.residual, result.sample_rate_hz)
        _write_manifest(result.manifest.model_copy(update={"preview": None, "report": None}), part)
        _replace_folder(part, folder)
    with _part_folder(folder) as part:
        manifest = _write_presentation(result, part)
        # The manifest last: it names no file that is not there.
        for name in (manifest.preview, manifest.report, MANIFEST_NAME):
            if name:
                (part / name).replace(folder / name)
    return manifest


def _write_presentation(result: Result, folder: Path) -> Manifest:
    """Write preview and report, and the manifest that names them."""
    playback = playback_audio(result)
    titles = distinct(map(attrgetter("label"), result.objects))
    manifest = result.manifest
    # The preview is encoded by FFmpeg, which leaves Python free to draw the report.
    with ThreadPoolExecutor(1) as pool:
        preview = pool.submit(write_preview, folder / PREVIEW_NAME, result, playback, titles)
        page = report_page(result, manifest, playback, titles)
    try:
        preview.result()
    except InputError as error:
        # The stems are exact whatever the state of the pictures: keep them.
        warning = f"{PREVIEW_NAME} is not written: {error}"
        changes = {"preview": None, "warnings": (*manifest.warnings, warning)}
        manifest = manifest.model_copy(update=changes)
        page = report_page(result, manifest, playback, titles)
    write_atomic(folder / REPORT_NAME, page)
    _write_manifest(manifest, folder)
    return manifest


def _write_manifest(manifest: Manifest, folder: Path) -> None:
    content = json.dumps(manifest.model_dump(mode="json"), indent=1)
    write_atomic(folder / MANIFEST_NAME, content + "\n")


# The choice of a folder, which never replaces files of anything but an earlier result


class _Read(BaseModel):
    # Lenient: every version of avsep has its own fields, and one unknown to this version would
    # make its results foreign.
    model_config = ConfigDict(frozen=True, extra="ignore")


class EarlierInput(_Read):
    """Video of an earlier result."""

    name: str = ""
    sha256: str | None = None
    num_samples: int | None = None

    def is_same_video(self, video: InputRecord) -> bool:
        """True if the checksums are equal; arrays have none, so name and length decide."""
        if self.sha256 is None and video.sha256 is None:
            return (self.name, self.num_samples) == (video.name, video.num_samples)
        return self.sha256 == video.sha256


class EarlierObject(_Read):
    """Object of an earlier result."""

    file: str


class EarlierManifest(_Read):
    """The part of a manifest, of any version, that is needed to replace a result."""

    made_by: Literal["avsep separate"]
    input: EarlierInput = EarlierInput()
    objects: tuple[EarlierObject, ...] = ()
    residual: str = RESIDUAL_NAME
    preview: str | None = PREVIEW_NAME
    report: str | None = REPORT_NAME


def result_files(manifest: Manifest | EarlierManifest) -> set[str]:
    """Return the names of all files of a result, the manifest included."""
    files = {item.file for item in manifest.objects}
    files |= {MANIFEST_NAME, manifest.residual}
    return files | {name for name in (manifest.preview, manifest.report) if name}


def folder_name(video: Path) -> str:
    """Return the name of a video's output folder: the file's name without its ending.

    >>> folder_name(Path("some/duet (2).mp4")), folder_name(Path(".hidden.mp4"))
    ('duet (2)', 'hidden')
    """
    # Any file name is a folder name too, except where the folder would be hidden or outside `out`.
    if video.stem.isprintable() and not video.stem.startswith("."):
        return video.stem
    return plain_name(video.stem, "video")


def choose_folder(out: Path, video: Path, used: Collection[Path]) -> Path:
    """Return the output folder of a video: its name, or with the next free number appended.

    Free is an empty folder, and one that contains a result of the very same file. A result of
    another video, or a folder in `used`, is passed over.

    Raises:
        InputError: the folder of the plain name contains something that is no result.
    """
    name, digest = folder_name(video), None
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
        if earlier:
            # Only where needed: the checksum reads the whole video.
            digest = digest or _sha256(video)
        if earlier is None or (digest and earlier.input.sha256 == digest):
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
    # Preview and report may be there before the manifest names them.
    ours = result_files(earlier) | {PREVIEW_NAME, REPORT_NAME} if earlier else set()
    foreign = sorted(names - ours)
    if foreign:
        raise InputError(
            f"'{folder}' contains '{foreign[0]}', which avsep separate did not write: give another "
            "folder with -o, or move it away"
        )
    return earlier


def _read_manifest(path: Path) -> EarlierManifest | None:
    try:
        return EarlierManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sha256(video: Path) -> str | None:
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
def _part_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `folder`, which is removed at the end."""
    make_folder(folder.parent)
    # Beside it: renaming is atomic on one file system only.
    part = folder.with_name(f".{secrets.token_hex(6)}.part")
    try:
        # Another process' check_writable may just have removed the empty folder above.
        part.mkdir(parents=True)
        yield part
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace_folder(part: Path, folder: Path) -> None:
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
