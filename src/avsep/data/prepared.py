"""Read and check a prepared folder: audio, frames, boxes and features listed in index.csv.

DIR/index.csv                                id,category,split,frame_rate_hz,num_frames,...
DIR/audio/<category>/<id>.wav                or .flac, .ogg, .mp3: the sound of one source
DIR/frames/<category>/<id>/000001.jpg        or .png: frames at a constant rate, the first at 0 s;
                                             the folder may be called <id>.mp4
DIR/objects/<category>/<id>.json             boxes, or else
DIR/detection_results/<category>/<id>.mp4.npy    those of a detector; without both the whole frame
DIR/features/motion/<category>/<id>.npy      or .safetensors: I3D motion features (optional)

A line without a frame rate, whose clip has no frames, is an audio-only clip.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from avsep.data.categories import category_label
from avsep.data.checks.clip_files import (
    length_faults,
    motion_faults,
    pictures_faults,
)
from avsep.data.checks.reports import (
    AUDIO_ONLY,
    LENGTHS,
    LISTED_TWICE,
    MISSING,
    UNLISTED,
    UNUSABLE_LINE,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
)
from avsep.data.checks.sound_files import sound_faults
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import (
    SOUND_ENDINGS,
    TEST,
    TRAINING,
    VALIDATION,
    ClipFiles,
    SourceFile,
    durations_match,
    find_file,
    frame_paths,
)
from avsep.data.datasets import Dataset, DatasetExamination
from avsep.data.detections import DETECTIONS_FOLDER, class_numbers
from avsep.data.list_files import ListedClip, read_text, split_rows
from avsep.data.prepared_boxes import object_faults, sounding_object
from avsep.errors import InputError, unknown_name
from avsep.records import VisibleObject

INDEX_NAME = "index.csv"
# Between columns. Spreadsheets write semicolons where the comma is the decimal sign, or tabs.
_SEPARATORS = (",", ";", "\t", "|")
# Characters of a first line that an error shows.
_MOST_SHOWN = 200
# A first line by which a spreadsheet is told the separator.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n?")
SPLITS = (TRAINING, VALIDATION, TEST)
MOTION_ENDINGS = (".npy", ".safetensors")
MOTION_FOLDER = Path("features", "motion")


class IndexRow(BaseModel):
    """One line of index.csv; an optional cell may be blank, or its column missing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1, pattern=r"^[^/\\]+$", description="name of the files")
    category: str = Field(min_length=1, pattern=r"^[^/\\]+$", description="and of their folder")
    frame_rate_hz: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of the frames, if there are any"
    )
    split: str | None = Field(default=None, description="train, val or test")
    num_frames: int | None = Field(default=None, ge=1, description="frames, to be checked")
    duration_seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of the sound, to be checked"
    )

    @field_validator("id", "category")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if value in (".", ".."):
            raise ValueError(f"'{value}' is a folder, not a name of files")
        return value

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: str | None) -> str | None:
        if value is not None and value.lower() not in SPLITS:
            raise ValueError(f"'{value}' is none of {', '.join(SPLITS)}")
        return value and value.lower()

    @property
    def name(self) -> str:
        """Name of the clip: "category/id"."""
        return f"{self.category}/{self.id}"

    @property
    def requires_frames(self) -> bool:
        """True if the line states anything about frames; else the clip may be audio-only."""
        return self.frame_rate_hz is not None or self.num_frames is not None


REQUIRED_COLUMNS = [name for name, field in IndexRow.model_fields.items() if field.is_required()]
_OPTIONAL_COLUMNS = [name for name in IndexRow.model_fields if name not in REQUIRED_COLUMNS]


def is_prepared(folder: Path) -> bool:
    """True if a folder has an index.csv."""
    return (folder / INDEX_NAME).is_file()


def read_prepared(folder: Path, split: str | None = None) -> tuple[ClipFiles, ...]:
    """Read the clips of a prepared folder or of one split, sorted by name ("category/id").

    Raises:
        InputError: an unreadable index, a missing file, frames that contradict the index, unusable
            boxes, or a split without clips.
    """
    if split is not None and split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    index = read_index(folder)
    # The whole index tells which list of categories the detector counted by, not one split of it.
    numbers = class_numbers(category_label(row.category) for row in index)
    rows = [row for row in index if split in (None, row.split)]
    if not rows:
        which = f"the split '{split}'" if split else "clips"
        raise InputError(f"'{folder / INDEX_NAME}' lists nothing for {which}: add lines to it")
    clips = sorted((_find_clip(folder, row, numbers) for row in rows), key=lambda clip: clip.name)
    for clip, following in pairwise(clips):
        if clip.name == following.name:
            raise InputError(f"'{folder / INDEX_NAME}' lists {clip.name} twice: remove one line")
    return tuple(clips)


