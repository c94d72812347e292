"""Write MP4: H.264 or a copied video stream beside several titled audio tracks."""

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
from avsep.media.opening import Source, open_media, reason, source_name
from avsep.media.streams import choose_video, zero_seconds

# Audio tracks of a video file: what they hold and how they are encoded


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
# What each encoder is fed with; FLAC: the 16-bit sound as it is, AAC: for players that know nothing
# else. PyAV cannot fill the planes of eight channels, so channels are interleaved for both.
_ENCODER_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "fltp"}
_FRAME_FORMATS: dict[AudioCodec, str] = {"flac": "s16", "aac": "flt"}
_AAC_BITS_PER_SECOND_A_CHANNEL = 96_000
_BLOCK_SAMPLES = 16_384


@dataclass(frozen=True)
class AudioTrack:
    """One titled audio track to be written.

    Attributes:
        waveform: whole, or in blocks one after the other, for sound that is too long to hold.
        start_seconds: time of the first sample on the time line of the video, not below 0.
    """

    title: str
    waveform: Float32[np.ndarray, "C N"] | Iterable[Float32[np.ndarray, "C n"]]
    sample_rate_hz: int
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        whole = self.waveform if isinstance(self.waveform, np.ndarray) else None
        assert whole is None or (whole.dtype == np.float32 and whole.ndim == 2), (
            f"track '{self.title}': a waveform is float32 [C, N]"
        )
        assert self.start_seconds >= 0, f"track '{self.title}' starts at {self.start_seconds} s"

    def blocks(self) -> Iterator[Float32[np.ndarray, "C n"]]:
        """The sound in pieces."""
        if not isinstance(self.waveform, np.ndarray):
            yield from self.waveform
            return
        for begin in range(0, max(1, self.waveform.shape[1]), _BLOCK_SAMPLES):
            yield self.waveform[:, begin : begin + _BLOCK_SAMPLES]


class TrackEncoder:
    """Encodes one track into an open file, as far as it is asked to at a time."""

    def __init__(self, output: OutputContainer, track: AudioTrack, codec: AudioCodec) -> None:
        self._output, self._track = output, track
        self._codec: AudioCodec = codec
        blocks = track.blocks()
        first = next(blocks, None)
        if first is None:
            raise InputError(f"track '{track.title}' has no samples; give each track some sound")
        self._blocks = chain([first], blocks)
        self._position = round(track.start_seconds * track.sample_rate_hz)
        self._stream = self._add_stream(first.shape[0])

    def encode_until(self, seconds: float) -> None:
        """Write blocks until the track reaches this time of the video, or ends."""
        while self._position < seconds * self._track.sample_rate_hz:
            block = next(self._blocks, None)
            if block is None:
                return
            self._encode(block)

    def finish(self) -> None:
        """Write all that is left."""
        for block in self._blocks:
            self._encode(block)
        self._output.mux(self._stream.encode(None))

    def mark_default(self, is_default: bool) -> None:
        """Say whether players should begin with this track."""
        self._stream.disposition = Disposition.default if is_default else Disposition(0)

    def _add_stream(self, num_channels: int) -> av.AudioStream:
        """The stream with title, layout and sample format set."""
        title, rate = self._track.title, self._track.sample_rate_hz
        if num_channels not in _LAYOUTS:
            raise InputError(
                f"track '{title}' has {num_channels} channels; a video's track holds "
                f"{min(_LAYOUTS)} to {max(_LAYOUTS)}"
            )
        self._layout = _LAYOUTS[num_channels]
        try:
            stream = self._output.add_stream(self._codec, rate=rate, layout=self._layout)
            stream.codec_context.format = _ENCODER_FORMATS[self._codec]
            if self._codec == "aac":
                stream.codec_context.bit_rate = _AAC_BITS_PER_SECOND_A_CHANNEL * num_channels
            stream.codec_context.time_base = Fraction(1, rate)
            stream.codec_context.open()
        except (FFmpegError, ValueError) as error:
            raise InputError(
                f"track '{title}': {self._codec} cannot hold {num_channels} channels at {rate} Hz "
                "in MP4; choose flac, or resample first"
            ) from error
        # Players show one or the other.
        stream.metadata.update(title=title, handler_name=title)
        return stream

    def _encode(self, block: Float32[np.ndarray, "C n"]) -> None:
        if block.shape[1] == 0:
            return
        if self._codec == "flac":
            block = quantise(block, 16, f"track '{self._track.title}'").astype(np.int16)
        samples = np.ascontiguousarray(block.T.reshape(1, -1))
        name = _FRAME_FORMATS[self._codec]
        frame = av.AudioFrame.from_ndarray(samples, format=name, layout=self._layout)
        frame.sample_rate = self._track.sample_rate_hz
        frame.time_base = Fraction(1, self._track.sample_rate_hz)
        frame.pts = self._position
        self._position += block.shape[1]
        self._output.mux(self._stream.encode(frame))


# Video that MP4 holds and players show there; any other is encoded anew.
_COPIED_CODECS = {"h264", "hevc", "av1", "vp9", "mpeg4"}
_BT709 = 1
_STUDIO_RANGE = 1  # AVCOL_RANGE_MPEG
_FINEST_RATE = 1001  # the denominator of television's 30000/1001 Hz


