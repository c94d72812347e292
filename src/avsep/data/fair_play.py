"""Read and check FAIR-Play: binaural audio, videos or frames, and its published splits.

DIR/binaural_audios/000001.wav           what two ears hear
DIR/videos/000001.mp4                    what is seen; or, which is read first,
DIR/frames/000001.mp4/000001.jpg         its pictures at a steady rate, as for 2.5D or LAVSS
DIR/detection_results/000001.mp4.npy     boxes found in these pictures; without it, all of them
DIR/splits/split1/train.h5               and val.h5, test.h5; or .txt, .csv; or in splits itself

The folder of another split, DIR/splits/split2, may be given in place of DIR.
A clip is one source: its whole sound. Of FAIR-Play's clips some show several players; lists such as
LAVSS's name those with one, and what a list does not name is not read.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from avsep.data.checks.reports import (
    MISSING,
    UNREADABLE,
    ClipJob,
    ClipReport,
    Fault,
    Finding,
    Item,
    length_faults,
    pictures_faults,
    sound_faults,
)
from avsep.data.checks.split_lists import SplitList, find_lists
from avsep.data.clips import ClipFiles, SourceFile, frame_paths, read_picture
from avsep.data.detections import DETECTION_ENDINGS, surest_object
from avsep.data.list_files import (
    LIST_ENDINGS,
    ROLES,
    ListedClip,
    check_is_fetched,
    lists_mixtures,
    read_list_file,
    role_in,
)
from avsep.data.prepared import SOUND_ENDINGS, detection_faults, file_at, label_of, lasts_alike
from avsep.data.toyband import video_faults
from avsep.errors import InputError
from avsep.media.probe import probe
from avsep.records import VisibleObject

SOUNDS_FOLDER, SPLITS_FOLDER = "binaural_audios", "splits"
DETECTIONS_FOLDER = "detection_results"
DEFAULT_SPLIT = "split1"
# FAIR-Play does not say what is played; a list may.
UNKNOWN_LABEL = "instrument"


def read_fair_play(folder: Path) -> tuple[ClipFiles, ...]:
    """The clips that the lists of a split name, or all where there is no folder of splits.

    Where `folder` is a folder of lists in FAIR-Play's splits, that is the split. Clips are called
    as their files are, without ending.

    Raises:
        InputError: no such folder, lists that cannot be read or do not agree, a file that is
            missing or only git LFS's pointer to it, pictures without a rate, unusable detections.
    """
    root = root_of(folder)
    return tuple(clip_at(root, listed, split) for listed, split in listed_clips(folder))


def is_fair_play(folder: Path) -> bool:
    """Whether `read_fair_play` is for it, be it readable or not."""
    return (root_of(folder) / SOUNDS_FOLDER).is_dir()


def root_of(folder: Path) -> Path:
    """The folder that holds the sounds: above one of its splits, else the folder itself."""
    place = folder.absolute()
    if (folder / SOUNDS_FOLDER).is_dir() or not any(_list_files(place)):
        return folder
    above = (root for root in place.parents if place.is_relative_to(root / SPLITS_FOLDER))
    return next((root for root in above if (root / SOUNDS_FOLDER).is_dir()), folder)


def splits_of(folder: Path) -> Path:
    """Where lists are looked for: the split that was given, else the folder of all of them."""
    return folder / SPLITS_FOLDER if root_of(folder) == folder else folder


def sound_names(root: Path) -> list[str]:
    """The names of all sounds; an InputError where there is none."""
    sounds = root / SOUNDS_FOLDER
    names = {
        path.stem
        for path in (sounds.iterdir() if sounds.is_dir() else ())
        if path.suffix.lower() in SOUND_ENDINGS and not path.name.startswith(".")
    }
    if not names:
        raise InputError(
            f"'{root}' holds no {SOUNDS_FOLDER}/000001.wav, ... as FAIR-Play does "
            "(docs/data.md); for clips that need no download: avsep toyband DIR --clips 10"
        )
    return sorted(names)


def listed_clips(folder: Path) -> tuple[tuple[ListedClip, str | None], ...]:
    """The clips to be read, each with its split, by name; InputError as `read_fair_play`."""
    names, lists = sound_names(root_of(folder)), _lists_of(splits_of(folder))
    if not lists:
        return tuple((ListedClip(name, None, 0), None) for name in names)
    found: dict[str, tuple[ListedClip, str | None]] = {}
    for split, path in lists.items():
        for clip in read_list_file(path):
            _, other = found.setdefault(clip.id, (clip, split))
            if other is not None and other != split:
                raise InputError(
                    f"'{path}', line {clip.line}: '{clip.id}' stands in '{lists[other]}' too: "
                    "remove it from one of them"
                )
    return tuple(found[name] for name in sorted(found))


def clip_at(folder: Path, listed: ListedClip, split: str | None = None) -> ClipFiles:
    """The files of one clip; an InputError that names what is missing or cannot be used."""
    name = listed.id
    sound, pictures = sound_at(folder, name), pictures_at(folder, name)
    if sound is None or pictures is None:
        wanted = (
            f"no sound '{folder / SOUNDS_FOLDER / name}.wav'"
            if sound is None
            else f"no pictures of '{name}' in '{folder}', neither videos/{name}.mp4 nor "
            f"frames/{name}.mp4/000001.jpg, ..."
        )
        raise InputError(f"{wanted}: add what is missing, or take '{name}' out of the lists")
    check_is_fetched(sound, "sound")
    label = label_of(listed.category) if listed.category else UNKNOWN_LABEL
    visible, rate_hz = VisibleObject(label=label), None
    detections = detections_at(folder, name)
    if pictures.is_dir():
        paths, rate_hz = _with_rate(pictures, sound)
        if detections is not None:
            height, width, _ = read_picture(paths[0]).shape
            visible = surest_object(detections, label, (width, height), rate_hz)
    else:
        check_is_fetched(pictures, "video")
        if detections is not None:
            raise InputError(
                f"'{detections}' counts pictures of '{folder / 'frames' / pictures.name}', which "
                "are not there: extract them at the rate that was looked at (docs/data.md), or "
                f"move '{DETECTIONS_FOLDER}' away to take whole pictures of the video"
            )
    source = SourceFile(sound, label, name, visible)
    return ClipFiles(name, pictures, (source,), sound=sound, frame_rate_hz=rate_hz, split=split)


def sound_at(folder: Path, name: str) -> Path | None:
    """The sound of a clip, where it is there."""
    return file_at(folder / SOUNDS_FOLDER / name, SOUND_ENDINGS)


def pictures_at(folder: Path, name: str) -> Path | None:
    """The folder of a clip's pictures, else its video, where either is there."""
    places = [folder / "frames" / f"{name}.mp4", folder / "frames" / name]
    found = (place for place in places if place.is_dir() and _pictures_in(place))
    return next(found, file_at(folder / "videos" / name, (".mp4",)))


