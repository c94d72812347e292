"""Properties of transforms of any sound: linearity, energy, shifts, axes, bounds, resampling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.errors import InputError
from avsep.sound.front_end import (
    FrontEnd,
    FrontEndSettings,
    StftSettings,
    istft,
    linear_axis_grid,
    log_axis_grid,
    stft,
    to_linear_frequency,
    to_log_frequency,
    unit_phase,
)
from avsep.sound.magnitudes import binary_mask, ratio_mask
from avsep.sound.resampling import resample

SMALL = StftSettings(fft_samples=64, hop_samples=16)
quick = settings(max_examples=20, deadline=None)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@quick
@given(a=st.floats(-10, 10), b=st.floats(-10, 10), num_samples=st.integers(1, 500))
def test_spectrograms_are_linear(a: float, b: float, num_samples: int) -> None:
    x, y = noise(2, num_samples, seed=num_samples)
    spectrum = stft(a * x + b * y, SMALL)
    assert torch.allclose(spectrum, a * stft(x, SMALL) + b * stft(y, SMALL), atol=1e-10)


@quick
@given(num_samples=st.integers(64, 600))
def test_each_frame_has_the_energy_of_its_windowed_samples(num_samples: int) -> None:
    x = noise(num_samples, seed=num_samples)
    spectrum = stft(x, SMALL)
    window = torch.hann_window(64, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (32, 32))
    windowed = padded.unfold(-1, 64, 16) * window  # T 64
    # Parseval: bins between the edges stand for themselves and their mirror image.
    twice = torch.full((33, 1), 2.0, dtype=torch.float64)
    twice[[0, -1]] = 1.0
    energy = (twice * spectrum.abs().square()).sum(0) / 64
    assert torch.allclose(energy, windowed.square().sum(-1), atol=1e-9)


@quick
@given(num_hops=st.integers(0, 12), num_samples=st.integers(1, 300))
def test_a_delay_of_whole_hops_delays_the_frames(num_hops: int, num_samples: int) -> None:
    x = noise(num_samples, seed=num_samples)
    delayed = torch.nn.functional.pad(x, (16 * num_hops, 64))
    spectrum = stft(delayed, SMALL)[:, num_hops:]
    plain = stft(torch.nn.functional.pad(x, (0, 64)), SMALL)
    # Frames that saw the start of the file see zeros there either way.
    assert torch.allclose(spectrum, plain, atol=1e-12)
    early = stft(delayed, SMALL)[:, : max(0, num_hops - 2)]
    assert not early.any()  # before the sound, two hops of half a window ahead


@quick
@given(num_points=st.integers(2, 600))
def test_both_axes_rise_from_end_to_end(num_points: int) -> None:
    for axis in (log_axis_grid, linear_axis_grid):
        points = axis(num_points)
        assert (points.diff() > 0).all()
        assert points[[0, -1]].tolist() == pytest.approx([-1, 1], abs=1e-12)
    steps = log_axis_grid(num_points).diff()
    assert num_points < 3 or (steps.diff() > 0).all()  # ever coarser towards the top
    # The one axis undoes the other.
    bins = (21 ** ((linear_axis_grid(num_points) + 1) / 2) - 11) / 10
    assert torch.allclose(bins, torch.linspace(-1, 1, num_points, dtype=torch.float64), atol=1e-12)


@quick
@given(seed=st.integers(0, 999), legacy=st.booleans())
def test_axes_neither_invent_nor_sharpen(seed: int, legacy: bool) -> None:
    image = noise(2, 48, 7, seed=seed).abs()
    rows = to_log_frequency(image, 24, legacy_corners=legacy)
    back = to_linear_frequency(rows, 48, legacy_corners=legacy)
    for resampled in (rows, back):
        assert (resampled >= 0).all() and (resampled <= image.amax((-2, -1), keepdim=True)).all()
    double = to_log_frequency(2 * image[:1] + image[1:], 24, legacy_corners=legacy)
    assert torch.allclose(double, 2 * rows[:1] + rows[1:], atol=1e-12)  # linear


@quick
@given(seed=st.integers(0, 999), maximum=st.floats(0.1, 10))
def test_masks_stay_in_bounds(seed: int, maximum: float) -> None:
    source, mixture = noise(2, 9, 5, seed=seed).abs()
    mixture[:2] = 0.0
    ratio = ratio_mask(source, mixture, maximum)
    assert (ratio >= 0).all() and (ratio <= maximum).all()
    assert torch.allclose((ratio * mixture), torch.minimum(source, maximum * mixture), atol=1e-8)
    binary = binary_mask(source, mixture)
    assert set(binary.unique().tolist()) <= {0.0, 1.0} and binary.dtype == source.dtype
    louder = binary_mask(2 * source, mixture)
    assert (louder >= binary).all()


@pytest.mark.parametrize("between_hz", [22050, 44100, 48000, 96000])
def test_up_and_down_again_is_the_sound(between_hz: int) -> None:
    t = np.arange(11025) / 11025
    swell = np.sin(np.pi * t) ** 2  # no edges, which would ring
    sound = (swell * np.sin(2 * np.pi * 3000 * t)).astype(np.float32)[None]
    there = resample(sound, 11025, between_hz)
    assert there.shape == (1, between_hz)
    np.testing.assert_allclose(resample(there, between_hz, 11025), sound, atol=1e-5)


def test_channels_are_resampled_each_by_itself() -> None:
    stereo = noise(2, 4000).numpy().astype(np.float32)
    both = resample(stereo[:, ::2], 44100, 11025)  # a view with gaps
    for channel in (0, 1):
        alone = resample(stereo[channel : channel + 1, ::2].copy(), 44100, 11025)
        assert np.array_equal(both[channel : channel + 1], alone)
    assert resample(np.zeros((2, 0), np.float32), 8000, 44100).shape == (2, 0)


@pytest.mark.parametrize("num_samples", [1, 2, 15, 16, 17, 63, 64, 65])
def test_the_shortest_sounds_come_back(num_samples: int) -> None:
    front_end = FrontEnd(FrontEndSettings(stft=SMALL, window_samples=num_samples, num_rows=16))
    x = noise(3, num_samples)
    magnitude, phase = front_end.spectrogram(x)
    assert torch.allclose(front_end.waveform(magnitude, phase, num_samples), x, atol=1e-10)
    assert front_end.to_bins(front_end.to_rows(magnitude)).shape == magnitude.shape


def test_silence_has_a_phase_and_a_gradient() -> None:
    x = torch.zeros(500, requires_grad=True)
    spectrum = stft(x, SMALL)
    assert torch.equal(unit_phase(spectrum), torch.ones_like(spectrum))
    (spectrum.abs().sum() + unit_phase(spectrum).real.sum()).backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (torch.zeros(0), r"a waveform of 0 samples of torch\.float32 has no spectrogram; at least"),
        (torch.zeros(2, 0), "a waveform of 0 samples"),
        (torch.zeros(900, dtype=torch.float16), r"torch\.float16 .* see waveform\.float\(\)"),
        (torch.zeros(900, dtype=torch.bfloat16), r"torch\.bfloat16 has no spectrogram"),
    ],
)
def test_what_has_no_spectrogram(waveform: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        stft(waveform)


def test_one_frame_needs_a_number_of_samples() -> None:
    spectrum = stft(torch.ones(100))
    with pytest.raises(
        InputError, match="1 frames do not hold 0 samples: num_samples must be 1 to 255"
    ):
        istft(spectrum)
    assert torch.allclose(istft(spectrum, num_samples=100), torch.ones(100), atol=1e-5)
