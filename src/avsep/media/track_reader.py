"""Read one audio track of a file: decode, take off priming and padding, place by time stamps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.frame import Frame
from jaxtyping import Float32, Shaped

from avsep.errors import InputError
from avsep.media.decoding import Damage, OnDamage, OnTruncation, StreamDecoder
from avsep.media.opening import MediaSource, ffmpeg_message, source_name
from avsep.media.priming import untold_priming_samples
from avsep.media.streams import audio_streams, zero_seconds
from avsep.media.timeline import Timeline

# Longest silence put in for a gap; longer ones are faulty time stamps, and could fill the memory.
LONGEST_SILENCE_SECONDS = 3600.0
# Sample format -> zero point, and divisor: powers of two, so that the division is exact.
_SCALES = {"u8": (128, 2.0**7), "s16": (0, 2.0**15), "s32": (0, 2.0**31), "flt": (0, 1.0)}
# PyAV finds the end of a frame's planes by a null pointer, which FFmpeg omits from eight planes on:
# reading them crashes the process.
_MAX_READABLE_PLANES = 7
# Containers in which a seek finds the packet of a time, and its first sample. Matroska counts
# milliseconds, and of MP3 FFmpeg guesses the time from the bit rate.
_EXACTLY_INDEXED = ("mov,", "wav", "flac")
# A decoder's first frames after a seek depend on those before: two of AAC, some ten of MP3.
_PREROLL_SECONDS = Fraction(1, 2)


@dataclass
class TrackReader:
    """Read one audio stream of an open container once.

    With `seek_seconds` it begins before that time of the file's time line, at the earliest half a
    second: where the container has an exact index by seeking, else at the start of the stream.

    Attributes:
        has_sought: it begins behind the start of the stream.
        sample_rate_hz, num_channels, start_seconds: of the samples returned, on the file's time
            line.
        damage: the packets skipped so far.
    """

    source: MediaSource
    container: InputContainer  # of the source, not read yet
    index: int  # among the audio streams, from 0
    on_damage: OnDamage
    on_truncation: OnTruncation = "error"
    seek_seconds: float = 0.0
    has_sought: bool = field(init=False)
    sample_rate_hz: int = field(init=False)
    num_channels: int = field(init=False)
    start_seconds: float = field(init=False)
    damage: Damage = field(init=False)

    def __post_init__(self) -> None:
        """Decode the first frame.

        Raises:
            InputError: nothing of the stream can be decoded.
        """
        name, container = source_name(self.source), self.container
        stream = audio_streams(container)[self.index]
        self.damage = Damage(name, "the sound", self.on_damage, self.on_truncation)
        self.has_sought = _seek(container, stream, self.seek_seconds)
        self._decoder = StreamDecoder(self.source, container, stream, self.damage)
        frames = iter(self._decoder)
        first = next(_with_samples(frames), None)
        if first is None:
            raise InputError(
                f"{name} has an audio stream ({stream.codec_context.name}) of which nothing "
                "can be decoded; repair the file or give another"
            )
        # Rate and channels come from the first frame, not from the header: that of HE-AAC may
        # state half the rate and one channel of two.
        self.sample_rate_hz = first.sample_rate
        self.num_channels = first.layout.nb_channels
        zero = zero_seconds(container)
        self._untold_samples = 0
        if not (self._decoder.told_priming_samples or self.has_sought):
            self._untold_samples = untold_priming_samples(container, stream)
        start = _frame_time(first) if first.pts is not None else zero
        start += Fraction(self._untold_samples, self.sample_rate_hz)
        self.start_seconds = float(start - zero)
        self._timeline = Timeline(
            self.sample_rate_hz, self.num_channels, float(start), _longest_gap(container)
        )
        self._frames = chain([first], frames)
        self._converter = _SampleConverter(first)

    @property
    def priming_samples(self) -> int:
        """Samples taken off the beginning, by FFmpeg or here."""
        return self._decoder.told_priming_samples + self._untold_samples

    @property
    def padding_samples(self) -> int:
        """Samples taken off the end so far, by FFmpeg or here."""
        return self._decoder.told_padding_samples + self._timeline.padding_samples

    @property
    def warnings(self) -> list[str]:
        """Sentences on what was done to the sound so far."""
        moved = (f"{self.damage.part}: {text}" for text in self._timeline.warnings())
        return [*self.damage.warnings(), *moved]

    def pieces(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Read the remaining samples, in pieces of any length."""
        num_damaged, priming = 0, self._untold_samples
        for seconds, samples in self._converted():
            cut = min(priming, samples.shape[1])
            priming -= cut
            if seconds is not None:
                seconds += cut / self.sample_rate_hz
            num_now = len(self.damage.times_seconds)
            if samples.shape[1] > cut:
                yield from self._timeline.place(
                    samples[:, cut:], seconds, follows_damage=num_now > num_damaged
                )
                num_damaged = num_now
        end = self._decoder.end_seconds
        yield from self._timeline.finish(None if end is None else float(end))

    def _converted(self) -> Iterator[tuple[float | None, Float32[np.ndarray, "C n"]]]:
        """Return samples with their time stamps (s, on the container's clock)."""
        for frame in self._frames:
            assert isinstance(frame, av.AudioFrame), "an audio stream decodes to audio frames"
            seconds = float(_frame_time(frame)) if frame.pts is not None else None
            try:
                pieces = list(self._converter.convert(frame))
            except FFmpegError as error:
                self.damage.record(self._timeline_seconds(), ffmpeg_message(error))
                continue
            for piece in pieces:
                if not np.isfinite(piece).all():
                    self.damage.record(self._timeline_seconds(), "its samples are not numbers")
                    piece = np.nan_to_num(piece, nan=0.0, posinf=0.0, neginf=0.0)
                yield seconds, piece
                seconds = None  # of the first piece of the frame

    def _timeline_seconds(self) -> float:
        """Return the length of the sound decoded so far."""
        return self._timeline.num_placed / self.sample_rate_hz