def detections_at(folder: Path, name: str) -> Path | None:
    """What was detected in a clip's pictures, where it is there."""
    return file_at(folder / DETECTIONS_FOLDER / name, DETECTION_ENDINGS)


def _pictures_in(place: Path) -> list[Path]:
    return frame_paths(ClipFiles(place.name, place, ()))


def _with_rate(place: Path, sound: Path) -> tuple[list[Path], float]:
    """The pictures of a folder and how many there are a second, the nearest whole number.

    LAVSS has 81 or 82 pictures for ten seconds at 8 Hz, 2.5D about 100 at 10 Hz.
    """
    paths = _pictures_in(place)
    seconds = probe(sound).duration_seconds or 0.0
    rate_hz = max(1, round(len(paths) / seconds)) if seconds else 1
    if not lasts_alike(len(paths) / rate_hz, seconds):
        raise InputError(
            f"'{place}' holds {len(paths)} pictures for a sound of {seconds:g} s, less than one a "
            "second: extract them again (docs/data.md), or remove the folder to read the video"
        )
    return paths, float(rate_hz)


def _lists_of(place: Path) -> dict[str, Path]:
    """Split -> its list: of the folder of splits itself, else of the first split in it."""
    if not place.exists():
        return {}
    found = _lists_in(place) or _lists_in(place / DEFAULT_SPLIT)
    if not found:
        raise InputError(
            f"'{place}' holds no lists, and neither does {DEFAULT_SPLIT} in it: put train.h5, "
            f"val.h5 and test.h5 there (or {', '.join(LIST_ENDINGS)}), give the folder of another "
            "split in it as the data, or remove it to read every clip"
        )
    return found


def _lists_in(place: Path) -> dict[str, Path]:
    """The lists of single clips in a folder whose names say train, val or test."""
    found: dict[str, Path] = {}
    for role, path in _list_files(place):
        if lists_mixtures(path):
            continue
        if role in found:
            raise InputError(
                f"'{found[role]}' and '{path}' are both lists for '{role}': leave one of them there"
            )
        found[role] = path
    return {role: found[role] for role in ROLES if role in found}


def _list_files(place: Path) -> Iterator[tuple[str, Path]]:
    """Files in a folder that are lists by their names, by name, each with its role."""
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        role, _ = role_in(path.stem)
        if role and path.suffix.lower() in LIST_ENDINGS and not path.name.startswith("."):
            yield role, path


# Every fault of a folder of FAIR-Play, clip by clip, where the reader would stop at the first


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


def examine_fair_play(folder: Path, name: str) -> ClipReport:
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
    return ClipReport(name, tuple(faults), seconds)


def _picture_faults(pictures: Path, name: str, seconds: float | None) -> Iterator[Fault]:
    if pictures.is_dir():
        yield from pictures_faults(frame_paths(ClipFiles(name, pictures, ())), name)
    elif seconds is not None:
        yield from video_faults(pictures, name, seconds)