def i3d_features_path(folder: Path, name: str) -> Path:
    """Return the path of the motion features of a clip named "category/id".

    >>> i3d_features_path(Path("music"), "violin/a.b").as_posix()
    'music/features/motion/violin/a.b.npy'
    """
    return folder / MOTION_FOLDER / f"{name}{MOTION_ENDINGS[0]}"


def read_index(folder: Path) -> list[IndexRow]:
    """Read the lines of a folder's index.csv, in its order.

    Raises:
        InputError: a missing or unreadable index, or a line that is not as in the format.
    """
    path = folder / INDEX_NAME
    return [index_row(path, line) for line in index_lines(folder)]


@dataclass(frozen=True)
class IndexLine:
    """One line of index.csv, unchecked: its number, its cells by column, and cells beyond these."""

    number: int
    cells: dict[str, str]
    beyond: tuple[str, ...] = ()


def index_lines(folder: Path) -> list[IndexLine]:
    """Read the lines of index.csv, unchecked; blank lines are skipped.

    The separator is the one by which the first line names the required columns. Capitals, and
    spaces for underscores, are read in the names of columns.

    Raises:
        InputError: a missing or unreadable index, or one whose first line names no columns, or one
            twice.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise InputError(
            f"'{folder}' holds no {INDEX_NAME}, the list of a prepared folder (docs/data.md); for "
            "clips that need no download: avsep toyband DIR --clips 10"
        )
    text = read_text(path)
    num_skipped = 0
    if match := _SEPARATOR_LINE.match(text):
        text, num_skipped = text[match.end() :], 1
    first, *_ = text.lstrip().splitlines() or [""]
    by_separator = {separator: _column_names(first, separator) for separator in _SEPARATORS}
    # A first line that names no columns by any of them is reported as one with commas.
    separator = next(
        (sign for sign, names in by_separator.items() if names.issuperset(REQUIRED_COLUMNS)), ","
    )
    rows = split_rows(path, text, separator)
    names = [_column_name(cell) for cell in rows[0].cells] if rows else []
    for name in REQUIRED_COLUMNS:
        if name not in names:
            raise InputError(
                f"'{path}' has no column '{name}': its first line must name the columns "
                f"{', '.join(REQUIRED_COLUMNS)}, and may name {', '.join(_OPTIONAL_COLUMNS)}; it "
                f"is {first[:_MOST_SHOWN]!r}"
            )
    for name in IndexRow.model_fields:
        if names.count(name) > 1:
            raise InputError(f"'{path}' has {names.count(name)} columns '{name}'; leave one")
    return [
        IndexLine(
            row.line + num_skipped,
            dict(zip(names, row.cells, strict=False)),
            tuple(filter(None, row.cells[len(names) :])),
        )
        for row in rows[1:]
    ]


def _column_names(first_line: str, separator: str) -> set[str]:
    cells = next(csv.reader([first_line], delimiter=separator, skipinitialspace=True), [])
    return set(map(_column_name, cells))


def _column_name(cell: str) -> str:
    """Return the name of a column as in the format: `Frame rate Hz` is frame_rate_hz."""
    return re.sub(r"[\s-]+", "_", cell.strip()).casefold()


def index_row(path: Path, line: IndexLine) -> IndexRow:
    """Validate one line of the index at `path`.

    Raises:
        InputError: more cells than columns, or a cell of a wrong kind; names the line.
    """
    values = line.cells
    if line.beyond:
        raise InputError(
            f"'{path}', line {line.number} has more cells than the first line has columns, "
            f"{', '.join(line.beyond)}: put a cell that holds a separator in quotes"
        )
    try:
        return IndexRow.model_validate(
            {name: value for name, value in values.items() if value or name in REQUIRED_COLUMNS}
        )
    except ValidationError as error:
        # One fault a line: pydantic lists all, and an InputError is one line of text.
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        value = values.get(field, "")
        if first["type"] in ("float_parsing", "int_parsing") and "," in value:
            message = "write the number with a point in place of the comma, and no other sign"
        raise InputError(f"'{path}', line {line.number}, {field} '{value}': {message}") from error


def _find_clip(folder: Path, row: IndexRow, numbers: Mapping[str, int]) -> ClipFiles:
    """Find the files of one line; `numbers` are the `class_numbers` of detections."""
    # Not f"{row.id}.wav": ids of videos may contain dots, and sounds have one of four endings.
    place = Path(row.category) / row.id
    sound = find_file(folder / "audio" / place, SOUND_ENDINGS)
    if sound is None:
        raise InputError(
            f"no sound '{folder / 'audio' / place}.wav' (or {', '.join(SOUND_ENDINGS[1:])}), which "
            f"{INDEX_NAME} lists: add it, or remove the line"
        )
    frames = _frames_folder(folder, place)
    label = category_label(row.category)
    source = SourceFile(sound, label, row.name, VisibleObject(label=label))
    if not (row.requires_frames or frames.is_dir()):
        return ClipFiles(row.name, sound, (source,), sound=sound, split=row.split, is_visible=False)
    clip = ClipFiles(
        name=row.name,
        video=frames,
        sources=(source,),
        sound=sound,
        frame_rate_hz=row.frame_rate_hz,
        i3d_features=find_file(folder / MOTION_FOLDER / place, MOTION_ENDINGS),
        split=row.split,
    )
    _check_frames(clip, row)
    visible = sounding_object(folder, place, clip, numbers)
    # Where no other clip has boxes either, whole frames are what the folder is about.
    is_box_missing = visible is None and (folder / DETECTIONS_FOLDER).is_dir()
    sources = (replace(source, visible=visible or source.visible),)
    return replace(clip, sources=sources, is_box_missing=is_box_missing)


def _frames_folder(folder: Path, place: Path) -> Path:
    """Return the folder of a clip's frames, which published scripts name like the video."""
    named_like_video = folder / "frames" / place.with_name(f"{place.name}.mp4")
    return named_like_video if named_like_video.is_dir() else folder / "frames" / place


