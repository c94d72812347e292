"""Targets: a perfect prediction is converted back into the data at every time."""

import pytest
import torch

from avsep.diffusion.paths import (
    TARGETS,
    DiffusionPath,
    FlowPath,
    ProbabilityPath,
    Target,
    compute_target,
    recover_data,
)

PATHS = [DiffusionPath("sigmoid"), DiffusionPath("cosine"), DiffusionPath("linear"), FlowPath()]


def example(path: ProbabilityPath, way: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    clean, noise = torch.randn(2, 2, 3, 4, generator=generator, dtype=torch.float64)
    noisiest, cleanest = path.times(1)
    time = torch.tensor([noisiest + way * (cleanest - noisiest)] * 2, dtype=torch.float64)
    return clean, noise, time


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("way", [0.0, 0.2, 0.9, 0.999])
def test_the_data_is_recovered_from_a_perfect_prediction(
    path: ProbabilityPath, target: Target, way: float
) -> None:
    if target == "noise" and isinstance(path, FlowPath):
        way = max(way, 1e-4)  # at its start the noise determines no data
    clean, noise, time = example(path, way)
    prediction = compute_target(target, clean, noise, time, path)
    data = recover_data(target, prediction, path.noised(clean, noise, time), time, path)
    # The cosine schedule's signal of 5e-5 takes five digits of the sixteen.
    torch.testing.assert_close(data, clean, atol=1e-10, rtol=0)


def test_the_noise_of_davis_at_its_noisiest_is_undone_in_float32() -> None:
    """The signal is 5.5e-4, so float32's 6e-8 becomes 1e-4 for x of size 1; tolerance ten times."""
    path = DiffusionPath()
    clean, noise, time = (value.float() for value in example(path, 0.0))
    data = recover_data("noise", noise, path.noised(clean, noise, time), time, path)
    torch.testing.assert_close(data, clean, atol=1e-3, rtol=0)


def test_each_target_is_that_of_its_paper() -> None:
    diffusion, flow = DiffusionPath(), FlowPath()
    clean, noise, time = example(diffusion, 0.4)
    assert torch.equal(compute_target("noise", clean, noise, time, diffusion), noise)
    assert torch.equal(compute_target("data", clean, noise, time, diffusion), clean)
    assert torch.equal(compute_target("mask", clean, noise, time, diffusion), clean)
    alpha, sigma = diffusion.weights(float(time[0]))
    v = compute_target("velocity", clean, noise, time, diffusion)
    torch.testing.assert_close(v, alpha * noise - sigma * clean)
    for way in (0.0, 0.4, 1.0):
        velocity = compute_target("velocity", clean, noise, example(flow, way)[2], flow)
        torch.testing.assert_close(velocity, clean - (1 - 1e-4) * noise)


def test_a_wrong_prediction_at_zero_signal_stays_finite() -> None:
    path = FlowPath()
    clean, noise, time = (value.float() for value in example(path, 0.0))
    data = recover_data("noise", noise + 0.1, path.noised(clean, noise, time), time, path)
    assert torch.isfinite(data).all()


@pytest.mark.parametrize("target", TARGETS)
def test_predictions_in_half_precision_keep_the_precision_of_x(target: Target) -> None:
    path = DiffusionPath()
    clean, noise, time = (value.float() for value in example(path, 0.5))
    prediction = compute_target(target, clean, noise, time, path).bfloat16()
    data = recover_data(target, prediction, path.noised(clean, noise, time), time, path)
    # bfloat16 rounds to 2 ** -9; the sigmoid schedule's signal half-way is 0.55.
    torch.testing.assert_close(data.float(), clean, atol=0.03, rtol=0.01)
