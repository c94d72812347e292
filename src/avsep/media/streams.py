"""Select the video and audio streams of a container and find its time zero."""

from collections.abc import Sequence
from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from avsep.errors import InputError
from avsep.media.priming import untold_priming_samples, untold_priming_seconds

# The audio to read: the number of a track, counted from 1; its language ("eng"); MIX; or PAIR.
Track = int | str
MIX = "mix"  # the sum of all tracks
PAIR = "pair"  # the first two tracks of one channel, as left and right
_LONGEST_TITLE = 40
_MOST_LISTED = 8
# Seeking to this long before the end reaches the last packets of any stream.
_END_SECONDS = Fraction(1)


def zero_seconds(container: InputContainer) -> Fraction:
    """Return time 0:00 on the container's clock: the earliest start of a video or audio stream.

    All times that avsep returns count from it, for frames and samples alike, as in a player. Audio
    starts after its priming.
    """
    videos, audios = video_streams(container), audio_streams(container)
    starts = [_start(stream) for stream in videos if stream.start_time is not None]
    # Formats of one stream without time stamps (WAV, ADTS) have no start, which is 0.
    starts += [
        _start(stream) + untold_priming_seconds(container, stream)
        for stream in audios
        if stream.start_time is not None or not videos
    ]
    return min(starts, default=Fraction(0))


def picture_seconds(container: InputContainer) -> Fraction | None:
    """Return the start of the best video stream on the container's clock; None without one."""
    streams = video_streams(container)
    return _start(max(streams, key=_quality)) if streams else None


def video_streams(container: InputContainer) -> list[VideoStream]:
    """Return the decodable streams of moving pictures, without covers and thumbnails."""
    return [s for s in container.streams.video if _is_decodable(s) and not _is_attached(s)]


def audio_streams(container: InputContainer) -> list[AudioStream]:
    """Return the decodable audio streams."""
    return list(filter(_is_decodable, container.streams.audio))


def picture_streams(container: InputContainer) -> list[VideoStream]:
    """Return the attached pictures, covers and thumbnails, which FFmpeg lists as video."""
    return [s for s in container.streams.video if _is_decodable(s) and _is_attached(s)]


def choose_video(container: InputContainer, track: int | None, name: str) -> VideoStream:
    """Return the video stream of a number from 1, or the best: default, most pixels, first.

    Raises:
        InputError: no video stream, or none of that number.
    """
    streams = video_streams(container)
    if not streams:
        raise InputError(
            f"{name} has no video: streams: {describe_streams(container)}. Give a file with a "
            "video stream"
        )
    if track is None:
        # `max` returns the first of equals, so that ties follow the order of the file.
        return max(streams, key=_quality)
    if not 1 <= track <= len(streams):
        raise InputError(
            f"{name}: video track {track} does not exist; there are {len(streams)}, counted from 1"
        )
    return streams[track - 1]


def choose_tracks(
    container: InputContainer, track: Track | None, name: str
) -> tuple[list[AudioStream], list[str]]:
    """Return the audio streams to read, and a warning that names those that are not chosen.

    None chooses the best: default, then highest rate, then first; of several in one language the
    best of these.

    Raises:
        InputError: no audio stream, or none of that number or language.
    """
    streams = audio_streams(container)
    if not streams:
        raise InputError(
            f"{name} has no sound: streams: {describe_streams(container)}. Give a file with an "
            "audio stream"
        )
    if track is None:
        best = max(streams, key=_quality)
        return [best], _unread_warning(streams, best)
    if isinstance(track, int) or track.isdecimal():
        if 1 <= int(track) <= len(streams):
            return [streams[int(track) - 1]], []
    elif track == MIX:
        return streams, []
    elif track == PAIR:
        mono = [stream for stream in streams if stream.codec_context.channels == 1]
        if len(mono) >= 2:
            return mono[:2], []
    elif spoken := [s for s in streams if _language(s) == track.lower()]:
        return [max(spoken, key=_quality)], []
    raise InputError(
        f"{name} has no audio track '{track}'; there are {_list_tracks(streams)}: give a number, "
        f"a language, '{MIX}' for the sum of all, or '{PAIR}' for two of one channel as stereo"
    )


