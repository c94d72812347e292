"""The record of a data set: its name and the functions that recognise, read and check it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avsep.data.checks.clip_files import (
    length_faults,
    motion_faults,
    pictures_faults,
    video_faults,
)
from avsep.data.checks.reports import (
    AUDIO_ONLY,
    MISSING,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
    SoundReport,
)
from avsep.data.checks.sound_files import sound_faults
from avsep.data.checks.split_lists import SplitList
from avsep.data.clips import TRAINING, ClipFiles, frame_paths
from avsep.data.list_files import ListedClip
from avsep.errors import InputError


@dataclass(frozen=True)
class DatasetExamination:
    """The parts of a check of one data set folder.

    Attributes:
        lists: its clips by split, to be compared with each other and with those of other folders.
        findings: about the folder as a whole, such as an unusable index.
        jobs: the check of each clip; run later, in parallel.
    """

    lists: tuple[SplitList, ...]
    findings: tuple[Finding, ...]
    jobs: tuple[ClipJob, ...]


@dataclass(frozen=True)
class Dataset:
    """One data set: its name and the functions that recognise, read and examine a folder of it.

    Attributes:
        name: in lower case; the `kind` that `avsep check` reports.
        description: a noun phrase for error messages: "FAIR-Play (binaural_audios/)".
        recognise: True if a folder is of this data set; looks at names only, raises nothing.
        read: its clips, sorted by name. Raises InputError for the first fault.
        examine_folder: every fault at once; None: the checks of `examine_clips`, which suffice for
            any data set whose `read` raises an InputError for a broken list.
    """

    name: str
    description: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path], tuple[ClipFiles, ...]]
    examine_folder: Callable[[Path], DatasetExamination] | None = None

    def examine(self, folder: Path) -> DatasetExamination:
        """Examine a folder of this data set for `avsep check`."""
        if self.examine_folder is not None:
            return self.examine_folder(folder)
        return examine_clips(folder, self.read)


def examine_clips(
    folder: Path, read: Callable[[Path], tuple[ClipFiles, ...]]
) -> DatasetExamination:
    """Examine the clips of any data set: files exist, decode, are not silent and long enough.

    A folder that `read` refuses is one finding, with the reason.
    """
    try:
        clips = read(folder)
    except InputError as error:
        items = (Item(folder.name, str(error)),)
        finding = Finding("folders that cannot be read", str(folder), True, 1, 1, "folders", items)
        return DatasetExamination((), (finding,), ())
    # `split_clips` trains on clips without a split. Without any split at all, nothing is known of
    # their use, and `avsep check --against` then reports whatever two folders share.
    default = TRAINING if any(clip.split for clip in clips) else None
    members: dict[str | None, list[ListedClip]] = {}
    for number, clip in enumerate(clips, 1):
        # Lists have one category per video, which a clip of several sources has not.
        category = clip.sources[0].category if len(clip.sources) == 1 else None
        # Published lists name a video by its file's name, without the folder.
        listed = ListedClip(clip.name.rsplit("/", 1)[-1], category, number)
        members.setdefault(clip.split or default, []).append(listed)
    set_name = folder.resolve().name
    lists = tuple(
        SplitList(f"{set_name}, {role}" if role else set_name, set_name, role, tuple(listed))
        for role, listed in members.items()
    )
    jobs = tuple(ClipJob(clip.name, partial(examine_clip, folder, clip)) for clip in clips)
    return DatasetExamination(lists, (), jobs)


def examine_clip(folder: Path, clip: ClipFiles) -> ClipReport:
    """Check every file of one clip; a bad file is a fault, not an error."""

    def name_of(path: Path) -> str:
        return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)

    audio = clip.sound or clip.video
    # Each file once: the sound of a clip with one source is often that source.
    sounds = dict.fromkeys([audio, *(source.path for source in clip.sources), *clip.offscreen])
    faults: list[Fault] = []
    reports: dict[Path, SoundReport | None] = {}
    for path in sounds:
        if path.is_file():
            reports[path], of_sound = sound_faults(path, name_of(path))
            faults += of_sound
        else:
            faults.append(Fault(MISSING, name_of(path)))
    sound = reports.get(audio)
    seconds = sound and sound.seconds
    faults += length_faults(clip.name, seconds)
    faults += _picture_faults(clip, name_of(clip.video), seconds)
    width = None
    if clip.i3d_features is not None:
        width, of_motion = motion_faults(clip.i3d_features, name_of(clip.i3d_features))
        faults += of_motion
    return ClipReport(clip.name, tuple(faults), sound, width, clip.is_visible, clip.split)


def _picture_faults(clip: ClipFiles, name: str, seconds: float | None) -> Iterator[Fault]:
    if not clip.is_visible:
        yield Fault(AUDIO_ONLY, clip.name)
    elif clip.video.is_dir():
        pictures = frame_paths(clip)
        if pictures:
            yield from pictures_faults(pictures, name)
        else:
            yield Fault(MISSING, f"{name}/000001.jpg", "no pictures")
    elif clip.sound is not None and not clip.video.is_file():
        # Without a sound file of its own, the missing video has been reported as the sound.
        yield Fault(MISSING, name)
    elif seconds is not None:
        yield from video_faults(clip.video, name, seconds)
