"""Paths: golden values, both ends, times between whole ones, and the sampling of times."""

import math

import pytest
import torch

from avsep.diffusion.paths import DiffusionPath, FlowPath, ProbabilityPath
from avsep.errors import InputError

CPU = torch.device("cpu")
PATHS = [
    DiffusionPath("sigmoid"), DiffusionPath("cosine"), DiffusionPath("linear", 50), FlowPath(),
]  # fmt: skip


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_alpha_bar_is_that_of_davis(golden: dict) -> None:
    path = DiffusionPath()
    for index, value in golden["davis"]["alpha_bar"].items():
        assert float(path.alpha_bar[int(index)]) == pytest.approx(value, rel=1e-12)
        assert path.weights(int(index))[0] ** 2 == pytest.approx(value, rel=1e-12)
    total = golden["davis"]["sum_alpha_bar"]
    assert float(path.alpha_bar.sum()) == pytest.approx(total, rel=1e-12)


def test_times_of_a_diffusion_are_davis(golden: dict) -> None:
    assert list(DiffusionPath().times(15)) == golden["davis"]["ddim_times"]
    assert DiffusionPath().times(1000) == tuple(range(999, -2, -1))


def test_times_of_a_flow_run_from_noise_to_data() -> None:
    assert FlowPath().times(2) == (0, 0.5, 1)


@pytest.mark.parametrize("path", PATHS)
def test_paths_keep_the_protocol(path: ProbabilityPath) -> None:
    assert isinstance(path, ProbabilityPath)


@pytest.mark.parametrize("path", PATHS[:3])
def test_a_diffusion_ends_in_clean_data_and_keeps_the_variance(path: DiffusionPath) -> None:
    assert path.weights(-1) == (1.0, 0.0)
    times = torch.linspace(-1, path.num_times - 1, 301, dtype=torch.float64)
    signal, noise_scale = path.signal(times), path.noise_scale(times)
    torch.testing.assert_close(signal**2 + noise_scale**2, torch.ones_like(times))
    assert (signal.diff() < 0).all() and (noise_scale.diff() > 0).all()


def test_the_logarithm_of_signal_to_noise_runs_straight_between_whole_times() -> None:
    path = DiffusionPath()
    low, between, high = (math.log(path.noise_level(time)) for time in (998, 998.25, 999))
    assert between == pytest.approx(0.75 * low + 0.25 * high)
    # Towards clean data the level itself does.
    assert path.noise_level(-0.75) == pytest.approx(0.25 * path.noise_level(0))


def test_a_flow_is_straight_and_keeps_a_little_noise() -> None:
    path = FlowPath()
    assert path.weights(0) == (0, 1) and path.weights(1) == (1, 1e-4)
    signal, noise_scale = path.weights(0.5)
    assert (signal, noise_scale) == pytest.approx((0.5, 1 - 0.5 * (1 - 1e-4)))
    assert path.noise_scale(torch.ones(1)).item() == pytest.approx(1e-4, rel=1e-6)  # in float32


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("way", [0.0, 0.001, 0.31, 0.5, 0.999, 1.0])
def test_the_time_of_a_noise_level_is_found_again(path: ProbabilityPath, way: float) -> None:
    noisiest, clean = path.times(1)
    time = noisiest + way * (clean - noisiest)
    assert path.time_at(path.noise_level(time)) == pytest.approx(time, abs=1e-8)


@pytest.mark.parametrize("path", PATHS)
def test_the_velocity_is_the_derivative_of_x_for_fixed_data_and_noise(
    path: ProbabilityPath,
) -> None:
    """For a flow the derivative by time, for a diffusion by the angle whose cosine is signal."""
    noisiest, clean = path.times(1)
    time = noisiest + 0.4 * (clean - noisiest)
    step = 1e-4 * abs(clean - noisiest)
    (signal, noise_scale), (more_signal, more_noise) = path.weights(time - step), path.weights(
        time + step
    )  # fmt: skip
    if isinstance(path, FlowPath):
        change = 2 * step
    else:
        change = math.atan2(more_noise, more_signal) - math.atan2(noise_scale, signal)
    of_data, of_noise = path.velocity_weights(doubles(time))
    # The path has kinks at whole times: the derivatives of both sides differ slightly in length.
    assert float(of_data) == pytest.approx((more_signal - signal) / change, rel=1e-4)
    assert float(of_noise) == pytest.approx((more_noise - noise_scale) / change, rel=1e-4)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_item_is_noised_to_its_own_time(path: ProbabilityPath, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 2, 4, 5, generator=generator, dtype=dtype)
    time = torch.tensor([*path.times(1), path.times(2)[1]], dtype=dtype)
    noisy = path.noised(clean, noise, time)
    assert noisy.dtype == dtype
    for item in range(3):
        signal, noise_scale = path.weights(float(time[item]))
        torch.testing.assert_close(noisy[item], signal * clean[item] + noise_scale * noise[item])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("timestep_power", [1.0, 3.0])
def test_the_share_of_noisy_times_follows_the_timestep_power(
    path: ProbabilityPath, timestep_power: float
) -> None:
    num = 40_000
    draws = [
        path.sample_times(num, torch.Generator().manual_seed(3), CPU, timestep_power)
        for _ in range(2)
    ]
    assert torch.equal(*draws)
    noisiest, clean = path.times(1)
    if isinstance(path, DiffusionPath):
        assert torch.equal(draws[0], draws[0].round())
        assert draws[0].min() >= 0 and draws[0].max() == noisiest
        distances = (draws[0] + 0.5) / path.num_times
    else:
        distances = 1 - draws[0]
        assert draws[0].min() >= noisiest and draws[0].max() <= clean
    share = float((distances > 0.5).float().mean())
    # Five standard deviations of a share of so many draws.
    assert share == pytest.approx(1 - 0.5**timestep_power, abs=5 * 0.5 / math.sqrt(num))


def test_a_draw_that_rounds_up_stays_within_the_table() -> None:
    path = DiffusionPath()
    drawn = path.sample_times(1000, torch.Generator().manual_seed(0), CPU, timestep_power=1e9)
    assert drawn.unique().tolist() == [999]


def test_errors_say_what_may_be_given() -> None:
    with pytest.raises(InputError, match="unknown noise schedule 'sigmod'; did you mean 'sigmoid'"):
        DiffusionPath("sigmod")
    with pytest.raises(InputError, match="1001 sampling steps: this diffusion has 1 to 1000; give"):
        DiffusionPath().times(1001)
    with pytest.raises(InputError, match="0 sampling steps: a flow has 1 or more; give 2"):
        FlowPath().times(0)
    with pytest.raises(InputError, match=r"timestep_power 0.0 must be above 0; give 1"):
        FlowPath().sample_times(1, torch.Generator(), CPU, 0.0)
