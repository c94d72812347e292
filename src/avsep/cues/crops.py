"""Extract the crops of every visible object over time: RGB crops, crop motion and boxes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped, UInt8
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from avsep.data.clips import ClipFiles, frame_paths, read_picture
from avsep.media.audio import AudioReader
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.media.opening import MediaSource, open_media
from avsep.media.streams import audio_streams
from avsep.records import Box, VisibleObject

# Pictures are shrunk to this while they are decoded: an object a third as wide still fills a crop.
_LONGEST_SIDE_PIXELS = 640
_SMALLEST_BOX_PIXELS = 2
_SMALLEST_STRETCH_PIXELS = 0.01
# Time stamps are rounded to a file's ticks; this much early still counts as on time.
_SLACK_SECONDS = 1e-3
# Keeps a corner that lies on a pixel's edge there, whatever the last bit of its product says.
_SLACK_PIXELS = 1e-6
WHOLE_PICTURE: Box = (0.0, 0.0, 1.0, 1.0)
_LUMA = torch.tensor([0.2126, 0.7152, 0.0722])  # Rec. 709, of red, green, blue


class CropSettings(BaseModel):
    """How objects are cut out of pictures, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_pixels: int = Field(default=224, ge=2)  # side of the square crop
    crop_rate_hz: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    num_crops: int = Field(default=3, ge=1)  # drawn for one window of sound
    motion_rate_hz: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    motion_pixels: int = Field(default=32, ge=2)  # side of the square grey picture
    with_crop_motion: bool = True
    # A clip that shows one source is seen whole, its box left aside (DAVIS: whole frames); in a
    # clip of several each object's box is cut out.
    whole_when_alone: bool = False

    def seen(self, objects: Sequence[VisibleObject]) -> tuple[VisibleObject, ...]:
        """All objects of a clip with the boxes that are cut out; none is the whole picture."""
        if self.whole_when_alone and len(objects) == 1:
            return (objects[0].model_copy(update={"boxes": ()}),)
        return tuple(objects)

    def crops_within(
        self, num_crops: int, start_seconds: float, window_seconds: float
    ) -> Int64[np.ndarray, " K"]:
        """Which of so many crops lie in a window, as `ObjectCrops.crops_within` has them."""
        rate = self.crop_rate_hz
        first = max(0, ceil((start_seconds - _SLACK_SECONDS) * rate))
        beyond = ceil((start_seconds + window_seconds - _SLACK_SECONDS) * rate)
        if first < min(beyond, num_crops):
            return np.arange(first, min(beyond, num_crops), dtype=np.int64)
        nearest = round((start_seconds + window_seconds / 2) * rate)
        return np.array([min(max(nearest, 0), num_crops - 1)], np.int64)


@dataclass(frozen=True)
class ObjectCrops:
    """One object as seen over a whole clip; time 0 is the first sample of the clip's sound.

    Attributes:
        crops: the object's box cut out, RGB, at 0, 1 / crop_rate_hz, ... seconds.
        crop_motion: the same in grey, smaller, at motion_rate_hz; none unless with_crop_motion.
        boxes: where each crop was cut out, normalised x1 y1 x2 y2.
        settings: what they were made with.
    """

    crops: UInt8[Tensor, "K 3 H W"]
    crop_motion: UInt8[Tensor, "M h w"] | None
    boxes: Float[Tensor, "K 4"]
    settings: CropSettings

    def crops_within(self, start_seconds: float, window_seconds: float) -> Int64[np.ndarray, " K"]:
        """Which crops lie in a window, in order; at least one: that nearest to its middle."""
        return self.settings.crops_within(len(self.crops), start_seconds, window_seconds)

    def motion_within(self, start_seconds: float, num_frames: int) -> UInt8[Tensor, "M h w"]:
        """So many pictures of movement from a time on, the first and last repeated beyond."""
        assert self.crop_motion is not None, "crop motion was not extracted; set with_crop_motion"
        first = round(start_seconds * self.settings.motion_rate_hz)
        indices = torch.arange(first, first + num_frames)
        return self.crop_motion[indices.clamp(0, len(self.crop_motion) - 1)]


def extract_crops(
    video: MediaSource,
    objects: Sequence[VisibleObject],
    settings: CropSettings | None = None,
    *,
    end_seconds: float | None = None,
) -> tuple[ObjectCrops, ...]:
    """The look of each object, from one pass over the video; only the looks are held.

    Times and boxes count from the first sample of the video's sound, or from the file's zero where
    it has none. Where pictures are damaged or end early, the one before stands on.

    Args:
        video: path, bytes or file object.
        objects: all that the clip shows; the order is kept.
        settings: sizes and rates.
        end_seconds: length of the sound; none: the looks end with the pictures.

    Raises:
        InputError: no video in it, or nothing that can be decoded.
    """
    zero = _sound_start_seconds(video)
    frame_settings = FrameSettings(longest_side_pixels=_LONGEST_SIDE_PIXELS, on_damage="skip")
    frames = iterate_frames(video, settings=frame_settings)
    shown = ((time - zero, picture) for time, picture in frames)
    return _look(shown, objects, settings or CropSettings(), end_seconds)


