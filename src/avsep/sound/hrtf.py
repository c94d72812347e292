"""Two ears on a head: what each hears of a sound from a direction, for data with a known truth.

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
# Of every response, before the sound would reach the middle of the head: the nearer ear hears
# earlier than that, and none may hear before the beginning.
LEAD_SECONDS = 1e-3
RESPONSE_SECONDS = 6e-3
# Orders of the series beyond the wave number: these at least, and for sources near the sphere as
# many as leave out less than the share below; beyond the most, numbers do not hold the terms.
_MORE_ORDERS, _MOST_MORE_ORDERS = 24, 128
_LEFT_OUT = 1e-9


@dataclass(frozen=True)
class Direction:
    """Where a sound comes from, seen from the middle of the head."""

    azimuth_degrees: float = 0.0
    elevation_degrees: float = 0.0
    distance_metres: float = 2.0

    @property
    def unit(self) -> Float64[np.ndarray, "3"]:
        """The same as a vector of length one: to the right, ahead, upwards."""
        azimuth = math.radians(self.azimuth_degrees)
        elevation = math.radians(self.elevation_degrees)
        ahead = math.cos(elevation)
        return np.array([math.sin(azimuth) * ahead, math.cos(azimuth) * ahead, math.sin(elevation)])

    @classmethod
    def towards(cls, place_metres: Float64[np.ndarray, "3"]) -> Self:
        """The direction of a place: so far to the right, ahead and upwards."""
        right, ahead, up = place_metres.tolist()
        return cls(
            math.degrees(math.atan2(right, ahead)),
            math.degrees(math.atan2(up, math.hypot(right, ahead))),
            math.hypot(right, ahead, up),
        )


@runtime_checkable
class Head(Protocol):
    """Whatever has two ears: a sphere that is reckoned, or a head that was measured."""

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """Impulse responses of both ears; sound reaches the middle of the head at LEAD_SECONDS."""
        ...


@dataclass(frozen=True)
class SphericalHead:
    """A rigid sphere with two points on it for ears.

    The exact solution for a point source (Duda and Martens, "Range dependence of the response of a
    spherical head model", JASA 104(5), 1998, equations 2 to 4): delays, shadow, and the greater
    difference of levels of near sources, from 1.2 radii on. There are no outer ears: a sphere hears
    the angle to each ear and nothing else, so up and down are alike.

    Attributes:
        radius_metres: of the sphere; 0.0875 is about the mean of adults.
        ear_degrees: of each ear from the front.
    """

    radius_metres: float = 0.0875
    ear_degrees: float = 100.0

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """As `Head` has it; the level is that of the same sound at the middle without a head."""
        assert direction.distance_metres > self.radius_metres, "the source is outside the head"
        taps = cast(int, next_fast_len(math.ceil(RESPONSE_SECONDS * sample_rate_hz), real=True))
        omega = 2 * np.pi * np.fft.rfftfreq(taps, 1 / sample_rate_hz)
        ear = math.radians(self.ear_degrees)
        cosines = [
            float(direction.unit @ np.array([side * math.sin(ear), math.cos(ear), 0.0]))
            for side in (-1, 1)
        ]
        spectra = _on_the_sphere(
            omega * self.radius_metres / SPEED_OF_SOUND,
            direction.distance_metres / self.radius_metres,
            np.clip(cosines, -1, 1),
        )
        return np.fft.irfft(spectra * np.exp(-1j * omega * LEAD_SECONDS), taps)


@dataclass(frozen=True, eq=False)
class MeasuredHead:
    """A head as it was measured, in many directions at one distance.

    The nearest measured direction is taken: they must be dense, a few degrees apart.

    Attributes:
        name: of the file.
        measured: of both ears, left first.
        angles_degrees: azimuth, positive to the right, and elevation of each direction.
    """

    name: str
    measured: Float64[np.ndarray, "M 2 taps"]
    angles_degrees: Float64[np.ndarray, "M 2"]
    sample_rate_hz: int

    def __repr__(self) -> str:
        """The head in a word, as clips keep it."""
        return f"MeasuredHead({self.name!r})"

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """As `Head` has it; the delay is the measurement's own."""
        ears = self.measured[int((self._units @ direction.unit).argmax())]
        return np.stack([_resampled(ear, self.sample_rate_hz, sample_rate_hz) for ear in ears])

    @cached_property
    def _units(self) -> Float64[np.ndarray, "M 3"]:
        return np.stack([Direction(*pair).unit for pair in self.angles_degrees.tolist()])


def _resampled(
    response: Float64[np.ndarray, " from_taps"], from_rate_hz: int, to_rate_hz: int
) -> Float64[np.ndarray, " to_taps"]:
    """An impulse response at another rate: the same filter, so the sum of its samples stays."""
    if from_rate_hz == to_rate_hz:
        return response
    padded = np.pad(response, (0, len(response)))[None].astype(np.float32)
    return resample(padded, from_rate_hz, to_rate_hz)[0].astype(np.float64) * (
        from_rate_hz / to_rate_hz
    )


def spatialise(
    waveform: Float32[np.ndarray, " N"], responses: Float64[np.ndarray, "2 taps"]
) -> Float32[np.ndarray, "2 N"]:
    """A sound as both ears hear it, as long as it was."""
    num_samples = len(waveform)
    fft_samples = next_fast_len(num_samples + responses.shape[1] - 1, real=True)
    spectrum = np.fft.rfft(waveform.astype(np.float64), fft_samples)
    ears = np.fft.irfft(spectrum * np.fft.rfft(responses, fft_samples), fft_samples)
    return ears[:, :num_samples].astype(np.float32)


def _on_the_sphere(
    wave_number: Float64[np.ndarray, " F"],
    distance: float,
    cosines: Float64[np.ndarray, " ears"],
) -> Complex128[np.ndarray, "ears F"]:
    """Pressure at points of a rigid sphere over that in its middle without the sphere.

    Lengths are in radii. `cosines` are of the angles between the points and the source.
    """
    near = math.ceil(math.log(_LEFT_OUT) / -math.log(distance))
    num_orders = math.ceil(float(wave_number.max())) + min(
        max(_MORE_ORDERS, near), _MOST_MORE_ORDERS
    )
    orders = np.arange(num_orders)[:, None]
    mu = wave_number[1:]
    with np.errstate(invalid="ignore", over="ignore"):
        far = spherical_jn(orders, mu * distance) + 1j * spherical_yn(orders, mu * distance)
        ratio = far / _slopes(num_orders, tuple(mu.tolist()))
    # Where both are beyond what a number holds, the term is far below all that counts.
    ratio = np.where(np.isfinite(ratio), ratio, 0.0)
    series = (_legendre(num_orders, cosines) * (2 * np.arange(num_orders) + 1)) @ ratio
    heard = -(distance / mu) * np.exp(-1j * mu * distance) * series
    # The source counts time forwards as e^(-i w t), FFTs as e^(i w t).
    return np.concatenate([np.ones((len(cosines), 1)), heard.conj()], axis=1)


@lru_cache(maxsize=8)
def _slopes(num_orders: int, mu: tuple[float, ...]) -> Complex128[np.ndarray, "orders F"]:
    """Derivatives of Hankel's spherical functions on the sphere, which no direction changes."""
    orders = np.arange(num_orders)[:, None]
    return spherical_jn(orders, np.array(mu), derivative=True) + 1j * spherical_yn(
        orders, np.array(mu), derivative=True
    )


def _legendre(
    num_orders: int, cosines: Float64[np.ndarray, " ears"]
) -> Float64[np.ndarray, "ears orders"]:
    """Legendre polynomials of all orders below `num_orders`."""
    found = np.ones((num_orders, len(cosines)))
    found[1] = cosines
    for order in range(2, num_orders):
        found[order] = (
            (2 * order - 1) * cosines * found[order - 1] - (order - 1) * found[order - 2]
        ) / order
    return found.T
