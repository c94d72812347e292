"""Read and check a toyband folder: videos, each with the stems, objects and score of its clip."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from avsep.data.checks.clip_files import length_faults, video_faults
from avsep.data.checks.reports import (
    EMPTY,
    MISFIT,
    NO_VIDEO,
    SILENT,
    UNREADABLE,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
)
from avsep.data.checks.sound_files import sound_faults
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import ClipFiles, SourceFile
from avsep.data.datasets import Dataset, DatasetExamination
from avsep.data.list_files import ListedClip
from avsep.errors import InputError
from avsep.media.audio import iterate_audio
from avsep.media.objects_file import read_objects
from avsep.toyband.folder import OFFSCREEN, RECIPE_NAME, ClipPaths, read_record

# The stems sum to the mixture to the sample. 1e-3 (-60 dB) allows for the rounding of tools that
# copy them, and is far below a change of level that would bias a score.
_SUM_TOLERANCE = 1e-3


def is_toyband(folder: Path) -> bool:
    """True if a folder holds videos, which are then taken for toyband clips."""
    return any(folder.glob("*.mp4"))


def read_toyband(folder: Path) -> tuple[ClipFiles, ...]:
    """Read the clips of a toyband folder, sorted by name.

    Raises:
        InputError: a folder without clips, or a clip with a missing file.
    """
    videos = sorted(folder.glob("*.mp4")) if folder.is_dir() else []
    if not videos:
        raise InputError(
            f"'{folder}' holds no toyband clips (000001.mp4 and a folder 000001 beside it); "
            f"make some: avsep toyband {folder} --clips 10"
        )
    return tuple(read_clip(ClipPaths(folder, video.stem)) for video in videos)


def read_clip(paths: ClipPaths) -> ClipFiles:
    """Read the files of one clip.

    Raises:
        InputError: an unreadable objects.json, or another number of stems than of objects.
    """
    objects = read_objects(paths.objects)
    stems = sorted(paths.stems.glob("*.wav"))
    visible_stems = [path for path in stems if f"-{OFFSCREEN}-" not in path.name]
    # Stems and objects are matched by their order alone, so their numbers must agree.
    if len(visible_stems) != len(objects):
        raise InputError(
            f"'{paths.clip_folder}' has {len(visible_stems)} stems for {len(objects)} objects: a "
            "stem is missing or objects.json was edited; make the clip again"
        )
    sources = tuple(
        SourceFile(path, visible.label or "", paths.name, visible)
        for path, visible in zip(visible_stems, objects, strict=True)
    )
    offscreen = tuple(path for path in stems if path not in visible_stems)
    return ClipFiles(paths.name, paths.video, sources, offscreen)


# Checks: every fault at once, where the reader stops at the first


def examine_toyband(folder: Path) -> DatasetExamination:
    """Examine a toyband folder: its clips as one list without a role, and a check per clip.

    A clip is identified by its number and a digest of the recipe with its seed: two folders made by
    one recipe hold the same clips, and number 1 of another recipe is another clip.
    """
    recipe = folder / RECIPE_NAME
    # Without a recipe no clip can be matched with another folder's: its path stands in for it.
    identity = recipe.read_bytes() if recipe.is_file() else str(folder.resolve()).encode()
    digest = hashlib.sha256(identity).hexdigest()[:8]
    names = sorted(video.stem for video in folder.glob("*.mp4"))
    clips = tuple(
        ListedClip(f"{digest}:{name}", None, number) for number, name in enumerate(names, 1)
    )
    # A build that was stopped leaves a folder whose video was not written yet.
    unfinished = sorted(
        path.parent.name for path in folder.glob("*/objects.json") if path.parent.name not in names
    )
    findings = []
    if unfinished:
        items = tuple(Item(name) for name in unfinished)
        total = len(names) + len(unfinished)
        findings.append(
            Finding(NO_VIDEO, str(folder), False, len(unfinished), total, "clips", items)
        )
    jobs = tuple(ClipJob(name, partial(check_clip, ClipPaths(folder, name))) for name in names)
    clip_list = SplitList(folder.name, folder.resolve().name, None, clips)
    return DatasetExamination((clip_list,), tuple(findings), jobs)


def check_clip(paths: ClipPaths) -> ClipReport:
    """Check every file of one clip; a bad file is a fault, not an error."""
    video = f"{paths.name}.mp4"
    report, faults = sound_faults(paths.video, video)
    sounds_are_whole = _are_whole(faults)
    seconds = report and report.seconds
    if seconds is not None:
        faults += length_faults(paths.name, seconds)
        faults += video_faults(paths.video, video, seconds)
    try:
        read_record(paths.score)
    except InputError as error:
        faults.append(Fault(UNREADABLE, f"{paths.name}/score.json", str(error)))
    try:
        clip = read_clip(paths)
    except InputError as error:
        faults.append(Fault(UNREADABLE, paths.name, str(error)))
        return ClipReport(paths.name, tuple(faults), report)
    if not clip.sources:
        faults.append(Fault(EMPTY, f"{paths.name}/objects.json"))
    stems = [*(source.path for source in clip.sources), *clip.offscreen]
    for path in stems:
        stem_faults = sound_faults(path, path.relative_to(paths.folder).as_posix())[1]
        sounds_are_whole = sounds_are_whole and _are_whole(stem_faults)
        faults += stem_faults
    # A damaged file has been reported; that it does not add up either would be a second report.
    if sounds_are_whole and stems:
        faults += _sum_faults(paths.video, stems, paths.name)
    return ClipReport(paths.name, tuple(faults), report)


def _are_whole(faults: Sequence[Fault]) -> bool:
    """True if a sound with these faults can be compared with others."""
    return not any(fault.kind in (UNREADABLE, SILENT) for fault in faults)


def _sum_faults(video: Path, stems: Sequence[Path], name: str) -> Iterator[Fault]:
    """Yield a fault if the stems do not sum to the video's sound, compared block by block."""
    worst = 0.0
    try:
        streams = [iterate_audio(path) for path in (video, *stems)]
        for mixture, *parts in zip_longest(*streams):
            if mixture is None or any(
                part is None or part.shape != mixture.shape for part in parts
            ):
                yield Fault(MISFIT, name, "lengths, rates or channels differ")
                return
            worst = max(worst, float(np.abs(mixture - sum(parts)).max()))
    except InputError as error:
        yield Fault(UNREADABLE, name, str(error))
        return
    if worst > _SUM_TOLERANCE:
        yield Fault(MISFIT, name, f"they differ by up to {worst:.2g}")


TOYBAND = Dataset(
    name="toyband",
    description="toyband clips (000001.mp4 and a folder 000001)",
    recognise=is_toyband,
    read=read_toyband,
    examine_folder=examine_toyband,
)
