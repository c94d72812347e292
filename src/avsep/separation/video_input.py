"""Open a video for separation: its sound, frames and crops of its objects, read on demand."""

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64, Shaped, UInt8
from torch import Tensor

from avsep.cues.crop_stream import CropStream, PictureAt, count_crops
from avsep.cues.cropping import crop_box
from avsep.cues.crops import LONGEST_SIDE_PIXELS, SLACK_SECONDS, CropSettings
from avsep.cues.windows import spread_evenly
from avsep.errors import InputError
from avsep.media.frames import FrameReader, FrameSettings, iterate_frames, read_frames
from avsep.media.names import readable
from avsep.media.opening import MediaSource, open_binary, open_media, source_name
from avsep.media.streams import video_streams
from avsep.records import Clip, VisibleObject
from avsep.separation.sound_input import SoundInput, SoundSelection
from avsep.vision.i3d import I3D, MOTION_RATE_HZ, video_motion_features

# The report shows it 704 pixels wide; the rest is for dense screens.
_KEY_FRAME_PIXELS = 960
_HASHED_BYTES = 2**20
# An array with more channels is taken for [samples, channels].
_MAX_CHANNELS = 64


@dataclass(frozen=True)
class VideoInput:
    """An opened video, whose sound and frames are read on demand.

    Attributes:
        file_name: name of the file; of a clip its own name.
        pictures: source of the frames: path, bytes, file object or clip.
        sound: the sound, or the part of it that is separated.
        warnings: warnings for the user, collected while the video is processed.
        has_pictures: false for a sound without pictures; crops and key frames are of others only.
    """

    file_name: str
    pictures: MediaSource | Clip
    sound: SoundInput
    warnings: list[str] = field(default_factory=list)
    has_pictures: bool = True

    @classmethod
    def open(
        cls, video: MediaSource | Clip, selection: SoundSelection | None = None
    ) -> "VideoInput":
        """Open a path, bytes, a file object or a clip; its sound must have a beginning.

        Args:
            video: the video, or a sound without pictures.
            selection: which part of the sound to read, and how; none: all of it.

        Raises:
            InputError: no audio, damaged audio, or arrays that are no clip.
        """
        selection = selection or SoundSelection()
        if isinstance(video, bytearray | memoryview):
            video = bytes(video)  # once, as it is opened several times
        if isinstance(video, Clip):
            clip = validate_clip(video)
            sound = SoundInput(clip, selection)
            return cls(clip.name, clip, sound, has_pictures=len(clip.frames) > 0)
        with open_media(video) as container:
            has_pictures = bool(video_streams(container))
        sound = SoundInput(video, selection)
        return cls(_file_name(video), video, sound, has_pictures=has_pictures)

    @property
    def name(self) -> str:
        """Name for results and errors: the file's name without its ending."""
        return self.file_name if isinstance(self.pictures, Clip) else Path(self.file_name).stem

    @contextmanager
    def stream_crops(
        self, objects: Sequence[VisibleObject], settings: CropSettings, *, with_motion: bool
    ) -> Iterator[CropStream]:
        """Open the crops of visible objects from the first sample of the sound on.

        Damaged frames are skipped, with a warning at the end.
        """
        offset_seconds = self.sound.offset_seconds

        def stream(picture_at: PictureAt) -> CropStream:
            return CropStream(
                picture_at,
                objects,
                settings,
                with_motion=with_motion,
                offset_seconds=offset_seconds,
            )

        if isinstance(self.pictures, Clip):
            yield stream(self._picture_of_clip)
            return
        frame_settings = FrameSettings(longest_side_pixels=LONGEST_SIDE_PIXELS, on_damage="skip")
        start_seconds = self.sound.start_seconds + SLACK_SECONDS
        with FrameReader(self.pictures, frame_settings) as reader:
            yield stream(lambda seconds: reader.picture_at(seconds + start_seconds))
            self.warnings.extend(reader.damage.warnings())

    def spread_crops(
        self, objects: Sequence[VisibleObject], settings: CropSettings, num_crops: int
    ) -> UInt8[Tensor, "S K 3 H W"]:
        """Extract crops of visible objects, spread evenly over the sound; seeks between them.

        They are those that a window as long as the sound would read.
        """
        rate_hz, offset_seconds = settings.crop_rate_hz, self.sound.offset_seconds
        all_crops = np.arange(count_crops(self.sound.stated_seconds, rate_hz))
        seconds = [index / rate_hz for index in spread_evenly(all_crops, num_crops).tolist()]
        if isinstance(self.pictures, Clip):
            pictures = [self._picture_of_clip(time) for time in seconds]
        else:
            start_seconds = self.sound.start_seconds + SLACK_SECONDS
            frame_settings = FrameSettings(
                longest_side_pixels=LONGEST_SIDE_PIXELS, on_damage="skip"
            )
            times = [time + start_seconds for time in seconds]
            pictures = list(read_frames(self.pictures, times, frame_settings).pictures)
        crops = [
            [
                crop_box(picture, item.box_at(time + offset_seconds), settings.crop_pixels)
                for picture, time in zip(pictures, seconds, strict=True)
            ]
            for item in objects
        ]
        return torch.from_numpy(np.stack([np.stack(rows) for rows in crops]))

    def i3d_features(self, model: I3D) -> Float32[Tensor, "D J"]:
        """Compute I3D features of the video, on the CPU; damaged frames are skipped.

        One frame per second from time 0 of the file or clip, whatever the start of the audio; of a
        part, from its start to its end.
        """
        part = self.sound.selection
        if isinstance(self.pictures, Clip):
            clip = self.pictures
            end_seconds = float(clip.frame_times_seconds[-1])
            if part.end_seconds is not None:
                end_seconds = min(end_seconds, part.end_seconds)
            first, last = (int(x * MOTION_RATE_HZ) for x in (part.start_seconds, end_seconds))
            seconds = range(first, max(first, last) + 1)
            pictures = (clip.frames[_frame_index(clip, k / MOTION_RATE_HZ)] for k in seconds)
        else:
            settings = FrameSettings(on_damage="skip")
            frames = iterate_frames(
                self.pictures,
                MOTION_RATE_HZ,
                settings,
                start_seconds=part.start_seconds,
                end_seconds=part.end_seconds,
            )
            pictures = (picture for _, picture in frames)
        return video_motion_features(pictures, model).cpu()

    def key_frame(self, time_seconds: float) -> tuple[UInt8[np.ndarray, "H W 3"], float]:
        """Return the frame shown at a time of the audio, and the time from which it is shown."""
        if isinstance(self.pictures, Clip):
            offset_seconds = self.sound.offset_seconds
            index = _frame_index(self.pictures, time_seconds + offset_seconds)
            begin_seconds = float(self.pictures.frame_times_seconds[index]) - offset_seconds
            return self.pictures.frames[index], begin_seconds
        settings = FrameSettings(longest_side_pixels=_KEY_FRAME_PIXELS, on_damage="skip")
        frames = read_frames(self.pictures, [time_seconds + self.sound.start_seconds], settings)
        return frames.pictures[0], float(frames.times_seconds[0] - self.sound.start_seconds)

    @cached_property
    def fingerprint(self) -> tuple[str, int] | None:
        """Return SHA-256 and number of bytes of the file; none for arrays."""
        if isinstance(self.pictures, Clip):
            return None
        digest, num_bytes = hashlib.sha256(), 0
        with open_binary(self.pictures, source_name(self.pictures)) as file:
            file.seek(0)
            while piece := file.read(_HASHED_BYTES):
                digest.update(piece)
                num_bytes += len(piece)
        return digest.hexdigest(), num_bytes

    def _picture_of_clip(self, time_seconds: float) -> UInt8[np.ndarray, "_ _ 3"]:
        assert isinstance(self.pictures, Clip), "files have a reader"
        seconds = time_seconds + self.sound.offset_seconds + SLACK_SECONDS
        return self.pictures.frames[_frame_index(self.pictures, seconds)]


