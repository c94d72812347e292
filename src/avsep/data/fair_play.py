"""Read and check FAIR-Play: binaural audio, videos or frames, and its published splits.

DIR/binaural_audios/000001.wav           binaural sound
DIR/videos/000001.mp4                    the video; if frames exist, they are read instead:
DIR/frames/000001.mp4/000001.jpg         frames at a constant rate, as extracted for 2.5D or LAVSS
DIR/detection_results/000001.mp4.npy     boxes detected in these frames; else the whole frame
DIR/splits/split1/train.h5               and val.h5, test.h5; or .txt, .csv; or in splits itself

The folder of another split, DIR/splits/split2, may be given in place of DIR.
A clip is one source: its whole sound. Some clips of FAIR-Play show several players; lists such as
LAVSS's name those with one player, and a clip that no list names is not read.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from avsep.data.categories import category_label
from avsep.data.checks.clip_files import (
    detection_faults,
    length_faults,
    pictures_faults,
    video_faults,
)
from avsep.data.checks.reports import (
    MISSING,
    UNREADABLE,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
)
from avsep.data.checks.sound_files import sound_faults
from avsep.data.checks.split_lists import find_lists
from avsep.data.clips import (
    SOUND_ENDINGS,
    ClipFiles,
    SourceFile,
    durations_match,
    find_file,
    frame_paths,
    read_picture_size,
)
from avsep.data.datasets import Dataset, DatasetExamination
from avsep.data.detections import DETECTION_ENDINGS, DETECTIONS_FOLDER, surest_object
from avsep.data.list_files import (
    LIST_ENDINGS,
    ROLES,
    ListedClip,
    check_is_fetched,
    lists_mixtures,
    read_list_file,
    role_in,
)
from avsep.errors import InputError
from avsep.media.probe import probe
from avsep.records import VisibleObject

SOUNDS_FOLDER, SPLITS_FOLDER = "binaural_audios", "splits"
DEFAULT_SPLIT = "split1"
# FAIR-Play itself has no categories; the lists of other papers may.
UNKNOWN_LABEL = "instrument"


def read_fair_play(folder: Path) -> tuple[ClipFiles, ...]:
    """Read the clips that the lists of a split name, or all if there is no folder of splits.

    Args:
        folder: FAIR-Play's folder, or the folder of one split in its splits. A clip has the name
            of its files, without ending.

    Raises:
        InputError: a missing folder or file, lists that are unreadable or disagree, a git LFS
            pointer in place of a file, frames without a plausible rate, unusable detections.
    """
    root = find_root(folder)
    return tuple(read_clip(root, listed, split) for listed, split in listed_clips(folder))


def is_fair_play(folder: Path) -> bool:
    """True if a folder is FAIR-Play's or one of its splits, readable or not."""
    return (find_root(folder) / SOUNDS_FOLDER).is_dir()


def find_root(folder: Path) -> Path:
    """Return the folder with the sounds: a parent of a split's folder, else the folder itself."""
    # Absolute, so that the split's folder may be given as "." from inside it.
    place = folder.absolute()
    # Splits alone are lists, not a data set: only a folder with lists is searched for its root.
    if (folder / SOUNDS_FOLDER).is_dir() or not any(_list_files(place)):
        return folder
    roots = (root for root in place.parents if place.is_relative_to(root / SPLITS_FOLDER))
    return next((root for root in roots if (root / SOUNDS_FOLDER).is_dir()), folder)


def splits_folder(folder: Path) -> Path:
    """Return the folder of the lists: that of one split if given, else that of all splits."""
    return folder / SPLITS_FOLDER if find_root(folder) == folder else folder


def sound_names(root: Path) -> list[str]:
    """Return the names of all sounds, sorted.

    Raises:
        InputError: a folder without sounds.
    """
    sounds = root / SOUNDS_FOLDER
    names = {
        path.stem
        for path in (sounds.iterdir() if sounds.is_dir() else ())
        # macOS writes "._000001.wav" beside each file of a foreign disk.
        if path.suffix.lower() in SOUND_ENDINGS and not path.name.startswith(".")
    }
    if not names:
        raise InputError(
            f"'{root}' holds no {SOUNDS_FOLDER}/000001.wav, ... as FAIR-Play does "
            "(docs/data.md); for clips that need no download: avsep toyband DIR --clips 10"
        )
    return sorted(names)


