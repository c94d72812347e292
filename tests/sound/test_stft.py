"""The spectrogram: golden values, there and back, gradients, batches."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from avsep.errors import InputError
from avsep.sound.front_end import PAPER_STFT, StftSettings, istft, stft, unit_phase


def golden_signal() -> torch.Tensor:
    n = np.arange(65535)
    return torch.from_numpy((0.5 * np.sin(2 * np.pi * 440 * n / 11025)).astype(np.float32))


@pytest.mark.parametrize(("padding", "key"), [("zeros", "constant"), ("reflect", "reflect")])
def test_golden_values(golden: dict, padding: str, key: str) -> None:
    values = golden["stft"][key]
    magnitude = stft(golden_signal(), StftSettings(padding=padding)).abs()
    assert list(magnitude.shape) == values["shape"]
    # float32 transforms of different libraries agree to about 1e-6 of the value.
    assert magnitude.double().sum().item() == pytest.approx(values["sum"], rel=2e-6)
    for name in ["A[41,128]", "A[40,128]", "A[41,0]", "A[41,255]"]:
        if name in values:
            row, column = (int(part) for part in name[2:-1].split(","))
            assert magnitude[row, column].item() == pytest.approx(values[name], rel=2e-6)


def test_golden_lengths(golden: dict) -> None:
    for name, num_frames in golden["stft"]["frames"].items():
        num_samples, hop_samples = (int(part) for part in name.split("/"))
        settings = StftSettings(hop_samples=hop_samples)
        assert settings.num_frames(num_samples) == num_frames
        assert stft(torch.zeros(num_samples), settings).shape == (512, num_frames)
    assert istft(stft(golden_signal())).shape[-1] == golden["stft"]["istft_len"]


@settings(max_examples=25, deadline=None)
@given(num_samples=st.integers(600, 9000), seed=st.integers(0, 99), reflect=st.booleans())
def test_there_and_back(num_samples: int, seed: int, reflect: bool) -> None:
    chosen = StftSettings(padding="reflect" if reflect else "zeros")
    generator = torch.Generator().manual_seed(seed)
    waveform = torch.randn(2, num_samples, generator=generator, dtype=torch.float64)
    back = istft(stft(waveform, chosen), chosen, num_samples=num_samples)
    # Exact in the mathematics; the last samples are divided by a small part of the window.
    assert torch.allclose(back, waveform, atol=1e-11)


def test_there_and_back_of_the_field_window() -> None:
    waveform = golden_signal()
    error = (istft(stft(waveform)) - waveform[:65280]).abs().max().item()
    assert error < 1e-6  # float32: REFERENCE measured 1.5e-7


def test_against_scipy() -> None:
    waveform = np.random.default_rng(0).standard_normal(4000)
    other = ShortTimeFFT(hann(1022, sym=False), 256, fs=1, fft_mode="onesided", phase_shift=None)
    frames = StftSettings().num_frames(4000)
    expected = other.stft(waveform, p0=0, p1=frames)
    ours = stft(torch.from_numpy(waveform)).numpy()
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), atol=1e-9)


def test_batch_axes_pass_through() -> None:
    waveform = torch.randn(2, 3, 1, 5000)
    spectrum = stft(waveform)
    assert spectrum.shape == (2, 3, 1, 512, 20)
    assert torch.equal(spectrum[1, 2], stft(waveform[1, 2]))
    assert istft(spectrum, num_samples=5000).shape == waveform.shape


def test_gradient_flows_there_and_back() -> None:
    waveform = torch.randn(1, 4096, dtype=torch.float64, requires_grad=True)
    back = istft(stft(waveform), num_samples=4096)
    back.square().sum().backward()
    assert waveform.grad is not None
    assert torch.allclose(waveform.grad, 2 * waveform.detach(), atol=1e-9)


def test_unit_phase() -> None:
    spectrum = torch.tensor([[3 + 4j, 0j, -2j]])
    assert torch.allclose(unit_phase(spectrum), torch.tensor([[0.6 + 0.8j, 1 + 0j, -1j]]))
    assert math.isclose(PAPER_STFT.num_bins, 512)


def test_errors_say_what_is_allowed() -> None:
    with pytest.raises(InputError, match=r"400 samples is too short to reflect: more than 511"):
        stft(torch.zeros(400), StftSettings(padding="reflect"))
    with pytest.raises(
        InputError, match=r"256 frames do not hold 70000 samples: num_samples must be 1 to 65535"
    ):
        istft(stft(torch.zeros(65535)), num_samples=70000)
    with pytest.raises(ValueError, match="at least twice hop_samples"):
        StftSettings(hop_samples=600)
