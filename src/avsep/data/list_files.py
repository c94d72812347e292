"""Read the lists of videos and mixtures that the field publishes: csv, txt, json, HDF5.

/violin/ID.wav,/violin/ID.mp4,187           iQuery, CCoL, DAVIS; ./data/audio/violin/ID.mp3, ...
ID.wav,ID.mp4,12,"Church bell"              DAVIS on AVE: the category is a column of its own
000383.mp3                                  one name a line: PseudoBinaural on FAIR-Play
Church bell&ID&good&0&10                    AVE's Annotations.txt
{"videos": {"violin": ["ID", ...]}}         MUSIC and MUSIC-21
train_order.h5, train.h5                    AVE: rows of Annotations.txt; FAIR-Play: paths
/flute/ID.wav, /cello/ID.wav                mixtures: a pair, three sources, or CCoL's four
"""

import csv
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
from jaxtyping import Int64

from avsep.data.clips import TEST, TRAINING, VALIDATION
from avsep.errors import InputError

# The lines of a list as cells: blanks, quotes, byte order marks and missing line ends aside


MOST_COLUMNS = 4
# Lists of the field have less than 1 MB; a file of this size is something else.
_MOST_BYTES = 256 * 2**20
_LFS_MARK = b"version https://git-lfs.github.com/spec/"


@dataclass(frozen=True)
class Row:
    """The cells of one line, stripped of blanks; `line` counts from 1."""

    line: int
    cells: tuple[str, ...]


def check_is_file(path: Path) -> None:
    """Raise an InputError for what is no ordinary file, or only git LFS's pointer to one."""
    if not path.is_file():
        what = "is no ordinary file" if path.exists() else "does not exist"
        what = "is a folder" if path.is_dir() else what
        raise InputError(f"'{path}' {what}; give a list: csv, txt, json or h5")
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    if num_bytes > _MOST_BYTES:
        raise InputError(f"'{path}' has {num_bytes} bytes: that is no list of videos")
    check_is_fetched(path, "list")


def check_is_fetched(path: Path, what: str) -> None:
    """Raise an InputError for git LFS's pointer to a file in place of the file, a `what`."""
    try:
        with path.open("rb") as file:
            is_pointer = file.read(len(_LFS_MARK)) == _LFS_MARK
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    if is_pointer:
        raise InputError(
            f"'{path}' is a pointer of git LFS, not the {what} itself: fetch it with `git lfs "
            "pull` in the repository it comes from"
        )