class VideoSettings(BaseModel):
    """How MP4 files are encoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audio_codec: AudioCodec = "flac"  # flac: exact 16-bit; aac: smaller, for old players
    preset: str = "veryfast"  # of x264, from ultrafast (large files) to veryslow
    quality_crf: int = Field(default=23, ge=0, le=51)  # of x264; lower is better, 18 looks exact
    num_threads: int = Field(default=1, ge=0)  # of the video encoder; 0: as many as there are cores


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    frame_rate_hz: float | Fraction,
    tracks: Sequence[AudioTrack] = (),
    settings: VideoSettings | None = None,
) -> None:
    """Write pictures and tracks as MP4 (H.264, yuv420p, BT.709), the first track marked default.

    Pictures are taken one at a time, so they may be drawn while they are written. A width or height
    that is odd, which yuv420p cannot hold, grows by one repeated pixel.

    Raises:
        InputError: no pictures or pictures of changing size; samples beyond -1..1 with flac.
    """
    settings = settings or VideoSettings()
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise InputError(f"'{os.fspath(path)}': a video needs at least one picture, none was given")
    rate = Fraction(frame_rate_hz).limit_denominator(_FINEST_RATE)
    with _open_mp4(path) as output:
        stream = _add_h264(output, first, rate, settings)
        encoders = _add_tracks(output, tracks, settings.audio_codec)
        for index, picture in enumerate(chain([first], pictures)):
            if picture.shape != first.shape:
                raise InputError(
                    f"'{os.fspath(path)}': picture {index} is {picture.shape[1]}x{picture.shape[0]}"
                    f", the first {first.shape[1]}x{first.shape[0]}; all must be of one size"
                )
            output.mux(stream.encode(_to_frame(picture, index, rate)))
            for encoder in encoders:
                encoder.encode_until(float((index + 1) / rate))
        output.mux(stream.encode(None))
        for encoder in encoders:
            encoder.finish()


def write_tracks(
    path: str | os.PathLike[str],
    video_source: Source,
    tracks: Sequence[AudioTrack],
    settings: VideoSettings | None = None,
) -> None:
    """Write a video's pictures as they are, rotation kept, with these tracks in place of its sound.

    Track times count on the source's time line, so sound read at `start_seconds` lands where it
    was. Pictures that MP4 cannot hold (VP8, ProRes, ...) are encoded anew at their mean rate.

    Raises:
        InputError: no video in the source, or damaged; samples beyond -1..1 with flac.
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
    # Opaque: no encoder of that name is needed, none runs.
    copied = output.add_stream_from_template(stream, opaque=True)
    encoders = _add_tracks(output, tracks, settings.audio_codec)
    for seconds, packet in _from_zero(source, stream):
        packet.stream = copied
        output.mux(packet)
        for encoder in encoders:
            encoder.encode_until(seconds)
    for encoder in encoders:
        encoder.finish()


def _from_zero(source: InputContainer, stream: VideoStream) -> Iterator[tuple[float, Packet]]:
    """Packets stamped from the start of the file's time line, each with the time to decode it."""
    assert stream.time_base is not None, "a video stream has a time base"
    shift = round(zero_seconds(source) / stream.time_base)
    for packet in _with_decoding_times(source, stream):
        assert packet.dts is not None, "filled in before"
        packet.dts -= shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        yield float(packet.dts * stream.time_base), packet


def _with_decoding_times(source: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets that all tell when to decode them, as MP4 needs; Matroska omits the first few."""
    assert stream.time_base is not None, "a video stream has a time base"
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    step = max(1, round(1 / (rate * stream.time_base)))
    waiting: list[Packet] = []
    for packet in _packets(source, stream):
        if packet.size == 0:  # the empty packet that ends the stream
            continue
        waiting.append(packet)
        if packet.dts is not None:
            for steps_before, early in enumerate(reversed(waiting[:-1]), start=1):
                early.dts = packet.dts - steps_before * step
            yield from waiting
            waiting.clear()
    for packet in waiting:
        packet.dts = packet.pts
        if packet.pts is not None:
            yield packet


def _packets(source: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    try:
        yield from source.demux(stream)
    except FFmpegError as error:
        raise InputError(
            f"the video that is copied is damaged ({reason(error)}); repair it first"
        ) from error


@contextmanager
def _open_mp4(path: str | os.PathLike[str]) -> Iterator[OutputContainer]:
    """An MP4 file with its index at the front, so that players can begin before it is loaded."""
    options = {"movflags": "+faststart"}
    with atomic_file(path) as part:
        try:
            # The prefix keeps FFmpeg from reading a protocol into the folder's name.
            name = f"file:{part.absolute()}"
            with av.open(name, "w", format="mp4", options=options) as output:
                yield output
        except FFmpegError as error:
            raise InputError(
                f"'{os.fspath(path)}' cannot be written ({reason(error)}): the disk is full, or "
                "the video that is copied has damaged time stamps"
            ) from error


def _add_tracks(
    output: OutputContainer, tracks: Sequence[AudioTrack], codec: AudioCodec
) -> list[TrackEncoder]:
    encoders = [TrackEncoder(output, track, codec) for track in tracks]
    for index, encoder in enumerate(encoders):
        encoder.mark_default(index == 0)
    return encoders


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
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = settings.num_threads
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
