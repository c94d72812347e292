"""Check the files of a clip: sounds, pictures, videos, detections and motion features."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avsep.data.checks.reports import (
    EMPTY,
    GAPS,
    LENGTHS,
    MOTION,
    SHORT,
    SILENT,
    UNREADABLE,
    WINDOW_SECONDS,
    Fault,
)
from avsep.data.clips import ClipFiles, durations_match, read_i3d_features, read_picture
from avsep.data.detections import read_detections
from avsep.errors import InputError
from avsep.media.audio import AudioReader
from avsep.media.frames import read_frames
from avsep.media.probe import probe

# -80 dB, three steps of 16 bits: recorded silence and dither stay below, music does not.
SILENCE_PEAK = 1e-4


@dataclass(frozen=True)
class AudioCheck:
    """Duration and peak of a whole sound file."""

    seconds: float
    peak: float


def check_audio(path: Path) -> AudioCheck:
    """Decode a sound file to its end, in blocks of constant memory.

    Raises:
        InputError: a missing or damaged file.
    """
    num_samples, peak = 0, 0.0
    with AudioReader(path) as reader:
        for block in reader.blocks():
            num_samples += block.shape[1]
            peak = max(peak, float(np.abs(block).max(initial=0.0)))
        return AudioCheck(num_samples / reader.sample_rate_hz, peak)


def sound_faults(path: Path, name: str) -> tuple[float | None, list[Fault]]:
    """Return the duration of a sound file (None if unreadable) and its faults.

    Args:
        path: the sound file, or a video.
        name: of the file in the report.
    """
    try:
        audio = check_audio(path)
    except InputError as error:
        return None, [Fault(UNREADABLE, name, str(error))]
    # FFmpeg decodes a WAV that was cut off without an error.
    num_missing = _bytes_missing(path)
    if num_missing > 0:
        why = f"it was cut off: {num_missing} of the bytes that its header states are missing"
        return audio.seconds, [Fault(UNREADABLE, name, why)]
    if audio.peak < SILENCE_PEAK:
        return audio.seconds, [Fault(SILENT, name, f"peak {audio.peak:.1g}")]
    return audio.seconds, []


def length_faults(name: str, seconds: float | None) -> Iterator[Fault]:
    """Yield a fault if a clip is shorter than a window."""
    if seconds is not None and seconds < WINDOW_SECONDS:
        yield Fault(SHORT, name, f"{seconds:.2f} s")


def pictures_faults(pictures: Sequence[Path], name: str) -> Iterator[Fault]:
    """Yield the faults of a folder of frames: at least one picture, in order.

    Only the first is decoded, since a clip may have thousands; the others must not be empty.
    """
    try:
        read_picture(pictures[0])
    except InputError as error:
        yield Fault(UNREADABLE, f"{name}/{pictures[0].name}", str(error))
    for path in pictures[1:]:
        if not path.is_file() or path.stat().st_size == 0:
            yield Fault(UNREADABLE, f"{name}/{path.name}", "it has no bytes")
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


def _bytes_missing(path: Path) -> int:
    """Return how many bytes a WAV file lacks, compared with the size in its header."""
    with path.open("rb") as file:
        head = file.read(8)
    stated = int.from_bytes(head[4:], "little")
    # A program that writes to a pipe cannot know the size and states one of these numbers.
    if not head.startswith(b"RIFF") or stated in (0, 2**32 - 1):
        return 0
    return len(head) + stated - path.stat().st_size
