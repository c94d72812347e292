"""Silence guidance: silent cells take the mixture's value, in the estimate or in the noisy x."""

import pytest
import torch

from avsep.diffusion.paths import DiffusionPath, FlowPath, ProbabilityPath
from avsep.diffusion.sampling import clamp_silence, renoise_silence

MIXTURE = torch.tensor([[0.0, 0.001, 0.002, 0.5]])
THRESHOLD = 0.002


def test_the_estimate_is_the_clean_mixture_where_that_is_silent() -> None:
    estimate = torch.tensor([[[0.3, -0.4, 0.3, 1.2]], [[0.1, 0.2, -0.3, 0.4]]])
    expected = torch.tensor([[[0.0, 0.001, 0.3, 1.0]], [[0.0, 0.001, 0.0, 0.4]]])
    assert torch.equal(clamp_silence(estimate, MIXTURE[None], THRESHOLD), expected)


def test_no_threshold_replaces_nothing() -> None:
    estimate = torch.tensor([[0.3, 0.4, 0.5, 0.6]])
    assert torch.equal(clamp_silence(estimate, MIXTURE, 0.0), estimate)
    noisy = torch.tensor([[-3.0, 4.0, 5.0, 6.0]])
    assert torch.equal(
        renoise_silence(noisy, MIXTURE, 0.0, FlowPath(), 0.5, torch.ones(1, 4)), noisy
    )


@pytest.mark.parametrize(("path", "time"), [(DiffusionPath(), 500.0), (FlowPath(), 0.3)])
def test_equation_5_puts_the_noised_mixture_where_it_is_silent(
    path: ProbabilityPath, time: float
) -> None:
    noisy, noise = torch.full((2, 1, 4), 7.0), torch.tensor([[[1.0, -2, 3, 4]], [[5, 6, 7, 8]]])
    result = renoise_silence(noisy, MIXTURE[None], THRESHOLD, path, time, noise)
    assert (result[..., 2:] == 7).all()
    signal, noise_scale = path.weights(time)
    expected = signal * MIXTURE[:, :2] + noise_scale * noise[..., :2]
    torch.testing.assert_close(result[..., :2], expected)


def test_equation_5_at_the_end_of_diffusion_is_the_mixture_itself() -> None:
    noisy, noise = torch.full((1, 4), 7.0), torch.ones(1, 4)
    result = renoise_silence(noisy, MIXTURE, THRESHOLD, DiffusionPath(), -1.0, noise)
    assert torch.equal(result[:, :2], MIXTURE[:, :2])