def _frame_index(clip: Clip, time_seconds: float) -> int:
    """Return the index of the frame shown at a time; before the first one, the first."""
    num_begun = np.searchsorted(clip.frame_times_seconds, time_seconds, side="right")
    return int(max(0, num_begun - 1))


def _file_name(video: MediaSource) -> str:
    """Return the name of a path or of a file object that has one, else "video"."""
    if isinstance(video, str | os.PathLike):
        return readable(Path(video).name)
    name = getattr(video, "name", None)
    return readable(Path(name).name) if isinstance(name, str) else "video"


# Validation of the arrays of a `Clip`: converted where their meaning is clear, else an error


def validate_clip(clip: Clip) -> Clip:
    """Return the clip with float32 waveform, uint8 frames and float64 times; lists become arrays.

    Raises:
        InputError: a field has another type, shape or range than `Clip` declares.
    """
    name = readable(str(clip.name or "")) or "clip"
    where = f"clip '{name}'"
    waveform = _waveform(clip.waveform, where)
    frames = _frames(clip.frames, where)
    if waveform.size == 0:
        raise InputError(
            f"{where} has a waveform of shape {list(waveform.shape)}; give at least one sample"
        )
    times = _times(clip.frame_times_seconds, len(frames), where)
    rate_hz = _rate_hz(clip.sample_rate_hz, where)
    return replace(
        clip,
        waveform=waveform,
        sample_rate_hz=rate_hz,
        frames=frames,
        frame_times_seconds=times,
        name=name,
    )


