"""Extract the crops of every visible object over time: RGB crops, crop motion and boxes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, inf
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from avsep.cues.cropping import CropRows, crop_box, crop_box_grey, earliest_rows
from avsep.data.clips import ClipFiles, frame_paths, read_pictures
from avsep.media.audio import AudioReader
from avsep.media.frames import FrameSettings, iterate_unrendered
from avsep.media.opening import MediaSource, open_media
from avsep.media.streams import audio_streams
from avsep.records import Box, VisibleObject

# Frames are shrunk to this while they are decoded: an object a third as wide still fills a crop.
LONGEST_SIDE_PIXELS = 640
# Time stamps are rounded to a file's ticks; this much early still counts as on time.
SLACK_SECONDS = 1e-3
WHOLE_PICTURE: Box = (0.0, 0.0, 1.0, 1.0)
# First and last time (s) of the crops that are extracted.
Part = tuple[float, float]
WHOLE_CLIP: Part = (0.0, inf)
# A picture that is rendered, or read, when it is needed.
_Render = Callable[[], UInt8[np.ndarray, "_ _ 3"]]
# Time (s) -> pictures, and the times at which they begin, from the one displayed then on.
_TimedPictures = Iterable[tuple[float, _Render]]
_ReadFrom = Callable[[float], _TimedPictures]
# Settings of the crops of a whole clip.
_EXTRACTED = {"crop_pixels", "crop_rate_hz", "motion_rate_hz", "motion_pixels", "with_crop_motion"}


class CropSettings(BaseModel):
    """Sizes and rates of the crops that a model reads of each object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_pixels: int = Field(default=224, ge=2, description="side of the square RGB crop")
    crop_rate_hz: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="crops extracted a second"
    )
    num_crops: int = Field(default=3, ge=1, description="crops selected for one window")
    selection: Literal["spread", "consecutive"] = Field(
        default="spread",
        description="spread: of all crops in the window, at random in training and else evenly "
        "spaced; consecutive: around the window's middle, `stride` apart, as the released codes",
    )
    stride: int = Field(
        default=1, ge=1, description="crops from one consecutive crop to the next (Sound of Pixels)"
    )
    motion_rate_hz: float = Field(
        default=10.0, gt=0, allow_inf_nan=False, description="grey pictures of crop motion a second"
    )
    motion_pixels: int = Field(default=32, ge=2, description="side of the square grey picture")
    with_crop_motion: bool = Field(default=True, description="extract crop motion")
    whole_when_alone: bool = Field(
        default=False,
        description="crop the whole frame where a clip shows one source only (DAVIS); with several "
        "each object's box is cropped",
    )

    def boxed_objects(self, objects: Sequence[VisibleObject]) -> tuple[VisibleObject, ...]:
        """Return a clip's objects with the boxes to crop; no box is the whole picture."""
        if self.whole_when_alone and len(objects) == 1:
            return (objects[0].model_copy(update={"boxes": ()}),)
        return tuple(objects)

    def of_extraction(self, num_objects: int) -> "CropSettings":
        """Return the settings that extraction depends on; which crops a window takes is left out.

        Models whose settings are equal in this share the crops of a clip.
        """
        whole_when_alone = self.whole_when_alone and num_objects == 1
        extracted = self.model_dump(include=_EXTRACTED)
        return CropSettings(**extracted, whole_when_alone=whole_when_alone)


