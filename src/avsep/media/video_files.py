"""Write MP4 and MKV: H.264 or a copied video stream with several titled audio tracks."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from math import inf
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream
from jaxtyping import Float32, UInt8
from pydantic import BaseModel, ConfigDict, Field

from avsep.errors import InputError
from avsep.media.atomic import atomic_file
from avsep.media.audio_encoding import AudioCodec, AudioEncoder
from avsep.media.opening import MediaSource, ffmpeg_message, open_media, source_name
from avsep.media.streams import choose_video, zero_seconds

_BLOCK_SAMPLES = 16_384
# After the last picture, tracks are written in turns of this length.
_SIDE_BY_SIDE_SECONDS = 1.0
# Codecs that players support in MP4; MKV holds any.
_MP4_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_BT709 = 1  # AVCOL_PRI_BT709, AVCOL_TRC_BT709 and AVCOL_SPC_BT709 alike
_STUDIO_RANGE = 1  # AVCOL_RANGE_MPEG
# File ending -> FFmpeg's name of the container, and its options. The index of MP4 is moved to the
# front (`faststart`), so that players can begin before all is loaded.
_CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("mp4", {"movflags": "+faststart"}),
    ".mkv": ("matroska", {}),
}
# MP4 in fragments of up to ten seconds (given in microseconds), each with an index of its own. The
# header comes with the first, when all starts of tracks are known.
_FRAGMENTED = {"movflags": "+frag_keyframe+delay_moov", "frag_duration": "10000000"}
_LARGEST_DENOMINATOR = 1001  # of a frame rate: television's 30000/1001 Hz


class VideoSettings(BaseModel):
    """Codecs and quality of video files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio_codec: AudioCodec = "flac"  # flac: exact 16 bits; aac: smaller, plays on more devices
    preset: str = "veryfast"  # of x264, from ultrafast (large files) to veryslow
    quality_crf: int = Field(default=23, ge=0, le=51)  # of x264; lower is better, 18 looks exact
    num_threads: int = Field(default=1, ge=0)  # of the video encoder; 0: one per core
    # MP4 with an index for each ten seconds, in steady memory: the usual one for all is held until
    # the end, 75 bytes a packet, 13 MB an hour and AAC track. MKV is in steady memory always.
    is_fragmented: bool = False


@dataclass(frozen=True)
class AudioTrack:
    """A titled audio track to write.

    Attributes:
        waveform: the whole, or an iterable of successive blocks for sound larger than memory.
        start_seconds: time of the first sample on the time line of the video, not below 0.
    """

    title: str
    waveform: Float32[np.ndarray, "C N"] | Iterable[Float32[np.ndarray, "C n"]]
    sample_rate_hz: int
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        array = self.waveform if isinstance(self.waveform, np.ndarray) else None
        assert array is None or (array.dtype == np.float32 and array.ndim == 2), (
            f"track '{self.title}': a waveform is float32 [C, N]"
        )
        assert self.start_seconds >= 0, f"track '{self.title}' starts at {self.start_seconds} s"

    def blocks(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """Return the waveform in blocks."""
        if not isinstance(self.waveform, np.ndarray):
            yield from self.waveform
            return
        for begin in range(0, max(1, self.waveform.shape[1]), _BLOCK_SAMPLES):
            yield self.waveform[:, begin : begin + _BLOCK_SAMPLES]


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    frame_rate_hz: float | Fraction,
    tracks: Sequence[AudioTrack] = (),
    settings: VideoSettings | None = None,
) -> None:
    """Write pictures and tracks as MP4 or MKV (H.264, yuv420p, BT.709), the first track default.

    Pictures are consumed one at a time, so that a generator may render them. An odd width or
    height, which yuv420p does not support, is padded by one repeated pixel.

    Raises:
        InputError: no pictures, pictures of changing size, or samples beyond -1..1 with flac.
    """
    settings = settings or VideoSettings()
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"'{os.fspath(path)}': a video needs at least one picture, none was given")
    rate = Fraction(frame_rate_hz).limit_denominator(_LARGEST_DENOMINATOR)
    with _open_output(path, settings) as output, _threads(tracks) as pool:
        stream = _add_h264(output, first, rate, settings)
        encoders = _TrackEncoders(output, tracks, settings.audio_codec, pool)
        for index, picture in enumerate(chain([first], pictures)):
            if picture.shape != first.shape:
                raise InputError(
                    f"'{os.fspath(path)}': picture {index} is {picture.shape[1]}x{picture.shape[0]}"
                    f", the first {first.shape[1]}x{first.shape[0]}; give pictures of one size"
                )
            output.mux(stream.encode(_to_frame(picture, index, rate)))
            # Interleaved with the pictures: the muxer holds back what is ahead of the slowest
            # stream, so that tracks written after the video would make it hold the whole video.
            encoders.encode_until(float((index + 1) / rate))
        output.mux(stream.encode(None))
        encoders.finish()


