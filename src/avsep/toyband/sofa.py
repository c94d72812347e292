"""Read measured heads: SOFA files (AES69) of head-related impulse responses."""

from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64

from avsep.errors import InputError
from avsep.sound.hrtf import MeasuredHead

# The SOFA convention for anechoic impulse responses of one listener. Other conventions describe
# rooms or loudspeakers with variables of the same names.
_CONVENTION = "SimpleFreeFieldHRIR"
_REQUIRED = ("Data.IR", "SourcePosition", "Data.SamplingRate")
# Outside of this range the rate is a mistake, most often kilohertz (44.1).
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1000, 1_000_000


def read_head(path: Path) -> MeasuredHead:
    """Read the head-related impulse responses of a SOFA file.

    Raises:
        InputError: the file is no SOFA file, has another convention or other units, is damaged,
            or has the ears exchanged.
    """
    try:
        with h5py.File(path) as file:
            _check_convention(file, path)
            # Data.Delay is optional in practice: a missing one reads as zero.
            responses, positions, rates_hz, delays = (
                np.asarray(file.get(name, 0.0), np.float64) for name in (*_REQUIRED, "Data.Delay")
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot read '{path}' as a SOFA file: {error}") from error
    is_complete = responses.ndim == 3 and responses.shape[1] == 2 and responses.size > 0
    if not is_complete or positions.shape != (len(responses), 3):
        raise InputError(
            f"'{path}': {list(responses.shape)} responses at {list(positions.shape)} positions; "
            "needed are [positions, 2 ears, samples] at [positions, 3]"
        )
    if not all(np.isfinite(array).all() for array in (responses, positions, rates_hz, delays)):
        raise InputError(f"'{path}' holds NaN or infinite numbers")
    rate_hz = float(rates_hz.ravel()[0]) if rates_hz.size == 1 else 0.0
    if not _LOWEST_RATE_HZ <= rate_hz <= _HIGHEST_RATE_HZ:
        raise InputError(
            f"'{path}': Data.SamplingRate {rates_hz.ravel()[:3]} is not one rate in hertz from "
            f"{_LOWEST_RATE_HZ} to {_HIGHEST_RATE_HZ}"
        )
    # One delay for all responses shifts the whole clip and can be ignored; different delays are
    # interaural time differences, and ignoring them would remove the cue.
    if np.ptp(delays) > 0:
        raise InputError(f"'{path}': Data.Delay differs; write the delays into Data.IR instead")
    angles = _to_angles(positions)
    _check_ears(responses, angles, path)
    return MeasuredHead(path.stem, responses, angles, round(rate_hz))


def _check_convention(file: h5py.File, path: Path) -> None:
    """Raise InputError unless the file has the required convention, variables and units."""
    missing = [name for name in _REQUIRED if name not in file]
    convention = _to_text(file.attrs.get("SOFAConventions", b""))
    if missing or convention != _CONVENTION:
        raise InputError(
            f"'{path}' holds no measured head: its SOFA convention is "
            f"'{convention or 'none'}' and it lacks {', '.join(missing) or 'nothing'}; needed is "
            f"{_CONVENTION} with {', '.join(_REQUIRED)}"
        )
    kind = _to_text(file["SourcePosition"].attrs.get("Type", b"spherical"))
    units = _to_text(file["SourcePosition"].attrs.get("Units", b"degree"))
    # Only the first unit is checked: files write "degree, degree, metre" or "... meter".
    if kind != "spherical" or not units.startswith("degree"):
        raise InputError(f"'{path}': positions are {kind}, in {units}; needed: spherical, degree")


def _to_angles(positions: Float64[np.ndarray, "M 3"]) -> Float64[np.ndarray, "M 2"]:
    """Convert SOFA positions to azimuth and elevation in degrees, azimuth positive to the right."""
    # SOFA counts azimuth counter-clockwise, positive to the left, from 0 to 360.
    azimuth = -((positions[:, 0] + 180) % 360 - 180)
    return np.stack([azimuth, positions[:, 1]], axis=1)


def _check_ears(
    responses: Float64[np.ndarray, "M 2 taps"], angles: Float64[np.ndarray, "M 2"], path: Path
) -> None:
    """Raise InputError unless the first ear, the left, is louder for sources on the left."""
    # Levels decide, not ReceiverPosition: there are published files whose ReceiverPosition has the
    # ears exchanged while the responses are in the right order.
    to_the_right = np.sin(np.radians(angles[:, 0])) * np.cos(np.radians(angles[:, 1]))
    left, right = np.square(responses).sum(axis=2).T
    if to_the_right @ (right - left) <= 0:
        raise InputError(
            f"'{path}': the ears are exchanged or silent: the first ear is not louder for sources "
            "on the left, which have SOFA azimuths from 0 to 180; exchange the ears of Data.IR, or "
            "count azimuth to the left"
        )


def _to_text(value: object) -> str:
    """Return an HDF5 attribute as text; writers store them as bytes or as str."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
