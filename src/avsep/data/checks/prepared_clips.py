"""Every fault of a prepared folder, clip by clip, where the reader would stop at the first."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from avsep.data.checks.clip_health import (
    EMPTY,
    LENGTHS,
    LISTED_TWICE,
    MISSING,
    MOTION,
    UNLISTED,
    UNREADABLE,
    UNSEEN,
    UNUSABLE_LINE,
    ClipHealth,
    ClipJob,
    Fault,
    length_faults,
    pictures_faults,
    sound_faults,
)
from avsep.data.checks.findings import Finding, Item
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import TRAINING, ClipFiles, frame_paths, read_motion
from avsep.data.detections import DETECTION_ENDINGS, read_detections
from avsep.data.list_files import ListedClip
from avsep.data.objects_file import read_objects
from avsep.data.prepared import (
    INDEX_NAME,
    MOTION_ENDINGS,
    MOTION_FOLDER,
    SOUND_ENDINGS,
    IndexRow,
    file_at,
    index_lines,
    index_row,
    lasts_alike,
)
from avsep.errors import InputError


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


def examine_prepared(folder: Path, row: IndexRow) -> ClipHealth:
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
    is_seen = row.tells_of_pictures or frames.is_dir()
    if is_seen:
        faults += _picture_faults(frames, row, seconds)
        faults += _object_faults(folder, place)
    else:
        faults.append(Fault(UNSEEN, _name(row)))
        faults += _length_faults(row, seconds)
    motion = file_at(folder / MOTION_FOLDER / place, MOTION_ENDINGS)
    width = None
    if motion is not None:
        width, found = _motion_faults(motion, motion.relative_to(folder).as_posix())
        faults += found
    return ClipHealth(_name(row), tuple(faults), seconds, width, is_seen)


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
        features = read_motion(ClipFiles(name, path, (), motion=path))
    except InputError as error:
        return None, [Fault(MOTION, name, str(error))]
    if not np.isfinite(features).all():
        return None, [Fault(MOTION, name, "it holds values that are no numbers")]
    return features.shape[0], []