def unstated_place_warning(container: InputContainer, streams: Sequence[AudioStream]) -> list[str]:
    """Return a warning where a file cannot tell where its sound is beside the pictures: in AVI.

    It counts whole pictures and whole packets of sound, and states no priming. FFmpeg rounds the
    priming to packets, to make room for it before the first picture, and that up to pictures
    (`avoid_negative_ts` of libavformat). Sounds at different places make one file, byte for byte.
    """
    pictures = video_streams(container)
    is_primed = any(untold_priming_samples(container, stream) for stream in streams)
    if container.format.name != "avi" or not pictures or not is_primed:
        return []
    tick_seconds = max(float(stream.time_base or 0) for stream in pictures)
    return [
        f"the sound may be up to one picture ({1000 * tick_seconds:.0f} ms) early or late beside "
        "the pictures, as AVI cannot tell the priming of its codec"
    ]


def choose_audio(container: InputContainer, name: str) -> AudioStream:
    """Return the best audio stream, see `choose_tracks`."""
    return choose_tracks(container, None, name)[0][0]


def stated_seconds(container: InputContainer, stream: AudioStream | VideoStream) -> Fraction:
    """Return the duration of a stream by the container's header and last packets.

    The shorter of two: of the header (in MP4 the edit list, which some writers round up to
    milliseconds), and up to the end of the last packet.
    """
    assert stream.time_base is not None, "a stream has a time base"
    begin = stream.start_time or 0
    end = begin + (stream.duration or 0)
    if not stream.duration and container.duration:
        end_seconds = Fraction(container.duration, 1_000_000) + zero_seconds(container)
        end = int(end_seconds / stream.time_base)
    ends = [begin]
    try:
        if end > begin:
            ticks = max(begin, int(end - _END_SECONDS / stream.time_base))
            container.seek(ticks, stream=stream)
        ends += [p.pts + (p.duration or 0) for p in container.demux(stream) if p.pts is not None]
    except FFmpegError:
        # The end cannot be reached, in a file that was cut short: the header remains.
        return (end - begin) * stream.time_base
    if end > begin:
        # A seek behind the last packet, where another stream is longer, finds none.
        ends = [value for value in ends if value > begin] or [end]
        return (min(end, max(ends)) - begin) * stream.time_base
    return (max(ends) - begin) * stream.time_base


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


def _unread_warning(streams: Sequence[AudioStream], read: AudioStream) -> list[str]:
    """Return a warning that names the tracks that are not read, if there are any."""
    if len(streams) == 1:
        return []
    number = streams.index(read) + 1
    return [
        f"the file has {len(streams)} audio tracks, {_list_tracks(streams)}: track {number} is "
        f"read; choose another by number or language, or '{MIX}' for the sum of all "
        "(--audio-track, track=)"
    ]


def _list_tracks(streams: Sequence[AudioStream]) -> str:
    """Describe tracks: `1 (eng, 2 channels), 2 (deu, 6 channels, 'Director')`."""
    described: list[str] = []
    for number, stream in enumerate(streams, start=1):
        channels = stream.codec_context.channels
        parts = [_language(stream)]
        parts.append(f"{channels} channel{'s' if channels != 1 else ''}")
        title = stream.metadata.get("title")
        # Without line breaks and of bounded length: messages are lines.
        parts += [repr(title[:_LONGEST_TITLE])] if title else []
        described.append(f"{number} ({', '.join(parts)})")
    more = f" and {len(described) - _MOST_LISTED} more" if len(described) > _MOST_LISTED else ""
    return ", ".join(described[:_MOST_LISTED]) + more


def _language(stream: AudioStream) -> str:
    return stream.metadata.get("language", "und").lower()


def _start(stream: VideoStream | AudioStream) -> Fraction:
    return (stream.start_time or 0) * (stream.time_base or Fraction(0))


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
