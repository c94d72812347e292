"""Read and check a prepared folder: audio, frames, boxes and features listed in index.csv.

DIR/index.csv                                id,category,split,frame_rate_hz,num_frames,...
DIR/audio/<category>/<id>.wav                or .flac, .ogg, .mp3: the sound of one source
DIR/frames/<category>/<id>/000001.jpg        or .png: what is seen, at a steady rate from 0 s
DIR/objects/<category>/<id>.json             boxes; without it, the whole picture
DIR/features/motion/<category>/<id>.npy      or .safetensors: motion features, where wanted

A line without a rate of pictures, whose clip has no frames, is a clip that is heard and not seen.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from avsep.data.categories import find_in
from avsep.data.checks.reports import (
    EMPTY,
    LENGTHS,
    LISTED_TWICE,
    MISSING,
    MOTION,
    OFFSCREEN,
    UNLISTED,
    UNREADABLE,
    UNUSABLE_LINE,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
    length_faults,
    pictures_faults,
    sound_faults,
)
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import (
    TEST,
    TRAINING,
    VALIDATION,
    ClipFiles,
    SourceFile,
    frame_paths,
    read_i3d_features,
)
from avsep.data.detections import DETECTION_ENDINGS, read_detections
from avsep.data.list_files import ListedClip
from avsep.errors import InputError, unknown_name
from avsep.media.objects_file import read_objects
from avsep.records import VisibleObject

INDEX_NAME = "index.csv"
# Column -> cell; what goes beyond the named columns stands under none, a missing cell is none.
IndexLine = dict[str | None, str | list[str] | None]
SPLITS = (TRAINING, VALIDATION, TEST)
SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
MOTION_ENDINGS = (".npy", ".safetensors")
MOTION_FOLDER = Path("features", "motion")
# Pictures may end this much before or after the sound; further off, their rate is a mistake.
_SLACK_SECONDS = 2.0
_SLACK_SHARE = 0.1


class IndexRow(BaseModel):
    """One line of index.csv; what may be left out may be blank or its column missing."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = Field(min_length=1, pattern=r"^[^/\\]+$", description="name of the files")
    category: str = Field(min_length=1, pattern=r"^[^/\\]+$", description="and of their folder")
    frame_rate_hz: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of the pictures, where there are any"
    )
    split: str | None = Field(default=None, description="train, val or test")
    num_frames: int | None = Field(default=None, ge=1, description="pictures, to be checked")
    duration_seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of the sound, to be checked"
    )

    @field_validator("split")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in SPLITS:
            raise ValueError(f"'{value}' is none of {', '.join(SPLITS)}")
        return value

    @property
    def tells_of_pictures(self) -> bool:
        """The line counts on pictures; else its clip may be one that is heard and not seen."""
        return self.frame_rate_hz is not None or self.num_frames is not None


REQUIRED = [name for name, field in IndexRow.model_fields.items() if field.is_required()]
_OPTIONAL = [name for name in IndexRow.model_fields if name not in REQUIRED]


def read_prepared(folder: Path, split: str | None = None) -> tuple[ClipFiles, ...]:
    """The clips of a prepared folder, or of one split of it, by name: "category/id".

    Raises InputError for an index that cannot be read, a file that is missing, pictures that do
    not fit what the index says, and a split without clips.
    """
    if split is not None and split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    rows = [row for row in read_index(folder) if split in (None, row.split)]
    if not rows:
        which = f"the split '{split}'" if split else "clips"
        raise InputError(f"'{folder / INDEX_NAME}' lists nothing for {which}: add lines to it")
    clips = sorted((_clip_of(folder, row) for row in rows), key=lambda clip: clip.name)
    for clip, following in pairwise(clips):
        if clip.name == following.name:
            raise InputError(f"'{folder / INDEX_NAME}' lists {clip.name} twice: remove one line")
    return tuple(clips)


def label_of(category: str) -> str:
    """A category as people say it: words that stand apart.

    >>> label_of("Acoustic_guitar")
    'Acoustic guitar'
    """
    return " ".join(category.replace("_", " ").split())


