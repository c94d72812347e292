"""Sine positions against the values of REFERENCE 8.9."""

import pytest
import torch

from avsep.layers.transformer import sine_positions, sine_positions_2d


def test_the_values_of_detr() -> None:
    positions = sine_positions_2d(32, 32, 256)
    first = torch.tensor([0.19509, 0.980785, 0.169214, 0.985579])
    torch.testing.assert_close(positions[:4, 0, 0], first, atol=2e-6, rtol=0)
    last = torch.tensor([0.0, 1.0, -0.74609])
    # The last row is 2 pi less a millionth of it, which the small constant takes away.
    torch.testing.assert_close(positions[:3, 31, 31], last, atol=5e-6, rtol=0)


def test_half_tells_the_row_and_half_the_column() -> None:
    positions = sine_positions_2d(5, 7, 16)
    assert positions.shape == (16, 5, 7)
    assert torch.equal(positions[:8, :, 0], positions[:8, :, 6])
    assert torch.equal(positions[8:, 0], positions[8:, 4])


def test_the_values_along_one_axis() -> None:
    third = sine_positions(torch.arange(4), 256)[3, :4]
    expected = torch.tensor([0.14112, -0.989992, 0.342782, -0.939415])
    torch.testing.assert_close(third, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_every_position_differs(count: int) -> None:
    assert len(torch.unique(sine_positions(torch.arange(count), 32), dim=0)) == count
