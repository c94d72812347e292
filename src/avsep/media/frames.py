"""Read pictures: the one on screen at each given time, upright, RGB; never a whole file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from math import isfinite

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
from avsep.media.picture import Geometry
from avsep.media.streams import choose_video, zero_seconds

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
