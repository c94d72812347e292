"""Decode one stream packet by packet and record damaged and missing parts."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import av
from av.audio.stream import AudioStream
from av.codec import CodecContext
from av.container import InputContainer
from av.error import FFmpegError
from av.frame import Frame
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from avsep.errors import InputError
from avsep.media.opening import MediaSource, ffmpeg_message
from avsep.media.streams import zero_seconds
from avsep.media.truncation import find_truncation

OnDamage = Literal["error", "skip"]
OnTruncation = Literal["error", "warn"]

# Containers whose header holds the duration of each stream; of others FFmpeg estimates it from the
# bit rate, or reads it from the last packet.
_EXACT_DURATIONS = ("mov,", "flac", "avi", "mp3")
# Of these, containers that editors cut without correcting the header: a warning, never an error.
_LOOSE_DURATIONS = ("avi", "mp3")
# Containers whose header holds a duration that stays when the end of the file is cut off.
_STATED_DURATIONS = ("mov,", "flac", "mp3", "matroska", "flv", "avi")
# A stream may end this much before its stated duration without a warning: edit lists of MP4 count
# milliseconds, and writers round up to the length of the picture.
_TOLERANCE_SECONDS = 0.05
_CERTAIN_SECONDS = 1.0
_ROUNDING_SECONDS = 1e-6
_MOST_LISTED = 3  # damaged places in a warning
# FFmpeg's built-in VP8 and VP9 decoders drop the alpha channel, these keep it.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass
class Damage:
    """The damaged parts of one stream, raised as an error or recorded.

    Raising is the default, so that no damage goes unnoticed. With "skip" undecodable packets are
    dropped and their times are recorded; `warnings` describes them. Packets before the first
    decodable one are not damage: a stream cut out of a longer one begins with packets that refer to
    missing frames.
    """

    source_name: str  # "'a.mp4'"
    part: Literal["the sound", "the video"]
    on_damage: OnDamage = "error"
    on_truncation: OnTruncation = "error"  # "warn" reads a file that was cut off as far as it goes
    times_seconds: list[float] = field(default_factory=list)
    truncation: str | None = None

    @property
    def stream_name(self) -> str:
        """The beginning of errors. Warnings leave the file out: callers state it beside them."""
        return f"{self.source_name}: {self.part}"

    def record(self, seconds: float, problem: str) -> None:
        """Record a damaged time, or raise InputError."""
        if self.on_damage == "error":
            raise InputError(
                f"{self.stream_name} is damaged after {seconds:.2f} s ({problem}); cut the file "
                "there, repair it, or skip the damage with on_damage='skip' (--on-damage skip)"
            )
        self.times_seconds.append(seconds)

    def record_truncation(self, seconds: float, problem: str, *, is_certain: bool) -> None:
        """Record that the stream ends early, after this time; raise InputError if certain."""
        verb = "is" if is_certain else "may be"
        self.truncation = f"ends after {seconds:.2f} s, where the file {verb} cut off: {problem}"
        if is_certain and self.on_damage == self.on_truncation == "error":
            raise InputError(
                f"{self.stream_name} {self.truncation}; give the whole file, or read what there is "
                "with on_damage='skip' (--on-damage skip)"
            )

    def warnings(self) -> list[str]:
        """Describe what was skipped and what is missing."""
        described = []
        if self.times_seconds:
            listed = ", ".join(f"{seconds:.2f}" for seconds in self.times_seconds[:_MOST_LISTED])
            more = ", ..." if len(self.times_seconds) > _MOST_LISTED else ""
            number = len(self.times_seconds)
            places = f"{number} places, which are" if number > 1 else "one place, which is"
            described.append(f"{self.part} is damaged in {places} left out: after {listed}{more} s")
        if self.truncation:
            described.append(f"{self.part} {self.truncation}")
        return described


@dataclass
class StreamDecoder:
    """Decode a stream in presentation order, from the container's position to the end.

    Attributes:
        told_priming_samples, told_padding_samples: what FFmpeg took off the beginning and the end
            of a sound, because the container told it to.
    """

    source: MediaSource
    container: InputContainer
    stream: AudioStream | VideoStream
    damage: Damage
    told_priming_samples: int = 0
    told_padding_samples: int = 0

    def __post_init__(self) -> None:
        self._tick_seconds = self.stream.time_base or Fraction(0)
        self._zero_seconds = zero_seconds(self.container)
        self._end_ticks = self.stream.start_time or 0
        # Start of the last decoded frame, and end of the last sound, on the file's time line.
        self._decoded_seconds = self._decoded_end_seconds = 0.0

    def __iter__(self) -> Iterator[Frame]:
        """Decode the frames.

        Raises:
            InputError: damage or a truncated file, unless `damage` skips.
        """
        decode_packet, packets = _packet_decoder(self.stream), self.container.demux(self.stream)
        has_decoded, problem = False, None
        while True:
            # `next` by hand: a `for` loop would end at an error of the demuxer without its message.
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                problem = ffmpeg_message(error)
                break
            if packet is None:
                break
            self._add_packet(packet)
            try:
                frames = decode_packet(packet)
            except FFmpegError as error:
                self._record(problem, has_decoded)
                problem = ffmpeg_message(error)
                continue
            if frames:
                self._record(problem, has_decoded)
                has_decoded, problem = True, None
            for frame in frames:
                self._add_frame(frame)
                yield frame
        self._check_end(problem if has_decoded else None)

    @property
    def end_seconds(self) -> Fraction | None:
        """End of the stream on the container's clock, where its header is exact to the sample.

        The shorter of two: of the edit list, which some writers round up to milliseconds, and of
        the packets read.
        """
        if not self.container.format.name.startswith("mov,"):
            return None
        end_ticks = self._end_ticks
        if self.stream.duration:
            end_ticks = min(end_ticks, (self.stream.start_time or 0) + self.stream.duration)
        return end_ticks * self._tick_seconds

    def _record(self, problem: str | None, has_decoded: bool) -> None:
        """Record a problem; what precedes the first decodable packet is none, see `Damage`."""
        if problem is not None and has_decoded:
            self.damage.record(self._decoded_seconds, problem)

    def _add_packet(self, packet: Packet) -> None:
        """Advance to the end of a packet, and count what FFmpeg skips of its samples."""
        if packet.pts is not None:
            self._end_ticks = max(self._end_ticks, packet.pts + (packet.duration or 0))
        if packet.has_sidedata("skip_samples"):
            # Two numbers of 32 bits: samples to skip at the beginning and at the end.
            skips = bytes(packet.get_sidedata("skip_samples"))
            self.told_priming_samples += int.from_bytes(skips[:4], "little")
            self.told_padding_samples += int.from_bytes(skips[4:8], "little")

    def _add_frame(self, frame: Frame) -> None:
        """Advance to the start of a decoded frame, and to the end of sound."""
        if frame.pts is not None and frame.time_base is not None:
            time = frame.pts * Fraction(frame.time_base)
            self._decoded_seconds = float(time - self._zero_seconds)
        else:
            self._decoded_seconds = max(self._decoded_seconds, self._decoded_end_seconds)
        if isinstance(frame, av.AudioFrame):
            seconds = frame.samples / frame.sample_rate
            self._decoded_end_seconds = self._decoded_seconds + seconds

    def _check_end(self, problem: str | None) -> None:
        """Compare the end with what the file states, and record what is missing."""
        read_seconds = float(self._end_ticks * self._tick_seconds - self._zero_seconds)
        if isinstance(self.stream, AudioStream):
            # Decoders drop a frame that was cut in two, some without an error.
            read_seconds = self._decoded_end_seconds
        missing_seconds = self._stated_seconds() - read_seconds
        formats = self.container.format.name
        truncation = find_truncation(self.source, formats)
        if truncation is not None:
            # A packet that was cut in two cannot be decoded: that is no further damage.
            if formats.startswith(_STATED_DURATIONS) and missing_seconds > 0:
                length = f"{missing_seconds:.2f} s by its header"
            elif truncation.missing_share is not None:
                # Boxes and clusters without a total state the end of the last one only.
                about = "at least" if formats.startswith(("mov,", "matroska")) else "about"
                length = f"{about} {truncation.missing_share * read_seconds:.2f} s"
            else:
                length = "it does not tell how much is missing"
            self.damage.record_truncation(
                read_seconds, f"{truncation.problem}, {length}", is_certain=truncation.is_certain
            )
            return
        if problem is not None:
            self.damage.record(self._decoded_seconds, problem)
        if not formats.startswith(_EXACT_DURATIONS):
            return
        is_counted = formats == "flac"
        tolerance_seconds = _ROUNDING_SECONDS if is_counted else _TOLERANCE_SECONDS
        # The last picture may be shown for a while.
        is_certain = is_counted or missing_seconds > _CERTAIN_SECONDS
        if missing_seconds > tolerance_seconds and (is_certain or self.stream.type == "audio"):
            stated = f"{missing_seconds:.2f} s of what its header states are missing"
            self.damage.record_truncation(
                read_seconds, stated, is_certain=is_certain and formats not in _LOOSE_DURATIONS
            )

    def _stated_seconds(self) -> float:
        """Return the end that the header states for the stream, or else for the file."""
        ticks = self.stream.duration
        if self.container.format.name == "avi":
            # FFmpeg shortens the duration to the size of the file, but not the number of ticks.
            ticks = self.stream.frames
        if ticks:
            begin = self.stream.start_time or 0
            return float((begin + ticks) * self._tick_seconds - self._zero_seconds)
        begin = self.container.start_time or 0
        end = (begin + (self.container.duration or 0)) / av.time_base
        return end - float(self._zero_seconds)


def _packet_decoder(stream: AudioStream | VideoStream) -> Callable[[Packet], Sequence[Frame]]:
    """Return the stream's own decoder, or one that keeps the alpha channel of VP8 and VP9."""
    codec = stream.codec_context.codec.canonical_name
    if stream.metadata.get("alpha_mode") == "1" and codec in _ALPHA_DECODERS:
        decoder = _ALPHA_DECODERS[codec]
        if decoder in av.codecs_available:
            context = CodecContext.create(decoder, "r")
            assert isinstance(context, VideoCodecContext), "VP8 and VP9 are video"
            context.extradata = stream.codec_context.extradata
            return context.decode
    # The threading mode can only be set before the codec is opened by its first packet.
    if not stream.codec_context.is_open:
        stream.codec_context.thread_type = "AUTO"
    return Packet.decode
