"""Select the video and audio streams of a container and find its time zero."""

from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from avsep.errors import InputError

MediaStream = TypeVar("MediaStream", AudioStream, VideoStream)


def zero_seconds(container: InputContainer) -> Fraction:
    """Return time 0:00 on the container's clock: the earliest start of a video or audio stream.

    All times that avsep returns count from it, for frames and samples alike, as in a player.
    """
    starts = [
        stream.start_time * stream.time_base
        for stream in (*video_streams(container), *audio_streams(container))
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0))


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Return the decodable streams of moving pictures, without covers and thumbnails."""
    return [s for s in container.streams.video if _is_decodable(s) and not _is_attached(s)]


def audio_streams(container: InputContainer) -> list[AudioStream]:
    """Return the decodable audio streams."""
    return list(filter(_is_decodable, container.streams.audio))


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """Return the attached pictures, covers and thumbnails, which FFmpeg lists as video."""
    return [s for s in container.streams.video if _is_decodable(s) and _is_attached(s)]


def choose_video(container: InputContainer, number: int | None, name: str) -> VideoStream:
    """Return the video stream of a number, or the best: default, then most pixels, then first.

    Raises:
        InputError: no video stream, or none of that number.
    """
    streams = video_streams(container)
    if not streams:
        raise InputError(
            f"{name} has no video: streams: {describe_streams(container)}. Give a file with a "
            "video stream"
        )
    return _choose(streams, number, f"{name}: video")


def choose_audio(container: InputContainer, number: int | None, name: str) -> AudioStream:
    """Return the audio stream of a number, or the best: default, then highest rate, then first.

    Raises:
        InputError: no audio stream, or none of that number.
    """
    streams = audio_streams(container)
    if not streams:
        raise InputError(
            f"{name} has no sound: streams: {describe_streams(container)}. Give a file with an "
            "audio stream"
        )
    return _choose(streams, number, f"{name}: audio")


def describe_streams(container: InputContainer) -> str:
    """Format the streams for messages: `2 video (h264, vp9), 1 attached picture (png)`."""
    codecs = {
        "video": [_codec(s) for s in container.streams.video if not _is_attached(s)],
        "audio": [_codec(s) for s in container.streams.audio],
        "attached picture": [_codec(s) for s in container.streams.video if _is_attached(s)],
        "other": [s.type for s in container.streams if s.type not in ("video", "audio")],
    }
    parts = [f"{len(names)} {kind} ({', '.join(names)})" for kind, names in codecs.items() if names]
    return ", ".join(parts) or "none"


def _choose(streams: Sequence[MediaStream], number: int | None, stream_name: str) -> MediaStream:
    if number is None:
        # `max` returns the first of equals, so that ties follow the order of the file.
        return max(streams, key=_quality)
    if not 0 <= number < len(streams):
        raise InputError(
            f"{stream_name} stream {number} does not exist; there are {len(streams)}, counted "
            "from 0"
        )
    return streams[number]


def _quality(stream: VideoStream | AudioStream) -> tuple[bool, int]:
    """Return what orders streams: whether it is the default, then its pixels or its rate."""
    is_default = bool(stream.disposition & Disposition.default)
    if isinstance(stream, VideoStream):
        return is_default, stream.width * stream.height
    return is_default, stream.codec_context.sample_rate


def _is_attached(stream: VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _is_decodable(stream: Stream) -> bool:
    # PyAV gives a stream no codec context when FFmpeg has no decoder for it.
    return stream.codec_context is not None


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if _is_decodable(stream) else "unknown codec"
