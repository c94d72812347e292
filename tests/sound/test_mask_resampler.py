"""Masks keep their hertz and seconds at any rate, and sound its length, channels and phase."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avsep.sound.front_end import FrontEndSettings, StftSettings
from avsep.sound.resampling import MaskResampler, scale_stft

FRONT_END = FrontEndSettings()
NUM_BINS, NUM_FRAMES = 512, 256
RATES_HZ = [8000, 11025, 16000, 22050, 44100, 48000, 96000]


def tone(frequency_hz: float, rate_hz: int, seconds: float = 2.0) -> torch.Tensor:
    time = torch.arange(int(seconds * rate_hz), dtype=torch.float64) / rate_hz
    return (0.5 * torch.sin(2 * torch.pi * frequency_hz * time)).float()


def level(sound: torch.Tensor) -> float:
    return float(sound.square().mean().sqrt())


@given(rate_hz=st.integers(2000, 384_000))
def test_window_and_hop_last_as_long_at_every_rate(rate_hz: int) -> None:
    scaled = scale_stft(StftSettings(), 11025, rate_hz)
    StftSettings.model_validate(scaled.model_dump())  # as if given by hand: even, invertible
    assert abs(scaled.hop_samples / rate_hz - 256 / 11025) <= 0.5 / rate_hz
    assert abs(scaled.fft_samples / rate_hz - 1022 / 11025) <= 1.01 / rate_hz


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("num_samples", [1, 1000, 30_001])
def test_taking_everything_gives_the_sound_back(rate_hz: int, num_samples: int) -> None:
    generator = torch.Generator().manual_seed(num_samples)
    sound = torch.rand((2, num_samples), generator=generator) - 0.5
    parts = MaskResampler(FRONT_END, rate_hz).apply(sound, torch.ones((3, 1, NUM_BINS, NUM_FRAMES)))
    assert parts.shape == (3, 2, num_samples)
    # The inverse of the transform is exact but for float32.
    torch.testing.assert_close(parts, sound.expand(3, -1, -1), atol=2e-6, rtol=0)


def test_at_the_models_rate_nothing_is_interpolated() -> None:
    ratio = torch.rand((1, NUM_BINS, NUM_FRAMES))
    band = MaskResampler(FRONT_END, 11025)
    assert torch.equal(band.resample(ratio, NUM_FRAMES), ratio)
    assert band.stft == FRONT_END.stft and band.window_samples == FRONT_END.window_samples


@pytest.mark.parametrize("rate_hz", [rate for rate in RATES_HZ if rate != 11025])
def test_frequencies_count_in_hertz(rate_hz: int) -> None:
    hertz = torch.arange(NUM_BINS) * 11025 / 1022
    ratio = (hertz < 1000).float()[None, None, :, None].expand(1, 1, -1, NUM_FRAMES)
    band = MaskResampler(FRONT_END, rate_hz)
    for frequency_hz, share in [(300, 1), (800, 1), (1300, 0), (3000, 0)]:
        sound = tone(frequency_hz, rate_hz)
        # The edge lies 18 bins from either tone. What leaks that far, mostly where the tone begins
        # and ends at once, is below a hundredth.
        gain = level(band.apply(sound[None], ratio)) / level(sound)
        assert gain == pytest.approx(share, abs=0.01), frequency_hz


@pytest.mark.parametrize("rate_hz", [8000, 48000])
def test_frames_count_in_seconds(rate_hz: int) -> None:
    seconds = torch.arange(NUM_FRAMES) * 256 / 11025
    ratio = (seconds < 1).float().expand(1, 1, NUM_BINS, -1)
    sound = tone(440, rate_hz)
    part = MaskResampler(FRONT_END, rate_hz).apply(sound[None], ratio)[0, 0]
    # A window is 93 ms long: what changes within one spreads over it.
    edge, spread = rate_hz, int(0.1 * rate_hz)
    assert level(part[: edge - spread]) == pytest.approx(level(sound), rel=1e-3)
    assert level(part[edge + spread :]) < 1e-3


def test_above_what_the_model_hears_its_highest_heard_row_holds() -> None:
    hertz = torch.arange(NUM_BINS) * 11025 / 1022
    # Rows near the end of the model's band, where the resampler left nothing, say something wild.
    ratio = torch.where(hertz < 4990, 0.25, 3.0)[None, :, None].expand(1, -1, NUM_FRAMES)
    carried = MaskResampler(FRONT_END, 44100).resample(ratio, 50)
    assert carried.shape == (1, 2045, 50)
    torch.testing.assert_close(carried, torch.full_like(carried, 0.25))


def test_between_bins_and_frames_it_is_linear() -> None:
    ramp = torch.linspace(0, 1, NUM_BINS)[:, None] + torch.linspace(0, 1, NUM_FRAMES)
    band = MaskResampler(
        FRONT_END, 22050
    )  # twice the rate: bins of equal width, frames of equal time
    carried = band.resample(ramp, NUM_FRAMES)
    torch.testing.assert_close(carried[:400], ramp[:400], atol=1e-5, rtol=0)
    odd = MaskResampler(FRONT_END, 48000).resample(ramp, 100)
    assert (odd.diff(dim=0) >= -1e-6).all() and (odd.diff(dim=1) > 0).all()


def test_every_channel_keeps_its_own_phase() -> None:
    generator = torch.Generator().manual_seed(0)
    sound = torch.rand((2, 20_000), generator=generator) - 0.5
    ratio = torch.rand((2, 1, NUM_BINS, NUM_FRAMES), generator=generator)
    band = MaskResampler(FRONT_END, 32000)
    both = band.apply(sound, ratio)
    for channel in range(2):
        alone = band.apply(sound[channel : channel + 1], ratio)
        torch.testing.assert_close(both[:, channel : channel + 1], alone)


def test_every_ear_is_taken_by_its_own_ratio() -> None:
    sound = torch.rand((2, 20_000), generator=torch.Generator().manual_seed(0)) - 0.5
    left_alone = torch.tensor([1.0, 0.0])[None, :, None, None].expand(1, 2, NUM_BINS, NUM_FRAMES)
    part = MaskResampler(FRONT_END, 32000).apply(sound, left_alone)[0]
    torch.testing.assert_close(part[0], sound[0], atol=2e-6, rtol=0)
    assert not part[1].any()


def test_a_window_is_long_enough_for_the_models() -> None:
    for rate_hz in RATES_HZ:
        seconds = MaskResampler(FRONT_END, rate_hz).window_samples / rate_hz
        assert 65535 / 11025 <= seconds < 65535 / 11025 + 1.01 / rate_hz
    assert np.isclose(MaskResampler(FRONT_END, 44100).window_samples, 4 * 65535)