def _seek(container: InputContainer, stream: AudioStream, time_seconds: float) -> bool:
    """Move to a packet before a time, if the container's index is exact and there is one."""
    seconds = zero_seconds(container) + Fraction(time_seconds) - _PREROLL_SECONDS
    if stream.time_base is None or seconds <= (stream.start_time or 0) * stream.time_base:
        return False
    is_exact = container.format.name.startswith(_EXACTLY_INDEXED)
    if is_exact:
        container.seek(int(seconds / stream.time_base), stream=stream)
    return is_exact


def _with_samples(frames: Iterator[Frame]) -> Iterator[av.AudioFrame]:
    for frame in frames:
        assert isinstance(frame, av.AudioFrame), "an audio stream decodes to audio frames"
        if frame.samples:
            yield frame


def _frame_time(frame: av.AudioFrame) -> Fraction:
    assert frame.pts is not None and frame.time_base is not None, "the frame has a time stamp"
    return frame.pts * Fraction(frame.time_base)


def _longest_gap(container: InputContainer) -> float:
    if container.duration:
        return min(container.duration / av.time_base, LONGEST_SILENCE_SECONDS)
    return LONGEST_SILENCE_SECONDS


class _SampleConverter:
    """Convert frames to float32 samples of the first frame's rate and layout."""

    def __init__(self, first: av.AudioFrame) -> None:
        self._rate, self._layout = first.sample_rate, first.layout.name
        self._resampler: av.AudioResampler | None = None
        self._resampler_input: tuple[int, str, str] | None = None

    def convert(self, frame: av.AudioFrame) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Convert a frame; FFmpeg resamples those of another rate, layout or sample format."""
        frame_format = (frame.sample_rate, frame.layout.name, frame.format.name)
        scale = _SCALES.get(frame_format[2].removesuffix("p"))
        is_readable = not frame.format.is_planar or frame.layout.nb_channels <= _MAX_READABLE_PLANES
        if frame_format[:2] == (self._rate, self._layout) and scale is not None and is_readable:
            samples = _channels_first(frame)
            zero, full_scale = scale
            if full_scale == 1:
                # Float samples pass through untouched: arithmetic on signalling NaNs would warn.
                yield samples
                return
            # float64 holds every 32-bit step, so that the only rounding is the one to float32.
            yield ((samples.astype(np.float64) - zero) / full_scale).astype(np.float32)
            return
        # FFmpeg's resampler fixes its input at the first frame; each new input needs a new one.
        if self._resampler is None or frame_format != self._resampler_input:
            self._resampler = av.AudioResampler("flt", self._layout, self._rate)
            self._resampler_input = frame_format
        for converted in self._resampler.resample(frame):
            yield _channels_first(converted)


def _channels_first(frame: av.AudioFrame) -> Shaped[np.ndarray, "C n"]:
    samples = frame.to_ndarray()
    return samples if frame.format.is_planar else samples.reshape(-1, frame.layout.nb_channels).T
