"""Measured heads: SOFA files (AES69) of head-related impulse responses."""

from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64

from avsep.errors import InputError
from avsep.sound.hrtf import MeasuredHead

_CONVENTION = "SimpleFreeFieldHRIR"
_NEEDED = ("Data.IR", "SourcePosition", "Data.SamplingRate")


def read_head(path: Path) -> MeasuredHead:
    """The head of a SOFA file.

    Raises InputError for a file that is none, of another convention or units, or damaged, and for
    one whose ears are not where its positions say: the sound decides, since there are published
    files whose `ReceiverPosition` has the ears the wrong way round and whose responses are right.
    """
    try:
        with h5py.File(path) as file:
            _check_kind(file, path)
            responses, positions, rates_hz, delays = (
                np.asarray(file.get(name, 0.0), np.float64) for name in (*_NEEDED, "Data.Delay")
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read '{path}' as a SOFA file: {error}") from error
    is_whole = responses.ndim == 3 and responses.shape[1] == 2 and responses.size > 0
    if not is_whole or positions.shape != (len(responses), 3):
        raise InputError(
            f"'{path}': {list(responses.shape)} responses at {list(positions.shape)} positions; "
            "needed are [positions, 2 ears, samples] at [positions, 3]"
        )
    if not all(np.isfinite(one).all() for one in (responses, positions, rates_hz, delays)):
        raise InputError(f"'{path}' holds NaN or infinite numbers")
    if rates_hz.size != 1 or not 1000 <= float(rates_hz.ravel()[0]) <= 1e6:
        raise InputError(f"'{path}': Data.SamplingRate {rates_hz.ravel()[:3]} is no rate in hertz")
    if np.ptp(delays) > 0:
        raise InputError(f"'{path}': Data.Delay differs; write the delays into Data.IR instead")
    angles = _angles(positions)
    _check_ears(responses, angles, path)
    return MeasuredHead(path.stem, responses, angles, round(float(rates_hz.ravel()[0])))


def _check_kind(file: h5py.File, path: Path) -> None:
    """Raise InputError unless the file says of itself what is needed."""
    missing = [name for name in _NEEDED if name not in file]
    convention = _text(file.attrs.get("SOFAConventions", b""))
    if missing or convention != _CONVENTION:
        raise InputError(
            f"'{path}' holds no measured head: it is of SOFA's convention "
            f"'{convention or 'none'}' and lacks {', '.join(missing) or 'nothing'}; needed is "
            f"{_CONVENTION} with {', '.join(_NEEDED)}"
        )
    kind = _text(file["SourcePosition"].attrs.get("Type", b"spherical"))
    units = _text(file["SourcePosition"].attrs.get("Units", b"degree"))
    if kind != "spherical" or not units.startswith("degree"):
        raise InputError(f"'{path}': positions are {kind}, in {units}; needed: spherical, degree")


def _angles(positions: Float64[np.ndarray, "M 3"]) -> Float64[np.ndarray, "M 2"]:
    """Azimuth and elevation as avsep counts them: SOFA's azimuth is positive to the left."""
    azimuth = -((positions[:, 0] + 180) % 360 - 180)
    return np.stack([azimuth, positions[:, 1]], axis=1)


def _check_ears(
    responses: Float64[np.ndarray, "M 2 taps"], angles: Float64[np.ndarray, "M 2"], path: Path
) -> None:
    """Raise InputError unless the first ear, the left, hears louder what comes from the left."""
    to_the_right = np.sin(np.radians(angles[:, 0])) * np.cos(np.radians(angles[:, 1]))
    left, right = np.square(responses).sum(axis=2).T
    if to_the_right @ (right - left) <= 0:
        raise InputError(
            f"'{path}': the ears are on the wrong sides, or hear nothing: its first ear is not "
            "louder for sources on the left, which are at SOFA's azimuths from 0 to 180; exchange "
            "the ears of Data.IR, or count azimuth to the left"
        )


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
