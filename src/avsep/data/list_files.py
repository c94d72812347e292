"""Read published lists of videos and of mixtures: csv, txt, json and HDF5.

/violin/ID.wav,/violin/ID.mp4,187           iQuery, CCoL, DAVIS; ./data/audio/violin/ID.mp3, ...
ID.wav,ID.mp4,12,"Church bell"              DAVIS on AVE: the category is a column of its own
000383.mp3                                  one name a line: PseudoBinaural on FAIR-Play
Church bell&ID&good&0&10                    AVE's Annotations.txt
{"videos": {"violin": ["ID", ...]}}         MUSIC and MUSIC-21
train_order.h5, train.h5                    AVE: rows of Annotations.txt; FAIR-Play: paths
/flute/ID.wav, /cello/ID.wav                mixtures: a pair, three sources, or CCoL's four
"""

import codecs
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

ROLES = (TRAINING, VALIDATION, TEST)
LIST_ENDINGS = (".csv", ".txt", ".json", ".h5", ".hdf5")
_HDF5_ENDINGS = (".h5", ".hdf5")
# AVE's orders name rows of this file.
_ANNOTATIONS = "Annotations.txt"
MOST_COLUMNS = 4
# Published lists have less than 1 MB; a file of this size is something else.
_MOST_BYTES = 256 * 2**20
# Far above any list, and far below the memory that a damaged header could request.
_MOST_ENTRIES = 10_000_000
# Characters of a line that an error shows.
_MOST_SHOWN = 200
# First bytes of the small text file that a clone without git LFS has in place of a large file.
_LFS_MARK = b"version https://git-lfs.github.com/spec/"

_SOUND_ENDINGS = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".opus")
# Removed from the end of a name to get the id. Other dots stay: YouTube ids may contain them.
_MEDIA_ENDINGS = (
    *_SOUND_ENDINGS, ".mp4", ".mkv", ".webm", ".avi", ".mov", ".npy", ".jpg", ".png", ".json",
)  # fmt: skip
# Folders that name a kind of file, not a category. "train" is not among them: iQuery's lists of AVE
# have train horns in a folder of that name.
_NO_CATEGORIES = {
    "", ".", "..", "data", "dataset", "features", "frames", "images", "mp3", "mp4", "objects",
    "sound", "sounds", "video", "videos", "wav", "wavs",
}  # fmt: skip


@dataclass(frozen=True)
class ListedClip:
    """One video of a list.

    Attributes:
        id: the name of the video's file, without folder and ending.
        category: the folder of its sound, or the label beside it; None if the list has neither.
        line: line number from 1 in a text; position in other files.
    """

    id: str
    category: str | None
    line: int


def read_list_file(path: Path) -> tuple[ListedClip, ...]:
    """Read the videos of a list of any form above but mixtures, in its order.

    Raises:
        InputError: a file that is missing, empty, of no such form or a git LFS pointer; a list of
            mixtures; an order of AVE without Annotations.txt beside it.
    """
    check_is_file(path)
    if path.suffix.lower() in _HDF5_ENDINGS:
        return _require_clips(path, _read_hdf5(path))
    if path.suffix.lower() == ".json":
        return _require_clips(path, _read_json(path))
    rows = read_rows(path)
    if _are_annotations(rows):
        return _require_clips(path, _parse_annotations(path, rows))
    if _are_mixtures(rows):
        raise InputError(
            f"'{path}', line {rows[0].line}, names several sounds: it lists mixtures; give the "
            "list of single videos, or give this one as pairs (--pairs)"
        )
    return tuple(_parse_row(path, row) for row in rows)