def listed_clips(folder: Path) -> tuple[tuple[ListedClip, str | None], ...]:
    """Return the clips to read, sorted by name, each with its split.

    Raises:
        InputError: as `read_fair_play`.
    """
    names, lists = sound_names(find_root(folder)), _find_split_lists(splits_folder(folder))
    if not lists:
        return tuple((ListedClip(name, None, 0), None) for name in names)
    clips: dict[str, tuple[ListedClip, str | None]] = {}
    for split, path in lists.items():
        for clip in read_list_file(path):
            _, other = clips.setdefault(clip.id, (clip, split))
            if other is not None and other != split:
                raise InputError(
                    f"'{path}', line {clip.line}: '{clip.id}' is in '{lists[other]}' too: remove "
                    "it from one of them"
                )
    return tuple(clips[name] for name in sorted(clips))


def read_clip(folder: Path, listed: ListedClip, split: str | None = None) -> ClipFiles:
    """Read the files of one clip.

    Raises:
        InputError: a missing or unusable file, named in the message.
    """
    name = listed.id
    sound, pictures = find_sound(folder, name), find_pictures(folder, name)
    if sound is None or pictures is None:
        missing = (
            f"no sound '{folder / SOUNDS_FOLDER / name}.wav'"
            if sound is None
            else f"no pictures of '{name}' in '{folder}', neither videos/{name}.mp4 nor "
            f"frames/{name}.mp4/000001.jpg, ..."
        )
        raise InputError(f"{missing}: add what is missing, or remove '{name}' from the lists")
    check_is_fetched(sound, "sound")
    label = category_label(listed.category) if listed.category else UNKNOWN_LABEL
    visible, rate_hz = VisibleObject(label=label), None
    detections = find_detections(folder, name)
    if pictures.is_dir():
        paths, rate_hz = _estimate_frame_rate(pictures, sound)
        if detections is not None:
            visible = surest_object(detections, label, read_picture_size(paths[0]), rate_hz)
    else:
        check_is_fetched(pictures, "video")
        if detections is not None:
            # Rows count frames, and the video's own frames come at another rate.
            raise InputError(
                f"'{detections}' counts frames of '{folder / 'frames' / pictures.name}', which do "
                "not exist: extract them at the rate that the detector used (docs/data.md), or "
                f"move '{DETECTIONS_FOLDER}' away to use whole frames of the video"
            )
    source = SourceFile(sound, label, name, visible)
    return ClipFiles(name, pictures, (source,), sound=sound, frame_rate_hz=rate_hz, split=split)


def find_sound(folder: Path, name: str) -> Path | None:
    """Return the sound file of a clip, or None."""
    return find_file(folder / SOUNDS_FOLDER / name, SOUND_ENDINGS)


def find_pictures(folder: Path, name: str) -> Path | None:
    """Return the folder of a clip's frames, else its video, or None."""
    # 2.5D's extraction script names the folder like the video, with its ending.
    candidates = [folder / "frames" / f"{name}.mp4", folder / "frames" / name]
    # An empty folder is an extraction that was stopped.
    folders = (place for place in candidates if place.is_dir() and _list_pictures(place))
    return next(folders, find_file(folder / "videos" / name, (".mp4",)))


def find_detections(folder: Path, name: str) -> Path | None:
    """Return the file of a clip's detections, or None."""
    return find_file(folder / DETECTIONS_FOLDER / name, DETECTION_ENDINGS)


def _list_pictures(place: Path) -> list[Path]:
    return frame_paths(ClipFiles(place.name, place, ()))


def _estimate_frame_rate(place: Path, sound: Path) -> tuple[list[Path], float]:
    """Return the frames of a folder and their rate in Hz, rounded to a whole number.

    LAVSS has 81 or 82 frames for ten seconds at 8 Hz, 2.5D about 100 at 10 Hz.
    """
    paths = _list_pictures(place)
    seconds = probe(sound).duration_seconds or 0.0
    rate_hz = max(1, round(len(paths) / seconds)) if seconds else 1
    if not durations_match(len(paths) / rate_hz, seconds):
        raise InputError(
            f"'{place}' holds {len(paths)} frames for a sound of {seconds:g} s, less than one per "
            "second: extract them again (docs/data.md), or remove the folder to read the video"
        )
    return paths, float(rate_hz)


