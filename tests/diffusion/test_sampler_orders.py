"""Samplers on normal data with a known flow: orders of convergence and moments.

Steps are even in each sampler's own variable: the noise level, or for dpm-solver++ the logarithm of
signal to noise, over a stretch that ends before clean data. One more step ends there; its result is
not used.
"""

import math

import pytest
import torch
from torch import Tensor

from avsep.diffusion.paths import DiffusionPath, FlowPath, ProbabilityPath
from avsep.diffusion.sampling import SAMPLERS, StepGuidance
from diffusion.gaussian import ONE, TWO, Normals

ORDERS = {"euler": 1, "ddim": 1, "heun": 2, "midpoint": 2, "dpm-solver++": 2}
# Tolerance of a measured order: 40 and 80 steps are not yet the limit of small steps.
ORDER_TOLERANCE = 0.2
KINDS = [DiffusionPath, FlowPath]


def order(name: str, data: Normals) -> int:
    """Midpoint gains one on a single normal distribution.

    With z the distance from the mean and l the noise level, z = sqrt(q) for q of second degree
    in l, and z' = r z for r = q' / 2q. The third-order term of an error in midpoint's step is
    z''' / 6 - (r'' + 2 r r') z / 8; for q = s² + l² both parts are -l s² / 2 z⁵.
    """
    return 3 if (name, data) == ("midpoint", ONE) else ORDERS[name]


def evenly(kind: type[ProbabilityPath], name: str) -> ProbabilityPath:
    """A path whose times are even in the sampler's variable, then clean data."""

    class Even(kind):
        def times(self, num_steps: int) -> tuple[float, ...]:
            ends = (3.0, 0.1) if kind is DiffusionPath else (0.9, 0.1)  # noise levels
            if name == "dpm-solver++":
                levels = [self.level_of(ratio) for ratio in torch.logspace(0.5, -1, num_steps)]
            else:
                levels = torch.linspace(*ends, num_steps, dtype=torch.float64).tolist()
            return (*(self.time_at(level) for level in levels), super().times(1)[-1])

        def level_of(self, ratio: Tensor) -> float:
            """The noise level of a ratio of spread to signal."""
            if kind is DiffusionPath:
                return float(ratio)
            return float(ratio) / (float(ratio) + 1 - 1e-4)

    return Even()


def end_of_stretch(
    path: ProbabilityPath, name: str, data: Normals, start: Tensor, num_steps: int
) -> Tensor:
    """Return x at the last time before clean data."""
    states = []

    def keep(noisy: Tensor, time: float) -> Tensor:
        states.append(noisy)
        return noisy

    SAMPLERS[name](
        data.denoiser(path),
        start,
        path,
        num_steps + 1,
        noise=torch.tensor,
        guidance=StepGuidance(after_step=keep),
    )
    return states[-2]


@pytest.mark.slow
@pytest.mark.parametrize("data", [ONE, TWO])
@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_errors_fall_as_the_order_says(
    name: str, kind: type[ProbabilityPath], data: Normals
) -> None:
    path, start = evenly(kind, name), torch.linspace(-3, 3, 7, dtype=torch.float64)
    errors = []
    for num_steps in (40, 80):
        times = path.times(num_steps + 1)
        exact = data.flowed(path, start, times[0], times[-2])
        result = end_of_stretch(path, name, data, start, num_steps)
        errors.append(float((result - exact).norm()))
    assert errors[1] > 1e-11, "the errors are rounding, which has no order"
    measured = math.log2(errors[0] / errors[1])
    assert measured == pytest.approx(order(name, data), abs=ORDER_TOLERANCE)


@pytest.mark.parametrize("data", [ONE, TWO])
@pytest.mark.parametrize("name", ["euler", "ddim", "heun", "midpoint"])
def test_errors_of_a_flow_fall_over_the_whole_way(name: str, data: Normals) -> None:
    """Including the last step, at the times of the path itself."""
    path, start = FlowPath(sigma_min=0.0), torch.linspace(-3, 3, 7, dtype=torch.float64)
    exact = data.flowed(path, start, 0.0, 1.0)
    errors = []
    for num_steps in (40, 80):
        result = SAMPLERS[name](data.denoiser(path), start, path, num_steps, noise=torch.tensor)
        errors.append(float((result - exact).norm()))
    measured = math.log2(errors[0] / errors[1])
    assert measured == pytest.approx(order(name, data), abs=ORDER_TOLERANCE)


STOCHASTIC = [("ddpm", 0.0), ("ddim", 1.0), ("ddim", 0.5)]
STOCHASTIC_PATHS = [DiffusionPath("cosine"), FlowPath()]


def moments(path: ProbabilityPath, name: str, eta: float, num_steps: int) -> tuple[float, float]:
    """Return mean and variance of the samples of a sampler on normal data, without randomness.

    The best denoiser is linear, so a sample is a mean and a weighted sum of the noises: those of
    the start and of each step are one, each in an element of its own, and the last has none.
    """
    every = torch.eye(num_steps + 2, dtype=torch.float64)
    result = SAMPLERS[name](
        ONE.denoiser(path), every[0], path, num_steps, noise=lambda step: every[step + 1], eta=eta
    )
    return float(result[-1]), float(((result - result[-1]) ** 2).sum())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "eta"), STOCHASTIC)
@pytest.mark.parametrize("path", STOCHASTIC_PATHS)
def test_the_variance_of_samples_nears_that_of_the_data(
    path: ProbabilityPath, name: str, eta: float
) -> None:
    """From below: each step leaves out the variance of the data given x, in proportion to it."""
    missing = []
    for num_steps in (100, 200):
        mean, variance = moments(path, name, eta, num_steps)
        # Diffusion starts from mean 0, not from the 5e-5 of the data's that its x holds.
        assert mean == pytest.approx(ONE.means[0], abs=1e-4)
        missing.append(1 - variance / ONE.deviation**2)
    assert 0 < missing[1] < 0.1
    assert math.log2(missing[0] / missing[1]) == pytest.approx(1, abs=ORDER_TOLERANCE)


@pytest.mark.parametrize(("name", "eta"), STOCHASTIC)
@pytest.mark.parametrize("path", STOCHASTIC_PATHS)
def test_many_samples_have_that_mean_and_variance(
    path: ProbabilityPath, name: str, eta: float
) -> None:
    """Within five standard errors: of n samples 1 / sqrt(n) and, of the variance, sqrt(2 / n)."""
    num, num_steps = 10_000, 50
    generator = torch.Generator().manual_seed(0)

    def noise(step: int) -> Tensor:
        return torch.randn(num, generator=generator, dtype=torch.float64)

    samples = SAMPLERS[name](ONE.denoiser(path), noise(-1), path, num_steps, noise=noise, eta=eta)
    mean, variance = moments(path, name, eta, num_steps)
    assert float(samples.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / num))
    assert float(samples.var()) == pytest.approx(variance, rel=5 * math.sqrt(2 / num))
