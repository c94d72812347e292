"""Open a video for separation: its audio, frames and objects."""

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import tee
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

# Arrays of a clip as they come from outside: converted where it is plain, else told


# More are samples that were taken for channels.
_MOST_CHANNELS = 64


def checked_clip(clip: Clip) -> Clip:
    """The clip with a float32 waveform, uint8 frames and float64 times; lists become arrays.

    Raises:
        InputError: something is of another kind, shape or number than a clip has it.
    """
    name = readable(str(clip.name or "")) or "clip"
    where = f"clip '{name}'"
    waveform = _waveform(clip.waveform, where)
    frames = _frames(clip.frames, where)
    if len(frames) == 0 or waveform.size == 0:
        raise InputError(
            f"{where} has {len(frames)} frames and sound of shape {list(waveform.shape)}; give at "
            "least one of each"
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


def _waveform(given: object, where: str) -> Float32[np.ndarray, "C N"]:
    where = f"{where}: waveform"
    array = _array(given, where)
    if array.ndim != 2:
        hint = "; write waveform[None] for one channel" if array.ndim == 1 else ""
        raise InputError(
            f"{where} has shape {list(array.shape)}, it must be [channels, samples]{hint}"
        )
    if array.size and array.dtype.kind != "f":
        hint = "; write waveform.astype('float32') / 32768" if array.dtype == np.int16 else ""
        raise InputError(f"{where} is of {array.dtype}, it must be float32 in -1..1{hint}")
    if array.shape[0] > _MOST_CHANNELS:
        raise InputError(
            f"{where} has shape {list(array.shape)}, which is {array.shape[0]} channels; at most "
            f"{_MOST_CHANNELS} are taken: is it [channels, samples]? else write waveform.T"
        )
    with np.errstate(over="ignore"):
        sound = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(sound).all():
        raise InputError(f"{where}: samples of its sound are not numbers")
    return sound


def _frames(given: object, where: str) -> UInt8[np.ndarray, "K H W 3"]:
    where = f"{where}: frames"
    array = _array(given, where)
    if array.size == 0 and array.ndim != 4:
        return np.zeros((0, 1, 1, 3), np.uint8)
    wanted = "they must be [frames, height, width, 3], RGB"
    if array.ndim != 4 or array.shape[-1] != 3 or 0 in array.shape[1:]:
        hint = ""
        if array.ndim == 3 or array.shape[-1] == 1:
            hint = "; of grey pictures write numpy.stack([grey] * 3, axis=-1), of one frames[None]"
        elif array.ndim == 4 and array.shape[-1] == 4:
            hint = "; write frames[..., :3]"
        raise InputError(f"{where} have shape {list(array.shape)}, {wanted}{hint}")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    hint = "; write (frames * 255).round().astype('uint8')" if array.dtype.kind == "f" else ""
    raise InputError(f"{where} are of {array.dtype}, they must be uint8, 0..255{hint}")


def _times(given: object, num_frames: int, where: str) -> Float64[np.ndarray, " K"]:
    array = _array(given, f"{where}: frame_times_seconds")
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
        raise InputError(f"{where}: frame_times_seconds must rise, and be numbers")
    return times


def _rate_hz(given: object, where: str) -> int:
    is_number = isinstance(given, int | float | np.integer | np.floating)
    rate_hz = float(given) if is_number and not isinstance(given, bool) else math.nan
    if not (rate_hz.is_integer() and rate_hz >= 1):
        raise InputError(
            f"{where}: sample_rate_hz is {given!r}, it must be a whole number of Hz above 0, such "
            "as 44100"
        )
    return int(rate_hz)


def _array(given: object, where: str) -> Shaped[np.ndarray, "..."]:
    """What was given as an array; lists in lists must all be of one length."""
    try:
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        length = f" of {len(given)}" if isinstance(given, Sequence) else ""
        raise InputError(
            f"{where}: a {type(given).__name__}{length} cannot be made one array ({error}); give a "
            "NumPy array, or a list whose items are of one size"
        ) from error


_LONGEST_SIDE_PIXELS = 640
_KEY_FRAME_PIXELS = 960
# A frame of AAC holds 1024 samples, of HE-AAC 2048, of MP3 fewer.
_LONGEST_PADDING_SAMPLES = 2048
# The last packets of a sound lie within this much of its end.
_END_SECONDS = Fraction(1)
_HASHED_BYTES = 2**20


@dataclass(frozen=True)
class VideoInput:
    """One video, opened.

    Attributes:
        file_name: the file's name, or what stands for it.
        pictures: where the pictures are read from.
        sound: all of it, without what a codec put behind its end.
        warnings: what a listener should know of it, filled while it is read.
    """

    file_name: str
    pictures: MediaSource | Clip
    sound: Audio
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, video: MediaSource | Clip) -> "VideoInput":
        """The scene of a file, its bytes, a file object or a clip.

        Raises:
            InputError: no sound, no pictures, or sound that is damaged.
        """
        if isinstance(video, Clip):
            video_input = _scene_of_clip(video)
        else:
            with open_media(video) as container:
                choose_video(container, None, source_name(video))
            sound = _without_padding(read_audio(video), video)
            video_input = cls(_file_name(video), video, sound)
        if not video_input.sound.waveform.any():
            video_input.warnings.append("its sound is silent from begin to end")
        return video_input

    @property
    def name(self) -> str:
        """What its results are called: the file's name without its ending."""
        return self.file_name if isinstance(self.pictures, Clip) else Path(self.file_name).stem

    @property
    def duration_seconds(self) -> float:
        """How long the sound is."""
        return self.sound.waveform.shape[1] / self.sound.sample_rate_hz

    def object_crops(
        self, objects: Sequence[VisibleObject], settings: CropSettings
    ) -> tuple[ObjectCrops, ...]:
        """Each object as seen while the sound lasts; damage is passed over, with a remark.

        Of those that are known by their words alone there is nothing to see.
        """
        seen = [visible for visible in objects if visible.is_visible]
        # Whoever gives a box points at something, be it the only one that is named.
        settings = settings.model_copy(update={"whole_when_alone": False})
        object_crops = iter(self._look(seen, settings) if seen else ())
        (nothing,) = blank_crops(1, settings)
        return tuple(next(object_crops) if visible.is_visible else nothing for visible in objects)

    def _look(
        self, objects: Sequence[VisibleObject], settings: CropSettings
    ) -> tuple[ObjectCrops, ...]:
        if isinstance(self.pictures, Clip):
            clip = self.pictures
            times = clip.frame_times_seconds.tolist()
            return extract_crops_from_frames(
                clip.frames, times, objects, settings, self.duration_seconds
            )
        try:
            frame_settings = FrameSettings(longest_side_pixels=_LONGEST_SIDE_PIXELS)
            first, second = tee(iterate_frames(self.pictures, settings=frame_settings))
            pictures = (picture for _, picture in first)
            times = (time - self.sound.start_seconds for time, _ in second)
            return extract_crops_from_frames(
                pictures, times, objects, settings, self.duration_seconds
            )
        except InputError as error:
            object_crops = extract_crops(
                self.pictures, objects, settings, end_seconds=self.duration_seconds
            )
            self.warnings.append(f"pictures that cannot be decoded were passed over: {error}")
            return object_crops

    def i3d_features(self, model: I3D) -> Float32[Tensor, "D J"]:
        """Motion features of the whole video, on the CPU; damage is passed over.

        One picture a second from time 0 of the file, or of a clip, whatever the sound's own start.
        """
        if isinstance(self.pictures, Clip):
            clip = self.pictures
            last_seconds = float(clip.frame_times_seconds[-1])
            seconds = range(max(0, int(last_seconds * MOTION_RATE_HZ)) + 1)
            pictures = (clip.frames[_index_at(clip, one / MOTION_RATE_HZ)] for one in seconds)
        else:
            settings = FrameSettings(on_damage="skip")
            shown = iterate_frames(self.pictures, MOTION_RATE_HZ, settings)
            pictures = (picture for _, picture in shown)
        return video_motion_features(pictures, model).cpu()

    def key_frame(self, time_seconds: float) -> tuple[UInt8[np.ndarray, "H W 3"], float]:
        """The picture on screen at a time of the sound, and that time."""
        if isinstance(self.pictures, Clip):
            index = _index_at(self.pictures, time_seconds)
            return self.pictures.frames[index], float(self.pictures.frame_times_seconds[index])
        settings = FrameSettings(longest_side_pixels=_KEY_FRAME_PIXELS, on_damage="skip")
        frames = read_frames(self.pictures, [time_seconds + self.sound.start_seconds], settings)
        return frames.pictures[0], float(frames.times_seconds[0] - self.sound.start_seconds)

    def fingerprint(self) -> tuple[str, int] | None:
        """SHA-256 and number of bytes of the file; none for arrays."""
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