def extract_crops_from_frames(
    pictures: Iterable[UInt8[np.ndarray, "_ _ 3"]],
    times_seconds: Iterable[float],
    objects: Sequence[VisibleObject],
    settings: CropSettings | None = None,
    duration_seconds: float | None = None,
) -> tuple[ObjectCrops, ...]:
    """The look of each object, of all in the clip, in pictures that lie ready.

    Each picture is shown from its time on.
    Pictures are taken one at a time, so they may be read while they are looked at; their sizes
    may differ. Times must rise.
    """
    shown = zip(times_seconds, pictures, strict=True)
    return _look(shown, objects, settings or CropSettings(), duration_seconds)


def blank_crops(num_objects: int, settings: CropSettings) -> tuple[ObjectCrops, ...]:
    """The looks of sources that nobody sees: one black crop each, and nothing that moves."""
    crops = torch.zeros(1, 3, settings.crop_pixels, settings.crop_pixels, dtype=torch.uint8)
    side = settings.motion_pixels
    crop_motion = (
        torch.zeros(1, side, side, dtype=torch.uint8) if settings.with_crop_motion else None
    )
    return (ObjectCrops(crops, crop_motion, torch.tensor([WHOLE_PICTURE]), settings),) * num_objects


def crop_box(
    picture: UInt8[np.ndarray, "H W 3"], box: Box, num_pixels: int
) -> UInt8[np.ndarray, "3 P P"]:
    """The box of a picture, rounded outward to whole pixels, as a square of that many.

    Departure: DGFNet's section 4.1.4 resizes to 256 x 256 and cuts 224 x 224 out at random, the
    released codes resize the short side and cut out of the middle, which loses head or instrument
    of a tall or wide box. Here the whole box is resized at once, whatever its shape.
    """
    rows, columns = _pixels_of(box, picture)
    crop = Image.fromarray(np.ascontiguousarray(picture[rows, columns]))
    # Pillow widens its triangle when it shrinks, so nothing aliases.
    resized = crop.resize((num_pixels, num_pixels), Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def crop_box_grey(
    picture: UInt8[np.ndarray, "H W 3"], box: Box, num_pixels: int
) -> UInt8[np.ndarray, "P P"]:
    """The luma (Rec. 709) of a box as a square, each pixel the mean of the area it covers.

    The box is not rounded, so that one that glides makes no steps which would look like movement.
    """
    rows, columns = _pixels_of(box, picture)
    # PyTorch's threads are bounded where many processes look at clips; those of NumPy are not.
    crop = torch.from_numpy(picture[rows, columns].astype(np.float32))
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = box
    down = _coverage(y1 * height - rows.start, y2 * height - rows.start, num_pixels, len(crop))
    across = _coverage(
        x1 * width - columns.start, x2 * width - columns.start, num_pixels, crop.shape[1]
    )
    lower = (down @ crop.flatten(1)).unflatten(1, (-1, 3))  # P w 3
    return (lower @ _LUMA @ across.T).round().byte().numpy()


def _look(
    shown: Iterable[tuple[float, UInt8[np.ndarray, "_ _ 3"]]],
    objects: Sequence[VisibleObject],
    settings: CropSettings,
    end_seconds: float | None,
) -> tuple[ObjectCrops, ...]:
    """Looks from pictures and the times from which on they are shown."""
    objects = settings.seen(objects)
    crops = _Track(objects, settings.crop_rate_hz, crop_box, settings.crop_pixels)
    crop_motion = _Track(objects, settings.motion_rate_hz, crop_box_grey, settings.motion_pixels)
    for until, picture in _spans(shown, end_seconds):
        crops.take(picture, until)
        if settings.with_crop_motion:
            crop_motion.take(picture, until)
    moves = crop_motion.stacked() if settings.with_crop_motion else (None for _ in objects)
    return tuple(
        ObjectCrops(seen, moved, _boxes_of(visible, len(seen), settings.crop_rate_hz), settings)
        for visible, seen, moved in zip(objects, crops.stacked(), moves, strict=True)
    )


def _boxes_of(visible: VisibleObject, num_crops: int, rate_hz: float) -> Float[Tensor, "K 4"]:
    return torch.tensor([visible.box_at(number / rate_hz) for number in range(num_crops)])


class _Track:
    """What was cut out so far of every object, at a steady rate from time 0 on."""

    def __init__(
        self,
        objects: Sequence[VisibleObject],
        rate_hz: float,
        cut: Callable[[UInt8[np.ndarray, "H W 3"], Box, int], Shaped[np.ndarray, "*cut"]],
        num_pixels: int,
    ) -> None:
        self._objects, self._rate_hz = objects, rate_hz
        self._cut, self._num_pixels = cut, num_pixels
        self._held: list[list[np.ndarray]] = [[] for _ in objects]
        self._num_taken = 0

    def take(self, picture: UInt8[np.ndarray, "H W 3"], until_seconds: float) -> None:
        """Cut every object out at each time not yet taken and before the one given."""
        while (time := self._num_taken / self._rate_hz) < until_seconds:
            for held, visible in zip(self._held, self._objects, strict=True):
                held.append(self._cut(picture, visible.box_at(time), self._num_pixels))
            self._num_taken += 1

    def stacked(self) -> Iterator[UInt8[Tensor, "K *cut"]]:
        """All that was taken, object by object; nothing stays here."""
        for held in self._held:
            yield torch.from_numpy(np.stack(held))
            held.clear()


def _spans(
    shown: Iterable[tuple[float, UInt8[np.ndarray, "_ _ 3"]]], end_seconds: float | None
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
    """Each picture with the time at which the next takes over; the last holds past time 0.

    The first stands for what comes before it.
    """
    last_time, last = 0.0, None
    for time, picture in shown:
        if last is not None:
            if end_seconds is not None and time >= end_seconds:
                break
            yield time - _SLACK_SECONDS, last
        last_time, last = time, picture
    assert last is not None, "at least one picture is needed to look at"
    end = last_time + _SLACK_SECONDS if end_seconds is None else end_seconds
    yield max(end, _SLACK_SECONDS), last


def _sound_start_seconds(video: MediaSource) -> float:
    """When the sound of a file begins on its time line; 0 where there is none."""
    with open_media(video) as container:
        if not audio_streams(container):
            return 0.0
    with AudioReader(video, on_damage="skip") as reader:
        return reader.start_seconds


def _pixels_of(box: Box, picture: UInt8[np.ndarray, "H W 3"]) -> tuple[slice, slice]:
    """Rows and columns that hold a box, rounded outward, two at least where there are two."""
    x1, y1, x2, y2 = box
    height, width = picture.shape[:2]
    return _outward(y1 * height, y2 * height, height), _outward(x1 * width, x2 * width, width)


def _outward(first: float, beyond: float, num_pixels: int) -> slice:
    start, stop = floor(first + _SLACK_PIXELS), ceil(beyond - _SLACK_PIXELS)
    start = max(0, min(start, num_pixels - _SMALLEST_BOX_PIXELS))
    return slice(start, min(num_pixels, max(stop, start + _SMALLEST_BOX_PIXELS)))


def _coverage(
    first: float, beyond: float, num_cells: int, num_pixels: int
) -> Float32[Tensor, "cells pixels"]:
    """How much of each cell of a stretch lies on each pixel; rows sum to one."""
    # The thinnest box, at the border above all, still covers something.
    first = min(max(first, 0.0), num_pixels - _SMALLEST_STRETCH_PIXELS)
    beyond = min(max(beyond, first + _SMALLEST_STRETCH_PIXELS), num_pixels)
    edges = np.linspace(first, beyond, num_cells + 1)
    pixels = np.arange(num_pixels)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    covered = overlap.clip(min=0)
    return torch.from_numpy((covered / covered.sum(axis=1, keepdims=True)).astype(np.float32))


# What the objects of a data set's clip look like, as video or pictures, or unseen


def extract_clip_crops(
    clip: ClipFiles,
    objects: Sequence[VisibleObject],
    settings: CropSettings,
    *,
    end_seconds: float | None = None,
) -> tuple[ObjectCrops, ...]:
    """The look of each object of a clip, from one pass over its pictures; black where it has none.

    Args:
        clip: of any data set.
        objects: all that it shows; the order is kept.
        settings: sizes and rates.
        end_seconds: length of the sound; none: the looks end with the pictures.
    """
    if not clip.is_visible:
        return blank_crops(len(objects), settings)
    if not clip.video.is_dir():
        return extract_crops(clip.video, objects, settings, end_seconds=end_seconds)
    assert clip.frame_rate_hz is not None, "a folder of pictures has a frame rate"
    paths = frame_paths(clip)
    times_seconds = (number / clip.frame_rate_hz for number in range(len(paths)))
    pictures = map(read_picture, paths)
    return extract_crops_from_frames(pictures, times_seconds, objects, settings, end_seconds)