def read_pair_file(path: Path) -> tuple[tuple[ListedClip, ...], ...]:
    """Read the mixtures of a pair file, in its order: the videos whose sounds are summed.

    Two columns are a pair, three are three sources. Of CCoL's four (`test_sep`) the first and the
    third are the pair, as its code reads them.

    Raises:
        InputError: a file that is missing, empty, no csv, or that lists single videos.
    """
    check_is_file(path)
    if path.suffix.lower() in (*_HDF5_ENDINGS, ".json"):
        raise InputError(
            f"'{path}' is no pair file: give a csv of two, three or four columns of sounds"
        )
    mixtures = []
    for row in read_rows(path):
        cells = row.cells[:3:2] if len(row.cells) == 4 else row.cells
        clips = tuple(_parse_name(path, row.line, cell) for cell in cells)
        # A sound beside a video of the same id is a line of a list of single videos.
        kinds = {_is_sound(cell) for cell in cells}
        if len({clip.id for clip in clips}) < max(2, len(cells)) or len(kinds) > 1:
            raise InputError(
                f"'{path}', line {row.line}: '{', '.join(row.cells)}' is no mixture of different "
                "videos; a pair file has lines such as /flute/ID.wav, /cello/ID.wav"
            )
        mixtures.append(clips)
    return tuple(mixtures)


def lists_mixtures(path: Path) -> bool:
    """True if a file is for `read_pair_file`: its first line names several sounds."""
    check_is_file(path)
    if path.suffix.lower() in (*_HDF5_ENDINGS, ".json"):
        return False
    return _are_mixtures(read_rows(path))


# Rows of text files


@dataclass(frozen=True)
class Row:
    """The cells of one line, without surrounding blanks; `line` counts from 1."""

    line: int
    cells: tuple[str, ...]


def check_is_file(path: Path) -> None:
    """Check that a path is an ordinary file of the size of a list.

    Raises:
        InputError: a missing file, a folder, a device, a huge file, or a git LFS pointer.
    """
    if not path.is_file():
        what = "is no ordinary file" if path.exists() else "does not exist"
        what = "is a folder" if path.is_dir() else what
        raise InputError(f"'{path}' {what}; give a list: csv, txt, json or h5")
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    if num_bytes > _MOST_BYTES:
        raise InputError(
            f"'{path}' has {num_bytes} bytes: that is no list of videos; give a csv, txt, json or "
            f"h5 of at most {_MOST_BYTES} bytes"
        )
    check_is_fetched(path, "list")


def check_is_fetched(path: Path, what: str) -> None:
    """Check that a file is not a git LFS pointer to it.

    Raises:
        InputError: a pointer; the message calls the file a `what`, such as "sound".
    """
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
    """Read a text in UTF-8, or in UTF-16 with a byte order mark, without that mark.

    Raises:
        InputError: a missing file, another encoding, or a binary file.
    """
    try:
        content = path.read_bytes()
        # Spreadsheets save "Unicode text" in UTF-16; its mark tells the order of the bytes.
        is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is no text in UTF-8 ({error}): save it as one") from error
    if "\0" in text:
        raise InputError(f"'{path}' is no text: it holds zero bytes")
    return text


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read the lines of a csv or text list that are not blank.

    Raises:
        InputError: no text, no lines, unclosed quotes, or lines with different numbers of cells.
    """
    text = read_text(path)
    rows = split_rows(path, text, _list_separator(path, text))
    if not rows:
        raise InputError(f"'{path}' lists nothing: give a list with one video at least")
    is_annotation = "&" in rows[0].cells[0]
    for row in rows:
        if is_annotation:
            continue  # AVE's cells end at "&", and a category may contain commas
        if len(row.cells) != len(rows[0].cells):
            raise InputError(
                f"'{path}', line {row.line} has {len(row.cells)} columns, line {rows[0].line} has "
                f"{len(rows[0].cells)}: a line is damaged, or a label with a comma lacks its quotes"
            )
        if len(row.cells) > MOST_COLUMNS:
            raise InputError(
                f"'{path}', line {row.line} has {len(row.cells)} columns; published lists have "
                f"one to {MOST_COLUMNS}"
            )
    return rows


def split_rows(path: Path, text: str, separator: str) -> tuple[Row, ...]:
    """Split the text of a csv into the rows that are not blank.

    Raises:
        InputError: unclosed quotes, or text beside them.
    """
    # With an empty newline \r is left alone: csv reads all three kinds of line ends itself.
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    try:
        return tuple(
            Row(lines.line_num, cells)
            for line in lines
            if any(cells := tuple(cell.strip() for cell in line))
        )
    except csv.Error as error:
        raise InputError(
            f"cannot read '{path}' as a list: {error} (line {lines.line_num})"
        ) from error


def _list_separator(path: Path, text: str) -> str:
    """Return the character between the cells of a list of files: a comma, semicolon or tab.

    Raises:
        InputError: a semicolon after something that is no name of a file.
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    match = re.search(r"[,;\t]", first)
    separator = match.group() if match else ","
    name = first.partition(separator)[0].strip().strip('"')
    # A file ends with its ending: what follows is another cell, not more of its name.
    if separator == "," or name.lower().endswith(_MEDIA_ENDINGS):
        return separator
    if "," in first:
        return ","
    raise InputError(
        f"'{path}': {first[:_MOST_SHOWN]!r} has no comma: write one in place of each {separator!r} "
        "if that separates columns; names of videos hold none"
    )


