"""Clip lists: which videos a data set holds and the true sounds known of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.frames import read_frames
from avsep.records import Clip, VisibleObject
from avsep.sound.resample import resample


@dataclass(frozen=True)
class SourceFile:
    """One true sound: the file it lies in, what makes it, and the video it belongs to."""

    path: Path
    category: str
    clip: str
    visible: VisibleObject


@dataclass(frozen=True)
class ClipFiles:
    """One video and the files beside it.

    Attributes:
        sources: the sound of each visible object, in the order of the objects.
        unseen: sounds in the mixture that no visible object makes.
    """

    name: str
    video: Path
    sources: tuple[SourceFile, ...]
    unseen: tuple[Path, ...] = ()


def load_clip(files: ClipFiles, frame_times_seconds: Sequence[float]) -> Clip:
    """A whole clip as a record: its sound at its own rate, the frames shown at these times."""
    sound = read_audio(files.video)
    frames = read_frames(files.video, frame_times_seconds)
    return Clip(
        waveform=sound.waveform,
        sample_rate_hz=sound.sample_rate_hz,
        frames=frames.pictures,
        frame_times_seconds=frames.times_seconds - sound.start_seconds,
        objects=tuple(source.visible for source in files.sources),
        name=files.name,
    )


def read_sound(path: Path, sample_rate_hz: int) -> Float32[np.ndarray, " N"]:
    """A sound file as one channel at the rate asked for; several channels are averaged."""
    sound = read_audio(path)
    mono = sound.waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    found = resample(mono, sound.sample_rate_hz, sample_rate_hz)[0]
    if len(found) == 0:
        raise InputError(
            f"'{path}' is too short: nothing is left of it at {sample_rate_hz} Hz; remove it "
            "from the data set or replace it"
        )
    return found
