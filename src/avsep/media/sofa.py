"""Measured heads: SOFA files (AES69) of head-related impulse responses."""

from pathlib import Path

import h5py
import numpy as np

from avsep.errors import InputError
from avsep.sound.heads import MeasuredHead

_CONVENTION = "SimpleFreeFieldHRIR"
_NEEDED = ("Data.IR", "Data.SamplingRate", "SourcePosition")


def read_head(path: Path) -> MeasuredHead:
    """The head of a SOFA file.

    Raises InputError for a file that is none, of another convention, or damaged.
    """
    try:
        with h5py.File(path) as file:
            missing = [name for name in _NEEDED if name not in file]
            convention = _text(file.attrs.get("SOFAConventions", b""))
            if missing or convention != _CONVENTION:
                raise InputError(
                    f"'{path}' holds no measured head: it is of SOFA's convention "
                    f"'{convention or 'none'}' and lacks {', '.join(missing) or 'nothing'}; needed "
                    f"is {_CONVENTION} with {', '.join(_NEEDED)}"
                )
            responses = np.asarray(file["Data.IR"], np.float64)
            positions = np.asarray(file["SourcePosition"], np.float64)
            rate_hz = float(np.asarray(file["Data.SamplingRate"]).ravel()[0])
            kind = _text(file["SourcePosition"].attrs.get("Type", b"spherical"))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"cannot read '{path}' as a SOFA file: {error}") from error
    if kind != "spherical" or responses.ndim != 3 or responses.shape[1] != 2:
        raise InputError(
            f"'{path}': {list(responses.shape)} responses at {kind} positions; needed are "
            "[positions, 2 ears, samples] at spherical ones"
        )
    return MeasuredHead(path.stem, responses, _directions(positions), round(rate_hz))


def _directions(positions: np.ndarray) -> np.ndarray:
    """Azimuth and elevation as avsep counts them: SOFA's azimuth is positive to the left."""
    azimuth = -((positions[:, 0] + 180) % 360 - 180)
    return np.stack([azimuth, positions[:, 1]], axis=1)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