def read_text(path: Path) -> str:
    """A text in UTF-8, without a byte order mark; anything else is an InputError."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no text in UTF-8 ({error}): save it as one") from error
    if "\0" in text:
        raise InputError(f"'{path}' is no text: it holds zero bytes")
    return text


def read_rows(path: Path) -> tuple[Row, ...]:
    """The lines of a list that are not blank, one at least, all of as many cells as the first.

    Raises:
        InputError: no text, nothing in it, quotes that do not close, lines of unequal cells.
    """
    try:
        reader = csv.reader(
            io.StringIO(read_text(path), newline=""), skipinitialspace=True, strict=True
        )
        rows = tuple(
            Row(reader.line_num, cells)
            for line in reader
            if any(cells := tuple(cell.strip() for cell in line))
        )
    except csv.Error as error:
        raise InputError(f"cannot read '{path}' as a list: {error}") from error
    if not rows:
        raise InputError(f"'{path}' lists nothing: give a list with one video at least")
    is_annotation = "&" in rows[0].cells[0]
    for row in rows:
        if is_annotation:
            continue  # AVE's rows are cut at & alone
        if len(row.cells) != len(rows[0].cells):
            raise InputError(
                f"'{path}', line {row.line} has {len(row.cells)} columns, line {rows[0].line} has "
                f"{len(rows[0].cells)}: a line is damaged, or a label with a comma lacks its quotes"
            )
        if len(row.cells) > MOST_COLUMNS:
            raise InputError(
                f"'{path}', line {row.line} has {len(row.cells)} columns; lists of the field have "
                f"one to {MOST_COLUMNS}"
            )
    return rows


SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus")
# What is no part of an id at the end of a name; ids may hold dots themselves.
_ENDINGS = (*SOUNDS, ".mp4", ".mkv", ".webm", ".avi", ".mov", ".npy", ".jpg", ".png", ".json")
# Folders that say what kind of file lies in them, not what makes the sound. "train" is none of
# these: iQuery's lists of AVE have horns of trains in a folder of that name.
_NO_CATEGORIES = {
    "", ".", "..", "data", "dataset", "features", "frames", "images", "mp3", "mp4", "objects",
    "sound", "sounds", "video", "videos", "wav", "wavs",
}  # fmt: skip
_ANNOTATIONS = "Annotations.txt"
_HDF5_ENDINGS = (".h5", ".hdf5")
# Far above any list, and far below what a damaged header could ask memory for.
_MOST_ENTRIES = 10_000_000


@dataclass(frozen=True)
class ListedClip:
    """One video of a list.

    Attributes:
        id: the video's id: its file's name without folder and ending.
        category: the folder that its sound lies in, or the label that stands beside it; none
            where the list says nothing.
        line: where it stands, from 1: the line of a text, the place in other files.
    """

    id: str
    category: str | None
    line: int


def read_list_file(path: Path) -> tuple[ListedClip, ...]:
    """The videos of a list of any form above but mixtures, in its order.

    Raises:
        InputError: a file that is missing, empty, of no such form, a pointer of git LFS, or a list
            of mixtures; an order of AVE without Annotations.txt beside it.
    """
    check_is_file(path)
    if path.suffix.lower() in _HDF5_ENDINGS:
        return _not_empty(path, _hdf5_list(path))
    if path.suffix.lower() == ".json":
        return _not_empty(path, _json_list(path))
    rows = read_rows(path)
    if _are_annotations(rows):
        return _not_empty(path, _annotations(path, rows))
    if _are_mixtures(rows):
        raise InputError(
            f"'{path}', line {rows[0].line}, names several sounds: it lists mixtures; give the "
            "list of single videos, or give this one where pairs are wanted"
        )
    return tuple(_listed(path, row) for row in rows)


def read_pair_file(path: Path) -> tuple[tuple[ListedClip, ...], ...]:
    """The mixtures of a pair file, in its order: the videos whose sounds are added up.

    Two columns are a pair and three are three sources. Of CCoL's four (`test_sep`) the first and
    the third are the pair, as its code reads them.

    Raises:
        InputError: a file that is missing, empty, no csv, or that lists single videos.
    """
    check_is_file(path)
    if path.suffix.lower() in (*_HDF5_ENDINGS, ".json"):
        raise InputError(f"'{path}' is no pair file: that is a csv of two, three or four columns")
    mixtures = []
    for row in read_rows(path):
        cells = row.cells[:3:2] if len(row.cells) == 4 else row.cells
        clips = tuple(_clip_of(path, row.line, cell) for cell in cells)
        endings = {_is_sound(cell) for cell in cells}
        if len({clip.id for clip in clips}) < max(2, len(cells)) or len(endings) > 1:
            raise InputError(
                f"'{path}', line {row.line}: '{', '.join(row.cells)}' is no mixture of different "
                "videos; a pair file has lines such as /flute/ID.wav, /cello/ID.wav"
            )
        mixtures.append(clips)
    return tuple(mixtures)


def lists_mixtures(path: Path) -> bool:
    """Whether a file is for `read_pair_file`: its first line names several sounds."""
    check_is_file(path)
    if path.suffix.lower() in (*_HDF5_ENDINGS, ".json"):
        return False
    return _are_mixtures(read_rows(path))


def _are_mixtures(rows: tuple[Row, ...]) -> bool:
    """In lists of single videos the second column is a video or a folder of pictures."""
    first = rows[0].cells
    return len(first) >= 2 and _is_sound(first[0]) and _is_sound(first[1])


def _is_sound(cell: str) -> bool:
    return cell.lower().endswith(SOUNDS)


def _listed(path: Path, row: Row) -> ListedClip:
    """One line of a csv, or of one column."""
    clip = _clip_of(path, row.line, row.cells[0])
    # The fourth column of AVPC is a number, of DAVIS and CLIPSep a label.
    if len(row.cells) == 4 and row.cells[3] and not row.cells[3].isdecimal():
        return ListedClip(clip.id, row.cells[3], row.line)
    return clip


def _clip_of(path: Path, line: int, name: str) -> ListedClip:
    """A file's name as a clip: `./data/audio/violin/a.b.wav` is "a.b" of the category violin."""
    place = PurePosixPath(name.replace("\\", "/"))
    clip_id = _without_endings(place.name)
    if clip_id in ("", ".", "..") or not clip_id.isprintable():
        raise InputError(
            f"'{path}', line {line}: {name!r} names no file; write a line such as violin/ID.wav, "
            "or remove it"
        )
    folder = place.parent.name
    says_nothing = folder.lower() in _NO_CATEGORIES or "audio" in folder.lower()
    return ListedClip(clip_id, None if says_nothing else folder, line)


