"""Heads: a sphere against theory and a second recursion, a measured head against itself."""

import math

import numpy as np
import pytest
from scipy.signal import butter, fftconvolve, sosfiltfilt

from avsep.evaluation.metrics.binaural_errors import time_difference_us
from avsep.sound import hrtf
from avsep.sound.hrtf import (
    LEAD_SECONDS,
    SPEED_OF_SOUND,
    Direction,
    Head,
    MeasuredHead,
    SphericalHead,
    spatialise,
)
from sound.sphere_reference import pressure

RATE_HZ = 44100
ANTIPODAL = SphericalHead(0.0875, 90.0)  # as the formulas of the ITD have it


def level_difference_db(head: Head, direction: Direction) -> float:
    left, right = np.square(head.responses(direction, RATE_HZ)).sum(axis=1)
    return 10 * math.log10(left / right)


def spectra(head: Head, direction: Direction, num_samples: int = 4096) -> np.ndarray:
    """Both ears, one value a bin, with the middle of the head at time 0."""
    spectrum = np.fft.rfft(head.responses(direction, RATE_HZ), num_samples)
    hz = np.fft.rfftfreq(num_samples, 1 / RATE_HZ)
    return spectrum * np.exp(2j * np.pi * hz * LEAD_SECONDS)


def measured_delay_us(azimuth_degrees: float, low_hz: float, high_hz: float, whiten: bool) -> float:
    """Measure the delay of the right ear in a band of noise from far away."""
    noise = np.random.default_rng(0).standard_normal(2 * RATE_HZ)
    band = butter(4, (low_hz, high_hz), "band", fs=RATE_HZ, output="sos")
    waveform = sosfiltfilt(band, noise).astype(np.float32)
    responses = ANTIPODAL.responses(Direction(azimuth_degrees, 0.0, 50.0), RATE_HZ)
    ears = spatialise(waveform, responses).astype(np.float64)
    return float(time_difference_us(ears, RATE_HZ, whiten=whiten))


@pytest.mark.parametrize("azimuth_degrees", [-80, -45, -10, 5, 30, 60, 85])
def test_delay_between_the_ears(azimuth_degrees: float) -> None:
    """Low: 3 a/c sin(theta), Kuhn, JASA 62(1), 1977. High: a/c (theta + sin(theta)), Woodworth."""
    theta, around_us = math.radians(azimuth_degrees), 1e6 * ANTIPODAL.radius_metres / SPEED_OF_SOUND
    low_us = measured_delay_us(azimuth_degrees, 50, 200, whiten=False)
    assert low_us == pytest.approx(-3 * around_us * math.sin(theta), rel=0.03)
    high_us = measured_delay_us(azimuth_degrees, 8000, 16000, whiten=False)
    assert high_us == pytest.approx(-around_us * (theta + math.sin(theta)), rel=0.05)
    whole_us = measured_delay_us(azimuth_degrees, 100, 18000, whiten=True)
    assert whole_us == pytest.approx(high_us, rel=0.05)


@pytest.mark.parametrize("distance_metres", [0.11, 0.3, 2.0, 20.0])
@pytest.mark.parametrize(("azimuth_degrees", "elevation_degrees"), [(0, 0), (70, 0), (-120, 35)])
def test_the_sphere_is_that_of_the_published_recursion(
    azimuth_degrees: float, elevation_degrees: float, distance_metres: float
) -> None:
    head = SphericalHead()
    direction = Direction(azimuth_degrees, elevation_degrees, distance_metres)
    responses = head.responses(direction, RATE_HZ)
    hz = np.fft.rfftfreq(responses.shape[1], 1 / RATE_HZ)
    spectra_of_ears = np.fft.rfft(responses) * np.exp(2j * np.pi * hz * LEAD_SECONDS)
    for side, ear in zip((-1, 1), spectra_of_ears, strict=True):
        at = math.radians(head.ear_degrees)
        cosine = float(direction.unit @ [side * math.sin(at), math.cos(at), 0.0])
        angle = math.degrees(math.acos(cosine))
        for index in (1, 4, 20, 100):
            expected = pressure(head.radius_metres, distance_metres, angle, float(hz[index]))
            assert ear[index] == pytest.approx(expected.conjugate(), abs=1e-6)


