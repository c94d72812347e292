"""Compute I3D motion features of the clips of a prepared folder, one file each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from avsep.data.clips import ClipFiles, frame_paths, read_pictures
from avsep.data.prepared import INDEX_NAME, i3d_features_path, read_prepared
from avsep.errors import InputError
from avsep.media.atomic import atomic_file, make_folder
from avsep.vision.i3d import I3D, MOTION_RATE_HZ, video_motion_features

# A video of 3 seconds has no picture at 3 seconds, even if rounding makes it slightly longer.
_SLACK_SECONDS = 1e-6


@dataclass(frozen=True)
class MotionOutcome:
    """Result for one clip: its file of features, or an error.

    Attributes:
        clip: name of the clip.
        file: the file that was written; None after an error.
        error: the error message; empty on success.
    """

    clip: str
    file: Path | None = None
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the result as JSON values."""
        file = None if self.file is None else str(self.file)
        return {"clip": self.clip, "file": file, "error": self.error or None}


def clips_with_pictures(folder: Path) -> tuple[ClipFiles, ...]:
    """Return the clips of a prepared folder that have pictures.

    Raises:
        InputError: not a prepared folder (toyband folders are not), or no clip has pictures.
    """
    if not (folder / INDEX_NAME).is_file():
        raise InputError(
            f"'{folder}' holds no {INDEX_NAME}, the list of a prepared folder (docs/data.md): give "
            "a prepared folder; toyband and other folders cannot store motion features"
        )
    clips = tuple(clip for clip in read_prepared(folder) if clip.is_visible)
    if not clips:
        raise InputError(
            f"'{folder}' holds clips without pictures: motion features are computed from pictures, "
            "give a folder that has some"
        )
    return clips


def write_motion_features(
    folder: Path, clips: Sequence[ClipFiles], model: I3D
) -> Iterator[MotionOutcome]:
    """Compute and write the features of each clip, [1024, k] float32, one file at a time.

    A clip whose pictures cannot be read yields an error, and the next one follows.

    Raises:
        InputError: the folder is not writable.
    """
    for clip in clips:
        try:
            features = clip_motion_features(clip, model)
        except InputError as error:
            yield MotionOutcome(clip.name, error=f"clip '{clip.name}': {error}")
            continue
        path = i3d_features_path(folder, clip.name)
        # Outside the `try`: a folder that cannot be written fails for every clip.
        make_folder(path.parent)
        with atomic_file(path) as part, part.open("wb") as file:
            np.save(file, features.cpu().numpy())
        yield MotionOutcome(clip.name, path)


def clip_motion_features(clip: ClipFiles, model: I3D) -> Float32[Tensor, "D k"]:
    """Compute the motion features of a clip stored as a folder of pictures.

    Raises:
        InputError: a picture cannot be read.
    """
    assert clip.frame_rate_hz is not None, "a folder of pictures has a frame rate"
    paths = frame_paths(clip)
    numbers = one_picture_a_second(len(paths), clip.frame_rate_hz)
    # Read one at a time, so that only resized pictures are held in memory.
    return video_motion_features(read_pictures(paths[number] for number in numbers), model)


def one_picture_a_second(num_pictures: int, frame_rate_hz: float) -> Int64[np.ndarray, " K"]:
    """Return the indices of the pictures nearest to 0, 1, 2, ... seconds.

    >>> one_picture_a_second(20, 8.0).tolist()
    [0, 8, 16]
    """
    duration_seconds = num_pictures / frame_rate_hz
    num_times = max(1, ceil((duration_seconds - _SLACK_SECONDS) * MOTION_RATE_HZ))
    times_seconds = np.arange(num_times) / MOTION_RATE_HZ
    # floor(x + 0.5) and not np.round, which rounds halves to even numbers.
    numbers = np.floor(times_seconds * frame_rate_hz + 0.5).astype(np.int64)
    return numbers.clip(0, num_pictures - 1)
