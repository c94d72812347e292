"""Open a video for separation: its audio, frames and crops of its objects."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from jaxtyping import Float32, Float64, Shaped, UInt8
from torch import Tensor

from avsep.cues.crops import (
    CropSettings,
    ObjectCrops,
    blank_crops,
    extract_crops,
    extract_crops_from_frames,
)
from avsep.errors import InputError
from avsep.media.audio import Audio, read_audio
from avsep.media.frames import FrameSettings, iterate_frames, read_frames
from avsep.media.names import readable
from avsep.media.opening import MediaSource, open_media, source_name
from avsep.media.streams import choose_audio, choose_video
from avsep.records import Clip, VisibleObject
from avsep.vision.i3d import I3D, MOTION_RATE_HZ, video_motion_features

# The report shows it 704 pixels wide; the rest is for dense screens.
_KEY_FRAME_PIXELS = 960
# Padding of one codec frame: 1024 samples of AAC, 2048 of HE-AAC, fewer of MP3.
_MAX_PADDING_SAMPLES = 2048
# Seeking to this long before the end reaches the last packets of any audio stream.
_END_SECONDS = Fraction(1)
_HASHED_BYTES = 2**20
# An array with more channels is taken for [samples, channels].
_MAX_CHANNELS = 64


@dataclass(frozen=True)
class VideoInput:
    """An opened video: audio in memory, frames read on demand.

    Attributes:
        file_name: name of the file; of a clip its own name.
        pictures: source of the frames: path, bytes, file object or clip.
        sound: all of the audio, without codec padding at its end.
        warnings: warnings for the user, collected while the video is processed.
    """

    file_name: str
    pictures: MediaSource | Clip
    sound: Audio
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, video: MediaSource | Clip) -> "VideoInput":
        """Open a path, bytes, a file object or a clip, and read its audio.

        Raises:
            InputError: no audio, no frames, damaged audio, or arrays that are no clip.
        """
        if isinstance(video, Clip):
            clip = validate_clip(video)
            sound = Audio(clip.waveform, clip.sample_rate_hz, 0.0)
            video_input = cls(clip.name, clip, sound)
        else:
            # A file without frames is refused before its audio is decoded.
            with open_media(video) as container:
                choose_video(container, None, source_name(video))
            sound = _trim_padding(read_audio(video), video)
            video_input = cls(_file_name(video), video, sound)
        if not video_input.sound.waveform.any():
            video_input.warnings.append("the audio is silent throughout")
        return video_input

    @property
    def name(self) -> str:
        """Name for results and errors: the file's name without its ending."""
        return self.file_name if isinstance(self.pictures, Clip) else Path(self.file_name).stem

    @property
    def duration_seconds(self) -> float:
        """Length of the audio."""
        return self.sound.waveform.shape[1] / self.sound.sample_rate_hz

    def object_crops(
        self, objects: Sequence[VisibleObject], settings: CropSettings
    ) -> tuple[ObjectCrops, ...]:
        """Extract the crops of each object for the length of the audio.

        Objects with a text prompt alone get a black crop. Damaged frames are skipped, with a
        warning.
        """
        visible_objects = [item for item in objects if item.is_visible]
        # A box given by the user is cropped, also by models that are trained on whole frames of
        # clips with one player.
        settings = settings.model_copy(update={"whole_when_alone": False})
        crops = iter(self._extract_crops(visible_objects, settings) if visible_objects else ())
        (blank,) = blank_crops(1, settings)
        return tuple(next(crops) if item.is_visible else blank for item in objects)

    def _extract_crops(
        self, objects: Sequence[VisibleObject], settings: CropSettings
    ) -> tuple[ObjectCrops, ...]:
        if isinstance(self.pictures, Clip):
            clip = self.pictures
            times = clip.frame_times_seconds.tolist()
            return extract_crops_from_frames(
                clip.frames, times, objects, settings, self.duration_seconds
            )
        extract = partial(
            extract_crops,
            self.pictures,
            objects,
            settings,
            start_seconds=self.sound.start_seconds,
            end_seconds=self.duration_seconds,
        )
        # First as if nothing were damaged, so that damage is noticed; then once more, skipping it.
        try:
            return extract(on_damage="raise")
        except InputError as error:
            object_crops = extract(on_damage="skip")
            self.warnings.append(f"frames that cannot be decoded were skipped: {error}")
            return object_crops

    def i3d_features(self, model: I3D) -> Float32[Tensor, "D J"]:
        """Compute I3D features of the whole video, on the CPU; damaged frames are skipped.

        One frame per second from time 0 of the file or clip, whatever the start of the audio.
        """
        if isinstance(self.pictures, Clip):
            clip = self.pictures
            last_seconds = float(clip.frame_times_seconds[-1])
            seconds = range(max(0, int(last_seconds * MOTION_RATE_HZ)) + 1)
            pictures = (clip.frames[_frame_index(clip, k / MOTION_RATE_HZ)] for k in seconds)
        else:
            settings = FrameSettings(on_damage="skip")
            frames = iterate_frames(self.pictures, MOTION_RATE_HZ, settings)
            pictures = (picture for _, picture in frames)
        return video_motion_features(pictures, model).cpu()

    def key_frame(self, time_seconds: float) -> tuple[UInt8[np.ndarray, "H W 3"], float]:
        """Return the frame shown at a time of the audio, and the time from which it is shown."""
        if isinstance(self.pictures, Clip):
            index = _frame_index(self.pictures, time_seconds)
            return self.pictures.frames[index], float(self.pictures.frame_times_seconds[index])
        settings = FrameSettings(longest_side_pixels=_KEY_FRAME_PIXELS, on_damage="skip")
        frames = read_frames(self.pictures, [time_seconds + self.sound.start_seconds], settings)
        return frames.pictures[0], float(frames.times_seconds[0] - self.sound.start_seconds)

    def fingerprint(self) -> tuple[str, int] | None:
        """Return SHA-256 and number of bytes of the file; none for arrays."""
        if isinstance(self.pictures, Clip):
            return None
        digest, num_bytes = hashlib.sha256(), 0
        if isinstance(self.pictures, bytes):
            return hashlib.sha256(self.pictures).hexdigest(), len(self.pictures)
        if isinstance(self.pictures, str | os.PathLike):
            with Path(self.pictures).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        self.pictures.seek(0)
        while piece := self.pictures.read(_HASHED_BYTES):
            digest.update(piece)
            num_bytes += len(piece)
        return digest.hexdigest(), num_bytes


