"""Masks, network inputs and input level: definitions, bounds and silence."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import (
    binary_mask,
    compress,
    expand,
    input_gain,
    log1p_input,
    log_input,
    loss_weight,
    ratio_mask,
)


def test_ratio_mask_is_the_share_held_at_five() -> None:
    mixture = torch.tensor([[2.0, 1.0, 0.0, 0.0]])
    source = torch.tensor([[1.0, 7.0, 0.0, 3.0]])
    assert ratio_mask(source, mixture).tolist() == [[0.5, 5.0, 0.0, 5.0]]
    assert ratio_mask(source, mixture, maximum=1).tolist() == [[0.5, 1.0, 0.0, 1.0]]


@settings(max_examples=30, deadline=None)
@given(num_sources=st.integers(1, 4), seed=st.integers(0, 1000))
def test_ratio_masks_of_sources_in_phase_sum_to_one(num_sources: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    sources = torch.rand(num_sources, 8, 5, generator=generator, dtype=torch.float64) + 1e-3
    masks = ratio_mask(sources, sources.sum(0, keepdim=True))
    assert torch.allclose(masks.sum(0), torch.ones(8, 5, dtype=torch.float64), atol=1e-6)


def test_binary_mask_is_more_than_half() -> None:
    mixture = torch.tensor([[2.0, 2.0, 0.0]])
    assert binary_mask(torch.tensor([[1.0, 1.01, 0.0]]), mixture).tolist() == [[0.0, 1.0, 0.0]]


def test_inputs_and_weight() -> None:
    magnitude = torch.tensor([[0.0, 1.0, 1e9]])
    assert log_input(magnitude)[0, 0].item() == pytest.approx(math.log(1e-10))
    assert log1p_input(magnitude)[0].tolist() == pytest.approx([0, math.log(2), math.log1p(1e9)])
    assert loss_weight(magnitude)[0].tolist() == pytest.approx([1e-3, math.log(2), 10])


def test_masks_let_gradients_through() -> None:
    source = torch.rand(3, 4, requires_grad=True)
    ratio_mask(source, torch.ones(3, 4)).sum().backward()
    assert source.grad is not None and (source.grad == source.grad[0, 0]).all()


@settings(max_examples=10, deadline=None)
@given(num_samples=st.integers(700, 6000))
def test_front_end_gives_the_waveform_back(num_samples: int) -> None:
    front_end = FrontEnd(FrontEndSettings(window_samples=num_samples))
    waveform = torch.randn(1, 2, num_samples, dtype=torch.float64)
    magnitude, phase = front_end.spectrogram(waveform)
    back = front_end.waveform(magnitude, phase, num_samples)
    assert torch.allclose(back, waveform, atol=1e-10)
    assert front_end.to_bins(front_end.to_rows(magnitude)).shape == magnitude.shape


def test_compressed_magnitudes_come_back() -> None:
    """REFERENCE: 1 is reached at a magnitude of 784.77, a full-scale sine (255.5) gives 0.832."""
    magnitude = torch.tensor([[0.0, 1e-3, 1.0, 255.5, 784.77, 2000.0]])
    compressed = compress(magnitude)
    assert compressed[0, [0, 3, 4, 5]].tolist() == pytest.approx([0, 0.83207, 1, 1], abs=1e-5)
    torch.testing.assert_close(expand(compressed)[0, :5], magnitude[0, :5], rtol=1e-4, atol=1e-6)
    assert torch.equal(expand(-compressed), expand(compressed))  # a sampler's overshoot below 0
    assert torch.isfinite(expand(torch.full((1, 1, 1), 1e3)).square())  # an untrained network's


def mixtures(rms: float) -> torch.Tensor:
    """One mixture of two channels, the left one twice as loud, of an RMS over both."""
    generator = torch.Generator().manual_seed(0)
    waveform = torch.randn(1, 2, 4000, generator=generator) * torch.tensor([2.0, 1.0])[:, None]
    return waveform * (rms / waveform.square().mean().sqrt())


def test_the_gain_brings_every_mixture_to_one_level() -> None:
    batch = torch.cat([mixtures(0.5), mixtures(2e-3), mixtures(2e-5)])
    gain = input_gain(batch, 0.1)
    assert gain.shape == (3, 1)
    levels = (batch * gain[..., None]).square().mean((1, 2)).sqrt()
    torch.testing.assert_close(levels, torch.full((3,), 0.1))
    assert input_gain(batch, None).tolist() == [[1.0]] * 3


def test_silence_is_not_amplified_beyond_the_floor() -> None:
    """At 1e-5, a third of a 16-bit step, the gain stays what it is there, and finite."""
    at_floor = input_gain(mixtures(1e-5), 0.1)
    assert at_floor.item() == pytest.approx(0.1 / 1e-5, rel=1e-5)
    # Above the floor the gain still grows as the level falls.
    assert input_gain(mixtures(1.1e-5), 0.1).item() == pytest.approx(0.1 / 1.1e-5, rel=1e-5)
    for waveform in (mixtures(0.9e-5), mixtures(1e-7), torch.zeros(1, 2, 4000)):
        assert input_gain(waveform, 0.1).item() == pytest.approx(1e4, rel=1e-6)
