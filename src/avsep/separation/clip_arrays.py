"""Arrays of a clip as they come from outside: converted where it is plain, else told."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from avsep.errors import InputError
from avsep.media.names import readable
from avsep.records import Clip

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