def _check_frames(clip: ClipFiles, row: IndexRow) -> None:
    """Raise an InputError if the frames are missing or contradict the index."""
    num_frames = len(frame_paths(clip)) if clip.video.is_dir() else 0
    if not num_frames:
        raise InputError(
            f"no pictures in '{clip.video}' (000001.jpg, ...), which {INDEX_NAME} lists: extract "
            "them, or remove the line"
        )
    if row.frame_rate_hz is None:
        raise InputError(
            f"'{clip.video}' holds {num_frames} pictures and {INDEX_NAME} no rate for {clip.name}: "
            "write their number per second into frame_rate_hz"
        )
    if row.num_frames is not None and num_frames != row.num_frames:
        raise InputError(
            f"'{clip.video}' holds {num_frames} pictures and {INDEX_NAME} states {row.num_frames}: "
            "extract them again, or correct num_frames"
        )
    if row.duration_seconds is None:
        return
    shown_seconds = num_frames / row.frame_rate_hz
    if not durations_match(shown_seconds, row.duration_seconds):
        raise InputError(
            f"'{clip.video}': {num_frames} pictures at {row.frame_rate_hz:g} Hz last "
            f"{shown_seconds:g} s, the sound {row.duration_seconds:g} s: correct frame_rate_hz in "
            f"{INDEX_NAME}"
        )


# Checks: every fault at once, where the reader stops at the first


def examine_prepared(folder: Path) -> DatasetExamination:
    """Examine a prepared folder: its splits as lists, faults of the index, and a check per clip."""
    # Lines that can be used are checked further, so that one bad line does not hide other faults.
    rows: dict[int, IndexRow] = {}
    unusable: list[Item] = []
    lines = index_lines(folder)
    for line in lines:
        try:
            rows[line.number] = index_row(folder / INDEX_NAME, line)
        except InputError as error:
            unusable.append(Item(f"line {line.number}", str(error)))
    if not lines:
        raise InputError(f"'{folder / INDEX_NAME}' lists nothing for clips: add lines to it")
    counts = Counter(row.name for row in rows.values())
    repeats = tuple(Item(name, f"{n} lines") for name, n in sorted(counts.items()) if n > 1)
    unlisted = tuple(Item(name) for name in _unlisted(folder, set(counts)))
    findings = tuple(
        Finding(what, str(folder), is_wrong, len(items), total, unit, items)
        for what, is_wrong, items, total, unit in (
            (UNUSABLE_LINE, True, tuple(unusable), len(lines), "lines"),
            (LISTED_TWICE, True, repeats, len(counts), "clips"),
            (UNLISTED, False, unlisted, len(unlisted) + len(counts), "sounds"),
        )
        if items
    )
    # A clip that is listed twice is checked once, by its last line.
    row_of = {row.name: row for row in rows.values()}
    jobs = tuple(
        ClipJob(name, partial(check_clip, folder, row_of[name])) for name in sorted(row_of)
    )
    return DatasetExamination(_split_lists(folder, rows), findings, jobs)


