"""Decode one stream packet by packet, and keep account of what is damaged."""

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
from avsep.media.opening import reason
from avsep.media.streams import zero_seconds

OnDamage = Literal["raise", "skip"]

# Containers whose header tells the true duration; others estimate it from the bit rate.
_EXACT_DURATIONS = ("mov,", "wav", "flac")
# A stream may end this much before its header says without being called cut off.
_END_TOLERANCE_SECONDS = 1.0
# FFmpeg's own VP8 and VP9 decoders drop transparency, these keep it.
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@dataclass
class Damage:
    """What could not be read of one stream.

    Damage is an error by default, so that nothing is lost unseen. With "skip" the undecodable is
    left out and its times are kept here. Packets before the first that decodes are no damage:
    a stream cut out of a longer one begins with some that refer to what is gone.
    """

    what: str  # how messages begin: "'a.mp4': the sound"
    on_damage: OnDamage = "raise"
    times_seconds: list[float] = field(default_factory=list)

    def note(self, seconds: float, problem: str) -> None:
        """Keep the time of a damage in mind, or raise InputError."""
        if self.on_damage == "raise":
            raise InputError(
                f"{self.what} is damaged after {seconds:.2f} s ({problem}); cut the file there, "
                "repair it, or read on over the damage with on_damage='skip'"
            )
        self.times_seconds.append(seconds)


def decode(
    container: InputContainer, stream: AudioStream | VideoStream, damage: Damage
) -> Iterator[Frame]:
    """Frames in order of presentation, from where the container stands to the end.

    Raises:
        InputError: at damage, unless it is skipped; also for a file that ends before its time.
    """
    to_frames, clock = _decoder(stream), _Clock(container, stream)
    has_begun, demuxer = False, container.demux(stream)
    while True:
        try:
            packet = next(demuxer, None)
        except FFmpegError as error:
            damage.note(clock.reached_seconds, reason(error))
            return
        if packet is None:
            break
        clock.see(packet)
        try:
            frames = to_frames(packet)
        except FFmpegError as error:
            if has_begun:
                damage.note(clock.reached_seconds, reason(error))
            continue
        has_begun = has_begun or bool(frames)
        for frame in frames:
            clock.reach(frame)
            yield frame
    if clock.missing_seconds > _END_TOLERANCE_SECONDS:
        problem = f"the file is cut off, {clock.missing_seconds:.2f} s are missing"
        damage.note(clock.reached_seconds, problem)


class _Clock:
    """How far the packets of a stream have come, and how far the header says they should."""

    def __init__(self, container: InputContainer, stream: AudioStream | VideoStream) -> None:
        self._tick, self._zero = stream.time_base or Fraction(0), zero_seconds(container)
        self._end = self._promised = stream.start_time or 0
        self.reached_seconds = 0.0  # begin of the last frame that decoded, on the file's time line
        if container.format.name.startswith(_EXACT_DURATIONS):
            self._promised += stream.duration or 0

    def see(self, packet: Packet) -> None:
        """Move on to the end of a packet."""
        if packet.pts is not None:
            self._end = max(self._end, packet.pts + (packet.duration or 0))

    def reach(self, frame: Frame) -> None:
        """Move on to a frame that could be decoded."""
        if frame.pts is not None and frame.time_base is not None:
            self.reached_seconds = float(frame.pts * Fraction(frame.time_base) - self._zero)

    @property
    def missing_seconds(self) -> float:
        """What is missing at the end: FFmpeg ends a file that was cut off without a word."""
        return float((self._promised - self._end) * self._tick)


def _decoder(stream: AudioStream | VideoStream) -> Callable[[Packet], Sequence[Frame]]:
    """What turns packets into frames: the stream's own decoder, or one that keeps transparency."""
    codec = stream.codec_context.codec.canonical_name
    if stream.metadata.get("alpha_mode") == "1" and codec in _ALPHA_DECODERS:
        decoder = _ALPHA_DECODERS[codec]
        if decoder in av.codecs_available:
            context = CodecContext.create(decoder, "r")
            assert isinstance(context, VideoCodecContext), "VP8 and VP9 are video"
            context.extradata = stream.codec_context.extradata
            return context.decode
    if not stream.codec_context.is_open:
        stream.codec_context.thread_type = "AUTO"
    return lambda packet: packet.decode()
