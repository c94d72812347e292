"""Read measured heads: SOFA files (AES69) of head-related impulse responses."""

import re
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float64

from avsep.errors import InputError
from avsep.sound.hrtf import Direction, MeasuredHead

# The SOFA convention for anechoic impulse responses of one listener. Other conventions describe
# rooms or loudspeakers with variables of the same names.
_CONVENTION = "SimpleFreeFieldHRIR"
_REQUIRED = ("Data.IR", "SourcePosition", "Data.SamplingRate")
# Outside of this range the rate is a mistake, most often kilohertz (44.1).
_LOWEST_RATE_HZ, _HIGHEST_RATE_HZ = 1000, 1_000_000
# First letters of units, in singular or plural, and degrees in one of them.
_ANGLE_UNITS = {"deg": 1.0, "rad": 180 / np.pi}
# Sound travels 34 metres in this time: a longer delay is in another unit than samples.
_LONGEST_DELAY_SECONDS = 0.1
# A fraction of a sample is a sinc, of which this many samples before and after its peak are used.
_SINC_SAMPLES = 32


def read_head(path: Path) -> MeasuredHead:
    """Read the head-related impulse responses of a SOFA file.

    Raises:
        InputError: the file is no SOFA file, has another convention, other units or several
            sampling rates, is damaged, or has the ears exchanged.
    """
    try:
        with h5py.File(path) as file:
            _check_convention(file, path)
            kind, units = _coordinates(file)
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
    # Some files repeat the rate for each position.
    rate_hz = float(rates_hz.ravel()[0]) if np.unique(rates_hz).size == 1 else 0.0
    if not _LOWEST_RATE_HZ <= rate_hz <= _HIGHEST_RATE_HZ:
        raise InputError(
            f"'{path}': Data.SamplingRate {rates_hz.ravel()[:3]} is not one rate in hertz from "
            f"{_LOWEST_RATE_HZ} to {_HIGHEST_RATE_HZ}"
        )
    responses = _delayed(responses, delays, rate_hz, path)
    angles = _to_angles(positions, kind, units, path)
    _check_ears(responses, angles, path)
    return MeasuredHead(path.stem, responses, angles, round(rate_hz))


def _check_convention(file: h5py.File, path: Path) -> None:
    """Raise InputError unless the file has the required convention and variables."""
    missing = [name for name in _REQUIRED if name not in file]
    convention = _to_text(file.attrs.get("SOFAConventions", b""))
    if missing or convention != _CONVENTION:
        raise InputError(
            f"'{path}' holds no measured head: its SOFA convention is "
            f"'{convention or 'none'}' and it lacks {', '.join(missing) or 'nothing'}; needed is "
            f"{_CONVENTION} with {', '.join(_REQUIRED)}"
        )


def _coordinates(file: h5py.File) -> tuple[str, list[str]]:
    """Return the type of the positions and the unit of each coordinate, as the file states them."""
    attributes = file["SourcePosition"].attrs
    kind = _to_text(attributes.get("Type", b"spherical")).strip().lower()
    default = b"metre" if kind == "cartesian" else b"degree"
    units = re.findall(r"[a-z]+", _to_text(attributes.get("Units", default)).lower())
    # One unit is that of all coordinates; the distance, the third, is not used.
    return kind, units * 3 if len(units) == 1 else units


def _delayed(
    responses: Float64[np.ndarray, "M 2 taps"],
    delays: Float64[np.ndarray, "..."],
    rate_hz: float,
    path: Path,
) -> Float64[np.ndarray, "M 2 longer"]:
    """Delay each response by its Data.Delay, in samples: for all, by ear, or by position and ear.

    A delay that all have is left out: it shifts the whole clip. Different ones are interaural time
    differences, without which the cue would be lost.
    """
    if delays.size != 1 and delays.shape not in (
        (2,), (1, 2), (len(responses), 1), responses.shape[:2],
    ):  # fmt: skip
        raise InputError(
            f"'{path}': Data.Delay has shape {list(delays.shape)}; needed is [1, 2 ears] or "
            "[positions, 2 ears]"
        )
    delays = np.broadcast_to(delays, responses.shape[:2])
    shifts = delays - delays.min()
    if shifts.max() > _LONGEST_DELAY_SECONDS * rate_hz:
        raise InputError(
            f"'{path}': Data.Delay differs by {shifts.max():g} samples, more than "
            f"{_LONGEST_DELAY_SECONDS:g} s: it must be in samples"
        )
    if not shifts.any():
        return responses
    is_whole = bool((shifts == np.round(shifts)).all())
    # A sinc begins before its peak: all responses are later by that much.
    lead = 0 if is_whole else _SINC_SAMPLES
    num_taps = responses.shape[2] + int(np.ceil(shifts.max())) + 2 * lead
    delayed = np.zeros((*responses.shape[:2], num_taps))
    for position, ear in np.ndindex(*shifts.shape):
        whole = int(shifts[position, ear])
        fraction = shifts[position, ear] - whole
        response = responses[position, ear]
        if not is_whole:
            n = np.arange(-_SINC_SAMPLES, _SINC_SAMPLES + 1)
            sinc = np.sinc(n - fraction) * np.hanning(len(n) + 2)[1:-1]
            response = np.convolve(response, sinc / sinc.sum())
        delayed[position, ear, whole : whole + len(response)] = response
    return delayed


def _to_angles(
    positions: Float64[np.ndarray, "M 3"], kind: str, units: list[str], path: Path
) -> Float64[np.ndarray, "M 2"]:
    """Convert SOFA positions to azimuth and elevation in degrees, azimuth positive to the right.

    Raises:
        InputError: other coordinates or units, or values that cannot be in these units.
    """
    if kind == "cartesian" and len(set(units)) == 1:
        if not positions.any(axis=1).all():
            raise InputError(f"'{path}': a position is the centre of the head: it has no direction")
        # SOFA's axes point ahead, to the left and up. Directions have no unit of length.
        right_ahead_up = positions[:, [1, 0, 2]] * [-1, 1, 1]
        directions = map(Direction.towards, right_ahead_up)
        return np.array([[d.azimuth_degrees, d.elevation_degrees] for d in directions])
    factors = [_ANGLE_UNITS.get(unit[:3], 0.0) for unit in units[:2]]
    if kind != "spherical" or len(units) != 3 or not all(factors):
        raise InputError(
            f"'{path}': positions are {kind}, in {', '.join(units) or 'no unit'}; needed are "
            "spherical ones in degree or radian, or cartesian ones in metre"
        )
    # SOFA counts azimuth counter-clockwise, positive to the left, from 0 to 360.
    azimuth, elevation = (positions[:, :2] * factors).T
    # Of three directions or more in radians that are called degrees, all seem to be ahead.
    is_all_ahead = len(positions) > 2 and bool((np.abs(positions[:, :2]) <= 2 * np.pi).all())
    if factors[0] == factors[1] == 1 and is_all_ahead:
        furthest = np.abs(positions[:, 0]).max()
        raise InputError(
            f"'{path}': no azimuth is beyond {furthest:g} degrees; if they are "
            "radians, change the Units of SourcePosition to radian, radian, metre"
        )
    if np.abs(azimuth).max() > 360 * (1 + 1e-6) or np.abs(elevation).max() > 90 * (1 + 1e-6):
        raise InputError(
            f"'{path}': positions reach {np.abs(azimuth).max():g} degrees of azimuth and "
            f"{np.abs(elevation).max():g} of elevation; check the Units of SourcePosition, "
            f"{', '.join(units)}"
        )
    return np.stack([-((azimuth + 180) % 360 - 180), elevation], axis=1)


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