def check_clip(folder: Path, row: IndexRow) -> ClipReport:
    """Check every file of one line; a bad file is a fault, not an error."""
    place = Path(row.category) / row.id
    sound = find_file(folder / "audio" / place, SOUND_ENDINGS)
    report, faults = None, []
    if sound is None:
        faults.append(Fault(MISSING, f"audio/{place.as_posix()}{SOUND_ENDINGS[0]}"))
    else:
        report, faults = sound_faults(sound, sound.relative_to(folder).as_posix())
    seconds = report and report.seconds
    faults += length_faults(row.name, seconds)
    frames = _frames_folder(folder, place)
    is_visible = row.requires_frames or frames.is_dir()
    if is_visible:
        faults += _picture_faults(frames, row, seconds)
        faults += object_faults(folder, place, frames)
    else:
        faults.append(Fault(AUDIO_ONLY, row.name))
        faults += _duration_faults(row, seconds)
    motion = find_file(folder / MOTION_FOLDER / place, MOTION_ENDINGS)
    width = None
    if motion is not None:
        width, of_motion = motion_faults(motion, motion.relative_to(folder).as_posix())
        faults += of_motion
    split = row.split or TRAINING
    return ClipReport(row.name, tuple(faults), report, width, is_visible, split)


def _split_lists(folder: Path, rows: dict[int, IndexRow]) -> tuple[SplitList, ...]:
    """Return one list per split; `split_clips` trains on clips without one."""
    splits: dict[str, list[ListedClip]] = {}
    for number, row in rows.items():
        clip = ListedClip(row.id, row.category, number)
        splits.setdefault(row.split or TRAINING, []).append(clip)
    return tuple(
        SplitList(f"{INDEX_NAME}, {split}", folder.resolve().name, split, tuple(clips))
        for split, clips in sorted(splits.items())
    )


def _unlisted(folder: Path, listed: set[str]) -> Iterator[str]:
    """Yield the sounds in audio/ that no line names."""
    for path in sorted((folder / "audio").glob("*/*")):
        name = f"{path.parent.name}/{path.stem}"
        if path.suffix.lower() in SOUND_ENDINGS and name not in listed:
            yield path.relative_to(folder).as_posix()


def _picture_faults(frames: Path, row: IndexRow, seconds: float | None) -> Iterator[Fault]:
    """Yield the faults of a clip's frames, alone and against the index and the sound."""
    name = f"frames/{row.name}"
    files = ClipFiles(row.name, frames, (), frame_rate_hz=row.frame_rate_hz)
    pictures = frame_paths(files) if frames.is_dir() else []
    if not pictures:
        yield Fault(MISSING, f"{name}/000001.jpg", "no pictures")
        return
    yield from pictures_faults(pictures, name)
    if row.num_frames not in (None, len(pictures)):
        why = f"{len(pictures)} pictures, {INDEX_NAME} states {row.num_frames}"
        yield Fault(LENGTHS, name, why)
    if row.frame_rate_hz is None:
        yield Fault(UNUSABLE_LINE, name, f"{len(pictures)} pictures, and no frame_rate_hz")
        return
    shown_seconds = len(pictures) / row.frame_rate_hz
    for sound_seconds, whose in ((seconds, "the sound"), (row.duration_seconds, INDEX_NAME)):
        if sound_seconds is not None and not durations_match(shown_seconds, sound_seconds):
            why = (
                f"{len(pictures)} pictures at {row.frame_rate_hz:g} Hz last {shown_seconds:.2f} s, "
                f"{whose} {'states' if whose == INDEX_NAME else 'lasts'} {sound_seconds:.2f} s"
            )
            yield Fault(LENGTHS, name, why)
            return  # one report a clip: the sound comes before what the index states of it


def _duration_faults(row: IndexRow, seconds: float | None) -> Iterator[Fault]:
    """Yield a fault if an audio-only clip is longer or shorter than the index states."""
    stated_seconds = row.duration_seconds
    if seconds is None or stated_seconds is None:
        return
    if not durations_match(seconds, stated_seconds):
        why = f"the sound lasts {seconds:.2f} s, {INDEX_NAME} states {stated_seconds:.2f} s"
        yield Fault(LENGTHS, f"audio/{row.name}", why)


PREPARED = Dataset(
    name="prepared",
    description=f"a prepared folder ({INDEX_NAME}, docs/data.md)",
    recognise=is_prepared,
    read=read_prepared,
    examine_folder=examine_prepared,
)