def _frame_index(clip: Clip, time_seconds: float) -> int:
    """Return the index of the frame shown at a time; before the first one, the first."""
    num_begun = np.searchsorted(clip.frame_times_seconds, time_seconds, side="right")
    return int(max(0, num_begun - 1))


def _trim_padding(sound: Audio, video: MediaSource) -> Audio:
    """Trim audio to the duration in the container: MP4 files only.

    AAC and MP3 pad the last frame, and decoders return the padding. Longer differences than one
    frame are left alone: then the duration is wrong rather than the audio padded.
    """
    with open_media(video) as container:
        stream = choose_audio(container, None, source_name(video))
        if not container.format.name.startswith("mov,"):
            return sound
        num_samples = round(_container_seconds(container, stream) * sound.sample_rate_hz)
    padding = sound.waveform.shape[1] - num_samples
    if num_samples <= 0 or not 0 < padding < _MAX_PADDING_SAMPLES:
        return sound
    return replace(sound, waveform=sound.waveform[:, :num_samples])


def _container_seconds(container: InputContainer, stream: AudioStream) -> Fraction:
    """Return the duration of an audio stream in MP4's header and packets; 0 where it has none.

    The shorter of two: of the edit list, which some writers round up to milliseconds, and up to
    the end of the last packet.
    """
    if not stream.duration or stream.time_base is None:
        return Fraction(0)
    begin = stream.start_time or 0
    end = begin + stream.duration
    try:
        container.seek(max(begin, int(end - _END_SECONDS / stream.time_base)), stream=stream)
        ends = [p.pts + (p.duration or 0) for p in container.demux(stream) if p.pts is not None]
    except FFmpegError:
        # The end cannot be reached, in a file that was cut short: the edit list remains.
        ends = []
    return (min(end, max(ends, default=end)) - begin) * stream.time_base


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
    if len(frames) == 0 or waveform.size == 0:
        raise InputError(
            f"{where} has {len(frames)} frames and a waveform of shape {list(waveform.shape)}; "
            "give at least one frame and one sample"
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
