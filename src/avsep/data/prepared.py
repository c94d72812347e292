"""A prepared folder: plain sounds, pictures, boxes and features, listed in index.csv.

DIR/index.csv                                id,category,split,frame_rate_hz,num_frames,...
DIR/audio/<category>/<id>.wav                or .flac, .ogg, .mp3: the sound of one source
DIR/frames/<category>/<id>/000001.jpg        or .png: what is seen, at a steady rate from 0 s
DIR/objects/<category>/<id>.json             boxes; without it, the whole picture
DIR/features/motion/<category>/<id>.npy      or .safetensors: motion features, where wanted

A line without a rate of pictures, whose clip has no frames, is a clip that is heard and not seen.
"""

import csv
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from avsep.data.clips import TEST, TRAINING, VALIDATION, ClipFiles, SourceFile, frame_paths
from avsep.data.dataset_categories import find_in
from avsep.data.objects_file import read_objects
from avsep.errors import InputError, unknown_name
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


def motion_path(folder: Path, name: str) -> Path:
    """Where the motion features of a clip, "category/id", are written, and found again.

    >>> motion_path(Path("music"), "violin/a.b").as_posix()
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
        return ClipFiles(name, sound, sources, sound=sound, split=row.split, is_seen=False)
    visible = _object_of(folder / "objects" / place.with_name(f"{row.id}.json"), label)
    clip = ClipFiles(
        name=name,
        video=frames,
        sources=(SourceFile(sound, label, name, visible),),
        sound=sound,
        frame_rate_hz=row.frame_rate_hz,
        motion=file_at(folder / MOTION_FOLDER / place, MOTION_ENDINGS),
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