class SourceCues(ABC):
    """Cues of one source over its whole clip, read row by row.

    Rows are over time: crops at `crop_rate_hz`, crop motion at `motion_rate_hz`. Two subclasses:
    `ObjectCrops` in memory, `avsep.cues.cache.CachedSource` in a file.
    """

    settings: CropSettings
    is_visible: bool

    @abstractmethod
    def num_rows(self, cue: str) -> int:
        """Return the number of rows of a cue, by its name in `Cues`; 0 where it has none."""

    @abstractmethod
    def rows(self, cue: str, indices: Int64[np.ndarray, " K"]) -> Shaped[Tensor, "K *row"]:
        """Read rows of a cue, in any order, repeats allowed."""

    @abstractmethod
    def whole(self, cue: str) -> Shaped[Tensor, "..."]:
        """Read all of a cue as it is stored."""

    def crop_indices(self, start_seconds: float, window_seconds: float) -> Int64[np.ndarray, " K"]:
        """Return the indices of the crops inside a window, in order.

        At least one: where none is inside, the crop nearest to the window's middle.
        """
        num_crops = self.num_rows("crops") or self.num_rows("appearance")
        rate = self.settings.crop_rate_hz
        first = max(0, ceil((start_seconds - SLACK_SECONDS) * rate))
        stop = ceil((start_seconds + window_seconds - SLACK_SECONDS) * rate)
        if first < min(stop, num_crops):
            return np.arange(first, min(stop, num_crops), dtype=np.int64)
        nearest = round((start_seconds + window_seconds / 2) * rate)
        return np.array([min(max(nearest, 0), num_crops - 1)], np.int64)

    def consecutive_indices(
        self, start_seconds: float, window_seconds: float
    ) -> Int64[np.ndarray, " K"]:
        """Return the indices of crops around the one shown in the middle of a window, in order.

        The first and last crop of the clip are held beyond its ends.
        """
        settings = self.settings
        num_crops = self.num_rows("crops") or self.num_rows("appearance")
        middle_seconds = start_seconds + window_seconds / 2 + SLACK_SECONDS
        middle = floor(middle_seconds * settings.crop_rate_hz)
        # As the codes count: of six crops three are before the middle one and two after it.
        offsets = np.arange(settings.num_crops) - settings.num_crops // 2
        return (middle + offsets * settings.stride).clip(0, num_crops - 1)

    def motion_indices(
        self, start_seconds: float, window_seconds: float, *, is_repeated: bool
    ) -> Int64[np.ndarray, " M"]:
        """Return the indices of the grey pictures of a window, the first and last held beyond.

        `is_repeated`: the clip is shorter than the window and starts again at its end, as its
        sound does.
        """
        first = round(start_seconds * self.settings.motion_rate_hz)
        num_pictures = round(window_seconds * self.settings.motion_rate_hz)
        indices = np.arange(first, first + num_pictures)
        num_rows = self.num_rows("crop_motion")
        return indices % num_rows if is_repeated else indices.clip(0, num_rows - 1)


@dataclass(frozen=True)
class ObjectCrops(SourceCues):
    """Cues of one object over a whole clip; time 0 is the first sample of the clip's sound.

    Attributes:
        crops: the object's box cropped, RGB, at 0, 1 / crop_rate_hz, ... seconds.
        crop_motion: the same in grey, smaller, at motion_rate_hz; none unless with_crop_motion.
        boxes: box of each crop, normalised x1 y1 x2 y2.
        settings: sizes and rates they were extracted with.
        i3d_features: motion features of the whole clip, where they were computed.
        is_visible: false for a source without pictures, whose one crop is black.
        first_seconds: where only a part of the clip was extracted, time of its first rows.
    """

    crops: UInt8[Tensor, "K 3 H W"]
    crop_motion: UInt8[Tensor, "M h w"] | None
    boxes: Float[Tensor, "K 4"]
    settings: CropSettings
    i3d_features: Float[Tensor, "D J"] | None = None
    is_visible: bool = True
    first_seconds: float = 0.0

    def num_rows(self, cue: str) -> int:
        """Return the number of rows of a cue up to its last one; 0 where it was not extracted."""
        values = getattr(self, cue, None)
        return 0 if values is None else self._first_row(cue) + len(values)

    def rows(self, cue: str, indices: Int64[np.ndarray, " K"]) -> Shaped[Tensor, "K *row"]:
        """Return rows of a cue."""
        places = indices - self._first_row(cue)
        assert (places >= 0).all(), f"{cue} before {self.first_seconds} s were not extracted"
        return getattr(self, cue)[torch.from_numpy(places)]

    def _first_row(self, cue: str) -> int:
        is_motion = cue == "crop_motion"
        settings = self.settings
        rate_hz = settings.motion_rate_hz if is_motion else settings.crop_rate_hz
        return _rows_before(self.first_seconds, rate_hz)

    def whole(self, cue: str) -> Shaped[Tensor, "..."]:
        """Return all of a cue."""
        return getattr(self, cue)


