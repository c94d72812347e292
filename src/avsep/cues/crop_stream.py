"""Extract the crops of a video as its windows need them, in one pass over its pictures."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from jaxtyping import Float32, Int64, Shaped, UInt8
from torch import Tensor

from avsep.cues.crops import (
    SLACK_SECONDS,
    CropSettings,
    SourceCues,
    crop_box,
    crop_box_grey,
)
from avsep.records import Box, VisibleObject

# Time (s) from the start of the sound -> the picture displayed then; times rise from call to call.
PictureAt = Callable[[float], UInt8[np.ndarray, "_ _ 3"]]
_Crop = Callable[[UInt8[np.ndarray, "H W 3"], Box, int], Shaped[np.ndarray, "*crop"]]
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
        self._picture_at, self._offset_seconds = picture_at, offset_seconds
        self._objects, self._settings = tuple(objects), settings
        self._duration_seconds: float | None = None
        self._rows = {"crops": _Rows(settings.crop_rate_hz, crop_box, settings.crop_pixels)}
        if with_motion:
            self._rows["crop_motion"] = _Rows(
                settings.motion_rate_hz, crop_box_grey, settings.motion_pixels
            )
        self.objects = tuple(
            StreamedCrops(settings, True, self, index) for index in range(len(self._objects))
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
        return _UNENDING if self._duration_seconds is None else rows.count(self._duration_seconds)

    def read(
        self, cue: str, number: int, indices: Int64[np.ndarray, " K"]
    ) -> Shaped[Tensor, "K *row"]:
        """Return rows of a cue of the object of a number, and extract those that are missing."""
        if cue == "boxes":
            return self._boxes(number, indices)
        rows = self._rows[cue]
        while rows.num_extracted <= int(indices.max()):
            # Pictures come forward only: the cue whose next row is the earlier one goes first.
            earliest = min(self._rows.values(), key=lambda item: item.next_seconds)
            self._extract(earliest)
        return torch.from_numpy(np.stack([rows.row(index)[number] for index in indices.tolist()]))

    def _extract(self, rows: "_Rows") -> None:
        seconds = rows.next_seconds
        picture = self._picture_at(seconds)
        rows.append(
            [
                rows.crop(picture, self._box(item, seconds), rows.num_pixels)
                for item in self._objects
            ]
        )

    def _box(self, visible: VisibleObject, seconds: float) -> Box:
        return visible.box_at(seconds + self._offset_seconds)

    def _boxes(self, number: int, indices: Int64[np.ndarray, " K"]) -> Float32[Tensor, "K 4"]:
        rate_hz = self._settings.crop_rate_hz
        visible = self._objects[number]
        return torch.tensor([self._box(visible, index / rate_hz) for index in indices.tolist()])


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


class _Rows:
    """The rows of one cue, of all objects, at a steady rate; early ones are dropped."""

    def __init__(self, rate_hz: float, crop: _Crop, num_pixels: int) -> None:
        self.rate_hz, self.crop, self.num_pixels = rate_hz, crop, num_pixels
        self._first = 0
        self._rows: deque[list[Shaped[np.ndarray, "*crop"]]] = deque()

    @property
    def num_extracted(self) -> int:
        """Return the number of rows extracted so far, dropped ones included."""
        return self._first + len(self._rows)

    @property
    def next_seconds(self) -> float:
        """Return the time of the row that is extracted next."""
        return self.num_extracted / self.rate_hz

    def count(self, duration_seconds: float) -> int:
        """Return the number of rows of a sound."""
        return count_crops(duration_seconds, self.rate_hz)

    def append(self, crops: list[Shaped[np.ndarray, "*crop"]]) -> None:
        """Add the next row, one crop an object."""
        self._rows.append(crops)

    def row(self, index: int) -> list[Shaped[np.ndarray, "*crop"]]:
        """Return a row by its number from the start of the sound."""
        assert index >= self._first, f"row {index} was dropped, {self._first} is the first"
        return self._rows[index - self._first]

    def drop_before(self, seconds: float) -> None:
        """Drop rows before a time."""
        while self._rows and (self._first + 1) / self.rate_hz < seconds:
            self._rows.popleft()
            self._first += 1