def _find_split_lists(place: Path) -> dict[str, Path]:
    """Return split -> its list, from the folder of splits itself, else from `split1` in it."""
    if not place.exists():
        return {}
    lists = _lists_by_role(place) or _lists_by_role(place / DEFAULT_SPLIT)
    if not lists:
        raise InputError(
            f"'{place}' holds no lists, and neither does {DEFAULT_SPLIT} in it: put train.h5, "
            f"val.h5 and test.h5 there (or {', '.join(LIST_ENDINGS)}), give the folder of another "
            "split in it as the data, or remove it to read every clip"
        )
    return lists


def _lists_by_role(place: Path) -> dict[str, Path]:
    """Return role -> list for the lists of single clips whose names contain a role."""
    lists: dict[str, Path] = {}
    for role, path in _list_files(place):
        # Pair files of an evaluation, such as test_pairs.csv, may be stored beside.
        if lists_mixtures(path):
            continue
        if role in lists:
            raise InputError(
                f"'{lists[role]}' and '{path}' are both lists for '{role}': leave one of them there"
            )
        lists[role] = path
    return {role: lists[role] for role in ROLES if role in lists}


def _list_files(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield role and path of the files in a folder that have the name of a list, sorted."""
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        role, _ = role_in(path.stem)
        if role and path.suffix.lower() in LIST_ENDINGS and not path.name.startswith("."):
            yield role, path


# Checks: every fault at once, where the reader stops at the first


def examine_fair_play(folder: Path) -> DatasetExamination:
    """Examine FAIR-Play: the lists of all splits and every clip that any of them names.

    If the folder of one split is given, only that split; without lists, every sound.
    """
    root, splits = find_root(folder), splits_folder(folder)
    sounds = sound_names(root)
    lists, list_findings = find_lists(splits) if splits.is_dir() else ((), ())
    findings = list(list_findings)
    names = {clip_id for split_list in lists if split_list.role for clip_id in split_list.ids}
    try:
        names |= {clip.id for clip, _ in listed_clips(folder)}
    except InputError as error:
        # An unreadable list has its own finding, whose cause this is as a rule.
        if not any(finding.is_wrong for finding in findings):
            items = (Item(splits.name, str(error)),)
            findings.append(
                Finding("splits that cannot be used", str(folder), True, 1, 1, "folders", items)
            )
    jobs = tuple(ClipJob(name, partial(check_clip, root, name)) for name in sorted(names or sounds))
    # Splits are alternative divisions of the same clips, however their folders are nested; a common
    # `dataset` would compare them with each other as if they were used together.
    return DatasetExamination(
        tuple(replace(split_list, dataset=None) for split_list in lists), tuple(findings), jobs
    )


def check_clip(folder: Path, name: str) -> ClipReport:
    """Check every file of one clip; a bad file is a fault, not an error."""
    sound, pictures = find_sound(folder, name), find_pictures(folder, name)
    report, faults = None, []
    if sound is None:
        faults.append(Fault(MISSING, f"{SOUNDS_FOLDER}/{name}.wav"))
    else:
        file_name = sound.relative_to(folder).as_posix()
        report, faults = sound_faults(sound, file_name, is_binaural=True)
    seconds = report and report.seconds
    faults += length_faults(name, seconds)
    if pictures is None:
        faults.append(Fault(MISSING, f"videos/{name}.mp4", "nor pictures in frames"))
    else:
        faults += _picture_faults(pictures, pictures.relative_to(folder).as_posix(), seconds)
    detections = find_detections(folder, name)
    if detections is not None:
        faults += detection_faults(detections, detections.relative_to(folder).as_posix())
    # What only the reader checks, such as the rate of the frames and boxes inside them.
    if not any(fault.kind in (MISSING, UNREADABLE) for fault in faults):
        try:
            read_clip(folder, ListedClip(name, None, 0))
        except InputError as error:
            faults.append(Fault(UNREADABLE, name, str(error)))
    return ClipReport(name, tuple(faults), report)


def _picture_faults(pictures: Path, name: str, seconds: float | None) -> Iterator[Fault]:
    if pictures.is_dir():
        yield from pictures_faults(frame_paths(ClipFiles(name, pictures, ())), name)
    elif seconds is not None:
        yield from video_faults(pictures, name, seconds)


FAIR_PLAY = Dataset(
    name="fair-play",
    description=f"FAIR-Play ({SOUNDS_FOLDER}/000001.wav)",
    recognise=is_fair_play,
    read=read_fair_play,
    examine_folder=examine_fair_play,
)