def i3d_features_path(folder: Path, name: str) -> Path:
    """Where the motion features of a clip, "category/id", are written, and found again.

    >>> i3d_features_path(Path("music"), "violin/a.b").as_posix()
    'music/features/motion/violin/a.b.npy'
    """
    return folder / MOTION_FOLDER / f"{name}{MOTION_ENDINGS[0]}"


def read_index(folder: Path) -> list[IndexRow]:
    """The lines of a folder's index.csv, in its order; anything else is an InputError."""
    path = folder / INDEX_NAME
    return [index_row(path, number, line) for number, line in index_lines(folder)]


def index_lines(folder: Path) -> list[tuple[int, IndexLine]]:
    """The number and the cells of each line of index.csv; an InputError if it cannot be read."""
    path = folder / INDEX_NAME
    if not path.is_file():
        raise InputError(
            f"'{folder}' holds no {INDEX_NAME}, the list of a prepared folder (docs/data.md); for "
            "clips that need no download: avsep toyband DIR --clips 10"
        )
    try:
        # Spreadsheets begin a file with a byte order mark, which "utf-8-sig" leaves out.
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(enumerate(csv.DictReader(file, skipinitialspace=True, strict=True), 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read '{path}': {error}") from error


def index_row(path: Path, number: int, line: IndexLine) -> IndexRow:
    """What a line of the index at `path` says; an InputError if it is not as described above."""
    for name in REQUIRED:
        if name not in line:
            raise InputError(
                f"'{path}' has no column '{name}': its first line must name the columns "
                f"{', '.join(REQUIRED)}, and may name {', '.join(_OPTIONAL)}"
            )
    given = {
        name: value.strip()
        for name, value in line.items()
        if isinstance(name, str) and isinstance(value, str)
    }
    try:
        return IndexRow.model_validate(
            {name: value for name, value in given.items() if value or name in REQUIRED}
        )
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(
            f"'{path}', line {number}, {field} '{given.get(field, '')}': {message}"
        ) from error


def _clip_of(folder: Path, row: IndexRow) -> ClipFiles:
    """The files of one line."""
    place = Path(row.category) / row.id
    sound = file_at(folder / "audio" / place, SOUND_ENDINGS)
    if sound is None:
        raise InputError(
            f"no sound '{folder / 'audio' / place}.wav' (or {', '.join(SOUND_ENDINGS[1:])}), which "
            f"{INDEX_NAME} lists: add it, or remove the line"
        )
    name = f"{row.category}/{row.id}"
    frames = folder / "frames" / place
    label = label_of(row.category)
    if not (row.tells_of_pictures or frames.is_dir()):
        sources = (SourceFile(sound, label, name, VisibleObject(label=label)),)
        return ClipFiles(name, sound, sources, sound=sound, split=row.split, is_visible=False)
    visible = _object_of(folder / "objects" / place.with_name(f"{row.id}.json"), label)
    clip = ClipFiles(
        name=name,
        video=frames,
        sources=(SourceFile(sound, label, name, visible),),
        sound=sound,
        frame_rate_hz=row.frame_rate_hz,
        i3d_features=file_at(folder / MOTION_FOLDER / place, MOTION_ENDINGS),
        split=row.split,
    )
    _check_frames(clip, row)
    return clip


def _check_frames(clip: ClipFiles, row: IndexRow) -> None:
    found = len(frame_paths(clip)) if clip.video.is_dir() else 0
    if not found:
        raise InputError(
            f"no pictures in '{clip.video}' (000001.jpg, ...), which {INDEX_NAME} lists: extract "
            "them, or remove the line"
        )
    if row.frame_rate_hz is None:
        raise InputError(
            f"'{clip.video}' holds {found} pictures and {INDEX_NAME} no rate for {clip.name}: say "
            "in frame_rate_hz how many there are a second"
        )
    if row.num_frames is not None and found != row.num_frames:
        raise InputError(
            f"'{clip.video}' holds {found} pictures and {INDEX_NAME} says {row.num_frames}: "
            "extract them again, or correct num_frames"
        )
    if row.duration_seconds is None:
        return
    shown_seconds = found / row.frame_rate_hz
    if not lasts_alike(shown_seconds, row.duration_seconds):
        raise InputError(
            f"'{clip.video}': {found} pictures at {row.frame_rate_hz:g} Hz last {shown_seconds:g} "
            f"s, the sound {row.duration_seconds:g} s: correct frame_rate_hz in {INDEX_NAME}"
        )


def lasts_alike(shown_seconds: float, sound_seconds: float) -> bool:
    """Whether pictures and sound may be of one clip, as far as their lengths tell."""
    return abs(shown_seconds - sound_seconds) <= _SLACK_SECONDS + _SLACK_SHARE * sound_seconds


def _object_of(path: Path, label: str) -> VisibleObject:
    """The object that sounds: one of the category, of several the surest; none: the picture."""
    if not path.is_file():
        return VisibleObject(label=label)
    objects = read_objects(path)
    if not objects:
        return VisibleObject(label=label)
    alike = [one for one in objects if one.label and find_in([label], one.label) is not None]
    best = max(alike or objects, key=lambda one: one.confidence)
    return best.model_copy(update={"label": label})


def file_at(stem: Path, endings: tuple[str, ...]) -> Path | None:
    """The first file of this name that exists with one of the endings."""
    candidates = (stem.with_name(stem.name + ending) for ending in endings)
    return next((path for path in candidates if path.is_file()), None)


# Every fault of a prepared folder, clip by clip, where the reader would stop at the first


def open_prepared(
    folder: Path,
) -> tuple[list[SplitList], list[Finding], list[ClipJob]]:
    """The splits of a prepared folder as lists, what is wrong with its index, and its clips to see.

    What the index says no split of is trained on, as `split_clips` does.
    """
    rows: dict[int, IndexRow] = {}
    faults: list[Item] = []
    lines = index_lines(folder)
    for number, line in lines:
        try:
            rows[number] = index_row(folder / INDEX_NAME, number, line)
        except InputError as error:
            faults.append(Item(f"line {number}", str(error)))
    if not lines:
        raise InputError(f"'{folder / INDEX_NAME}' lists nothing for clips: add lines to it")
    counts = Counter(_name(row) for row in rows.values())
    repeats = tuple(Item(name, f"{n} lines") for name, n in sorted(counts.items()) if n > 1)
    extra = tuple(Item(name) for name in _unlisted(folder, set(counts)))
    findings = [
        Finding(what, str(folder), is_wrong, len(items), total, unit, items)
        for what, is_wrong, items, total, unit in (
            (UNUSABLE_LINE, True, tuple(faults), len(lines), "lines"),
            (LISTED_TWICE, True, repeats, len(counts), "clips"),
            (UNLISTED, False, extra, len(extra) + len(counts), "sounds"),
        )
        if items
    ]
    once = {_name(row): row for row in rows.values()}
    jobs = [ClipJob(name, partial(examine_prepared, folder, once[name])) for name in sorted(once)]
    return _as_lists(folder, rows), findings, jobs


def examine_prepared(folder: Path, row: IndexRow) -> ClipReport:
    """All that is wrong with the files of one line; nothing is raised for a bad file."""
    place = Path(row.category) / row.id
    sound = file_at(folder / "audio" / place, SOUND_ENDINGS)
    seconds, faults = None, []
    if sound is None:
        faults.append(Fault(MISSING, f"audio/{place.as_posix()}{SOUND_ENDINGS[0]}"))
    else:
        seconds, faults = sound_faults(sound, sound.relative_to(folder).as_posix())
        faults += length_faults(_name(row), seconds)
    frames = folder / "frames" / place
    is_visible = row.tells_of_pictures or frames.is_dir()
    if is_visible:
        faults += _picture_faults(frames, row, seconds)
        faults += _object_faults(folder, place)
    else:
        faults.append(Fault(OFFSCREEN, _name(row)))
        faults += _length_faults(row, seconds)
    motion = file_at(folder / MOTION_FOLDER / place, MOTION_ENDINGS)
    width = None
    if motion is not None:
        width, found = _motion_faults(motion, motion.relative_to(folder).as_posix())
        faults += found
    return ClipReport(_name(row), tuple(faults), seconds, width, is_visible)


def _name(row: IndexRow) -> str:
    return f"{row.category}/{row.id}"


def _as_lists(folder: Path, rows: dict[int, IndexRow]) -> list[SplitList]:
    splits: dict[str, list[ListedClip]] = {}
    for number, row in rows.items():
        clip = ListedClip(row.id, row.category, number)
        splits.setdefault(row.split or TRAINING, []).append(clip)
    return [
        SplitList(f"{INDEX_NAME}, {split}", folder.resolve().name, split, tuple(clips))
        for split, clips in sorted(splits.items())
    ]


def _unlisted(folder: Path, listed: set[str]) -> Iterator[str]:
    """Sounds below audio/ that no line names."""
    for path in sorted((folder / "audio").glob("*/*")):
        name = f"{path.parent.name}/{path.stem}"
        if path.suffix.lower() in SOUND_ENDINGS and name not in listed:
            yield path.relative_to(folder).as_posix()


def _picture_faults(frames: Path, row: IndexRow, seconds: float | None) -> Iterator[Fault]:
    name = f"frames/{_name(row)}"
    files = ClipFiles(_name(row), frames, (), frame_rate_hz=row.frame_rate_hz)
    pictures = frame_paths(files) if frames.is_dir() else []
    if not pictures:
        yield Fault(MISSING, f"{name}/000001.jpg", "no pictures")
        return
    yield from pictures_faults(pictures, name)
    if row.num_frames not in (None, len(pictures)):
        why = f"{len(pictures)} pictures, {INDEX_NAME} says {row.num_frames}"
        yield Fault(LENGTHS, name, why)
    if row.frame_rate_hz is None:
        yield Fault(UNUSABLE_LINE, name, f"{len(pictures)} pictures, and no frame_rate_hz")
        return
    shown_seconds = len(pictures) / row.frame_rate_hz
    for sound_seconds, whose in ((seconds, "the sound"), (row.duration_seconds, INDEX_NAME)):
        if sound_seconds is not None and not lasts_alike(shown_seconds, sound_seconds):
            why = (
                f"{len(pictures)} pictures at {row.frame_rate_hz:g} Hz last {shown_seconds:.2f} s, "
                f"{whose} {'says' if whose == INDEX_NAME else 'lasts'} {sound_seconds:.2f} s"
            )
            yield Fault(LENGTHS, name, why)
            return


def _length_faults(row: IndexRow, seconds: float | None) -> Iterator[Fault]:
    """A sound without pictures that lasts longer or shorter than the index says."""
    told_seconds = row.duration_seconds
    if seconds is None or told_seconds is None:
        return
    if not lasts_alike(seconds, told_seconds):
        why = f"the sound lasts {seconds:.2f} s, {INDEX_NAME} says {told_seconds:.2f} s"
        yield Fault(LENGTHS, f"audio/{_name(row)}", why)


def _object_faults(folder: Path, place: Path) -> Iterator[Fault]:
    """Boxes of ours, and detections as CCoL and iQuery keep them where they lie there too."""
    boxes = folder / "objects" / place.with_name(f"{place.name}.json")
    if boxes.is_file():
        name = boxes.relative_to(folder).as_posix()
        try:
            if not read_objects(boxes):
                yield Fault(EMPTY, name)
        except InputError as error:
            yield Fault(UNREADABLE, name, str(error))
    detections = file_at(folder / "detection_results" / place, DETECTION_ENDINGS)
    if detections is not None:
        yield from detection_faults(detections, detections.relative_to(folder).as_posix())


def detection_faults(path: Path, name: str) -> Iterator[Fault]:
    """What is wrong with a file of detections; `name` is what it is called."""
    try:
        if not len(read_detections(path)):
            yield Fault(EMPTY, name)
    except InputError as error:
        yield Fault(UNREADABLE, name, str(error))


def _motion_faults(path: Path, name: str) -> tuple[int | None, list[Fault]]:
    """How many features it has at a time, or what is wrong with it."""
    try:
        features = read_i3d_features(ClipFiles(name, path, (), i3d_features=path))
    except InputError as error:
        return None, [Fault(MOTION, name, str(error))]
    if not np.isfinite(features).all():
        return None, [Fault(MOTION, name, "it holds values that are no numbers")]
    return features.shape[0], []
