"""Clip lists: which videos a data set holds and the true sounds known of each."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from numpy.lib.format import MAGIC_PREFIX
from PIL import Image, ImageOps, UnidentifiedImageError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from avsep.errors import InputError
from avsep.media.audio import read_audio
from avsep.media.frames import Frames, read_frames
from avsep.records import Clip, VisibleObject
from avsep.sound.resampling import resample

TRAINING, VALIDATION, TEST = "train", "val", "test"


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
        video: a video file, or a folder of pictures 000001.jpg, 000002.jpg, ...; of a clip that is
            not seen, its sound.
        sources: the sound of each visible object, in the order of the objects.
        offscreen: sounds in the mixture that no visible object makes.
        sound: where the clip's sound lies; none: in the video.
        frame_rate_hz: of a folder of pictures, the first of which is shown from time 0.
        i3d_features: a file of motion features of the whole clip.
        split: of its data set: train, val or test; none where no list says.
        is_visible: there are pictures; else its sources are heard, and known by their words alone.
    """

    name: str
    video: Path
    sources: tuple[SourceFile, ...]
    offscreen: tuple[Path, ...] = ()
    sound: Path | None = None
    frame_rate_hz: float | None = None
    i3d_features: Path | None = None
    split: str | None = None
    is_visible: bool = True


def split_clips(
    clips: Sequence[ClipFiles], validation_share: float = 0.05, seed: int = 0
) -> tuple[tuple[ClipFiles, ...], tuple[ClipFiles, ...]]:
    """Clips to train on and clips to validate with; those of a test list are in neither.

    Where the data set says of no clip that it is for validation, a clip's name and the seed decide
    alone: clips that are added move no other.
    """
    usable = [clip for clip in clips if clip.split != TEST]
    if any(clip.split == VALIDATION for clip in usable):
        held_out = [clip.split == VALIDATION for clip in usable]
    else:
        held_out = [_position(clip.name, seed) < validation_share for clip in usable]
    return (
        tuple(clip for clip, is_out in zip(usable, held_out, strict=True) if not is_out),
        tuple(clip for clip, is_out in zip(usable, held_out, strict=True) if is_out),
    )


def load_clip(files: ClipFiles, frame_times_seconds: Sequence[float]) -> Clip:
    """A whole clip as a record: its sound at its own rate, the frames shown at these times.

    Raises InputError for a clip that is heard and not seen.
    """
    if not files.is_visible:
        raise InputError(f"clip '{files.name}' is heard and not seen: there is no picture to show")
    sound = read_audio(files.sound or files.video)
    if files.video.is_dir():
        frames = _pictures_at(files, frame_times_seconds)
    else:
        frames = read_frames(files.video, frame_times_seconds)
    return Clip(
        waveform=sound.waveform,
        sample_rate_hz=sound.sample_rate_hz,
        frames=frames.pictures,
        frame_times_seconds=frames.times_seconds - (0 if files.sound else sound.start_seconds),
        objects=tuple(source.visible for source in files.sources),
        name=files.name,
    )


def read_sound(
    path: Path, sample_rate_hz: int, num_channels: int = 1
) -> Float32[np.ndarray, "C N"]:
    """A sound file at the rate and in the channels asked for: all averaged to one, or two ears.

    One channel is what both ears hear; more than two are an InputError where two are asked for.
    """
    sound = read_audio(path)
    waveform = sound.waveform
    if num_channels == 1:
        waveform = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    elif len(waveform) > num_channels:
        raise InputError(
            f"'{path}' has {len(waveform)} channels: two ears are needed, or one channel for both"
        )
    found = resample(waveform, sound.sample_rate_hz, sample_rate_hz)
    if found.shape[1] == 0:
        raise InputError(
            f"'{path}' is too short: nothing is left of it at {sample_rate_hz} Hz; remove it "
            "from the data set or replace it"
        )
    return np.broadcast_to(found, (num_channels, found.shape[1]))


def frame_paths(files: ClipFiles) -> list[Path]:
    """The pictures of a clip that lies as a folder of them, in order of time."""
    return sorted(
        path for path in files.video.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )


def read_picture(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """A picture file, upright, RGB."""
    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"cannot read the picture '{path}': {error}") from error


def read_array(path: Path) -> Shaped[np.ndarray, "..."]:
    """What an .npy file holds, read where it lies as it is used; InputError for any other file."""
    try:
        with path.open("rb") as file:
            # NumPy would open archives too, and leave a torn one open.
            is_array = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
        if not is_array:
            raise InputError(f"'{path}' is no array in .npy: it does not begin like one")
        # NumPy reads plain numbers alone, unless it is told to trust the file.
        return np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"'{path}' is no array of numbers in .npy: {error}") from error


def read_i3d_features(files: ClipFiles) -> Float32[np.ndarray, "D K"]:
    """Motion features of a clip over time, the largest over any places the file tells apart.

    The file is .npy or .safetensors (entry "motion") and holds [D, K] or, as iQuery keeps them,
    [D, K, H, W].
    """
    path = files.i3d_features
    if path is None and not files.is_visible:
        raise InputError(
            f"clip '{files.name}' is heard and not seen, so nothing in it moves: leave its folder "
            "out, or set the model's motion to 'none'"
        )
    if path is None:
        raise InputError(
            f"clip '{files.name}' has no motion features: put them into features/motion, as "
            "`avsep i3d_features DIR --weights FILE` does, or set the model's motion to 'none'"
        )
    try:
        found = read_array(path) if path.suffix == ".npy" else load_file(path)["i3d_features"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"cannot read motion features from '{path}': {error}") from error
    if found.ndim not in (2, 4) or 0 in found.shape or found.dtype.kind != "f":
        raise InputError(
            f"'{path}' holds {found.dtype} {list(found.shape)}: motion features are floats of "
            "[features, times] or [features, times, height, width]"
        )
    flat = found.reshape(*found.shape[:2], -1).max(axis=2)
    return flat.astype(np.float32)


def file_facts(path: Path) -> tuple[str, int, int]:
    """What changes when a file, or a folder of pictures, does: name, bytes, time of change in ns.

    Raises InputError where it is not there.
    """
    try:
        parts = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [part.stat() for part in parts]
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    return (
        path.name,
        sum(one.st_size for one in found),
        max((one.st_mtime_ns for one in found), default=0),
    )


def _pictures_at(files: ClipFiles, times_seconds: Sequence[float]) -> Frames:
    """The picture on screen at each time."""
    assert files.frame_rate_hz is not None, "a folder of pictures has a frame rate"
    paths = frame_paths(files)
    # A time that was reckoned as a multiple of the frame's may lie a bit below it.
    numbers = np.floor(np.asarray(times_seconds) * files.frame_rate_hz + 1e-6).astype(int)
    numbers = numbers.clip(0, len(paths) - 1)
    pictures = np.stack([read_picture(paths[number]) for number in numbers])
    return Frames(pictures, numbers / files.frame_rate_hz)


def _position(name: str, seed: int) -> float:
    """A number in 0..1, evenly spread over names."""
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