def extract_clip_crops(
    clip: ClipFiles,
    settings: CropSettings,
    end_seconds: float | None = None,
    part: Part = WHOLE_CLIP,
) -> tuple[ObjectCrops, ...]:
    """Extract the crops of every source of a data set's clip, in one pass over its pictures.

    Args:
        clip: video, folder of pictures, or a sound without pictures, whose crops are black.
        settings: sizes and rates.
        end_seconds: length of the sound; none: crops end with the pictures.
        part: first and last time of the crops, where the rest of a long clip is not read.
    """
    objects = [source.visible for source in clip.sources]
    if not clip.is_visible:
        return blank_crops(len(objects), settings)
    if not clip.video.is_dir():
        return extract_crops(clip.video, objects, settings, end_seconds=end_seconds, part=part)
    assert clip.frame_rate_hz is not None, "a folder of pictures has a frame rate"
    paths, rate_hz = frame_paths(clip), clip.frame_rate_hz

    def read_from(seconds: float) -> _TimedPictures:
        first = min(floor(seconds * rate_hz), len(paths) - 1)
        times_seconds = (number / rate_hz for number in range(first, len(paths)))
        return zip(times_seconds, map(_rendered, read_pictures(paths[first:])), strict=True)

    return _extract(read_from, objects, settings, 0.0, end_seconds, part)


def extract_crops(
    video: MediaSource,
    objects: Sequence[VisibleObject],
    settings: CropSettings | None = None,
    *,
    end_seconds: float | None = None,
    part: Part = WHOLE_CLIP,
) -> tuple[ObjectCrops, ...]:
    """Extract the crops of each object in one pass over a video; only the crops are held.

    Times and boxes count from the first sample of the video's sound, or from the file's zero where
    it has none. Where pictures are damaged or end early, the picture before is held.

    Args:
        video: path, bytes or file object.
        objects: all objects of the clip; the order is kept.
        settings: sizes and rates.
        end_seconds: length of the sound; none: crops end with the pictures.
        part: first and last time of the crops, where the rest of a long video is not read.

    Raises:
        InputError: no video stream, or nothing that can be decoded.
    """
    start_seconds = _sound_start_seconds(video)
    frame_settings = FrameSettings(longest_side_pixels=LONGEST_SIDE_PIXELS, on_damage="skip")

    def read_from(seconds: float) -> _TimedPictures:
        return iterate_unrendered(video, frame_settings, start_seconds=seconds)

    settings = settings or CropSettings()
    return _extract(read_from, objects, settings, start_seconds, end_seconds, part)


def extract_crops_from_frames(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]],
    times_seconds: Iterable[float],
    objects: Sequence[VisibleObject],
    settings: CropSettings | None = None,
    duration_seconds: float | None = None,
) -> tuple[ObjectCrops, ...]:
    """Extract the crops of each object from pictures with rising times.

    Each picture is shown from its time on. Pictures are taken one at a time, so they may be read
    meanwhile; their sizes may differ.
    """
    timed = zip(times_seconds, map(_rendered, pictures), strict=True)
    return _extract(lambda _: timed, objects, settings or CropSettings(), 0.0, duration_seconds)


def _rendered(picture: UInt8[np.ndarray, "_ _ 3"]) -> _Render:
    return lambda: picture


def blank_crops(num_objects: int, settings: CropSettings) -> tuple[ObjectCrops, ...]:
    """Return the crops of sources without pictures: one black crop each, and no motion."""
    crops = torch.zeros(1, 3, settings.crop_pixels, settings.crop_pixels, dtype=torch.uint8)
    side = settings.motion_pixels
    motion = torch.zeros(1, side, side, dtype=torch.uint8) if settings.with_crop_motion else None
    boxes = torch.tensor([WHOLE_PICTURE])
    return (ObjectCrops(crops, motion, boxes, settings, is_visible=False),) * num_objects


