"""Read video frames at given times or a steady rate, as displayed: upright RGB, streamed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
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
from avsep.media.decoding import Damage, OnDamage, StreamDecoder
from avsep.media.opening import MediaSource, open_media, source_name
from avsep.media.streams import choose_video, zero_seconds

# Without an index of key frames, times further ahead than this are reached by seeking. Within it,
# decoding on is cheaper than a seek, which ends at a key frame before the time.
_SEEK_AHEAD_SECONDS = 10
# Steps further back, tried when a seek ends behind the time; None: the start of the file.
_STEPS_BACK_SECONDS = (0, 2, 10, None)
_MICROSECOND = Fraction(1, 1_000_000)
# Pixel aspects this close to 1 are ignored: stretching 298 pixels to 299 only blurs.
_ASPECT_TOLERANCE = Fraction(1, 100)
# Larger pixel aspects are errors in the file: the widest format in use has 2:1 pixels.
_LARGEST_ASPECT = 8
# Untagged pictures of at least this height are read as BT.709, smaller ones as BT.601, as players
# do.
_HD_HEIGHT = 720
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED


class FrameSettings(BaseModel):
    """The video stream to read, the largest picture, and the reaction to damage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    track: int | None = Field(default=None, ge=1)  # number of the video stream; none: the best
    longest_side_pixels: int | None = Field(default=None, ge=1)  # larger pictures are shrunk to it
    on_damage: OnDamage = "error"


@dataclass(frozen=True)
class Frames:
    """Pictures of one video, in the order of the requested times.

    Attributes:
        times_seconds: start of each picture's display, on the file's time line
            (`streams.zero_seconds`); sound counts from the same zero.
        damage_seconds: times of skipped packets, whose pictures are replaced by the one before.
        warnings: what was skipped, and how much is missing of a file that was cut off.
    """

    pictures: UInt8[np.ndarray, "K H W 3"]
    times_seconds: Float64[np.ndarray, " K"]
    damage_seconds: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()


def read_frames(
    source: MediaSource, times_seconds: Sequence[float], settings: FrameSettings | None = None
) -> Frames:
    """Read the picture displayed at each time: the last one that has begun.

    Times may be in any order and repeat; before the first picture they give the first, after the
    last the last. Seeks between distant times; memory holds the returned pictures only.

    Raises:
        InputError: no video, or damaged (see `Damage`) unless `on_damage="skip"`.
    """
    times = np.asarray(times_seconds, np.float64)
    assert times.size and np.isfinite(times).all(), "give at least one time, all of them numbers"
    with _open_cursor(source, settings or FrameSettings()) as cursor:
        pictures = np.empty((times.size, *cursor.geometry.displayed_size, 3), np.uint8)
        display_times = np.empty(times.size, np.float64)
        last_time, last = None, -1
        # The cursor moves forward only, so times are visited in order and results put back.
        for index in np.argsort(times, kind="stable").tolist():
            current = cursor.advance_to(float(times[index]))
            if current.time == last_time:
                pictures[index] = pictures[last]
            else:
                pictures[index] = cursor.geometry.render(current.frame)
            last_time, last = current.time, index
            display_times[index] = float(current.time)
        damage = cursor.damage
        return Frames(
            pictures, display_times, tuple(damage.times_seconds), tuple(damage.warnings())
        )


