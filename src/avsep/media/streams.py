"""Which streams of a container count, which is chosen, and where its time line begins."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from avsep.errors import InputError

MediaStream = TypeVar("MediaStream", AudioStream, VideoStream)


def zero_seconds(container: InputContainer) -> Fraction:
    """Where 0:00 lies in the container's own clock: the earliest start of a video or audio stream.

    Every time that avsep hands out counts from here, for pictures and sound alike, as in a player.
    """
    starts = [
        stream.start_time * stream.time_base
        for stream in (*video_streams(container), *audio_streams(container))
        if stream.start_time is not None and stream.time_base is not None
    ]
    return min(starts, default=Fraction(0))


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Streams of moving pictures that can be decoded: no covers and thumbnails."""
    return [s for s in container.streams.video if _is_decodable(s) and not _is_attached(s)]


def audio_streams(container: InputContainer) -> list[AudioStream]:
    """Streams of sound that can be decoded."""
    return [s for s in container.streams.audio if _is_decodable(s)]


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """Attached pictures: covers and thumbnails, which FFmpeg hands out as video."""
    return [s for s in container.streams.video if _is_decodable(s) and _is_attached(s)]


def choose_video(container: InputContainer, number: int | None, name: str) -> VideoStream:
    """The video stream with a number, or the best: default, then most pixels, then first."""
    streams = video_streams(container)
    if not streams:
        raise InputError(
            f"{name} has no video: streams: {describe(container)}. Give a file with a video stream"
        )
    return _choose(streams, number, lambda s: s.width * s.height, f"{name}: video")


def choose_audio(container: InputContainer, number: int | None, name: str) -> AudioStream:
    """The audio stream with a number, or the best: default, then highest rate, then first."""
    streams = audio_streams(container)
    if not streams:
        raise InputError(
            f"{name} has no sound: streams: {describe(container)}. Give a file with an audio stream"
        )
    return _choose(streams, number, lambda s: s.codec_context.sample_rate, f"{name}: audio")


def describe(container: InputContainer) -> str:
    """Streams in words, for messages: `2 video (h264, vp9), 1 attached picture (png)`."""
    kinds = {
        "video": [_codec(s) for s in container.streams.video if not _is_attached(s)],
        "audio": [_codec(s) for s in container.streams.audio],
        "attached picture": [_codec(s) for s in container.streams.video if _is_attached(s)],
        "other": [s.type for s in container.streams if s.type not in ("video", "audio")],
    }
    words = [f"{len(names)} {kind} ({', '.join(names)})" for kind, names in kinds.items() if names]
    return ", ".join(words) or "none"


def _choose(
    streams: Sequence[MediaStream],
    number: int | None,
    quality: Callable[[MediaStream], int],
    what: str,
) -> MediaStream:
    if number is None:
        return max(streams, key=lambda s: (bool(s.disposition & Disposition.default), quality(s)))
    if not 0 <= number < len(streams):
        raise InputError(
            f"{what} stream {number} does not exist; there are {len(streams)}, counted from 0"
        )
    return streams[number]


def _is_attached(stream: VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _is_decodable(stream: Stream) -> bool:
    # PyAV gives a stream no codec context when FFmpeg has no decoder for it.
    return stream.codec_context is not None


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if _is_decodable(stream) else "unknown codec"
