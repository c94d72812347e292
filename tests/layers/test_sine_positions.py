"""Positions against the values of REFERENCE 8.9, and boxes against their pixels."""

import json
from pathlib import Path

import pytest
import torch

from avsep.layers.transformer import (
    box_positions,
    octave_positions,
    sine_positions,
    sine_positions_2d,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "reference.json"


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
    third = sine_positions(4, 256)[3, :4]
    expected = torch.tensor([0.14112, -0.989992, 0.342782, -0.939415])
    torch.testing.assert_close(third, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 100])
def test_every_position_differs(count: int) -> None:
    assert len(torch.unique(sine_positions(count, 32), dim=0)) == count


def test_equation_1_of_lavss_to_the_golden_values() -> None:
    wanted = json.loads(GOLDEN.read_text())["lavss_gamma(0.25,-0.5)"]
    found = octave_positions(torch.tensor([0.25, -0.5]), 16)
    assert found.shape == (64,)
    torch.testing.assert_close(found[: len(wanted)], torch.tensor(wanted), atol=1e-5, rtol=0)


def test_a_box_is_encoded_as_its_pixels_pooled() -> None:
    """The map of a box made pixel by pixel and pooled by PyTorch is what rows and columns give."""
    box = torch.tensor([[0.25, 0.5, 0.5, 0.75]])  # 320..640 of 1280, 360..540 of 720
    x = 2 * torch.arange(320, 640, dtype=torch.float64) / 1280 - 1
    y = 2 * torch.arange(360, 540, dtype=torch.float64) / 720 - 1
    points = torch.stack([x.expand(180, -1), y[:, None].expand(-1, 320)], dim=-1)
    whole = octave_positions(points, 16).permute(2, 0, 1)
    torch.testing.assert_close(
        box_positions(box, 16, 7)[0], torch.nn.functional.adaptive_max_pool2d(whole, 7)
    )


def test_boxes_of_any_size_have_an_encoding() -> None:
    boxes = torch.tensor([[0.0, 0, 1, 1], [0.999, 0.999, 1, 1], [0.5, 0.5, 0.5001, 0.5001]])
    found = box_positions(boxes, 16, 7)
    assert found.shape == (3, 64, 7, 7) and found.isfinite().all() and (found.abs() <= 1).all()
    left, right = (
        box_positions(torch.tensor([[x, 0.2, x + 0.2, 0.8]]), 16, 7)[0] for x in (0.1, 0.7)
    )
    assert not torch.allclose(left[:2], right[:2], atol=0.1)
