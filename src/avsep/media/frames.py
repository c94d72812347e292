"""Read video frames: the frame shown at each given time, upright, RGB, streamed."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import atan2, degrees, isfinite
from typing import Self

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream
from jaxtyping import Float64, UInt8
from pydantic import BaseModel, ConfigDict, Field

from avsep.errors import InputError
from avsep.media.decoding import Damage, OnDamage, decode
from avsep.media.opening import Source, open_media, source_name
from avsep.media.streams import choose_video, zero_seconds

# From a decoded frame to the picture as displayed: upright, square pixels, opaque RGB


# A pixel aspect this near to 1 is left alone: stretching 298 pixels to 299 only blurs.
_SQUARE_ENOUGH = Fraction(1, 100)
# Beyond this a pixel aspect is a mistake in the file, not a picture format.
_LARGEST_ASPECT = 8
# Untagged pictures of this height and above are taken for BT.709, as players do.
_HD_HEIGHT = 720
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways a stored picture can be turned and flipped for display.

    Attributes:
        is_transposed: rows become columns, before the flips.
        flips_columns: then left and right change places.
        flips_rows: then top and bottom change places.
    """

    is_transposed: bool = False
    flips_columns: bool = False
    flips_rows: bool = False

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Self:
        """The orientation in a frame's display matrix, to the nearest quarter turn.

        The matrix sends a stored point (p, q) to (a p + c q, b p + d q), see FFmpeg's
        libavutil/display.h; y points down.
        """
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return cls()
        values = np.frombuffer(bytes(matrix), np.int32).reshape(3, 3).tolist()
        (a, b, _), (c, d, _), _ = values
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def is_mirrored(self) -> bool:
        """Whether writing in the stored picture reads the wrong way round however it is turned."""
        return (self.is_transposed + self.flips_columns + self.flips_rows) % 2 == 1

    @property
    def rotation_degrees(self) -> int:
        """The clockwise turn: 0, 90, 180 or 270, after a mirrored picture is flipped sideways."""
        right, down = -1 if self.flips_columns else 1, -1 if self.flips_rows else 1
        # Where the stored picture's x axis points on the screen.
        x_axis = (0, down) if self.is_transposed else (right, 0)
        sign = -1 if self.is_mirrored else 1
        return round(degrees(atan2(sign * x_axis[1], sign * x_axis[0]))) % 360

    def apply(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The picture upright."""
        if self.is_transposed:
            picture = picture.transpose(1, 0, 2)
        rows, columns = -1 if self.flips_rows else 1, -1 if self.flips_columns else 1
        return np.ascontiguousarray(picture[::rows, ::columns])


@dataclass(frozen=True)
class Geometry:
    """How the pictures of a stream are brought to the screen.

    Attributes:
        stored: height and width of the picture to scale to, still unturned.
        pixel_aspect: width of a stored pixel over its height.
    """

    stored: tuple[int, int]
    pixel_aspect: Fraction
    orientation: Orientation

    @classmethod
    def of(
        cls,
        stream: VideoStream,
        frame: av.VideoFrame | None,
        longest_side_pixels: int | None = None,
    ) -> Self:
        """From a stream and its first frame: the height is kept, the width makes pixels square.

        `longest_side_pixels` shrinks larger pictures, and never enlarges.
        """
        aspect = _trusted_aspect(stream.sample_aspect_ratio)
        height = frame.height if frame else stream.height
        width = frame.width if frame else stream.width
        if abs(aspect - 1) > _SQUARE_ENOUGH:
            width = max(1, round(width * aspect))
        if longest_side_pixels is not None and max(height, width) > longest_side_pixels:
            scale = Fraction(longest_side_pixels, max(height, width))
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
        return cls((height, width), aspect, Orientation.of(frame) if frame else Orientation())

    @property
    def displayed(self) -> tuple[int, int]:
        """Height and width on the screen."""
        height, width = self.stored
        return (width, height) if self.orientation.is_transposed else (height, width)

    def render(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """The picture as displayed; what is transparent shows black, as in a player."""
        height, width = self.stored
        is_transparent = _has_alpha(frame)
        guess = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
        picture = frame.reformat(
            width=width,
            height=height,
            format="rgba" if is_transparent else "rgb24",
            src_colorspace="itu709" if guess else None,
            interpolation="AREA" if height < frame.height or width < frame.width else "BICUBIC",
            # Threads of so small a task wait for one another more than they work.
            threads=1,
        ).to_ndarray()
        if is_transparent:
            opacity = picture[..., 3:].astype(np.uint16)
            picture = ((picture[..., :3] * opacity + 127) // 255).astype(np.uint8)
        return self.orientation.apply(picture)


def _trusted_aspect(aspect: Fraction | None) -> Fraction:
    if not aspect or not Fraction(1, _LARGEST_ASPECT) <= aspect <= _LARGEST_ASPECT:
        return Fraction(1)
    return Fraction(aspect)


def _has_alpha(frame: av.VideoFrame) -> bool:
    return frame.format.has_palette or any(part.is_alpha for part in frame.format.components)


# Where a file has no index of key frames, a wanted picture further ahead than this is sought.
_SEEK_AHEAD_SECONDS = 10
# How much further back to look when seeking came out behind the wanted picture; none: the start.
_STEPS_BACK_SECONDS = (0, 2, 10, None)
_MICROSECOND = Fraction(1, 1_000_000)


class FrameSettings(BaseModel):
    """Which video stream is read, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stream: int | None = Field(default=None, ge=0)  # number among the video streams; none: the best
    longest_side_pixels: int | None = Field(default=None, ge=1)  # larger pictures are shrunk to it
    on_damage: OnDamage = "raise"


@dataclass(frozen=True)
class Frames:
    """Pictures of one video, in the order in which they were asked for.

    Attributes:
        times_seconds: when each picture's own time on screen begins, on the file's time line
            (`streams.zero_seconds`); sound counts from the same zero.
        damage_seconds: where packets were skipped; the picture before stands in for what is lost.
    """

    pictures: UInt8[np.ndarray, "K H W 3"]
    times_seconds: Float64[np.ndarray, " K"]
    damage_seconds: tuple[float, ...] = ()


def read_frames(
    source: Source, times_seconds: Sequence[float], settings: FrameSettings | None = None
) -> Frames:
    """The picture on screen at each time: the last that has begun, in any order, repeats allowed.

    Times before the first picture give the first, after the last the last. Between wanted pictures
    that lie far apart the file is sought, not read; no more than these pictures are held.

    Raises:
        InputError: no video in it, or damaged (see `Damage`) unless `on_damage="skip"`.
    """
    times = np.asarray(times_seconds, np.float64)
    assert times.size and np.isfinite(times).all(), "give at least one time, all of them numbers"
    with _open_screen(source, settings or FrameSettings()) as screen:
        pictures = np.empty((times.size, *screen.geometry.displayed, 3), np.uint8)
        true_times = np.empty(times.size, np.float64)
        last_time, last = None, -1
        for index in np.argsort(times, kind="stable").tolist():
            shown = screen.at(float(times[index]))
            if shown.time == last_time:
                pictures[index] = pictures[last]
            else:
                pictures[index] = screen.geometry.render(shown.frame)
            last_time, last = shown.time, index
            true_times[index] = float(shown.time)
        return Frames(pictures, true_times, tuple(screen.damage.times_seconds))


def iterate_frames(
    source: Source, frame_rate_hz: float | None = None, settings: FrameSettings | None = None
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
    """Times and pictures in order, one held at a time.

    Without a rate: every picture of the file and its own time. With a rate: the picture on screen
    at 0, 1/rate, 2/rate, ... seconds of the file's time line until the video ends.
    """
    assert frame_rate_hz is None or (isfinite(frame_rate_hz) and frame_rate_hz > 0), "a rate is > 0"
    with _open_screen(source, settings or FrameSettings()) as screen:
        if frame_rate_hz is None:
            for shown in screen.rest():
                yield float(shown.time), screen.geometry.render(shown.frame)
            return
        step, index, last_time, picture = 1 / Fraction(frame_rate_hz), 0, None, None
        while not screen.is_over(index * step):
            shown = screen.at(float(index * step))
            if picture is None or shown.time != last_time:
                picture, last_time = screen.geometry.render(shown.frame), shown.time
            yield float(index * step), picture.copy()
            index += 1


@dataclass(frozen=True)
class _Shown:
    frame: av.VideoFrame
    time: Fraction  # on the file's time line


@contextmanager
def _open_screen(source: Source, settings: FrameSettings) -> Iterator["_Screen"]:
    name = source_name(source)
    with open_media(source) as container:
        stream = choose_video(container, settings.stream, name)
        yield _Screen(container, stream, settings, Damage(f"{name}: the video", settings.on_damage))


@dataclass
class _Screen:
    """What is shown and what comes next, moved forward through one video stream."""

    container: InputContainer
    stream: VideoStream
    settings: FrameSettings
    damage: Damage
    geometry: Geometry = field(init=False)

    def __post_init__(self) -> None:
        assert self.stream.time_base is not None, "a video stream has a time base"
        self._zero = zero_seconds(self.container)
        # Stamps are rounded to the file's ticks, so half a tick early counts as on time.
        self._slack = self.stream.time_base / 2 + _MICROSECOND
        rate = self.stream.average_rate or self.stream.guessed_rate
        self._step = 1 / Fraction(rate) if rate else Fraction(1, 25)
        self._coming = self._decoded()
        first = next(self._coming, None)
        if first is None:
            raise InputError(
                f"{self.damage.what} ({self.stream.codec_context.name}) holds no picture that can "
                "be decoded; repair the file or give another"
            )
        self._current, self._next = first, next(self._coming, None)
        self.geometry = Geometry.of(self.stream, first.frame, self.settings.longest_side_pixels)

    def at(self, time_seconds: float) -> _Shown:
        """The picture on screen at a time not before the last one asked for."""
        time = Fraction(time_seconds) + self._slack
        if self._next is not None and self._is_worth_seeking(time):
            self._seek(time)
        while self._next is not None and self._next.time <= time:
            self._current, self._next = self._next, next(self._coming, None)
        return self._current

    def rest(self) -> Iterator[_Shown]:
        """The picture on screen and all after it."""
        yield self._current
        while self._next is not None:
            self._current, self._next = self._next, next(self._coming, None)
            yield self._current

    def is_over(self, time: Fraction) -> bool:
        """Whether the last picture has been shown for as long as pictures are, before this time."""
        shown = self.at(float(time))
        return self._next is None and time + self._slack >= shown.time + self._step

    def _decoded(self) -> Iterator[_Shown]:
        """Pictures from where the container stands; unstamped ones follow at the frame rate."""
        last = None
        for frame in decode(self.container, self.stream, self.damage):
            assert isinstance(frame, av.VideoFrame), "a video stream decodes to video frames"
            if frame.pts is not None and frame.time_base is not None:
                last = frame.pts * Fraction(frame.time_base) - self._zero
            else:
                last = Fraction(0) if last is None else last + self._step
            yield _Shown(frame, last)

    def _is_worth_seeking(self, time: Fraction) -> bool:
        """Whether a key frame lies between what is decoded and the wanted time."""
        assert self._next is not None and self.stream.time_base is not None, "checked by `at`"
        index = self.stream.index_entries
        ticks = int((time + self._zero) / self.stream.time_base)
        found = index.search_timestamp(ticks, backward=True) if len(index) else -1
        if found < 0:
            return time - self._next.time > _SEEK_AHEAD_SECONDS
        return index[found].timestamp * self.stream.time_base - self._zero > self._next.time

    def _seek(self, time: Fraction) -> None:
        """Go to the key frame before a time; never comes out behind it."""
        assert self.stream.time_base is not None, "a video stream has a time base"
        for step_back in _STEPS_BACK_SECONDS:
            target = Fraction(0) if step_back is None else max(Fraction(0), time - step_back)
            ticks = int((target + self._zero) / self.stream.time_base)
            try:
                self.container.seek(ticks, stream=self.stream)
            except FFmpegError:
                continue  # no key frame there that the index knows: look further back
            self._coming = self._decoded()
            first = next(self._coming, None)
            if first is not None and (first.time <= time or step_back is None):
                self._current, self._next = first, next(self._coming, None)
                return
        raise InputError(f"{self.damage.what} cannot be sought; copy it to another container first")
