"""What a media file holds: its streams, rates, sizes as displayed, times and rotation."""

from fractions import Fraction
from itertools import islice

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from pydantic import BaseModel, ConfigDict

from avsep.media.frames import Geometry
from avsep.media.opening import Source, open_media, source_name
from avsep.media.streams import audio_streams, picture_streams, video_streams, zero_seconds

# Packets looked at to find the first picture, which carries the rotation.
_PATIENCE_PACKETS = 500


class VideoStreamInfo(BaseModel):
    """One video stream. Width and height are as displayed: upright, with square pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    frame_rate_hz: float | None  # mean over the stream
    rotation_degrees: int  # clockwise turn that makes stored pictures upright
    is_mirrored: bool  # stored pictures are flipped left to right before they are turned
    pixel_aspect: float  # width of a stored pixel over its height
    start_seconds: float | None  # on the file's time line, see `streams.zero_seconds`
    duration_seconds: float | None
    is_default: bool


class AudioStreamInfo(BaseModel):
    """One audio stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: str
    sample_rate_hz: int
    num_channels: int
    layout: str
    start_seconds: float | None  # on the file's time line
    duration_seconds: float | None
    title: str | None
    is_default: bool


class MediaInfo(BaseModel):
    """One media file; streams are in the order in which `stream=0, 1, ...` counts them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    container: str
    duration_seconds: float | None
    video: tuple[VideoStreamInfo, ...]
    audio: tuple[AudioStreamInfo, ...]
    attached_pictures: tuple[str, ...]  # codec of each cover or thumbnail: no video


def probe(source: Source) -> MediaInfo:
    """What a source holds; nothing but the first picture of each video stream is decoded.

    A duration that the header does not tell is found by reading through the packets.
    """
    with open_media(source) as container:
        zero = zero_seconds(container)
        return MediaInfo(
            name=source_name(source),
            container=container.format.name,
            duration_seconds=_duration_seconds(source, container),
            video=tuple(_video_info(source, s, zero) for s in video_streams(container)),
            audio=tuple(_audio_info(s, zero) for s in audio_streams(container)),
            attached_pictures=tuple(codec_name(s) for s in picture_streams(container)),
        )


def codec_name(stream: Stream) -> str:
    """The format's name (`mp3`), not the decoder's (`mp3float`)."""
    return stream.codec_context.codec.canonical_name


def _video_info(source: Source, stream: VideoStream, zero: Fraction) -> VideoStreamInfo:
    geometry = Geometry.of(stream, _first_frame(source, stream.index))
    height, width = geometry.displayed
    return VideoStreamInfo(
        codec=codec_name(stream),
        width=width,
        height=height,
        coded_width=stream.width,
        coded_height=stream.height,
        frame_rate_hz=_float(stream.average_rate or stream.guessed_rate),
        rotation_degrees=geometry.orientation.rotation_degrees,
        is_mirrored=geometry.orientation.is_mirrored,
        pixel_aspect=float(geometry.pixel_aspect),
        start_seconds=_start_seconds(stream, zero),
        duration_seconds=_seconds(stream, stream.duration),
        is_default=bool(stream.disposition & Disposition.default),
    )


def _audio_info(stream: AudioStream, zero: Fraction) -> AudioStreamInfo:
    return AudioStreamInfo(
        codec=codec_name(stream),
        sample_rate_hz=stream.codec_context.sample_rate,
        num_channels=stream.codec_context.channels,
        layout=stream.codec_context.layout.name,
        start_seconds=_start_seconds(stream, zero),
        duration_seconds=_seconds(stream, stream.duration),
        title=stream.metadata.get("title") or stream.metadata.get("name"),
        is_default=bool(stream.disposition & Disposition.default),
    )


def _first_frame(source: Source, index: int) -> av.VideoFrame | None:
    """The first picture of a stream, read in a container of its own; none if it is too damaged."""
    with open_media(source) as container:
        stream = container.streams[index]
        for packet in islice(container.demux(stream), _PATIENCE_PACKETS):
            try:
                frames = packet.decode()
            except FFmpegError:
                # A stream cut out of a longer one begins with packets that refer to what is gone.
                continue
            if frames and isinstance(frames[0], av.VideoFrame):
                return frames[0]
    return None


def _duration_seconds(source: Source, container: InputContainer) -> float | None:
    """By the header, else the end of the last packet, from the start of the time line."""
    if container.duration is not None:
        return container.duration / av.time_base
    zero, end = zero_seconds(container), Fraction(0)
    with open_media(source) as fresh:
        streams = [*video_streams(fresh), *audio_streams(fresh)]
        for packet in fresh.demux(streams) if streams else ():
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
    return float(end - zero) if end > zero else None


def _start_seconds(stream: Stream, zero: Fraction) -> float | None:
    seconds = _seconds(stream, stream.start_time)
    return None if seconds is None else seconds - float(zero)


def _seconds(stream: Stream, ticks: int | None) -> float | None:
    return None if ticks is None or stream.time_base is None else float(ticks * stream.time_base)


def _float(rate: Fraction | None) -> float | None:
    return float(rate) if rate else None