def _waveform(values: object, where: str) -> Float32[np.ndarray, "C N"]:
    where = f"{where}: waveform"
    array = _to_array(values, where)
    if array.ndim != 2:
        hint = "; write waveform[None] for one channel" if array.ndim == 1 else ""
        raise InputError(
            f"{where} has shape {list(array.shape)}, it must be [channels, samples]{hint}"
        )
    if array.size and array.dtype.kind != "f":
        hint = "; write waveform.astype('float32') / 32768" if array.dtype == np.int16 else ""
        raise InputError(f"{where} is of {array.dtype}, it must be float32 in -1..1{hint}")
    if array.shape[0] > _MAX_CHANNELS:
        raise InputError(
            f"{where} has shape {list(array.shape)}, which is {array.shape[0]} channels, and may "
            f"have {_MAX_CHANNELS}; if it is [samples, channels], write waveform.T"
        )
    # Values beyond float32 become infinite here, and are refused below in our own words.
    with np.errstate(over="ignore"):
        waveform = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(waveform).all():
        raise InputError(f"{where} has samples that are not finite; give float32 in -1..1")
    return waveform


def _frames(values: object, where: str) -> UInt8[np.ndarray, "K H W 3"]:
    where = f"{where}: frames"
    array = _to_array(values, where)
    if array.size == 0 and array.ndim != 4:
        return np.zeros((0, 1, 1, 3), np.uint8)
    expected = "they must be [frames, height, width, 3], RGB"
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape[1:]:
        hint = ""
        if array.ndim == 3 or array.shape[-1] == 1:
            hint = "; for grey ones write numpy.stack([grey] * 3, axis=-1), for one frames[None]"
        elif array.ndim == 4 and array.shape[-1] == 4:
            hint = "; write frames[..., :3]"
        raise InputError(f"{where} have shape {list(array.shape)}, {expected}{hint}")
    if array.dtype == np.uint8:
        return array
    # Whole numbers of another width, as lists and some readers give, lose nothing in uint8.
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    hint = "; write (frames * 255).round().astype('uint8')" if array.dtype.kind == "f" else ""
    raise InputError(f"{where} are of {array.dtype}, they must be uint8, 0..255{hint}")


def _times(values: object, num_frames: int, where: str) -> Float64[np.ndarray, " K"]:
    array = _to_array(values, f"{where}: frame_times_seconds")
    if array.ndim != 1 or array.dtype.kind not in "iuf":
        raise InputError(
            f"{where}: frame_times_seconds are of {array.dtype} and shape {list(array.shape)}, "
            "they must be one number for each frame, in seconds"
        )
    if len(array) != num_frames:
        raise InputError(
            f"{where} has {num_frames} frames and {len(array)} times; give one time for each"
        )
    times = array.astype(np.float64)
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError(f"{where}: frame_times_seconds must be finite and must not decrease")
    return times


def _rate_hz(value: object, where: str) -> int:
    is_number = isinstance(value, int | float | np.integer | np.floating)
    # True is an int in Python, and no sample rate.
    rate_hz = float(value) if is_number and not isinstance(value, bool) else math.nan
    if not (rate_hz.is_integer() and rate_hz >= 1):
        raise InputError(
            f"{where}: sample_rate_hz is {value!r}, it must be a whole number of Hz above 0, such "
            "as 44100"
        )
    return int(rate_hz)


def _to_array(values: object, where: str) -> Shaped[np.ndarray, "..."]:
    """Convert values to an array; nested lists must have one length."""
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        length = f" of {len(values)}" if isinstance(values, Sequence) else ""
        raise InputError(
            f"{where}: a {type(values).__name__}{length} cannot be converted to one array "
            f"({error}); give a NumPy array, or a list whose items have one size"
        ) from error
