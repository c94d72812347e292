"""The logarithmic axis: golden values with right and legacy corners, there and back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.sound.log_frequency import (
    bins_of_rows,
    rows_of_bins,
    to_linear_frequency,
    to_log_frequency,
)


def golden_image() -> torch.Tensor:
    i, j = np.mgrid[0:512, 0:256]
    return torch.from_numpy((np.sin(0.05 * i + 0.03 * j) + 1.5).astype(np.float32))


def ramp() -> torch.Tensor:
    return torch.arange(512, dtype=torch.float32)[:, None].expand(512, 256)


@pytest.mark.parametrize(("legacy", "key"), [(False, "align_true"), (True, "align_false")])
def test_golden_image(golden: dict, legacy: bool, key: str) -> None:
    values = golden["warp"][key]
    image = golden_image()
    assert image.double().sum().item() == pytest.approx(values["image_sum"], rel=1e-7)
    rows = to_log_frequency(image, legacy_corners=legacy)
    back = to_linear_frequency(rows, legacy_corners=legacy)
    assert rows.double().sum().item() == pytest.approx(values["warp_sum"], rel=1e-6)
    assert back.double().sum().item() == pytest.approx(values["unwarp_sum"], rel=1e-6)
    for name, value in values.items():
        if name[:2] in ("w[", "u["):
            row, column = (int(part) for part in name[2:-1].split(","))
            found = (rows if name[0] == "w" else back)[row, column].item()
            assert found == pytest.approx(value, abs=2e-5), name  # float32 grid positions
    error = (back - image).abs().mean().item()
    assert error == pytest.approx(values["roundtrip_l1"], rel=1e-3)


@pytest.mark.parametrize(("legacy", "key"), [(False, "align_true"), (True, "align_false")])
def test_golden_ramp(golden: dict, legacy: bool, key: str) -> None:
    warp = golden["warp"]
    rows = to_log_frequency(ramp(), legacy_corners=legacy)
    back = to_linear_frequency(rows, legacy_corners=legacy)
    found = rows[warp["rows"], 128].tolist()
    assert found == pytest.approx(warp[key]["ramp_warp_col128"], abs=2e-4)
    found = back[warp["inv_rows"], 128].tolist()
    assert found == pytest.approx(warp[key]["ramp_roundtrip_col128"], abs=2e-4)


def test_golden_grids(golden: dict) -> None:
    warp = golden["warp"]
    found = bins_of_rows(256)[warp["rows"]]
    assert found.tolist() == pytest.approx(warp["grid_y"], abs=1e-7)  # kept as float32
    assert ((found + 1) / 2 * 511).tolist() == pytest.approx(
        warp["linear_bin_align_true"], abs=2e-5
    )
    assert rows_of_bins(512)[warp["inv_rows"]].tolist() == pytest.approx(
        warp["inv_grid_y"], abs=1e-7
    )


def test_golden_rows_are_the_closed_form(golden: dict) -> None:
    rows = golden["warp"]["rows"]
    analytic = [511 * (21 ** (row / 255) - 1) / 20 for row in rows]
    assert analytic == pytest.approx(golden["warp"]["linear_bin_analytic"], rel=1e-12)
    doubled = to_log_frequency(ramp().double())[rows, 7].tolist()
    assert doubled == pytest.approx(analytic, abs=1e-9)


def test_constant_stays_constant() -> None:
    ones = torch.ones(512, 256)
    rows = to_log_frequency(ones)
    assert torch.allclose(rows, torch.ones(256, 256), atol=1e-6)
    assert torch.allclose(to_linear_frequency(rows), ones, atol=1e-6)
    legacy = to_log_frequency(ones, legacy_corners=True)
    assert legacy[0, 0].item() == pytest.approx(0.25, abs=1e-5)
    assert legacy[0, 9].item() == pytest.approx(0.5, abs=1e-4)
    assert legacy.mean().item() == pytest.approx(0.99145, abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    slope=st.floats(-2, 2),
    offset=st.floats(-5, 5),
    num_rows=st.integers(128, 512),
    num_frames=st.integers(1, 40),
)
def test_there_and_back_of_straight_lines(
    slope: float, offset: float, num_rows: int, num_frames: int
) -> None:
    bins = torch.linspace(-1, 1, 512, dtype=torch.float64)
    image = (slope * bins + offset)[:, None].expand(512, num_frames)
    back = to_linear_frequency(to_log_frequency(image, num_rows), 512)
    # Linear interpolation of a bent line: its error falls with the square of the rows.
    assert torch.allclose(back, image, atol=abs(slope) * 40 / num_rows**2 + 1e-9)


def test_batches_gradients_and_peak() -> None:
    image = torch.rand(2, 3, 512, 8, dtype=torch.float64, requires_grad=True)
    rows = to_log_frequency(image)
    assert rows.shape == (2, 3, 256, 8)
    assert torch.allclose(rows[1, 2], to_log_frequency(image[1, 2]))
    to_linear_frequency(rows).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all() and (image.grad[..., :100, :] > 0).all()


def test_peak_of_a_tone_lands_on_its_row() -> None:
    image = torch.zeros(512, 4)
    image[41] = 124.0
    assert to_log_frequency(image)[:, 2].argmax().item() == 80  # REFERENCE 8.5: row 80.182
