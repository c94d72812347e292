"""Every fault of a folder of FAIR-Play, clip by clip, where the reader would stop at the first."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from avsep.data.checks.clip_health import (
    MISSING,
    UNREADABLE,
    ClipHealth,
    ClipJob,
    Fault,
    length_faults,
    pictures_faults,
    sound_faults,
)
from avsep.data.checks.findings import Finding, Item
from avsep.data.checks.prepared_clips import detection_faults
from avsep.data.checks.split_lists import SplitList, find_lists
from avsep.data.checks.toyband_clips import video_faults
from avsep.data.clips import ClipFiles, frame_paths
from avsep.data.fair_play import (
    SOUNDS_FOLDER,
    clip_at,
    detections_at,
    listed_clips,
    pictures_at,
    root_of,
    sound_at,
    sound_names,
    splits_of,
)
from avsep.data.list_files import ListedClip
from avsep.errors import InputError


def open_fair_play(
    folder: Path,
) -> tuple[list[SplitList], list[Finding], list[ClipJob]]:
    """The lists of all splits, what is wrong with them, and each clip that any of them names.

    Of one split where its folder is given; all sounds where no list names any.
    """
    root, splits = root_of(folder), splits_of(folder)
    sounds = sound_names(root)
    lists, findings = find_lists(splits) if splits.is_dir() else ((), ())
    found = list(findings)
    names = {clip_id for one in lists if one.role for clip_id in one.ids}
    try:
        names |= {clip.id for clip, _ in listed_clips(folder)}
    except InputError as error:
        if not any(finding.is_wrong for finding in found):
            items = (Item(splits.name, str(error)),)
            found.append(
                Finding("splits that cannot be used", str(folder), True, 1, 1, "folders", items)
            )
    jobs = [
        ClipJob(name, partial(examine_fair_play, root, name)) for name in sorted(names or sounds)
    ]
    # However they are sorted into folders, they are alternatives: all split the same clips.
    return [replace(one, dataset=None) for one in lists], found, jobs


def examine_fair_play(folder: Path, name: str) -> ClipHealth:
    """All that is wrong with the files of one clip; nothing is raised for a bad file."""
    sound, pictures = sound_at(folder, name), pictures_at(folder, name)
    seconds, faults = None, []
    if sound is None:
        faults.append(Fault(MISSING, f"{SOUNDS_FOLDER}/{name}.wav"))
    else:
        seconds, faults = sound_faults(sound, sound.relative_to(folder).as_posix())
        faults += length_faults(name, seconds)
    if pictures is None:
        faults.append(Fault(MISSING, f"videos/{name}.mp4", "nor pictures in frames"))
    else:
        faults += _picture_faults(pictures, pictures.relative_to(folder).as_posix(), seconds)
    detections = detections_at(folder, name)
    if detections is not None:
        faults += detection_faults(detections, detections.relative_to(folder).as_posix())
    if not any(fault.kind in (MISSING, UNREADABLE) for fault in faults):
        try:
            clip_at(folder, ListedClip(name, None, 0))
        except InputError as error:
            faults.append(Fault(UNREADABLE, name, str(error)))
    return ClipHealth(name, tuple(faults), seconds)


def _picture_faults(pictures: Path, name: str, seconds: float | None) -> Iterator[Fault]:
    if pictures.is_dir():
        yield from pictures_faults(frame_paths(ClipFiles(name, pictures, ())), name)
    elif seconds is not None:
        yield from video_faults(pictures, name, seconds)
