"""Extract the crops of a video as its windows need them, in one pass over its pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped, UInt8
from torch import Tensor

from avsep.cues.cropping import earliest_rows
from avsep.cues.crops import SLACK_SECONDS, CropSettings, SourceCues, crop_rows
from avsep.records import VisibleObject

# Time (s) from the start of the sound -> the picture displayed then; times rise from call to call.
PictureAt = Callable[[float], UInt8[np.ndarray, "_ _ 3"]]
# More rows than any video has, while its length is not known yet.
_UNENDING = 2**40


class CropStream:
    """The crops of all objects of a video, extracted as far as windows have read them.

    They equal those that `extract_crops` holds for the whole video. Rows stay in memory until
    `drop_before`.

    Attributes:
        objects: cues of each object, which windows read as those of a whole clip.
    """

    def __init__(
        self,
        picture_at: PictureAt,
        objects: Sequence[VisibleObject],
        settings: CropSettings,
        *,
        with_motion: bool,
        offset_seconds: float = 0.0,
    ) -> None:
        """Start at time 0 of the sound.

        Args:
            picture_at: returns the picture displayed at a time.
            objects: the visible objects.
            settings: sizes and rates.
            with_motion: extract crop motion too.
            offset_seconds: added to a time before an object's box is looked up: where the sound is
                a part of the video, the boxes count from the start of the whole.
        """
        self._picture_at, self._settings = picture_at, settings
        self._duration_seconds: float | None = None
        self._rows = crop_rows(
            objects, settings, with_motion=with_motion, offset_seconds=offset_seconds
        )
        self.objects = tuple(
            StreamedCrops(settings, True, self, index) for index in range(len(objects))
        )

    def end_at(self, duration_seconds: float) -> None:
        """Set the length of the sound, once it is known: no crop is later."""
        self._duration_seconds = duration_seconds

    def drop_before(self, start_seconds: float, window_seconds: float) -> None:
        """Forget what windows from a start on do not read."""
        earliest = start_seconds - reach_seconds(self._settings, window_seconds)
        for rows in self._rows.values():
            rows.drop_before(earliest)

    def num_rows(self, cue: str) -> int:
        """Return the number of rows of a cue; without a known end, more than any window reads."""
        rows = self._rows.get("crops" if cue == "boxes" else cue)
        if rows is None:
            return 0
        if self._duration_seconds is None:
            return _UNENDING
        return count_crops(self._duration_seconds, rows.rate_hz)

    def read(
        self, cue: str, number: int, indices: Int64[np.ndarray, " K"]
    ) -> Shaped[Tensor, "K *row"]:
        """Return rows of a cue of the object of a number, and extract those that are missing."""
        if cue == "boxes":
            return self._rows["crops"].boxes(number, indices.tolist())
        rows = self._rows[cue]
        while rows.num_extracted <= int(indices.max()):
            following = earliest_rows(self._rows.values())
            following.extract(self._picture_at(following.next_seconds))
        return torch.from_numpy(np.stack([rows.row(number, index) for index in indices.tolist()]))


@dataclass(frozen=True)
class StreamedCrops(SourceCues):
    """Cues of one object of a `CropStream`.

    Attributes:
        stream: extracts and holds the rows.
        number: place of the object in the stream.
        i3d_features: motion features of the whole video, where they were computed.
    """

    settings: CropSettings
    is_visible: bool
    stream: CropStream
    number: int
    i3d_features: Float32[Tensor, "D J"] | None = None

    def num_rows(self, cue: str) -> int:
        """Return the number of rows of a cue; 0 where it is not extracted."""
        if cue == "i3d_features":
            return 0 if self.i3d_features is None else len(self.i3d_features)
        return self.stream.num_rows(cue)

    def rows(self, cue: str, indices: Int64[np.ndarray, " K"]) -> Shaped[Tensor, "K *row"]:
        """Return rows of a cue, none earlier than the last `drop_before`."""
        return self.stream.read(cue, self.number, indices)

    def whole(self, cue: str) -> Shaped[Tensor, "..."]:
        """Return all of a cue of the whole video."""
        assert cue == "i3d_features" and self.i3d_features is not None, f"{cue} is streamed"
        return self.i3d_features


def reach_seconds(settings: CropSettings, window_seconds: float) -> float:
    """Return how far outside of a window the crops may be that it reads."""
    if settings.selection == "consecutive":
        from_middle = (settings.num_crops // 2 + 1) * settings.stride / settings.crop_rate_hz
    else:
        # Where no crop is inside, the nearest is read.
        from_middle = 1 / settings.crop_rate_hz
    # A row more, as times are rounded to rows.
    return max(0.0, from_middle - window_seconds / 2) + 1 / settings.motion_rate_hz


def count_crops(duration_seconds: float, rate_hz: float) -> int:
    """Return the number of rows at 0, 1/rate, ... seconds of a sound; at least one."""
    # Corrected by one row: the product is rounded, and `extract_crops` compares quotients.
    until = max(duration_seconds, SLACK_SECONDS)
    count = ceil(until * rate_hz)
    count += count / rate_hz < until
    return count - ((count - 1) / rate_hz >= until)