def _without_endings(name: str) -> str:
    """A name without the endings of media: `-a.b.mp4.npy` is `-a.b`."""
    for ending in _ENDINGS:
        if name.lower().endswith(ending):
            return _without_endings(name[: -len(ending)])
    return name


# AVE's annotations, on which its orders stand


def _are_annotations(rows: tuple[Row, ...]) -> bool:
    return rows[0].cells[0].count("&") >= 2


def _annotations(path: Path, rows: tuple[Row, ...]) -> list[ListedClip]:
    """Rows of category & id & quality & start & end, under a line of names or not."""
    found = []
    for row in rows:
        # A category may hold a comma, at which the line was cut.
        fields = [field.strip() for field in ", ".join(row.cells).split("&")]
        if len(fields) < 3:
            raise InputError(
                f"'{path}', line {row.line} has {len(fields)} fields, not category&id&quality&"
                "start&end as the first line has"
            )
        if (row.line, fields[1].lower()) != (1, "videoid"):
            clip = _clip_of(path, row.line, fields[1])
            found.append(ListedClip(clip.id, fields[0] or None, row.line))
    return found


def _ave_order(path: Path, order: Int64[np.ndarray, " n"]) -> list[ListedClip]:
    """The rows of Annotations.txt that an order names; their place is that in the order."""
    beside = path.with_name(_ANNOTATIONS)
    if not beside.is_file():
        raise InputError(
            f"'{path}' names rows of AVE's {_ANNOTATIONS}, which does not lie beside it: put it "
            f"into '{path.parent}'"
        )
    rows = read_rows(beside)
    if not _are_annotations(rows):
        raise InputError(f"'{beside}' holds no rows such as Church bell&ID&good&0&10")
    clips = _annotations(beside, rows)
    outside = order[(order < 0) | (order >= len(clips))]
    if len(outside):
        raise InputError(
            f"'{path}' names row {outside[0]} (from 0), and '{beside}' has {len(clips)}: they are "
            "not of one release"
        )
    return [
        ListedClip(clips[row].id, clips[row].category, place)
        for place, row in enumerate(order.tolist(), 1)
    ]


# Other files than text


