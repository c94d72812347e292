"""Head-related transfer functions: the responses of both ears to a sound from a direction.

Directions as everywhere: azimuth in degrees, 0 ahead, positive to the right; elevation in degrees,
positive upwards. The left ear comes first.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol, Self, cast, runtime_checkable

import numpy as np
from jaxtyping import Complex128, Float32, Float64
from scipy.fft import next_fast_len
from scipy.special import spherical_jn, spherical_yn

from avsep.sound.resampling import resample

SPEED_OF_SOUND = 343.0  # metres a second, at 20 degrees Celsius
# Delay of every response at the centre of the head: sound reaches the nearer ear earlier than the
# centre, and a response cannot begin before its first sample.
LEAD_SECONDS = 1e-3
# Long enough for the far ear of a large head at a low frequency to decay.
RESPONSE_SECONDS = 6e-3
# Orders of the series beyond the wave number: at least the first number, and for near sources as
# many as reach the tolerance; at most the second, beyond which terms overflow.
_MIN_EXTRA_ORDERS, _MAX_EXTRA_ORDERS = 24, 128
_SERIES_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Direction:
    """Direction and distance of a source from the centre of the head."""

    azimuth_degrees: float = 0.0
    elevation_degrees: float = 0.0
    distance_metres: float = 2.0

    @property
    def unit(self) -> Float64[np.ndarray, "3"]:
        """Unit vector of the direction: right, ahead, up."""
        azimuth = math.radians(self.azimuth_degrees)
        elevation = math.radians(self.elevation_degrees)
        ahead = math.cos(elevation)
        return np.array([math.sin(azimuth) * ahead, math.cos(azimuth) * ahead, math.sin(elevation)])

    @classmethod
    def towards(cls, position_metres: Float64[np.ndarray, "3"]) -> Self:
        """Return the direction of a position: metres to the right, ahead and up."""
        right, ahead, up = position_metres.tolist()
        return cls(
            math.degrees(math.atan2(right, ahead)),
            math.degrees(math.atan2(up, math.hypot(right, ahead))),
            math.hypot(right, ahead, up),
        )


@runtime_checkable
class Head(Protocol):
    """A source of ear responses: a computed sphere or a measured head."""

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """Return both ears' impulse responses; sound reaches the head's centre at LEAD_SECONDS."""
        ...


@dataclass(frozen=True)
class SphericalHead:
    """A rigid sphere with two points as ears.

    The exact solution for a point source (Duda and Martens, "Range dependence of the response of a
    spherical head model", JASA 104(5), 1998, equations 2 to 4): delays, shadow, and the larger
    level difference of near sources, from 1.2 radii on. There are no outer ears: responses depend
    on the angle to each ear only, so that up and down are alike.

    Attributes:
        radius_metres: of the sphere; 0.0875 is about the mean of adults.
        ear_degrees: angle of each ear from the front.
    """

    radius_metres: float = 0.0875
    ear_degrees: float = 100.0

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """Return responses as `Head`, relative to the sound at the centre without a head."""
        assert direction.distance_metres > self.radius_metres, "the source is outside the head"
        # A length that FFTs handle fast; at least RESPONSE_SECONDS.
        taps = cast(int, next_fast_len(math.ceil(RESPONSE_SECONDS * sample_rate_hz), real=True))
        omega = 2 * np.pi * np.fft.rfftfreq(taps, 1 / sample_rate_hz)
        ear = math.radians(self.ear_degrees)
        cosines = [
            float(direction.unit @ np.array([side * math.sin(ear), math.cos(ear), 0.0]))
            for side in (-1, 1)
        ]
        spectra = _sphere_pressure(
            omega * self.radius_metres / SPEED_OF_SOUND,
            direction.distance_metres / self.radius_metres,
            np.clip(cosines, -1, 1),
        )
        return np.fft.irfft(spectra * np.exp(-1j * omega * LEAD_SECONDS), taps)


@dataclass(frozen=True, eq=False)
class MeasuredHead:
    """A head measured in many directions at one distance.

    Uses the nearest measured direction: they must be dense, a few degrees apart.

    Attributes:
        name: of the file.
        impulse_responses: both ears' response for each direction, left first.
        angles_degrees: azimuth, positive to the right, and elevation of each direction.
    """

    name: str
    impulse_responses: Float64[np.ndarray, "M 2 taps"]
    angles_degrees: Float64[np.ndarray, "M 2"]
    sample_rate_hz: int

    def __repr__(self) -> str:
        """Return the name of the head, as stored in the records of clips."""
        return f"MeasuredHead({self.name!r})"

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """Return responses as `Head`, with the delay of the measurement."""
        # The largest cosine is the smallest angle.
        ears = self.impulse_responses[int((self._units @ direction.unit).argmax())]
        return np.stack(
            [_resample_filter(ear, self.sample_rate_hz, sample_rate_hz) for ear in ears]
        )

    @cached_property
    def _units(self) -> Float64[np.ndarray, "M 3"]:
        return np.stack([Direction(*pair).unit for pair in self.angles_degrees.tolist()])


def _resample_filter(
    response: Float64[np.ndarray, " from_taps"], from_rate_hz: int, to_rate_hz: int
) -> Float64[np.ndarray, " to_taps"]:
    """Resample an impulse response and keep its gain: the sum of its samples."""
    if from_rate_hz == to_rate_hz:
        return response
    # Padded to twice the length: a resampler's own response is long, and would be cut off.
    padded = np.pad(response, (0, len(response)))[None].astype(np.float32)
    return resample(padded, from_rate_hz, to_rate_hz)[0].astype(np.float64) * (
        from_rate_hz / to_rate_hz
    )


def spatialise(
    waveform: Float32[np.ndarray, " N"], responses: Float64[np.ndarray, "2 taps"]
) -> Float32[np.ndarray, "2 N"]:
    """Convolve a waveform with both ears' responses, cut to its length."""
    num_samples = len(waveform)
    fft_samples = next_fast_len(num_samples + responses.shape[1] - 1, real=True)
    spectrum = np.fft.rfft(waveform.astype(np.float64), fft_samples)
    ears = np.fft.irfft(spectrum * np.fft.rfft(responses, fft_samples), fft_samples)
    return ears[:, :num_samples].astype(np.float32)


def _sphere_pressure(
    wave_number: Float64[np.ndarray, " F"],
    distance: float,
    cosines: Float64[np.ndarray, " ears"],
) -> Complex128[np.ndarray, "ears F"]:
    """Compute the pressure on a rigid sphere relative to that at its centre without the sphere.

    Duda and Martens' equation 2, with lengths in radii: mu = `wave_number`, rho = `distance`, and
    `cosines` of the angles between the points and the source.
    """
    # Terms fall as distance^-order: as many orders as reach the tolerance.
    near_orders = math.ceil(math.log(_SERIES_TOLERANCE) / -math.log(distance))
    num_orders = math.ceil(float(wave_number.max())) + min(
        max(_MIN_EXTRA_ORDERS, near_orders), _MAX_EXTRA_ORDERS
    )
    orders = np.arange(num_orders)[:, None]
    mu = wave_number[1:]  # without 0 Hz, where the pressure is that without a sphere
    with np.errstate(invalid="ignore", over="ignore"):
        hankel = spherical_jn(orders, mu * distance) + 1j * spherical_yn(orders, mu * distance)
        ratio = hankel / _hankel_derivatives(num_orders, tuple(mu.tolist()))
    # Where both overflow, the term is negligible.
    ratio = np.where(np.isfinite(ratio), ratio, 0.0)
    series = (_legendre(num_orders, cosines) * (2 * np.arange(num_orders) + 1)) @ ratio
    pressure = -(distance / mu) * np.exp(-1j * mu * distance) * series
    # The paper's time factor is e^(-i w t), that of FFTs e^(i w t): hence the conjugate.
    return np.concatenate([np.ones((len(cosines), 1)), pressure.conj()], axis=1)


@lru_cache(maxsize=8)
def _hankel_derivatives(
    num_orders: int, mu: tuple[float, ...]
) -> Complex128[np.ndarray, "orders F"]:
    """Compute derivatives of spherical Hankel functions on the sphere, equal for all directions."""
    orders = np.arange(num_orders)[:, None]
    return spherical_jn(orders, np.array(mu), derivative=True) + 1j * spherical_yn(
        orders, np.array(mu), derivative=True
    )


def _legendre(
    num_orders: int, cosines: Float64[np.ndarray, " ears"]
) -> Float64[np.ndarray, "ears orders"]:
    """Compute the Legendre polynomials of all orders below `num_orders`."""
    # Bonnet's recursion: n P_n = (2 n - 1) x P_(n-1) - (n - 1) P_(n-2).
    values = np.ones((num_orders, len(cosines)))
    values[1] = cosines
    for order in range(2, num_orders):
        values[order] = (
            (2 * order - 1) * cosines * values[order - 1] - (order - 1) * values[order - 2]
        ) / order
    return values.T
