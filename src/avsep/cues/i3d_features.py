"""Motion features for the clips of a prepared folder that have none yet, a file each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64
from torch import Tensor

from avsep.data.clips import ClipFiles, frame_paths, read_picture
from avsep.data.prepared import INDEX_NAME, i3d_features_path, read_prepared
from avsep.errors import InputError
from avsep.media.atomic import atomic_file, make_folder
from avsep.vision.i3d import I3D, MOTION_RATE_HZ, motion_of_pictures

# A video of 3 seconds has no picture at 3 seconds, whatever the last bit of its length says.
_SLACK_SECONDS = 1e-6


@dataclass(frozen=True)
class MotionOutcome:
    """What became of one clip: a file of features, or the reason why there is none."""

    clip: str
    file: Path | None = None
    error: str = ""

    def as_json(self) -> dict[str, object]:
        """For a program to read."""
        file = None if self.file is None else str(self.file)
        return {"clip": self.clip, "file": file, "error": self.error or None}


def open_for_motion(folder: Path) -> tuple[ClipFiles, ...]:
    """The clips of a prepared folder that are seen.

    An InputError for any other folder, toyband's among them, and for one of sounds alone.
    """
    if not (folder / INDEX_NAME).is_file():
        raise InputError(
            f"'{folder}' holds no {INDEX_NAME}, the list of a prepared folder (docs/data.md): give "
            "one; motion features have no place in toyband folders and others"
        )
    clips = tuple(clip for clip in read_prepared(folder) if clip.is_visible)
    if not clips:
        raise InputError(
            f"'{folder}' holds clips that are heard and not seen: motion features are made of "
            "pictures, give a folder that has some"
        )
    return clips


def add_motion(folder: Path, clips: Sequence[ClipFiles], model: I3D) -> Iterator[MotionOutcome]:
    """Compute and write the features of each clip in turn, [1024, k] float32, whole or not at all.

    A clip whose pictures cannot be read stops no other; a folder that takes no files is an
    InputError.
    """
    for clip in clips:
        try:
            features = motion_of_clip(clip, model)
        except InputError as error:
            yield MotionOutcome(clip.name, error=f"clip '{clip.name}': {error}")
            continue
        path = i3d_features_path(folder, clip.name)
        make_folder(path.parent)
        with atomic_file(path) as part, part.open("wb") as file:
            np.save(file, features.cpu().numpy())
        yield MotionOutcome(clip.name, path)


def motion_of_clip(clip: ClipFiles, model: I3D) -> Float32[Tensor, "D k"]:
    """Motion features of a clip that lies as a folder of pictures; InputError for a bad one."""
    assert clip.frame_rate_hz is not None, "a folder of pictures has a frame rate"
    paths = frame_paths(clip)
    numbers = pictures_each_second(len(paths), clip.frame_rate_hz)
    return motion_of_pictures((read_picture(paths[number]) for number in numbers), model)


def pictures_each_second(num_pictures: int, frame_rate_hz: float) -> Int64[np.ndarray, " K"]:
    """Which pictures are nearest to 0, 1, 2, ... seconds, as long as they last.

    >>> pictures_each_second(20, 8.0).tolist()
    [0, 8, 16]
    """
    duration_seconds = num_pictures / frame_rate_hz
    num_times = max(1, ceil((duration_seconds - _SLACK_SECONDS) * MOTION_RATE_HZ))
    times_seconds = np.arange(num_times) / MOTION_RATE_HZ
    numbers = np.floor(times_seconds * frame_rate_hz + 0.5).astype(np.int64)
    return numbers.clip(0, num_pictures - 1)