def iterate_frames(
    source: MediaSource,
    frame_rate_hz: float | None = None,
    settings: FrameSettings | None = None,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> Iterator[tuple[float, UInt8[np.ndarray, "H W 3"]]]:
    """Read times (seconds) and pictures in order, one at a time.

    Without a rate: every picture of the file at its own time, from the one that is displayed at
    `start_seconds` on. With a rate: the picture displayed at 0, 1/rate, 2/rate, ... seconds from
    `start_seconds` of the file's time line. Until the video or `end_seconds` is over.

    Raises:
        InputError: as `read_frames`.
    """
    assert frame_rate_hz is None or (isfinite(frame_rate_hz) and frame_rate_hz > 0), "a rate is > 0"
    if frame_rate_hz is None:
        for seconds, render in iterate_unrendered(source, settings, start_seconds=start_seconds):
            if end_seconds is not None and seconds >= end_seconds:
                return
            yield seconds, render()
        return
    with FrameReader(source, settings or FrameSettings()) as reader:
        # Fractions, so that the times of an hour of 30000/1001 Hz do not drift by rounding.
        time, step = Fraction(start_seconds), 1 / Fraction(frame_rate_hz)
        while not reader.is_over(time) and (end_seconds is None or time < end_seconds):
            yield float(time), reader.picture_at(float(time))
            time += step


def iterate_unrendered(
    source: MediaSource, settings: FrameSettings | None = None, *, start_seconds: float = 0.0
) -> Iterator[tuple[float, Callable[[], UInt8[np.ndarray, "H W 3"]]]]:
    """Read the times of all pictures, and for each a function that renders it, once.

    From the picture that is displayed at `start_seconds` on. For readers that need few of them.

    Raises:
        InputError: as `read_frames`.
    """
    with _open_cursor(source, settings or FrameSettings()) as cursor:
        if start_seconds > 0:
            cursor.advance_to(start_seconds)
        for current in cursor.remaining():
            yield float(current.time), cache(partial(cursor.geometry.render, current.frame))


@dataclass
class FrameReader:
    """A context manager that reads the pictures displayed at rising times, one at a time.

    Between distant times it seeks, and only the pictures of these times are converted.

    Attributes, from entering on:
        damage: the packets skipped so far.
    """

    source: MediaSource
    settings: FrameSettings
    damage: Damage = field(init=False)

    def __enter__(self) -> Self:
        """Open the source and decode its first frame."""
        with ExitStack() as stack:
            self._cursor = stack.enter_context(_open_cursor(self.source, self.settings))
            self.damage = self._cursor.damage
            self._time: Fraction | None = None
            self._picture: UInt8[np.ndarray, "H W 3"] | None = None
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the source, except for a file object of the caller."""
        self._stack.close()

    def picture_at(self, time_seconds: float) -> UInt8[np.ndarray, "H W 3"]:
        """Return the picture displayed at a time, which is not before that of the last call."""
        current = self._cursor.advance_to(time_seconds)
        if self._picture is None or current.time != self._time:
            self._picture = self._cursor.geometry.render(current.frame)
            self._time = current.time
        return self._picture.copy()

    def is_over(self, time: Fraction) -> bool:
        """True if the last frame has been displayed for one frame period at this time."""
        return self._cursor.is_over(time)


@dataclass(frozen=True)
class _TimedFrame:
    frame: av.VideoFrame
    time: Fraction  # seconds on the file's time line


@contextmanager
def _open_cursor(source: MediaSource, settings: FrameSettings) -> Iterator["_FrameCursor"]:
    name = source_name(source)
    with open_media(source) as container:
        stream = choose_video(container, settings.track, name)
        damage = Damage(name, "the video", settings.on_damage)
        yield _FrameCursor(source, container, stream, settings, damage)


@dataclass
class _FrameCursor:
    """The current and the next frame of a video stream, moved forward in time."""

    source: MediaSource
    container: InputContainer
    stream: VideoStream
    settings: FrameSettings
    damage: Damage
    geometry: "Geometry" = field(init=False)

    def __post_init__(self) -> None:
        assert self.stream.time_base is not None, "a video stream has a time base"
        self._zero = zero_seconds(self.container)
        # Time stamps are rounded to ticks: half a tick early counts as on time.
        self._tolerance = self.stream.time_base / 2 + _MICROSECOND
        rate = self.stream.average_rate or self.stream.guessed_rate
        self._step = 1 / Fraction(rate) if rate else Fraction(1, 25)
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise InputError(
                f"{self.damage.stream_name} ({self.stream.codec_context.name}) holds no picture "
                "that can be decoded; repair the file or give another"
            )
        self._current, self._next = first, next(self._frames, None)
        self.geometry = Geometry.from_stream(
            self.stream, first.frame, self.settings.longest_side_pixels
        )

    def advance_to(self, time_seconds: float) -> _TimedFrame:
        """Return the frame displayed at a time, which is not before that of the last call."""
        time = Fraction(time_seconds) + self._tolerance
        if self._next is not None and self._is_worth_seeking(time):
            self._seek(time)
        while self._next is not None and self._next.time <= time:
            self._current, self._next = self._next, next(self._frames, None)
        return self._current

    def remaining(self) -> Iterator[_TimedFrame]:
        """Return the current frame and all after it."""
        yield self._current
        while self._next is not None:
            self._current, self._next = self._next, next(self._frames, None)
            yield self._current

    def is_over(self, time: Fraction) -> bool:
        """True if the last frame has been displayed for one frame period at this time."""
        current = self.advance_to(float(time))
        return self._next is None and time + self._tolerance >= current.time + self._step

    def _decode(self) -> Iterator[_TimedFrame]:
        """Decode frames from the container's position; those without a time stamp follow a step."""
        time = None
        for frame in StreamDecoder(self.source, self.container, self.stream, self.damage):
            assert isinstance(frame, av.VideoFrame), "a video stream decodes to video frames"
            if frame.pts is not None and frame.time_base is not None:
                time = frame.pts * Fraction(frame.time_base) - self._zero
            else:
                time = Fraction(0) if time is None else time + self._step
            yield _TimedFrame(frame, time)

    def _is_worth_seeking(self, time: Fraction) -> bool:
        """True if a key frame is between the next frame and the time, so that a seek saves work."""
        assert self._next is not None and self.stream.time_base is not None, "checked by the caller"
        entries = self.stream.index_entries
        ticks = int((time + self._zero) / self.stream.time_base)
        key = entries.search_timestamp(ticks, backward=True) if len(entries) else -1
        if key < 0:
            return time - self._next.time > _SEEK_AHEAD_SECONDS
        return entries[key].timestamp * self.stream.time_base - self._zero > self._next.time

    def _seek(self, time: Fraction) -> None:
        """Move to the last key frame before a time, or further back if a seek ends behind it."""
        assert self.stream.time_base is not None, "a video stream has a time base"
        for step_back in _STEPS_BACK_SECONDS:
            target = Fraction(0) if step_back is None else max(Fraction(0), time - step_back)
            ticks = int((target + self._zero) / self.stream.time_base)
            try:
                self.container.seek(ticks, stream=self.stream)
            except FFmpegError:
                continue  # the index has no key frame there: try further back
            self._frames = self._decode()
            first = next(self._frames, None)
            if first is not None and (first.time <= time or step_back is None):
                self._current, self._next = first, next(self._frames, None)
                return
        raise InputError(
            f"{self.damage.stream_name} has a faulty index, seeking fails; copy it to another "
            "container first"
        )


# Picture geometry: stored frame to upright RGB picture with square pixels


@dataclass(frozen=True)
class Orientation:
    """One of the eight combinations of quarter turns and flips between storage and display.

    Attributes:
        is_transposed: rows become columns, before the flips.
        flips_columns: exchanges left and right.
        flips_rows: exchanges top and bottom.
    """

    is_transposed: bool = False
    flips_columns: bool = False
    flips_rows: bool = False

    @classmethod
    def from_frame(cls, frame: av.VideoFrame) -> Self:
        """Read the orientation from a frame's display matrix, to the nearest quarter turn.

        The matrix maps a stored point (p, q) to (a p + c q, b p + d q), see FFmpeg's
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
        """True if no rotation alone makes the stored picture readable."""
        # A transposition is a mirroring too, and two mirrorings are a rotation.
        return (self.is_transposed + self.flips_columns + self.flips_rows) % 2 == 1

    @property
    def rotation_degrees(self) -> int:
        """Clockwise rotation, 0, 90, 180 or 270; a mirrored picture is flipped sideways first."""
        right, down = -1 if self.flips_columns else 1, -1 if self.flips_rows else 1
        # The direction of the stored picture's x axis on the screen.
        x_axis = (0, down) if self.is_transposed else (right, 0)
        sign = -1 if self.is_mirrored else 1
        return round(degrees(atan2(sign * x_axis[1], sign * x_axis[0]))) % 360

    def apply(self, picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """Turn and flip a stored picture upright."""
        if self.is_transposed:
            picture = picture.transpose(1, 0, 2)
        rows, columns = -1 if self.flips_rows else 1, -1 if self.flips_columns else 1
        return np.ascontiguousarray(picture[::rows, ::columns])


@dataclass(frozen=True)
class Geometry:
    """The scaling and orientation that turn a stream's frames into displayed pictures.

    Attributes:
        stored_size: height and width to scale to, before the orientation.
        pixel_aspect: width of a stored pixel over its height.
    """

    stored_size: tuple[int, int]
    pixel_aspect: Fraction
    orientation: Orientation

    @classmethod
    def from_stream(
        cls,
        stream: VideoStream,
        frame: av.VideoFrame | None,
        longest_side_pixels: int | None = None,
    ) -> Self:
        """Read the geometry of a stream and its first frame.

        The height is kept and the width makes pixels square. `longest_side_pixels` shrinks larger
        pictures and never enlarges.
        """
        aspect = _plausible_aspect(stream.sample_aspect_ratio)
        height = frame.height if frame else stream.height
        width = frame.width if frame else stream.width
        if abs(aspect - 1) > _ASPECT_TOLERANCE:
            width = max(1, round(width * aspect))
        if longest_side_pixels is not None and max(height, width) > longest_side_pixels:
            scale = Fraction(longest_side_pixels, max(height, width))
            height, width = max(1, round(height * scale)), max(1, round(width * scale))
        orientation = Orientation.from_frame(frame) if frame else Orientation()
        return cls((height, width), aspect, orientation)

    @property
    def displayed_size(self) -> tuple[int, int]:
        """Height and width of the displayed picture."""
        height, width = self.stored_size
        return (width, height) if self.orientation.is_transposed else (height, width)

    def render(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        """Convert a frame to the displayed picture; transparent parts are black, as in a player."""
        height, width = self.stored_size
        # FFmpeg lists a format's alpha component last.
        has_alpha = frame.format.has_palette or frame.format.components[-1].is_alpha
        is_untagged_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
        # AREA averages when shrinking, where BICUBIC would alias.
        picture = frame.reformat(
            width=width,
            height=height,
            format="rgba" if has_alpha else "rgb24",
            src_colorspace="itu709" if is_untagged_hd else None,
            interpolation="AREA" if height < frame.height or width < frame.width else "BICUBIC",
            # One thread: the task is so small that threads spend most of it waiting.
            threads=1,
        ).to_ndarray()
        if has_alpha:
            # 16 bits hold 255 * 255; adding 127 rounds the division to the nearest.
            alpha = picture[..., 3:].astype(np.uint16)
            picture = ((picture[..., :3] * alpha + 127) // 255).astype(np.uint8)
        return self.orientation.apply(picture)


def _plausible_aspect(aspect: Fraction | None) -> Fraction:
    """Return a pixel aspect, or 1 where it is missing or an error of the file."""
    if not aspect or not Fraction(1, _LARGEST_ASPECT) <= aspect <= _LARGEST_ASPECT:
        return Fraction(1)
    return Fraction(aspect)