@pytest.mark.parametrize("distance", [1.2, 1.5, 3.0, 15.0, 200.0])
def test_more_orders_change_nothing(distance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wave_number, cosines = np.linspace(0, 40, 120), np.linspace(-1, 1, 9)
    computed = hrtf._sphere_pressure(wave_number, distance, cosines)
    monkeypatch.setattr(hrtf, "_MIN_EXTRA_ORDERS", 128)
    np.testing.assert_allclose(
        hrtf._sphere_pressure(wave_number, distance, cosines), computed, rtol=0, atol=1e-6
    )


def test_too_few_orders_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    wave_number, cosines = np.linspace(0, 40, 120), np.linspace(-1, 1, 9)
    computed = hrtf._sphere_pressure(wave_number, 15.0, cosines)
    monkeypatch.setattr(hrtf, "_MIN_EXTRA_ORDERS", 0)
    monkeypatch.setattr(hrtf, "_SERIES_TOLERANCE", 0.5)
    assert np.abs(hrtf._sphere_pressure(wave_number, 15.0, cosines) - computed).max() > 1e-3


@pytest.mark.parametrize("elevation_degrees", [-30, 0, 50])
@pytest.mark.parametrize("azimuth_degrees", [3, 40, 90, 150])
def test_a_mirrored_source_exchanges_the_ears(
    azimuth_degrees: float, elevation_degrees: float
) -> None:
    right, left = (
        SphericalHead().responses(Direction(side * azimuth_degrees, elevation_degrees), RATE_HZ)
        for side in (1, -1)
    )
    assert np.array_equal(right, left[::-1])
    assert np.square(right[1]).sum() > np.square(right[0]).sum()  # the near ear hears louder


def test_ahead_both_ears_hear_the_same() -> None:
    for elevation_degrees in (-40, 0, 60):
        left, right = SphericalHead().responses(Direction(0, elevation_degrees), RATE_HZ)
        assert np.array_equal(left, right)


def test_elevation_makes_the_delay_shorter() -> None:
    """The cone of confusion: a sphere's response depends on the angle to the ears' axis only."""
    up = ANTIPODAL.responses(Direction(90, 60), RATE_HZ)
    level = ANTIPODAL.responses(Direction(30, 0), RATE_HZ)
    np.testing.assert_allclose(up, level, atol=1e-12)


def test_near_sources_differ_more_in_level() -> None:
    differences_db = [
        abs(level_difference_db(SphericalHead(), Direction(60, 0, d))) for d in (0.15, 0.5, 3)
    ]
    assert differences_db[0] > differences_db[1] + 3 > differences_db[2] + 3


def test_low_sound_is_as_loud_as_without_a_head() -> None:
    """And not late: the delay is that of the middle of the head, LEAD_SECONDS."""
    for azimuth_degrees in (0, 45, -100):
        low = spectra(SphericalHead(), Direction(azimuth_degrees, 0, 50.0))[:, 0]
        np.testing.assert_allclose(low, 1.0, atol=1e-6)
    ahead = spectra(SphericalHead(), Direction(0, 0, 50.0))[:, :16]
    np.testing.assert_allclose(np.abs(ahead), 1.0, atol=0.02)


def test_responses_begin_and_end_softly() -> None:
    """The response fits inside, so that nothing wraps around from the end to the beginning."""
    for head in (SphericalHead(0.1), SphericalHead(0.075)):
        for azimuth_degrees in range(0, 181, 20):
            magnitude = np.abs(head.responses(Direction(azimuth_degrees, 0, 1.5), RATE_HZ))
            edges = np.concatenate([magnitude[:, :8], magnitude[:, -40:]], axis=1)
            assert edges.max() < 0.02 * magnitude.max()


def test_spatialise_is_a_convolution() -> None:
    waveform = np.random.default_rng(1).standard_normal(3000).astype(np.float32)
    responses = np.random.default_rng(2).standard_normal((2, 270))
    expected = [fftconvolve(waveform.astype(np.float64), ear)[:3000] for ear in responses]
    ears = spatialise(waveform, responses)
    assert ears.dtype == np.float32
    np.testing.assert_allclose(ears, expected, atol=1e-4)


def test_late_responses_never_come_round_to_the_beginning() -> None:
    click = np.zeros(100, np.float32)
    click[-1] = 1.0
    responses = np.zeros((2, 5000))
    responses[:, [1, 4999]] = 1.0
    np.testing.assert_allclose(spatialise(click, responses), 0.0, atol=1e-6)


@pytest.mark.parametrize("place", [(1, 2, 3), (-0.5, -0.1, 0), (0, 0, -2), (-3, 4, -5)])
def test_a_place_and_its_direction(place: tuple[float, float, float]) -> None:
    direction = Direction.towards(np.array(place, np.float64))
    np.testing.assert_allclose(direction.unit * direction.distance_metres, place, atol=1e-12)


def measured(sample_rate_hz: int = 48000) -> MeasuredHead:
    """Make three directions with distinct responses: clicks that roll off above 8 kHz."""
    click = np.zeros((3, 2, 256))
    click[:, :, 40] = [[1.0, 0.5], [2.0, 2.0], [0.25, 1.0]]
    click[:, 0, 70] = -0.3
    soft = butter(2, 8000, fs=sample_rate_hz, output="sos")
    return MeasuredHead(
        "three",
        sosfiltfilt(soft, click, axis=-1),
        np.array([[-60.0, 0.0], [0.0, 45.0], [170.0, -10.0]]),
        sample_rate_hz,
    )


@pytest.mark.parametrize(
    ("direction", "index"),
    [
        (Direction(-30, 0), 0),
        (Direction(-90, 20), 0),
        (Direction(5, 80), 1),
        (Direction(-170, 0), 2),  # across the back, where azimuths begin anew
    ],
)
def test_the_nearest_measured_direction_is_taken(direction: Direction, index: int) -> None:
    head = measured()
    assert np.array_equal(head.responses(direction, 48000), head.impulse_responses[index])


@pytest.mark.parametrize("rate_hz", [32000, 44100, 96000])
def test_a_measured_head_at_another_rate_is_the_same_filter(rate_hz: int) -> None:
    head = measured()
    hz = np.linspace(0, 0.9 * min(rate_hz, 48000) / 2, 200)

    def spectrum_at(rate: int) -> np.ndarray:
        ears = head.responses(Direction(-60, 0), rate)
        times = np.arange(ears.shape[1]) / rate
        return ears @ np.exp(-2j * np.pi * times[:, None] * hz)

    np.testing.assert_allclose(spectrum_at(rate_hz), spectrum_at(48000), atol=2e-3)


def test_heads_say_what_they_are() -> None:
    assert isinstance(SphericalHead(), Head) and isinstance(measured(), Head)
    assert repr(measured()) == "MeasuredHead('three')"
    with pytest.raises(AssertionError, match="outside the head"):
        SphericalHead().responses(Direction(0, 0, 0.05), RATE_HZ)
