"""Decode one stream packet by packet and record damaged parts."""

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
from avsep.media.opening import ffmpeg_message
from avsep.media.streams import zero_seconds

OnDamage = Literal["raise", "skip"]

# Containers whose header holds the exact duration; FFmpeg estimates it from the bit rate of others.
_EXACT_DURATIONS = ("mov,", "wav", "flac")
# A stream may end this much before its stated duration without being called truncated: encoders
# round durations, and edit lists of MP4 count milliseconds.
_END_TOLERANCE_SECONDS = 1.0
# FFmpeg's built-in VP8 and VP9 decoders drop the alpha channel, these keep it.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass
class Damage:
    """The damaged parts of one stream, raised as an error or recorded.

    Raising is the default, so that no damage goes unnoticed. With "skip" undecodable packets are
    dropped and their times are recorded. Packets before the first decodable one are not damage:
    a stream cut out of a longer one begins with packets that refer to missing frames.
    """

    stream_name: str  # the beginning of messages: "'a.mp4': the sound"
    on_damage: OnDamage = "raise"
    times_seconds: list[float] = field(default_factory=list)

    def record(self, seconds: float, problem: str) -> None:
        """Record a damaged time, or raise InputError."""
        if self.on_damage == "raise":
            raise InputError(
                f"{self.stream_name} is damaged after {seconds:.2f} s ({problem}); cut the file "
                "there, repair it, or skip the damage with on_damage='skip'"
            )
        self.times_seconds.append(seconds)


def decode(
    container: InputContainer, stream: AudioStream | VideoStream, damage: Damage
) -> Iterator[Frame]:
    """Decode frames in presentation order, from the container's current position to the end.

    Raises:
        InputError: damage or a truncated file, unless `damage` skips.
    """
    decode_packet, progress = _packet_decoder(stream), _Progress(container, stream)
    has_decoded, demuxer = False, container.demux(stream)
    while True:
        # `next` by hand: a `for` loop would end at an error of the demuxer without its time.
        try:
            packet = next(demuxer, None)
        except FFmpegError as error:
            damage.record(progress.decoded_seconds, ffmpeg_message(error))
            return
        if packet is None:
            break
        progress.add_packet(packet)
        try:
            frames = decode_packet(packet)
        except FFmpegError as error:
            if has_decoded:
                damage.record(progress.decoded_seconds, ffmpeg_message(error))
            continue
        has_decoded = has_decoded or bool(frames)
        for frame in frames:
            progress.add_frame(frame)
            yield frame
    if progress.missing_seconds > _END_TOLERANCE_SECONDS:
        problem = f"the file is cut off, {progress.missing_seconds:.2f} s are missing"
        damage.record(progress.decoded_seconds, problem)


class _Progress:
    """The end of the packets read so far, against the end stated in the header."""

    def __init__(self, container: InputContainer, stream: AudioStream | VideoStream) -> None:
        self._tick_seconds = stream.time_base or Fraction(0)
        self._zero_seconds = zero_seconds(container)
        self._end_ticks = self._header_end_ticks = stream.start_time or 0
        self.decoded_seconds = 0.0  # start of the last decoded frame, on the file's time line
        if container.format.name.startswith(_EXACT_DURATIONS):
            self._header_end_ticks += stream.duration or 0

    def add_packet(self, packet: Packet) -> None:
        """Advance to the end of a packet."""
        if packet.pts is not None:
            self._end_ticks = max(self._end_ticks, packet.pts + (packet.duration or 0))

    def add_frame(self, frame: Frame) -> None:
        """Advance to the start of a decoded frame."""
        if frame.pts is not None and frame.time_base is not None:
            self.decoded_seconds = float(frame.pts * Fraction(frame.time_base) - self._zero_seconds)

    @property
    def missing_seconds(self) -> float:
        """The stated end minus the end read; FFmpeg reports no error for a truncated file."""
        return float((self._header_end_ticks - self._end_ticks) * self._tick_seconds)


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
