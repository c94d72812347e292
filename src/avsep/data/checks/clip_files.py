"""Check the files of a clip: pictures, videos, detections and motion features."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from avsep.data.checks.reports import (
    EMPTY,
    GAPS,
    LENGTHS,
    MOTION,
    SHORT,
    SIZES,
    UNREADABLE,
    WINDOW_SECONDS,
    Fault,
)
from avsep.data.clips import (
    ClipFiles,
    durations_match,
    other_size,
    read_i3d_features,
    read_picture,
    read_picture_size,
)
from avsep.errors import InputError
from avsep.media.detection_rows import read_detections
from avsep.media.frames import read_frames
from avsep.media.probe import probe

# First and last bytes of JPEG and PNG. Some programs write a few bytes more behind them.
_PICTURE_MARKS = ((b"\xff\xd8", b"\xff\xd9"), (b"\x89PNG", b"IEND"))
_PICTURE_TAIL_BYTES = 16


def length_faults(name: str, seconds: float | None) -> Iterator[Fault]:
    """Yield a fault if a clip is shorter than a window."""
    if seconds is not None and seconds < WINDOW_SECONDS:
        yield Fault(SHORT, name, f"{seconds:.2f} s")


def pictures_faults(pictures: Sequence[Path], name: str) -> Iterator[Fault]:
    """Yield the faults of a folder of frames: at least one picture, in order.

    Of all the header is read. The first is decoded, and each that does not end as its format does:
    decoding thousands would take long.
    """
    sizes: dict[Path, tuple[int, int]] = {}
    for path in pictures:
        try:
            if not path.is_file() or path.stat().st_size == 0:
                raise InputError("it has no bytes")
            sizes[path] = read_picture_size(path)
            if path == pictures[0] or not _ends_as_picture(path):
                read_picture(path)
        except InputError as error:
            yield Fault(UNREADABLE, f"{name}/{path.name}", str(error))
    others = [path for path in sizes if sizes[path] != next(iter(sizes.values()))]
    if others:
        first = next(iter(sizes))
        error = other_size(others[0], sizes[others[0]], first, sizes[first])
        why = f"{len(others)} of {len(pictures)}: {error}"
        yield Fault(SIZES, f"{name}/{others[0].name}", why)
    # Frames are read by their place in the list: a missing one shifts all that follow.
    numbers = [int(path.stem) for path in pictures if path.stem.isdecimal()]
    num_missing = max(numbers) - min(numbers) + 1 - len(set(numbers)) if numbers else 0
    if num_missing:
        why = f"{num_missing} of the numbers {min(numbers)} to {max(numbers)}"
        yield Fault(GAPS, name, why)


def video_faults(path: Path, name: str, seconds: float) -> Iterator[Fault]:
    """Yield the faults of the pictures of a video whose sound has this duration.

    The last picture is decoded: a video that was cut off has none at its end.
    """
    try:
        (stream, *_) = probe(path).video or (None,)
        read_frames(path, [seconds])
    except InputError as error:
        yield Fault(UNREADABLE, name, str(error))
        return
    shown_seconds = stream.duration_seconds if stream else None
    if shown_seconds is not None and not durations_match(shown_seconds, seconds):
        why = f"the pictures last {shown_seconds:.2f} s, the sound {seconds:.2f} s"
        yield Fault(LENGTHS, name, why)


def detection_faults(path: Path, name: str) -> Iterator[Fault]:
    """Yield the faults of a file of detections."""
    try:
        if not len(read_detections(path)):
            yield Fault(EMPTY, name)
    except InputError as error:
        yield Fault(UNREADABLE, name, str(error))


def motion_faults(path: Path, name: str) -> tuple[int | None, list[Fault]]:
    """Return the number of features per time step (None if unreadable) and the faults."""
    try:
        features = read_i3d_features(ClipFiles(name, path, (), i3d_features=path))
    except InputError as error:
        return None, [Fault(MOTION, name, str(error))]
    if not np.isfinite(features).all():
        return None, [Fault(MOTION, name, "it holds values that are no numbers (NaN or infinity)")]
    return features.shape[0], []


def _ends_as_picture(path: Path) -> bool:
    """True if a picture file ends with the mark of its format; a file that was cut off has none."""
    with path.open("rb") as file:
        head = file.read(8)
        file.seek(max(0, path.stat().st_size - _PICTURE_TAIL_BYTES))
        tail = file.read()
    return any(head.startswith(begin) and end in tail for begin, end in _PICTURE_MARKS)
