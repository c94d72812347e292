"""Read and check a toyband folder."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from avsep.data.checks.reports import (
    EMPTY,
    LENGTHS,
    MISFIT,
    NO_VIDEO,
    UNREADABLE,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
    length_faults,
    sound_faults,
)
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import ClipFiles, SourceFile
from avsep.data.list_files import ListedClip
from avsep.data.prepared import lasts_alike
from avsep.errors import InputError
from avsep.media.audio import iterate_audio
from avsep.media.frames import read_frames
from avsep.media.objects_file import read_objects
from avsep.media.probe import probe
from avsep.toyband.folder import OFFSCREEN, RECIPE_NAME, ClipPaths, read_record

# The stems are the mixture to the sample; this forgives what other tools round when they copy them.
_SUM_TOLERANCE = 1e-3


def read_toyband(folder: Path) -> tuple[ClipFiles, ...]:
    """The clips of a toyband folder, by name; a file that is missing is an error that names it."""
    videos = sorted(folder.glob("*.mp4")) if folder.is_dir() else []
    if not videos:
        raise InputError(
            f"'{folder}' holds no toyband clips (000001.mp4 and a folder 000001 beside it); "
            f"make some: avsep toyband {folder} --clips 10"
        )
    return tuple(read_clip(ClipPaths(folder, video.stem)) for video in videos)


def read_clip(paths: ClipPaths) -> ClipFiles:
    """The files of one clip; stems and objects that do not match are an InputError."""
    objects = read_objects(paths.objects)
    stems = sorted(paths.stems.glob("*.wav"))
    seen = [path for path in stems if f"-{OFFSCREEN}-" not in path.name]
    if len(seen) != len(objects):
        raise InputError(
            f"'{paths.clip_folder}' has {len(seen)} stems for {len(objects)} objects: a stem is "
            "missing or objects.json was edited; make the clip again"
        )
    sources = tuple(
        SourceFile(path, visible.label or "", paths.name, visible)
        for path, visible in zip(seen, objects, strict=True)
    )
    offscreen = tuple(path for path in stems if path not in seen)
    return ClipFiles(paths.name, paths.video, sources, offscreen)


def open_toyband(
    folder: Path,
) -> tuple[list[SplitList], list[Finding], list[ClipJob]]:
    """The clips of a toyband folder as one list without a role, and each clip to be seen.

    A clip is told by its number and the recipe that made it, seed included: two folders made by
    one recipe have the same clips, and number 1 of another recipe is another clip.
    """
    recipe = folder / RECIPE_NAME
    # Without a recipe nothing is known to be the same anywhere else.
    mark = recipe.read_bytes() if recipe.is_file() else str(folder.resolve()).encode()
    band = hashlib.sha256(mark).hexdigest()[:8]
    names = sorted(video.stem for video in folder.glob("*.mp4"))
    clips = tuple(ListedClip(f"{band}:{name}", None, n) for n, name in enumerate(names, 1))
    left = sorted(
        path.parent.name for path in folder.glob("*/objects.json") if path.parent.name not in names
    )
    findings = []
    if left:
        items = tuple(Item(name) for name in left)
        total = len(names) + len(left)
        findings.append(Finding(NO_VIDEO, str(folder), False, len(left), total, "clips", items))
    jobs = [ClipJob(name, partial(examine_toyband, ClipPaths(folder, name))) for name in names]
    return [SplitList(folder.name, folder.resolve().name, None, clips)], findings, jobs


def examine_toyband(paths: ClipPaths) -> ClipReport:
    """All that is wrong with one clip; nothing is raised for a bad file."""
    video = f"{paths.name}.mp4"
    seconds, faults = sound_faults(paths.video, video)
    sounds_are_well = not faults
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
        return ClipReport(paths.name, tuple(faults), seconds)
    if not clip.sources:
        faults.append(Fault(EMPTY, f"{paths.name}/objects.json"))
    stems = [*(source.path for source in clip.sources), *clip.offscreen]
    for path in stems:
        found = sound_faults(path, path.relative_to(paths.folder).as_posix())[1]
        sounds_are_well = sounds_are_well and not found
        faults += found
    if sounds_are_well and stems:
        faults += _misfit(paths.video, stems, paths.name)
    return ClipReport(paths.name, tuple(faults), seconds)


def video_faults(path: Path, name: str, seconds: float) -> Iterator[Fault]:
    """What is wrong with the pictures of a video called `name`, whose sound lasts so long.

    The last picture is read: a video that was cut off has none at its end.
    """
    try:
        (stream, *_) = probe(path).video or (None,)
        read_frames(path, [seconds])
    except InputError as error:
        yield Fault(UNREADABLE, name, str(error))
        return
    shown_seconds = stream.duration_seconds if stream else None
    if shown_seconds is not None and not lasts_alike(shown_seconds, seconds):
        why = f"the pictures last {shown_seconds:.2f} s, the sound {seconds:.2f} s"
        yield Fault(LENGTHS, name, why)


def _misfit(video: Path, stems: Sequence[Path], name: str) -> Iterator[Fault]:
    """Whether the stems are what is heard; all are read side by side, block by block."""
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
