"""Samplers: perfect denoisers, golden coefficients, textbook formulas, order of evaluations."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from avsep.diffusion.paths import (
    DiffusionPath,
    FlowPath,
    ProbabilityPath,
    Target,
    compute_target,
    recover_data,
)
from avsep.diffusion.sampling import SAMPLERS, StepGuidance, count_evaluations
from avsep.errors import InputError

PATHS = [DiffusionPath("sigmoid"), DiffusionPath("cosine"), FlowPath()]
# At the start of a flow the noise determines no data.
PREDICTIONS = [(path, "velocity") for path in PATHS] + [(path, "noise") for path in PATHS[:2]]
STEPS = [1, 2, 15]
SHAPE = (2, 3, 4, 5)


def drawn(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator, dtype=dtype)


def fresh(step: int) -> Tensor:
    return drawn(100 + step)


def bent(noisy: Tensor, time: float) -> Tensor:
    """A denoiser that is neither linear nor correct."""
    return torch.tanh(1.3 * noisy + 0.1) * (0.5 + 0.3 * torch.sin(torch.tensor(0.01 * time)))


def no_noise(step: int) -> Tensor:
    raise AssertionError(f"noise was drawn in step {step}")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("num_steps", STEPS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_perfect_denoiser_gives_the_clean_data(
    path: ProbabilityPath, name: str, num_steps: int, dtype: torch.dtype
) -> None:
    clean = drawn(0, dtype)
    result = SAMPLERS[name](
        lambda noisy, time: clean,
        drawn(1, dtype),
        path,
        num_steps,
        noise=lambda step: fresh(step).to(dtype),
        eta=0.5,
    )
    assert torch.equal(result, clean)


@pytest.mark.parametrize(("path", "target"), PREDICTIONS)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("num_steps", STEPS)
def test_a_perfect_prediction_gives_the_clean_data(
    path: ProbabilityPath, name: str, num_steps: int, target: Target
) -> None:
    """The prediction is the noise or velocity that x contains, for any x of the sampler."""
    clean = drawn(0)

    def denoise(noisy: Tensor, time: float) -> Tensor:
        times = torch.full((len(noisy),), time, dtype=noisy.dtype)
        signal, noise_scale = path.weights(time)
        noise = (noisy - signal * clean) / noise_scale
        prediction = compute_target(target, clean, noise, times, path)
        return recover_data(target, prediction, noisy, times, path)

    # x at the noisiest time contains some of the data.
    times = torch.full((2,), path.times(1)[0], dtype=torch.float64)
    start = path.noised(clean, drawn(1), times)
    result = SAMPLERS[name](denoise, start, path, num_steps, noise=fresh, eta=0.5)
    # The cosine schedule's signal of 5e-5 takes five digits of sixteen, Heun's first step of two
    # another three.
    torch.testing.assert_close(result, clean, atol=1e-7, rtol=0)


def test_ddim_at_eta_1_has_the_coefficients_of_davis(golden: dict) -> None:
    """Each coefficient alone: of x, the estimate and the noise only one is not zero."""
    path, steps = DiffusionPath(), golden["davis"]["ddim_steps_[t,tnext,sqrt_ab_next,c,sigma]_eta1"]
    times = list(path.times(15))

    def after_each_step(start_of: int, data: float, noise: float) -> list[float]:
        """Return the result of each step but the last from one x.

        Args:
            start_of: 0: x is the signal, 1: the noise scale, 2: zero.
        """
        weights = [(*path.weights(time), 0.0)[start_of] for time in times]
        start = torch.tensor(weights, dtype=torch.float64)
        states = []

        def restart(noisy: Tensor, time: float) -> Tensor:
            states.append(float(noisy))
            return start[times.index(time)]

        SAMPLERS["ddim"](
            lambda noisy, time: torch.full_like(noisy, data), start[0], path, 15,
            noise=lambda step: torch.tensor(noise, dtype=torch.float64),
            eta=1.0, guidance=StepGuidance(after_step=restart),
        )  # fmt: skip
        return states[:-1]

    approx = {"rel": 1e-9}
    assert len(steps) == 14
    assert after_each_step(0, 1.0, 0.0) == pytest.approx([row[2] for row in steps], **approx)
    assert after_each_step(1, 0.0, 0.0) == pytest.approx([row[3] for row in steps], **approx)
    assert after_each_step(2, 0.0, 1.0) == pytest.approx([row[4] for row in steps], **approx)


@pytest.mark.parametrize("num_steps", [7, 50])
def test_ddpm_has_the_posterior_of_ho(num_steps: int) -> None:
    """Equations 6 and 7 of Ho et al. 2020, for betas between the visited times."""
    path = DiffusionPath("linear", 50)
    times, noisy = path.times(num_steps), drawn(1)
    bars = [path.weights(time)[0] ** 2 for time in times]
    for step in range(num_steps):
        bar, next_bar = bars[step], bars[step + 1]
        beta = 1 - bar / next_bar
        data = bent(noisy, times[step])
        mean = next_bar**0.5 * beta / (1 - bar) * data
        mean = mean + (bar / next_bar) ** 0.5 * (1 - next_bar) / (1 - bar) * noisy
        deviation = ((1 - next_bar) / (1 - bar) * beta) ** 0.5
        noisy = mean + (deviation * fresh(step) if deviation > 0 else 0)
    result = SAMPLERS["ddpm"](bent, drawn(1), path, num_steps, noise=fresh)
    torch.testing.assert_close(result, noisy, atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("num_steps", STEPS)
def test_ddim_is_ddpm_at_1_and_euler_at_0(path: ProbabilityPath, num_steps: int) -> None:
    result = {
        (name, eta): SAMPLERS[name](bent, drawn(1), path, num_steps, noise=fresh, eta=eta)
        for name, eta in [("ddim", 0.0), ("ddim", 1.0), ("ddpm", 0.0), ("euler", 1.0)]
    }
    assert torch.equal(result["ddim", 1.0], result["ddpm", 0.0])
    assert torch.equal(result["ddim", 0.0], result["euler", 1.0])
    assert num_steps == 1 or not torch.allclose(result["ddim", 0.0], result["ddim", 1.0])


def test_euler_heun_and_midpoint_are_those_of_any_book_on_a_flow() -> None:
    """In the time of the flow, with its velocity."""
    path, num_steps = FlowPath(sigma_min=0.0), 5
    step = 1 / num_steps

    def velocity(x: Tensor, time: float) -> Tensor:
        data = bent(x, time)
        return data - (x - time * data) / (1 - time)

    euler, heun, midpoint = (drawn(1) for _ in range(3))
    for time in path.times(num_steps)[:-1]:
        euler = euler + step * velocity(euler, time)
        first = velocity(heun, time)
        if time + step < 0.999:
            first = (first + velocity(heun + step * first, time + step)) / 2
        heun = heun + step * first
        half = midpoint + step / 2 * velocity(midpoint, time)
        midpoint = midpoint + step * velocity(half, time + step / 2)
    for name, expected in [("euler", euler), ("heun", heun), ("midpoint", midpoint)]:
        result = SAMPLERS[name](bent, drawn(1), path, num_steps, noise=no_noise)
        torch.testing.assert_close(result, expected)


def test_midpoint_of_a_diffusion_evaluates_half_way_in_sigma() -> None:
    path = DiffusionPath()
    times = path.times(6)
    y = drawn(1) / path.weights(999)[0]

    def slope(y: Tensor, sigma: float) -> Tensor:
        time = path.time_at(sigma)
        return (y - bent(path.weights(time)[0] * y, time)) / sigma

    for time, next_time in pairwise(times):
        sigma, step = path.noise_level(time), path.noise_level(next_time) - path.noise_level(time)
        half = y + step / 2 * slope(y, sigma)
        y = y + step * slope(half, sigma + step / 2)
    result = SAMPLERS["midpoint"](bent, drawn(1), path, 6, noise=no_noise)
    # y is about 1800 at the start, which costs this formula three digits.
    torch.testing.assert_close(result, y, atol=1e-9, rtol=0)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("num_steps", STEPS)
def test_evaluations_are_counted_and_ordered(
    path: ProbabilityPath, name: str, num_steps: int
) -> None:
    times_evaluated, after, noises = [], [], []

    def denoise(noisy: Tensor, time: float) -> Tensor:
        times_evaluated.append(time)
        return bent(noisy, time)

    def after_step(noisy: Tensor, time: float) -> Tensor:
        after.append(time)
        return noisy

    def noise(step: int) -> Tensor:
        noises.append(step)
        return fresh(step)

    SAMPLERS[name](
        denoise,
        drawn(1),
        path,
        num_steps,
        noise=noise,
        guidance=StepGuidance(after_step=after_step),
    )
    assert len(times_evaluated) == count_evaluations(name, num_steps)
    assert sorted(times_evaluated, key=path.noise_level, reverse=True) == times_evaluated
    assert tuple(after) == path.times(num_steps)[1:]
    assert noises == (list(range(num_steps - 1)) if name == "ddpm" else [])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_result_of_after_step_is_the_input_of_the_next_step(name: str) -> None:
    states = []

    def denoise(noisy: Tensor, time: float) -> Tensor:
        states.append(noisy)
        return bent(noisy, time)

    replaced = torch.full(SHAPE, 7.0, dtype=torch.float64)
    result = SAMPLERS[name](
        denoise,
        drawn(1),
        FlowPath(),
        2,
        noise=fresh,
        guidance=StepGuidance(after_step=lambda noisy, time: replaced),
    )
    assert result is replaced
    assert states[count_evaluations(name, 2) // 2 if name == "midpoint" else -1] is replaced


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("path", PATHS[1:])
def test_items_of_a_batch_do_not_depend_on_each_other(name: str, path: ProbabilityPath) -> None:
    whole = SAMPLERS[name](bent, drawn(1), path, 4, noise=fresh)
    alone = SAMPLERS[name](bent, drawn(1)[1:], path, 4, noise=lambda step: fresh(step)[1:])
    assert torch.equal(whole[1:], alone)


def test_errors_say_what_may_be_given() -> None:
    with pytest.raises(InputError, match=r"eta 1.5 must be 0 \(no fresh noise\) to 1 \(as ddpm\)"):
        SAMPLERS["ddim"](bent, drawn(1), FlowPath(), 2, noise=fresh, eta=1.5)
    with pytest.raises(InputError, match="unknown sampler 'ddin'; did you mean 'ddim'"):
        count_evaluations("ddin", 2)
