"""Write MP4: H.264 or a copied video stream with several titled audio tracks."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Literal

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream
from jaxtyping import Float32, UInt8
from pydantic import BaseModel, ConfigDict, Field

from avsep.errors import InputError
from avsep.media.atomic import atomic_file
from avsep.media.audio import quantise
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.media.opening import MediaSource, ffmpeg_message, open_media, source_name
from avsep.media.streams import choose_video, zero_seconds

AudioCodec = Literal["flac", "aac"]

# Number of channels -> FFmpeg's name of the layout.
_LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "3.0",
    4: "quad",
    5: "5.0",
    6: "5.1",
    7: "6.1",
    8: "7.1",
}
# Sample formats of the encoders. FLAC gets 16-bit samples, which it keeps exactly; AAC is for
# players without FLAC. Frames are interleaved for both, as PyAV cannot fill eight planes.
_ENCODER_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "fltp"}
_FRAME_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "flt"}
# The rate at which stereo AAC-LC (192 kbit/s) is usually taken as transparent.
_AAC_BITS_PER_SECOND_PER_CHANNEL = 96_000
_BLOCK_SAMPLES = 16_384
# Codecs that players support in MP4; others are re-encoded.
_COPIED_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_BT709 = 1  # AVCOL_PRI_BT709, AVCOL_TRC_BT709 and AVCOL_SPC_BT709 alike
_STUDIO_RANGE = 1  # AVCOL_RANGE_MPEG
_LARGEST_DENOMINATOR = 1001  # of a frame rate: television's 30000/1001 Hz


class VideoSettings(BaseModel):
    """Codecs and quality of MP4 files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio_codec: AudioCodec = "flac"  # flac: exact 16 bits; aac: smaller, plays on more devices
    preset: str = "veryfast"  # of x264, from ultrafast (large files) to veryslow
    quality_crf: int = Field(default=23, ge=0, le=51)  # of x264; lower is better, 18 looks exact
    num_threads: int = Field(default=1, ge=0)  # of the video encoder; 0: one per core


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
    """Write pictures and tracks as MP4 (H.264, yuv420p, BT.709), the first track marked default.

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
    with _open_mp4(path) as output:
        stream = _add_h264(output, first, rate, settings)
        encoders = _add_tracks(output, tracks, settings.audio_codec)
        for index, picture in enumerate(chain([first], pictures)):
            if picture.shape != first.shape:
                raise InputError(
                    f"'{os.fspath(path)}': picture {index} is {picture.shape[1]}x{picture.shape[0]}"
                    f", the first {first.shape[1]}x{first.shape[0]}; give pictures of one size"
                )
            output.mux(stream.encode(_to_frame(picture, index, rate)))
            # Interleaved with the pictures: the muxer holds back what is ahead of the slowest
            # stream, so that tracks written after the video would make it hold the whole video.
            for encoder in encoders:
                encoder.encode_until(float((index + 1) / rate))
        output.mux(stream.encode(None))
        for encoder in encoders:
            encoder.finish()


def write_tracks(
    path: str | os.PathLike[str],
    video_source: MediaSource,
    tracks: Sequence[AudioTrack],
    settings: VideoSettings | None = None,
) -> None:
    """Copy a source's video stream and rotation to MP4 and replace its audio by these tracks.

    Tracks start on the source's time line: sound read at `start_seconds` is written at the same
    time. Video that MP4 does not support (VP8, ProRes, ...) is re-encoded at its mean rate.

    Raises:
        InputError: no video in the source, damaged video, or samples beyond -1..1 with flac.
    """
    settings = settings or VideoSettings()
    with open_media(video_source) as source:
        stream = choose_video(source, None, source_name(video_source))
        if stream.codec_context.codec.canonical_name in _COPIED_CODECS:
            with _open_mp4(path) as output:
                _copy(source, stream, output, tracks, settings)
            return
        rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
    pictures = (
        picture
        for _, picture in iterate_frames(video_source, float(rate), FrameSettings(on_damage="skip"))
    )
    write_video(path, pictures, rate, tracks, settings)


def _copy(
    source: InputContainer,
    stream: VideoStream,
    output: OutputContainer,
    tracks: Sequence[AudioTrack],
    settings: VideoSettings,
) -> None:
    # Opaque: packets are copied, so that no encoder for the codec is needed.
    copied = output.add_stream_from_template(stream, opaque=True)
    encoders = _add_tracks(output, tracks, settings.audio_codec)
    for seconds, packet in _packets_from_zero(source, stream):
        packet.stream = copied
        output.mux(packet)
        for encoder in encoders:
            encoder.encode_until(seconds)
    for encoder in encoders:
        encoder.finish()


def _packets_from_zero(
    source: InputContainer, stream: VideoStream
) -> Iterator[tuple[float, Packet]]:
    """Shift packets to the start of the file's time line; yield their decoding times (s) too."""
    assert stream.time_base is not None, "a video stream has a time base"
    shift = round(zero_seconds(source) / stream.time_base)
    for packet in _with_decoding_times(source, stream):
        assert packet.dts is not None, "`_with_decoding_times` fills it in"
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
def _open_mp4(path: str | os.PathLike[str]) -> Iterator[OutputContainer]:
    """Open an MP4 file for writing, atomically.

    Its index is at the front (`faststart`), so that players can begin before it is loaded.
    """
    options = {"movflags": "+faststart"}
    with atomic_file(path) as part:
        try:
            # The prefix keeps FFmpeg from interpreting the folder's name as a protocol.
            name = f"file:{part.absolute()}"
            with av.open(name, "w", format="mp4", options=options) as output:
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


