"""preview.mp4: the video with one titled audio track an object, to switch between."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from avsep.errors import InputError
from avsep.media.frames import FrameSettings, iterate_frames
from avsep.media.tracks import AudioTrack
from avsep.media.video_files import VideoSettings, write_tracks, write_video
from avsep.records import Clip
from avsep.separation.listening import Listening
from avsep.separation.result import Result

_RATE_HZ = 25.0
_LONGEST_SIDE_PIXELS = 960
# AAC, as every player knows it; what must be exact is in the WAV files.
_SETTINGS = VideoSettings(audio_codec="aac", num_threads=0)


def write_preview(path: Path, result: Result, sounds: Listening, titles: Sequence[str]) -> None:
    """Write the preview; pictures are copied as they are, or encoded anew where that fails.

    Raises:
        InputError: the pictures can be neither copied nor decoded.
    """
    scene = result.scene
    start_seconds = max(0.0, scene.sound.start_seconds)
    tracks = [
        AudioTrack(title, waveform, sounds.sample_rate_hz, start_seconds)
        for title, waveform in zip(titles, sounds.objects, strict=True)
    ]
    if isinstance(scene.pictures, Clip):
        pictures = _steady(scene.pictures, scene.duration_seconds)
        write_video(path, pictures, _RATE_HZ, tracks, _SETTINGS)
        return
    try:
        write_tracks(path, scene.pictures, tracks, _SETTINGS)
    except InputError:
        # Damaged packets cannot be copied, but what is left of them can be decoded.
        settings = FrameSettings(longest_side_pixels=_LONGEST_SIDE_PIXELS, on_damage="skip")
        frames = iterate_frames(scene.pictures, _RATE_HZ, settings)
        write_video(path, (picture for _, picture in frames), _RATE_HZ, tracks, _SETTINGS)


def _steady(clip: Clip, duration_seconds: float) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The clip's pictures at a steady rate, each from its time on, while the sound lasts."""
    num_pictures = max(1, round(duration_seconds * _RATE_HZ))
    times = np.arange(num_pictures) / _RATE_HZ
    shown = np.searchsorted(clip.frame_times_seconds, times, side="right") - 1
    for index in shown.clip(0).tolist():
        yield clip.frames[index]
