"""The clips of a data set: their files and sources, and functions that read them."""

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import ExifTags, Image, ImageOps
from safetensors import SafetensorError
from safetensors.numpy import load_file

from avsep.errors import InputError
from avsep.media.arrays import read_array
from avsep.media.audio import read_audio
from avsep.media.frames import Frames, read_frames
from avsep.records import Clip, VisibleObject
from avsep.sound.resampling import resample

SOUND_ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
TRAINING, VALIDATION, TEST = "train", "val", "test"
# Frames may end this much before or after the sound: published frames are often cut a second or two
# short. A larger difference means that their rate is not the one stated (8 read as 1, say).
_SLACK_SECONDS = 2.0
_SLACK_SHARE = 0.1
# EXIF orientations of a picture that is displayed on its side.
_TURNED = (5, 6, 7, 8)
# What Pillow raises for damaged pictures, by the place of the damage.
_PICTURE_ERRORS = (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError)
# The most clips that a warning names.
_MOST_NAMED = 5


@dataclass(frozen=True)
class SourceFile:
    """The sound of one source: its file, category, clip name and visible object."""

    path: Path
    category: str
    clip: str
    visible: VisibleObject


@dataclass(frozen=True)
class ClipFiles:
    """The files of one clip: video, sound, sources and features.

    Attributes:
        name: of the clip; unique in its data set.
        video: a video file, or a folder of frames 000001.jpg, 000002.jpg, ...; for an audio-only
            clip, its sound file.
        sources: the sound of each visible object, in the order of the objects.
        offscreen: sounds in the mixture that come from no visible object.
        sound: the sound file of the clip; None: the sound is in the video.
        frame_rate_hz: of a folder of frames, whose first frame is at time 0.
        i3d_features: the file of I3D motion features of the whole clip.
        split: train, val or test; None if no list of the data set names one.
        is_visible: False for an audio-only clip, whose sources have a label and no picture.
        is_box_missing: True if other clips of the folder have detected boxes and this one has none,
            so that its whole frames stand for the object.
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
    is_box_missing: bool = False


def missing_boxes(clips: Sequence[ClipFiles]) -> tuple[str, ...]:
    """Return a warning that names the clips without boxes among others that have some."""
    names = [clip.name for clip in clips if clip.is_box_missing]
    if not names:
        return ()
    named = ", ".join(names[:_MOST_NAMED])
    rest = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (
        f"{len(names)} of {len(clips)} videos have no boxes, their whole frames are used: "
        f"{named}{rest}",
    )


def split_clips(
    clips: Sequence[ClipFiles], validation_share: float = 0.05, seed: int = 0
) -> tuple[tuple[ClipFiles, ...], tuple[ClipFiles, ...]]:
    """Split clips into training and validation clips; test clips are in neither.

    If no clip is marked as validation, each clip is assigned by a hash of its name and the seed, so
    that adding clips moves no other.
    """
    usable = [clip for clip in clips if clip.split != TEST]
    if any(clip.split == VALIDATION for clip in usable):
        is_validation = [clip.split == VALIDATION for clip in usable]
    else:
        is_validation = [_hash_fraction(clip.name, seed) < validation_share for clip in usable]
    return (
        tuple(clip for clip, is_val in zip(usable, is_validation, strict=True) if not is_val),
        tuple(clip for clip, is_val in zip(usable, is_validation, strict=True) if is_val),
    )


def load_clip(files: ClipFiles, frame_times_seconds: Sequence[float]) -> Clip:
    """Load a whole clip: its sound at its own rate and the frames at these times.

    Raises:
        InputError: an audio-only clip.
    """
    if not files.is_visible:
        raise InputError(
            f"clip '{files.name}' is audio-only: it has no frames to show; give a clip with frames"
        )
    sound = read_audio(files.sound or files.video)
    if files.video.is_dir():
        frames = _read_frames_at(files, frame_times_seconds)
    else:
        frames = read_frames(files.video, frame_times_seconds)
    return Clip(
        waveform=sound.waveform,
        sample_rate_hz=sound.sample_rate_hz,
        frames=frames.pictures,
        # In a video file the sound may start later than the pictures; times count from the sound.
        frame_times_seconds=frames.times_seconds - (0 if files.sound else sound.start_seconds),
        objects=tuple(source.visible for source in files.sources),
        name=files.name,
    )


def read_sound(
    path: Path, sample_rate_hz: int, num_channels: int = 1
) -> Float32[np.ndarray, "C N"]:
    """Read a sound file at a sample rate, averaged to mono or as two channels.

    A mono file read as two channels has the same signal in both.

    Departure: the released codes resample files of a higher rate only, so that one of 8 kHz is
    heard faster than it was; here every file is resampled.

    Raises:
        InputError: an unreadable file, one with more channels than `num_channels` (of two), or one
            too short to have a sample at this rate.
    """
    sound = read_audio(path)
    waveform = sound.waveform
    # Averaged, not summed: a mono file and its copy on two channels have one level.
    if num_channels == 1:
        waveform = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    elif len(waveform) > num_channels:
        raise InputError(
            f"'{path}' has {len(waveform)} channels: binaural models need two, or one for both "
            "ears; mix it down to two"
        )
    waveform = resample(waveform, sound.sample_rate_hz, sample_rate_hz)
    if waveform.shape[1] == 0:
        raise InputError(
            f"'{path}' is too short: nothing is left of it at {sample_rate_hz} Hz; remove it "
            "from the data set or replace it"
        )
    return np.broadcast_to(waveform, (num_channels, waveform.shape[1]))


def frame_paths(files: ClipFiles) -> list[Path]:
    """Return the frame files of a clip whose video is a folder, in order of time.

    Numbers in names are compared as numbers: 2.jpg is before 10.jpg. Hidden files are left out.

    Raises:
        InputError: two files of one frame, such as 000001.jpg and 000001.png.
    """
    paths = sorted(
        (
            path
            for path in files.video.iterdir()
            # macOS writes "._000001.jpg" beside each file of a foreign disk.
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and not path.name.startswith(".")
        ),
        key=_frame_order,
    )
    for path, following in pairwise(paths):
        if _frame_order(path) == _frame_order(following):
            raise InputError(
                f"'{path}' and '{following.name}' are the same frame: remove one of them"
            )
    return paths


def _frame_order(path: Path) -> list[str | int]:
    """Return the words and the numbers of a name, in turn, by which frames are sorted."""
    parts = re.split(r"([0-9]+)", path.stem)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


def read_pictures(paths: Iterable[Path]) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """Read the pictures of one video, one at a time, as `read_picture` does.

    Raises:
        InputError: as `read_picture`, and a picture of another size than the first.
    """
    first: tuple[Path, tuple[int, ...]] | None = None
    for path in paths:
        picture = read_picture(path)
        first = first or (path, picture.shape)
        if picture.shape != first[1]:
            raise other_size(path, picture.shape[1::-1], first[0], first[1][1::-1])
        yield picture


def other_size(
    path: Path, size: tuple[int, ...], first: Path, first_size: tuple[int, ...]
) -> InputError:
    """Return the error for a frame of another width and height than the first of its folder."""
    return InputError(
        f"'{path}' is {size[0]}x{size[1]}, and '{first.name}' is {first_size[0]}x{first_size[1]}: "
        "the frames of a video have one size; extract them again"
    )


def read_picture(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Read a picture file as RGB, rotated upright by its EXIF tag, whatever its ending.

    Transparent parts are black, as in a video. Of 16 bits the upper eight are read.

    Raises:
        InputError: an unreadable file, one that was cut off, or one so large that Pillow takes it
            for an attack.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(_as_rgb(ImageOps.exif_transpose(picture)))
    except _PICTURE_ERRORS as error:
        raise InputError(f"cannot read the picture '{path}': {error}") from error


def _as_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture of any mode to RGB."""
    if picture.mode.startswith("I"):
        # Pillow would clip 16 bits to 255: everything but black would be white.
        return Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8)).convert(
            "RGB"
        )
    if picture.has_transparency_data:
        # Without it, the colours of transparent pixels, which nobody sees, would appear.
        opaque = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(opaque, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def read_picture_size(path: Path) -> tuple[int, int]:
    """Return width and height in pixels of a picture as displayed, without decoding it.

    Raises:
        InputError: no picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            is_turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
    except _PICTURE_ERRORS as error:
        raise InputError(f"cannot read the picture '{path}': {error}") from error
    return (height, width) if is_turned else (width, height)


def read_i3d_features(files: ClipFiles) -> Float32[np.ndarray, "D K"]:
    """Read the I3D motion features of a clip, max-pooled over spatial positions.

    The file is .npy or .safetensors (entry "motion") and holds [D, K] or, as iQuery stores them,
    [D, K, H, W].

    Raises:
        InputError: a clip without motion features, an unreadable file, another shape or dtype.
    """
    path = files.i3d_features
    if path is None and not files.is_visible:
        raise InputError(
            f"clip '{files.name}' is audio-only and has no motion features: leave its folder out, "
            "or set the model's motion to 'none'"
        )
    if path is None:
        raise InputError(
            f"clip '{files.name}' has no motion features: put them into features/motion, as "
            "`avsep motion DIR --weights FILE` does, or set the model's motion to 'none'"
        )
    try:
        features = read_array(path) if path.suffix == ".npy" else load_file(path)["motion"]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"cannot read motion features from '{path}': {error}") from error
    if features.ndim not in (2, 4) or 0 in features.shape or features.dtype.kind != "f":
        raise InputError(
            f"'{path}' holds {features.dtype} {list(features.shape)}: motion features are floats "
            "of [features, times] or [features, times, height, width]"
        )
    pooled = features.reshape(*features.shape[:2], -1).max(axis=2)  # D K
    return pooled.astype(np.float32)


def find_file(stem: Path, endings: Sequence[str]) -> Path | None:
    """Return the first existing file of this name with one of the endings, or None."""
    # Not with_suffix(): YouTube ids may contain dots.
    candidates = (stem.with_name(stem.name + ending) for ending in endings)
    return next((path for path in candidates if path.is_file()), None)


def durations_match(shown_seconds: float, sound_seconds: float) -> bool:
    """True if frames and sound of these durations may be of one clip."""
    return abs(shown_seconds - sound_seconds) <= _SLACK_SECONDS + _SLACK_SHARE * sound_seconds


def file_facts(path: Path) -> tuple[str, int, int]:
    """Return name, size in bytes and modification time in ns of a file or a folder of frames.

    The cache compares them to notice a changed file without reading it.

    Raises:
        InputError: a missing file.
    """
    try:
        parts = sorted(path.iterdir()) if path.is_dir() else [path]
        stats = [part.stat() for part in parts]
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror}") from error
    return (
        path.name,
        sum(stat.st_size for stat in stats),
        max((stat.st_mtime_ns for stat in stats), default=0),
    )


def _read_frames_at(files: ClipFiles, times_seconds: Sequence[float]) -> Frames:
    """Read the frame shown at each time from a folder of frames."""
    assert files.frame_rate_hz is not None, "a folder of frames has a frame rate"
    paths = frame_paths(files)
    # A time computed as n / rate may be rounded to just below frame n.
    numbers = np.floor(np.asarray(times_seconds) * files.frame_rate_hz + 1e-6).astype(int)
    numbers = numbers.clip(0, len(paths) - 1)
    pictures = np.stack(list(read_pictures(paths[number] for number in numbers)))
    return Frames(pictures, numbers / files.frame_rate_hz)


def _hash_fraction(name: str, seed: int) -> float:
    """Return a number in [0, 1) that is uniform over names."""
    # Python's own hash() differs between processes; a resumed run must split alike.
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