def crop_rows(
    objects: Sequence[VisibleObject],
    settings: CropSettings,
    *,
    with_motion: bool,
    first_seconds: float = 0.0,
    offset_seconds: float = 0.0,
) -> dict[str, CropRows]:
    """Return the rows to extract of each cue that is cropped, by its name in `Cues`.

    Args:
        objects: what is cropped, in this order.
        settings: sizes and rates.
        with_motion: extract crop motion too.
        first_seconds: time from which rows are extracted.
        offset_seconds: added to a time before an object's box is looked up.
    """
    kinds = {"crops": (settings.crop_rate_hz, crop_box, settings.crop_pixels)}
    if with_motion:
        kinds["crop_motion"] = (settings.motion_rate_hz, crop_box_grey, settings.motion_pixels)
    return {
        cue: CropRows(
            objects,
            rate_hz,
            crop,
            num_pixels,
            first_row=_rows_before(first_seconds, rate_hz),
            offset_seconds=offset_seconds,
        )
        for cue, (rate_hz, crop, num_pixels) in kinds.items()
    }


def _extract(
    read_from: _ReadFrom,
    objects: Sequence[VisibleObject],
    settings: CropSettings,
    start_seconds: float,
    end_seconds: float | None,
    part: Part = WHOLE_CLIP,
) -> tuple[ObjectCrops, ...]:
    """Extract crops for `end_seconds` from `start_seconds` of the pictures' times on.

    Of a part, from the row before its first time to the picture after its last.
    """
    first_seconds, last_seconds = part
    rows = crop_rows(
        settings.boxed_objects(objects),
        settings,
        with_motion=settings.with_crop_motion,
        first_seconds=first_seconds,
    )
    timed = read_from(start_seconds + first_seconds)
    for until_seconds, render in _spans(timed, start_seconds, end_seconds):
        while (cue := earliest_rows(rows.values())).next_seconds < until_seconds:
            cue.extract(render())
        if until_seconds > last_seconds:
            break
    if not all(map(len, rows.values())):
        # The pictures end before the part: the last of them are held.
        return _extract(read_from, objects, settings, start_seconds, end_seconds)
    crops = rows["crops"]
    indices = range(_rows_before(first_seconds, settings.crop_rate_hz), crops.num_extracted)
    boxes = [crops.boxes(number, indices) for number in range(len(objects))]
    stacked = {cue: item.stacked() for cue, item in rows.items()}
    motion = stacked.get("crop_motion", [None] * len(objects))
    return tuple(
        ObjectCrops(*cues, settings, first_seconds=first_seconds)
        for cues in zip(stacked["crops"], motion, boxes, strict=True)
    )


def _rows_before(seconds: float, rate_hz: float) -> int:
    """Return the number of rows that are not read where crops begin at a time."""
    return floor(seconds * rate_hz)


def _spans(
    timed: _TimedPictures,
    start_seconds: float,
    end_seconds: float | None,
) -> Iterator[tuple[float, _Render]]:
    """Yield each picture with the time, from the start, at which the next replaces it.

    The first is shown before its time too, and the last past the start.
    """
    last_time, last = 0.0, None
    for time, picture in timed:
        time -= start_seconds
        if last is not None:
            if end_seconds is not None and time >= end_seconds:
                break
            yield time - SLACK_SECONDS, last
        last_time, last = time, picture
    assert last is not None, "at least one picture is needed to extract crops"
    end = last_time + SLACK_SECONDS if end_seconds is None else end_seconds
    yield max(end, SLACK_SECONDS), last


def _sound_start_seconds(video: MediaSource) -> float:
    """Return when the sound of a file starts on its time line; 0 where it has none."""
    with open_media(video) as container:
        if not audio_streams(container):
            return 0.0
    with AudioReader(video, on_damage="skip") as reader:
        return reader.start_seconds
