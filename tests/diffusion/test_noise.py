"""Noise field: the same in every window that contains a frame."""

import math

import pytest
import torch

from avsep.diffusion.sampling import NoiseField

CPU = torch.device("cpu")


def window(start: int, num_frames: int = 40, step: int = 0, seed: int = 5) -> torch.Tensor:
    return NoiseField(seed).window([start], 6, num_frames, step, CPU)[0]  # [R, T]


@pytest.mark.parametrize("start", [0, 17, 63, 64, 1000, -30])
@pytest.mark.parametrize("hop", [1, 20, 39])
def test_windows_share_the_noise_where_they_overlap(start: int, hop: int) -> None:
    both = NoiseField(5).window([start, start + hop], 6, 40, 3, CPU)
    assert both.shape == (2, 6, 40)
    assert torch.equal(both[0, ..., hop:], both[1, ..., :-hop])
    assert torch.equal(both[1], window(start + hop, step=3))


def test_a_long_window_is_many_short_ones() -> None:
    pieces = [window(start, 33) for start in range(-66, 264, 33)]
    assert torch.equal(window(-66, 330), torch.cat(pieces, dim=-1))


def test_rows_do_not_depend_on_the_number_of_rows() -> None:
    few = NoiseField(5).window([10], 4, 40, 0, CPU)[0]
    assert torch.equal(few, window(10)[:4])


@pytest.mark.parametrize("other", [{"step": 1}, {"step": -1}, {"seed": 6}, {"start": 64 * 2**20}])
def test_steps_seeds_and_far_frames_have_noise_of_their_own(other: dict[str, int]) -> None:
    first, second = window(start=0), window(**{"start": 0} | other)
    assert (first != second).all()


def test_frames_before_the_sound_are_no_mirror_of_those_after() -> None:
    assert (window(-64) != window(64)).all()


def test_the_noise_is_normal_and_independent_of_its_neighbours() -> None:
    """Within five standard errors, of 1 / sqrt(n) for a mean or correlation, sqrt(2 / n), ..."""
    noise = NoiseField(0).window([3], 64, 4000, 2, CPU)[0].double()  # [R, T]
    close = 5 / math.sqrt(noise.numel())
    assert float(noise.mean()) == pytest.approx(0, abs=close)
    assert float(noise.var()) == pytest.approx(1, abs=close * math.sqrt(2))
    assert float((noise**4).mean()) == pytest.approx(3, abs=close * math.sqrt(96))
    neighbours = [
        noise[..., 1:] * noise[..., :-1], noise[..., 64:] * noise[..., :-64],
        noise[1:] * noise[:-1],
    ]  # fmt: skip
    for products in neighbours:
        assert float(products.mean()) == pytest.approx(0, abs=5 / math.sqrt(products.numel()))
