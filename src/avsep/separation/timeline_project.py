"""Write project.otio: the video and one audio track for each stem, for editing programs."""

import os
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

from avsep.errors import require_package
from avsep.media.atomic import write_atomic
from avsep.media.opening import open_media, source_name
from avsep.media.probe import probe
from avsep.media.streams import choose_video, stated_seconds, zero_seconds
from avsep.separation.result import Manifest
from avsep.separation.video_input import VideoInput

# Rate of pictures where a file does not state one.
_FALLBACK_RATE_HZ = Fraction(25)
# Times of frames are rounded, to a millisecond in some containers.
_ROUNDING_FRAMES = 0.05


def require_timeline() -> ModuleType:
    """Import OpenTimelineIO.

    Raises:
        InputError: it is not installed.
    """
    return require_package("opentimelineio", "--project")


def write_project(path: Path, folder: Path, manifest: Manifest, video_input: VideoInput) -> None:
    """Write the timeline of a result: a video track, and an audio track for each file of sound.

    Media are referred to relative to the folder. The video of a separation that has no path, of
    arrays or a file object, is its preview.

    Args:
        path: file to write, beside the preview.
        folder: folder in which both will be, with the stems.
        manifest: manifest of the files.
        video_input: the separated video.

    Raises:
        InputError: OpenTimelineIO is missing, or the file cannot be written.
    """
    otio = require_timeline()
    timeline = otio.schema.Timeline(name=video_input.name)
    span, late_seconds = _find_pictures(path, folder, manifest, video_input), 0.0
    if span is not None:
        late_seconds = span.late_seconds
        clip = _clip(otio, video_input.name, span.target, span.media, span.part)
        track = _track(otio, video_input.name, otio.schema.TrackKind.Video, span.gap, clip)
        timeline.tracks.append(track)
    sound = _Range(0, manifest.num_samples, float(manifest.sample_rate_hz))
    gap = _Range(0, round(late_seconds * manifest.sample_rate_hz), sound.rate_hz)
    files = [(stem.title, stem.file) for stem in manifest.stems]
    for title, file in (*files, (manifest.residual_title, manifest.residual)):
        clip = _clip(otio, title, file, sound, sound)
        track = _track(otio, title, otio.schema.TrackKind.Audio, gap, clip)
        timeline.tracks.append(track)
    write_atomic(path, otio.adapters.write_to_string(timeline, "otio_json"))


@dataclass(frozen=True)
class _Range:
    """A range of frames or samples: the first, their number and rate."""

    start: int
    length: int
    rate_hz: float


@dataclass(frozen=True)
class _PictureSpan:
    """The pictures of a timeline, which begins with the first of them, or with an earlier sound.

    Attributes:
        target: the file, relative to the folder of the timeline.
        media: all frames of the file.
        part: those in the timeline.
        gap: frames before them.
        late_seconds: start of the sound in the timeline.
    """

    target: str
    media: _Range
    part: _Range
    gap: _Range
    late_seconds: float


def _find_pictures(
    path: Path, folder: Path, manifest: Manifest, video_input: VideoInput
) -> _PictureSpan | None:
    """Return the pictures: of the video if it has a path, else of the preview, else none."""
    source, part = video_input.pictures, video_input.sound.selection
    if not video_input.has_pictures:
        return None
    if isinstance(source, str | os.PathLike):
        target = os.path.relpath(Path(source).resolve(), folder.resolve())
        sound_seconds, end_seconds = manifest.input.start_seconds, part.end_seconds
        return _span(target, _times(source), part.start_seconds, end_seconds, sound_seconds)
    if manifest.preview is None:
        return None
    preview = path.with_name(manifest.preview)
    sound_seconds = probe(preview).audio[0].start_seconds or 0.0
    return _span(manifest.preview, _times(preview), sound_seconds, None, sound_seconds)


@dataclass(frozen=True)
class _PictureTimes:
    """Start and number of a file's frames, and their rate."""

    start_seconds: float
    num_frames: int
    rate_hz: float


def _times(source: str | os.PathLike[str]) -> _PictureTimes:
    """Read when the pictures of a file begin and how many there are."""
    with open_media(source) as container:
        stream = choose_video(container, None, source_name(source))
        rate = stream.average_rate or stream.guessed_rate or _FALLBACK_RATE_HZ
        assert stream.time_base is not None, "a video stream has a time base"
        start = (stream.start_time or 0) * stream.time_base
        start_seconds = float(start - zero_seconds(container))
        num_frames = round(stated_seconds(container, stream) * rate)
        return _PictureTimes(start_seconds, max(1, num_frames), float(rate))


def _span(
    target: str,
    pictures: _PictureTimes,
    begin_seconds: float,
    end_seconds: float | None,
    sound_seconds: float,
) -> _PictureSpan:
    """Lay out pictures from a time on beside sound that begins at another, in whole frames.

    Times are those of the file's time line; the sound is placed to the sample.
    """
    start_seconds, rate_hz = pictures.start_seconds, pictures.rate_hz
    first = floor((begin_seconds - start_seconds) * rate_hz + _ROUNDING_FRAMES)
    first = min(max(0, first), pictures.num_frames - 1)
    last = pictures.num_frames
    if end_seconds is not None:
        stop = ceil((end_seconds - start_seconds) * rate_hz - _ROUNDING_FRAMES)
        last = min(max(first + 1, stop), last)
    # Sound before the first picture: empty frames, as many as it begins in.
    early_seconds = start_seconds + first / rate_hz - sound_seconds
    gap = max(0, ceil(early_seconds * rate_hz - _ROUNDING_FRAMES))
    return _PictureSpan(
        target,
        _Range(0, pictures.num_frames, rate_hz),
        _Range(first, last - first, rate_hz),
        _Range(0, gap, rate_hz),
        max(0.0, gap / rate_hz - early_seconds),
    )


def _clip(otio: ModuleType, name: str, target: str, media: _Range, part: _Range) -> Any:
    # OpenTimelineIO's own function leaves relative paths as they are, and its reader unquotes them.
    reference = otio.schema.ExternalReference(
        target_url=quote(Path(target).as_posix()), available_range=_time_range(otio, media)
    )
    return otio.schema.Clip(
        name=name, media_reference=reference, source_range=_time_range(otio, part)
    )


def _track(otio: ModuleType, name: str, kind: str, gap: _Range, clip: Any) -> Any:
    """Return a track of a clip behind a gap, which may be empty."""
    track = otio.schema.Track(name=name, kind=kind)
    if gap.length:
        track.append(otio.schema.Gap(source_range=_time_range(otio, gap)))
    track.append(clip)
    return track


def _time_range(otio: ModuleType, span: _Range) -> Any:
    time = otio.opentime
    return time.TimeRange(
        time.RationalTime(span.start, span.rate_hz), time.RationalTime(span.length, span.rate_hz)
    )