def _hdf5_list(path: Path) -> list[ListedClip]:
    """AVE's `order`, or the paths under `audio` (FAIR-Play) or `detection` (Co-Separation)."""
    try:
        with h5py.File(path, "r") as file:
            key = next((key for key in ("order", "audio", "detection") if key in file), None)
            entries = file[key] if key else None
            if not isinstance(entries, h5py.Dataset) or len(entries.shape or ()) != 1:
                raise InputError(
                    f"'{path}' holds neither 'order' (AVE) nor 'audio' (FAIR-Play) as one list; it "
                    f"holds {', '.join(sorted(file)) or 'nothing'}"
                )
            if len(entries) > _MOST_ENTRIES:
                raise InputError(f"'{path}' claims {len(entries)} entries: it is damaged")
            values = np.asarray(entries[()])
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"cannot read '{path}' as HDF5: {error}") from error
    if key == "order":
        if values.dtype.kind not in "iu":
            raise InputError(f"'{path}': 'order' holds {values.dtype}, not numbers of rows")
        return _ave_order(path, values.astype(np.int64))
    return [_clip_of(path, place, _text_of(path, name)) for place, name in enumerate(values, 1)]


def _text_of(path: Path, name: object) -> str:
    try:
        if isinstance(name, bytes):
            return name.decode("utf-8").strip()
        if isinstance(name, str):
            return name.strip()
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' holds a name that is not UTF-8: {name!r}") from error
    raise InputError(f"'{path}' holds {type(name).__name__}, not paths of sound files")


def _json_list(path: Path) -> list[ListedClip]:
    """MUSIC's `{"videos": {label: [ids]}}`, that table alone, or a plain list of ids."""
    try:
        found = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"'{path}' is not JSON: {error}") from error
    if isinstance(found, dict):
        found = found.get("videos", found)
    groups = found.items() if isinstance(found, dict) else [(None, found)]
    clips = []
    for label, names in groups:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"'{path}' is no list of videos: write "
                '{"videos": {"violin": ["ID", ...]}} as MUSIC does'
            )
        for name in names:
            clip = _clip_of(path, len(clips) + 1, name.strip())
            clips.append(ListedClip(clip.id, label or clip.category, clip.line))
    return clips


def _not_empty(path: Path, clips: list[ListedClip]) -> tuple[ListedClip, ...]:
    if not clips:
        raise InputError(f"'{path}' lists nothing: give a list with one video at least")
    return tuple(clips)


# What the name of a list says: the role it has, and whose it is The role of a list is the first
# word of its file's name that begins with train, val or test (`davis_train`, `iquery_testmusic`,
# `val_order`), else that of the nearest folder so named (`train/list.txt`); a name that says
# none gives a list without a role. What stands before that word says whose list it is:
# `davis_train` and `davis_val` of one folder are one set, `iquery_trainmusic` is of another,
# `train.txt` and `val.txt` are the set of their folder.


ROLES = (TRAINING, VALIDATION, TEST)
LIST_ENDINGS = (".csv", ".txt", ".json", ".h5", ".hdf5")


def role_and_owner(place: PurePosixPath) -> tuple[str | None, str]:
    """What a list is for, and the set it is of: "" where only the outermost folder would say.

    >>> role_and_owner(PurePosixPath("music/davis_testsepmusic.csv"))
    ('test', 'music/davis')
    >>> role_and_owner(PurePosixPath("split1/train.txt")), role_and_owner(PurePosixPath("val.txt"))
    (('train', 'split1'), ('val', ''))
    >>> role_and_owner(PurePosixPath("ave/test/sounds.csv"))
    ('test', 'ave')
    """
    folders = list(place.parent.parts)
    role, before = role_in(place.stem)
    if role:
        return role, "/".join([*folders, before] if before else folders)
    while folders:
        role, before = role_in(folders.pop())
        if role:
            return role, "/".join([*folders, before] if before else folders)
    return None, str(place.with_suffix(""))


def role_in(name: str) -> tuple[str | None, str]:
    """The role that a name says, and the words before it."""
    words = [word for word in re.split(r"[^0-9a-z]+", name.lower()) if word]
    for index, word in enumerate(words):
        role = next((role for role in ROLES if word.startswith(role)), None)
        if role:
            return role, "_".join(words[:index])
    return None, ""
