"""Spatial cues: equation 4, its signed form, levels, silence, and mirrored sources."""

import math

import pytest
import torch

from avsep.models.binaural import NUM_MAPS, level_difference, phase_difference, spatial_maps
from avsep.sound.front_end import FrontEnd
from avsep.sound.hrtf import Direction, SphericalHead, spatialise


def ears_of(azimuth_degrees: float) -> torch.Tensor:
    """A second of noise from a direction, [1, 2, N]."""
    noise = torch.randn(11025, generator=torch.Generator().manual_seed(0)).numpy()
    responses = SphericalHead().responses(Direction(azimuth_degrees), 11025)
    return torch.from_numpy(spatialise(noise, responses))[None]


def test_equation_4_by_hand() -> None:
    left, right = torch.tensor(0.9), torch.tensor(-0.4)
    phase = torch.polar(torch.ones(2, 1, 1), torch.stack([left, right])[:, None, None])
    cosine, sine = phase_difference(phase)
    assert float(cosine) == pytest.approx(math.cos(1.3), abs=1e-6)
    assert float(sine) == pytest.approx(math.sin(1.3), abs=1e-6)


def test_silence_has_no_difference() -> None:
    magnitude, phase = FrontEnd().spectrogram(torch.zeros(1, 2, 4000))
    cosine, sine, level = spatial_maps("signed", magnitude, phase)[0]
    # By the equation cos(0 - 0) is one; the released code says zero.
    assert (cosine == 1).all() and not sine.any() and not level.any()


def test_a_louder_left_ear_is_a_positive_level() -> None:
    magnitude = torch.tensor([2.0, 0.5])[:, None, None].expand(2, 3, 4)
    assert level_difference(magnitude).mean() == pytest.approx(math.log(4), abs=1e-3)
    far = torch.tensor([1e3, 0.0])[:, None, None]
    assert float(level_difference(far)) == 3


@pytest.mark.parametrize("kind", ["none", "paper", "signed"])
def test_how_many_maps(kind: str) -> None:
    magnitude, phase = FrontEnd().spectrogram(ears_of(30))
    maps = spatial_maps(kind, magnitude, phase)  # type: ignore[arg-type]
    assert maps.shape[1] == NUM_MAPS[kind] and maps.shape[2:] == magnitude.shape[2:]


def test_the_cosine_is_blind_to_sides_and_signed_maps_are_not() -> None:
    """Sources mirrored about the midline: one of equation 4's maps for both of them."""
    front_end = FrontEnd()
    right, left = (
        spatial_maps("signed", *front_end.spectrogram(ears_of(azimuth))) for azimuth in (30, -30)
    )
    torch.testing.assert_close(right[:, 0], left[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(right[:, 1:], -left[:, 1:], atol=1e-3, rtol=0)
    # At 500 Hz the right ear hears 0.4 ms earlier: more than a radian, left minus right below zero.
    rows = slice(40, 52)
    assert right[0, 1, rows].mean() < -0.5 and left[0, 1, rows].mean() > 0.5
    assert right[0, 2, rows].mean() < 0 < left[0, 2, rows].mean()