def write_tracks(
    path: str | os.PathLike[str],
    video_source: MediaSource,
    tracks: Sequence[AudioTrack],
    settings: VideoSettings | None = None,
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> None:
    """Copy a source's video stream and rotation to MP4 or MKV, and replace its audio by tracks.

    Pictures are never encoded. Tracks start on the source's time line: sound read at
    `start_seconds` is written at the same time.

    Args:
        path: file to write, .mp4 or .mkv.
        video_source: file whose pictures are copied.
        tracks: audio tracks.
        settings: codecs and quality.
        start_seconds: begin with the last key frame up to this time of the source, which becomes
            the start of the written time line; tracks move with it.
        end_seconds: end of the part that is copied; none: the end of the source.

    Raises:
        InputError: no video in the source, damaged video, a codec that MP4 does not hold, or
            samples beyond -1..1 with flac.
    """
    settings = settings or VideoSettings()
    with open_media(video_source) as source:
        stream = choose_video(source, None, source_name(video_source))
        codec = stream.codec_context.codec.canonical_name
        if Path(path).suffix.lower() == ".mp4" and codec not in _MP4_CODECS:
            raise InputError(
                f"'{os.fspath(path)}': MP4 holds {', '.join(sorted(_MP4_CODECS))}, and the video "
                f"is {codec}; write .mkv"
            )
        zero_time = _seek_key_frame(source, stream, start_seconds)
        with _open_output(path, settings) as output:
            copied = _copied_packets(source, stream, zero_time, end_seconds)
            _copy(copied, stream, output, _moved(tracks, zero_time), settings)


def mp4_holds(video_source: MediaSource) -> bool:
    """True if the codec of a source's pictures can be copied to MP4; MKV holds any.

    Raises:
        InputError: no video in the source.
    """
    with open_media(video_source) as source:
        stream = choose_video(source, None, source_name(video_source))
        return stream.codec_context.codec.canonical_name in _MP4_CODECS


def _moved(tracks: Sequence[AudioTrack], seconds: Fraction) -> list[AudioTrack]:
    """Return the tracks on a time line that begins at a time of theirs."""
    return [
        replace(track, start_seconds=max(0.0, track.start_seconds - float(seconds)))
        for track in tracks
    ]


def _seek_key_frame(source: InputContainer, stream: VideoStream, seconds: float) -> Fraction:
    """Move to the last key frame up to a time; return its time, 0 where nothing is moved."""
    zero = zero_seconds(source)
    if seconds <= 0 or stream.time_base is None:
        return Fraction(0)
    try:
        source.seek(int((Fraction(seconds) + zero) / stream.time_base), stream=stream)
        packets = (packet for packet in source.demux(stream) if packet.pts is not None)
        first = next(packets, None)
        if first is None or first.pts is None:
            raise InputError(f"the video to copy has no picture after {seconds:g} s")
        # Once more, as the first packet is taken.
        source.seek(int((Fraction(seconds) + zero) / stream.time_base), stream=stream)
    except FFmpegError as error:
        raise InputError(
            f"the video to copy is damaged ({ffmpeg_message(error)}); repair it first"
        ) from error
    return max(Fraction(0), first.pts * stream.time_base - zero)


def _copy(
    packets: Iterable[tuple[float, Packet]],
    stream: VideoStream,
    output: OutputContainer,
    tracks: Sequence[AudioTrack],
    settings: VideoSettings,
) -> None:
    # Opaque: packets are copied, so that no encoder for the codec is needed.
    copied = output.add_stream_from_template(stream, opaque=True)
    with _threads(tracks) as pool:
        encoders = _TrackEncoders(output, tracks, settings.audio_codec, pool)
        for seconds, packet in packets:
            packet.stream = copied
            output.mux(packet)
            encoders.encode_until(seconds)
        encoders.finish()


def _copied_packets(
    source: InputContainer, stream: VideoStream, start: Fraction, end_seconds: float | None
) -> Iterator[tuple[float, Packet]]:
    """Shift packets so that `start` on the file's time line is 0; yield decoding times (s) too."""
    assert stream.time_base is not None, "a video stream has a time base"
    shift = round((zero_seconds(source) + start) / stream.time_base)
    end = None if end_seconds is None else Fraction(end_seconds) - start
    for packet in _with_decoding_times(source, stream):
        assert packet.dts is not None, "`_with_decoding_times` fills it in"
        # No packet is displayed before it is decoded.
        if end is not None and (packet.dts - shift) * stream.time_base >= end:
            return
        packet.dts -= shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        yield float(packet.dts * stream.time_base), packet


def _with_decoding_times(source: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Fill in missing decoding times, which MP4 requires and Matroska omits at the start."""
    assert stream.time_base is not None, "a video stream has a time base"
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    step = max(1, round(1 / (rate * stream.time_base)))
    waiting: list[Packet] = []
    try:
        for packet in source.demux(stream):
            if packet.size == 0:  # the empty packet that flushes the decoder at the end
                continue
            waiting.append(packet)
            if packet.dts is not None:
                # Count back from the first known time, one frame period a packet.
                for steps_before, earlier in enumerate(reversed(waiting[:-1]), start=1):
                    earlier.dts = packet.dts - steps_before * step
                yield from waiting
                waiting.clear()
    except FFmpegError as error:
        raise InputError(
            f"the video to copy is damaged ({ffmpeg_message(error)}); repair it first"
        ) from error
    for packet in waiting:
        packet.dts = packet.pts
        if packet.pts is not None:
            yield packet


@contextmanager
def _open_output(
    path: str | os.PathLike[str], settings: VideoSettings
) -> Iterator[OutputContainer]:
    """Open an MP4 or MKV file for writing, atomically; its ending tells which."""
    ending = Path(path).suffix.lower()
    if ending not in _CONTAINERS:
        raise InputError(
            f"'{os.fspath(path)}': video is written as {' or '.join(_CONTAINERS)}; change the "
            "ending"
        )
    name, options = _CONTAINERS[ending]
    if settings.is_fragmented and ending == ".mp4":
        options = _FRAGMENTED
    with atomic_file(path) as part:
        try:
            # The prefix keeps FFmpeg from interpreting the folder's name as a protocol.
            with av.open(f"file:{part.absolute()}", "w", format=name, options=options) as output:
                yield output
        except FFmpegError as error:
            raise InputError(
                f"'{os.fspath(path)}' cannot be written ({ffmpeg_message(error)}): the disk is "
                "full, or the video to copy has damaged time stamps"
            ) from error


def _add_h264(
    output: OutputContainer,
    first: UInt8[np.ndarray, "H W 3"],
    rate: Fraction,
    settings: VideoSettings,
) -> VideoStream:
    options = {"preset": settings.preset, "crf": str(settings.quality_crf)}
    stream = output.add_stream("libx264", rate=rate, options=options)
    height, width = first.shape[:2]
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"  # the one format that every player decodes
    stream.codec_context.thread_count = settings.num_threads
    # Tagged, because players guess the matrix of untagged video by its height.
    stream.codec_context.colorspace = _BT709
    stream.codec_context.color_primaries = _BT709
    stream.codec_context.color_trc = _BT709
    stream.codec_context.color_range = _STUDIO_RANGE
    return stream


def _to_frame(picture: UInt8[np.ndarray, "H W 3"], index: int, rate: Fraction) -> av.VideoFrame:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="itu709", interpolation="AREA")
    frame.pts, frame.time_base = index, 1 / rate
    return frame


# Audio tracks


def _threads(tracks: Sequence[AudioTrack]) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, len(tracks)))


class _TrackEncoders:
    """Encode the tracks of an open file, each in a thread of its own, side by side in time."""

    def __init__(
        self,
        output: OutputContainer,
        tracks: Sequence[AudioTrack],
        codec: AudioCodec,
        pool: ThreadPoolExecutor,
    ) -> None:
        """Add all tracks to the file, the first as the default."""
        self._output, self._pool = output, pool
        self._encoders = [
            _TrackEncoder(output, track, codec, is_default=number == 0)
            for number, track in enumerate(tracks)
        ]

    def encode_until(self, seconds: float) -> None:
        """Write all tracks up to a time of the video, or their ends."""
        late = [encoder for encoder in self._encoders if encoder.position_seconds < seconds]
        # By far most pictures come where no block of sound is due.
        if late:
            for packets in self._pool.map(lambda encoder: encoder.encode_until(seconds), late):
                self._output.mux(packets)

    def finish(self) -> None:
        """Write what is left of all tracks; side by side, so that the muxer holds none back."""
        while unfinished := [encoder for encoder in self._encoders if not encoder.is_finished]:
            slowest = min(encoder.position_seconds for encoder in unfinished)
            self.encode_until(slowest + _SIDE_BY_SIDE_SECONDS)


class _TrackEncoder:
    """Encode one track of an open file, step by step."""

    def __init__(
        self, output: OutputContainer, track: AudioTrack, codec: AudioCodec, *, is_default: bool
    ) -> None:
        blocks = track.blocks()
        first = next(blocks, None)
        if first is None:
            raise InputError(f"track '{track.title}' has no samples; give each track at least one")
        self._blocks = chain([first], blocks)
        self.is_finished = False
        self._encoder = AudioEncoder(
            output,
            track.title,
            first.shape[0],
            track.sample_rate_hz,
            codec,
            start_seconds=track.start_seconds,
        )
        self._encoder.set_default(is_default)

    @property
    def position_seconds(self) -> float:
        """Return the time on the time line up to which the track is encoded; endless at its end."""
        return inf if self.is_finished else self._encoder.position_seconds

    def encode_until(self, seconds: float) -> list[Packet]:
        """Encode blocks up to a time of the video, or the track's end; return the packets."""
        packets: list[Packet] = []
        while self.position_seconds < seconds:
            block = next(self._blocks, None)
            if block is None:
                packets += self._encoder.flush()
                self.is_finished = True
            else:
                packets += self._encoder.encode(block)
        return packets