def _are_mixtures(rows: tuple[Row, ...]) -> bool:
    """True if the first line names several sounds."""
    # In lists of single videos the second column is a video or a folder of frames.
    first = rows[0].cells
    return len(first) >= 2 and _is_sound(first[0]) and _is_sound(first[1])


def _is_sound(cell: str) -> bool:
    return cell.lower().endswith(_SOUND_ENDINGS)


def _parse_row(path: Path, row: Row) -> ListedClip:
    """Parse one line of a csv, or of a text with one name per line."""
    clip = _parse_name(path, row.line, row.cells[0])
    # The fourth column is a number in AVPC's lists, a label in those of DAVIS and CLIPSep.
    if len(row.cells) == 4 and row.cells[3] and not row.cells[3].isdecimal():
        return ListedClip(clip.id, row.cells[3], row.line)
    return clip


def _parse_name(path: Path, line: int, name: str) -> ListedClip:
    """Parse the path of a file: `./data/audio/violin/a.b.wav` is clip "a.b", category violin."""
    # Lists written on Windows have backslashes.
    place = PurePosixPath(name.replace("\\", "/"))
    clip_id = _remove_endings(place.name)
    if clip_id in ("", ".", "..") or not clip_id.isprintable():
        raise InputError(
            f"'{path}', line {line}: {name!r} names no file; write a line such as violin/ID.wav, "
            "or remove it"
        )
    folder = place.parent.name
    # "binaural_audios", "audio_11025Hz" and the like name no category either.
    is_no_category = folder.lower() in _NO_CATEGORIES or "audio" in folder.lower()
    return ListedClip(clip_id, None if is_no_category else folder, line)


def _remove_endings(name: str) -> str:
    """Remove all endings of media files: `-a.b.mp4.npy` becomes `-a.b`."""
    for ending in _MEDIA_ENDINGS:
        if name.lower().endswith(ending):
            return _remove_endings(name[: -len(ending)])
    return name


# AVE: Annotations.txt, and the orders that name rows of it


def _are_annotations(rows: tuple[Row, ...]) -> bool:
    return rows[0].cells[0].count("&") >= 2


def _parse_annotations(path: Path, rows: tuple[Row, ...]) -> list[ListedClip]:
    """Parse rows of category & id & quality & start & end, with or without a header line."""
    clips = []
    for row in rows:
        # A category may contain a comma, at which the csv reader split the line.
        fields = [field.strip() for field in ", ".join(row.cells).split("&")]
        if len(fields) < 3:
            raise InputError(
                f"'{path}', line {row.line} has {len(fields)} fields, not category&id&quality&"
                "start&end as the first line has"
            )
        if (row.line, fields[1].lower()) != (1, "videoid"):
            clip = _parse_name(path, row.line, fields[1])
            clips.append(ListedClip(clip.id, fields[0] or None, row.line))
    return clips