def _add_tracks(
    output: OutputContainer, tracks: Sequence[AudioTrack], codec: AudioCodec
) -> list["_TrackEncoder"]:
    encoders: list[_TrackEncoder] = []
    for track in tracks:
        encoders.append(_TrackEncoder(output, track, codec, is_default=not encoders))
    return encoders


class _TrackEncoder:
    """Encode one track into an open file, step by step."""

    def __init__(
        self, output: OutputContainer, track: AudioTrack, codec: AudioCodec, *, is_default: bool
    ) -> None:
        self._output, self._track = output, track
        self._codec: AudioCodec = codec
        blocks = track.blocks()
        first = next(blocks, None)
        if first is None:
            raise InputError(f"track '{track.title}' has no samples; give each track at least one")
        self._blocks = chain([first], blocks)
        self._position = round(track.start_seconds * track.sample_rate_hz)
        self._stream = self._add_stream(first.shape[0])
        # The track that players select at the start.
        self._stream.disposition = Disposition.default if is_default else Disposition(0)

    def encode_until(self, seconds: float) -> None:
        """Encode blocks up to a time of the video, or the track's end."""
        while self._position < seconds * self._track.sample_rate_hz:
            block = next(self._blocks, None)
            if block is None:
                return
            self._encode(block)

    def finish(self) -> None:
        """Encode the remaining blocks and flush the encoder."""
        for block in self._blocks:
            self._encode(block)
        self._output.mux(self._stream.encode(None))

    def _add_stream(self, num_channels: int) -> av.AudioStream:
        """Add an audio stream with title, layout and sample format to the file."""
        title, rate = self._track.title, self._track.sample_rate_hz
        if num_channels not in _LAYOUTS:
            raise InputError(
                f"track '{title}' has {num_channels} channels; a track of a video holds "
                f"{min(_LAYOUTS)} to {max(_LAYOUTS)}: give fewer channels"
            )
        self._layout = _LAYOUTS[num_channels]
        try:
            stream = self._output.add_stream(self._codec, rate=rate, layout=self._layout)
            stream.codec_context.format = _ENCODER_FORMATS[self._codec]
            if self._codec == "aac":
                stream.codec_context.bit_rate = _AAC_BITS_PER_SECOND_PER_CHANNEL * num_channels
            stream.codec_context.time_base = Fraction(1, rate)
            stream.codec_context.open()
        except (FFmpegError, ValueError) as error:
            raise InputError(
                f"track '{title}': {self._codec} cannot hold {num_channels} channels at {rate} Hz "
                "in MP4; choose flac, or resample first"
            ) from error
        # Some players show the title, others the handler name.
        stream.metadata.update(title=title, handler_name=title)
        return stream

    def _encode(self, block: Float32[np.ndarray, "C n"]) -> None:
        if block.shape[1] == 0:
            return
        if self._codec == "flac":
            # Rounded here, not by FFmpeg, so that stems in the video equal those in 16-bit files.
            block = quantise(block, 16, f"track '{self._track.title}'").astype(np.int16)
        samples = np.ascontiguousarray(block.T.reshape(1, -1))
        frame_format = _FRAME_FORMATS[self._codec]
        frame = av.AudioFrame.from_ndarray(samples, format=frame_format, layout=self._layout)
        frame.sample_rate = self._track.sample_rate_hz
        frame.time_base = Fraction(1, self._track.sample_rate_hz)
        frame.pts = self._position
        self._position += block.shape[1]
        self._output.mux(self._stream.encode(frame))
