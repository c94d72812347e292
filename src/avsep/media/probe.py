"""Read the streams of a media file: codecs, rates, displayed sizes, times and rotation."""

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
from avsep.media.opening import MediaSource, open_media, source_name
from avsep.media.priming import untold_priming_seconds
from avsep.media.streams import audio_streams, picture_streams, video_streams, zero_seconds
from avsep.media.truncation import find_truncation

# Packets decoded in search of the first frame, which carries the rotation. A stream cut out of a
# longer one begins with at most a few seconds of undecodable packets.
_MAX_PACKETS = 500


class VideoStreamInfo(BaseModel):
    """One video stream, its width and height as displayed: upright, with square pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    frame_rate_hz: float | None  # mean over the stream
    rotation_degrees: int  # clockwise, from the stored to the upright picture
    is_mirrored: bool  # stored pictures are flipped left to right before the rotation
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
    start_seconds: float | None  # on the file's time line, after the priming
    duration_seconds: float | None
    title: str | None
    language: str | None  # as the file states it: "eng"
    is_default: bool


class MediaInfo(BaseModel):
    """One media file, its streams in the order of `track=1, 2, ...`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    container: str
    duration_seconds: float | None
    video: tuple[VideoStreamInfo, ...]
    audio: tuple[AudioStreamInfo, ...]
    attached_pictures: tuple[str, ...]  # codec of each cover or thumbnail, which is not video
    truncation: str | None  # how the file shows that it was cut off, see `find_truncation`


def probe(source: MediaSource) -> MediaInfo:
    """Read a source's headers and the first frame of each video stream.

    Reads all packets to find a duration that is not in the header.

    Raises:
        InputError: as `open_media`.
    """
    with open_media(source) as container:
        zero = zero_seconds(container)
        truncation = find_truncation(source, container.format.name)
        return MediaInfo(
            name=source_name(source),
            container=container.format.name,
            duration_seconds=_duration_seconds(source, container),
            video=tuple(_video_info(source, s, zero) for s in video_streams(container)),
            audio=tuple(_audio_info(container, s, zero) for s in audio_streams(container)),
            attached_pictures=tuple(codec_name(s) for s in picture_streams(container)),
            truncation=truncation.problem if truncation else None,
        )


def codec_name(stream: Stream) -> str:
    """Return the name of a stream's format (`mp3`), not of its decoder (`mp3float`)."""
    return stream.codec_context.codec.canonical_name


def _video_info(source: MediaSource, stream: VideoStream, zero: Fraction) -> VideoStreamInfo:
    geometry = Geometry.from_stream(stream, _first_frame(source, stream.index))
    height, width = geometry.displayed_size
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


def _audio_info(container: InputContainer, stream: AudioStream, zero: Fraction) -> AudioStreamInfo:
    start_seconds = _start_seconds(stream, zero)
    if start_seconds is not None:
        start_seconds += float(untold_priming_seconds(container, stream))
    return AudioStreamInfo(
        codec=codec_name(stream),
        sample_rate_hz=stream.codec_context.sample_rate,
        num_channels=stream.codec_context.channels,
        layout=stream.codec_context.layout.name,
        start_seconds=start_seconds,
        duration_seconds=_seconds(stream, stream.duration),
        title=stream.metadata.get("title") or stream.metadata.get("name"),
        language=stream.metadata.get("language"),
        is_default=bool(stream.disposition & Disposition.default),
    )


def _first_frame(source: MediaSource, index: int) -> av.VideoFrame | None:
    """Decode the first frame of a stream, or return None if its first packets are damaged.

    Opens the source again, to leave the position of the caller's container alone.
    """
    with open_media(source) as container:
        stream = container.streams[index]
        for packet in islice(container.demux(stream), _MAX_PACKETS):
            try:
                frames = packet.decode()
            except FFmpegError:
                # A stream cut out of a longer one begins with packets that refer to missing frames.
                continue
            if frames and isinstance(frames[0], av.VideoFrame):
                return frames[0]
    return None


def _duration_seconds(source: MediaSource, container: InputContainer) -> float | None:
    """Return the header's duration, else the last packet's end from the start of the time line."""
    if container.duration is not None:
        return container.duration / av.time_base
    zero, end = zero_seconds(container), Fraction(0)
    with open_media(source) as second:
        streams = [*video_streams(second), *audio_streams(second)]
        for packet in second.demux(streams) if streams else ():
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