def _parse_ave_order(path: Path, order: Int64[np.ndarray, " n"]) -> list[ListedClip]:
    """Return the rows of Annotations.txt that an order names, with their position in it."""
    beside = path.with_name(_ANNOTATIONS)
    if not beside.is_file():
        raise InputError(
            f"'{path}' names rows of AVE's {_ANNOTATIONS}, which is not beside it: put it into "
            f"'{path.parent}'"
        )
    rows = read_rows(beside)
    if not _are_annotations(rows):
        raise InputError(
            f"'{beside}' holds no rows such as Church bell&ID&good&0&10: take the file from AVE"
        )
    clips = _parse_annotations(beside, rows)
    outside = order[(order < 0) | (order >= len(clips))]
    if len(outside):
        raise InputError(
            f"'{path}' names row {outside[0]} (from 0), and '{beside}' has {len(clips)}: take both "
            "from one release of AVE"
        )
    return [
        ListedClip(clips[row].id, clips[row].category, place)
        for place, row in enumerate(order.tolist(), 1)
    ]


# HDF5 and JSON


def _read_hdf5(path: Path) -> list[ListedClip]:
    """Read AVE's `order`, or the paths in `audio` (FAIR-Play) or `detection` (Co-Separation)."""
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
                raise InputError(
                    f"'{path}' claims {len(entries)} entries: it is damaged, fetch it again"
                )
            values = np.asarray(entries[()])
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise InputError(f"cannot read '{path}' as HDF5: {error}") from error
    if key == "order":
        if values.dtype.kind not in "iu":
            raise InputError(f"'{path}': 'order' holds {values.dtype}, not numbers of rows")
        return _parse_ave_order(path, values.astype(np.int64))
    return [
        _parse_name(path, place, _decode_name(path, name)) for place, name in enumerate(values, 1)
    ]


def _decode_name(path: Path, name: object) -> str:
    try:
        if isinstance(name, bytes):
            return name.decode("utf-8").strip()
        if isinstance(name, str):
            return name.strip()
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' holds a name that is not UTF-8: {name!r}") from error
    raise InputError(f"'{path}' holds {type(name).__name__}, not paths of sound files")


def _read_json(path: Path) -> list[ListedClip]:
    """Read MUSIC's `{"videos": {label: [ids]}}`, that table alone, or a plain list of ids."""
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"'{path}' is not JSON: {error}") from error
    if isinstance(content, dict):
        content = content.get("videos", content)
    groups = content.items() if isinstance(content, dict) else [(None, content)]
    clips = []
    for label, names in groups:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(
                f"'{path}' is no list of videos: write "
                '{"videos": {"violin": ["ID", ...]}} as MUSIC does'
            )
        for name in names:
            clip = _parse_name(path, len(clips) + 1, name.strip())
            clips.append(ListedClip(clip.id, label or clip.category, clip.line))
    return clips


def _require_clips(path: Path, clips: list[ListedClip]) -> tuple[ListedClip, ...]:
    if not clips:
        raise InputError(f"'{path}' lists nothing: give a list with one video at least")
    return tuple(clips)


# Role and set of a list, from its name
#
# The role is the first word of the file's name that begins with train, val or test (`davis_train`,
# `iquery_testmusic`, `val_order`), else that of the nearest folder with such a name. The words
# before it name the set: `davis_train` and `davis_val` of one folder are one set,
# `iquery_trainmusic` is of another, `train.txt` and `val.txt` are the set of their folder.


def role_and_set(place: PurePosixPath) -> tuple[str | None, str]:
    """Return the role of a list and the name of its set, "" for the set of the outermost folder.

    >>> role_and_set(PurePosixPath("music/davis_testsepmusic.csv"))
    ('test', 'music/davis')
    >>> role_and_set(PurePosixPath("split1/train.txt")), role_and_set(PurePosixPath("val.txt"))
    (('train', 'split1'), ('val', ''))
    >>> role_and_set(PurePosixPath("ave/test/sounds.csv"))
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
    """Return the role in a name (None without one) and the words before it."""
    words = [word for word in re.split(r"[^0-9a-z]+", name.lower()) if word]
    for index, word in enumerate(words):
        role = next((role for role in ROLES if word.startswith(role)), None)
        if role:
            return role, "_".join(words[:index])
    return None, ""