def _index_at(clip: Clip, time_seconds: float) -> int:
    """Which picture of a clip is on screen at a time; the first before it begins."""
    found = np.searchsorted(clip.frame_times_seconds, time_seconds, side="right")
    return int(max(0, found - 1))


def _scene_of_clip(given: Clip) -> VideoInput:
    clip = checked_clip(given)
    return VideoInput(clip.name, clip, Audio(clip.waveform, clip.sample_rate_hz, 0.0))


def _without_padding(sound: Audio, video: MediaSource) -> Audio:
    """The sound up to where the container says it ends.

    Codecs that work in frames fill the last one up, and decoders hand the filling out. MP4 tells
    what counts: by its edit list, which some writers round up, and by how long the last packet
    lasts; the shorter is believed. More than one frame's filling is not taken away.
    """
    with open_media(video) as container:
        stream = choose_audio(container, None, source_name(video))
        if not container.format.name.startswith("mov,"):
            return sound
        num_told = round(_told_seconds(container, stream) * sound.sample_rate_hz)
    surplus = sound.waveform.shape[1] - num_told
    if num_told <= 0 or not 0 < surplus < _LONGEST_PADDING_SAMPLES:
        return sound
    return replace(sound, waveform=sound.waveform[:, :num_told])


def _told_seconds(container: InputContainer, stream: AudioStream) -> Fraction:
    """How long an MP4 says its sound is; 0 where it does not say."""
    if not stream.duration or stream.time_base is None:
        return Fraction(0)
    begin = stream.start_time or 0
    end = begin + stream.duration
    try:
        container.seek(max(begin, int(end - _END_SECONDS / stream.time_base)), stream=stream)
        ends = [p.pts + (p.duration or 0) for p in container.demux(stream) if p.pts is not None]
    except FFmpegError:
        # Nothing more is known of an end that cannot be reached.
        ends = []
    return (min(end, max(ends, default=end)) - begin) * stream.time_base


def _file_name(video: MediaSource) -> str:
    """The name of a file, also of a file object that tells it."""
    if isinstance(video, str | os.PathLike):
        return readable(Path(video).name)
    name = getattr(video, "name", None)
    return readable(Path(name).name) if isinstance(name, str) else "video"
