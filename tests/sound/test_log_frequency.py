"""The log-frequency axis: golden values with right and legacy corners, and the way back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from avsep.sound.front_end import (
    FrontEnd,
    FrontEndSettings,
    linear_axis_grid,
    log_axis_grid,
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
            value_at = (rows if name[0] == "w" else back)[row, column].item()
            assert value_at == pytest.approx(value, abs=2e-5), name  # float32 grid positions
    error = (back - image).abs().mean().item()
    assert error == pytest.approx(values["roundtrip_l1"], rel=1e-3)


@pytest.mark.parametrize(("legacy", "key"), [(False, "align_true"), (True, "align_false")])
def test_golden_ramp(golden: dict, legacy: bool, key: str) -> None:
    warp = golden["warp"]
    rows = to_log_frequency(ramp(), legacy_corners=legacy)
    back = to_linear_frequency(rows, legacy_corners=legacy)
    column = rows[warp["rows"], 128].tolist()
    assert column == pytest.approx(warp[key]["ramp_warp_col128"], abs=2e-4)
    column = back[warp["inv_rows"], 128].tolist()
    assert column == pytest.approx(warp[key]["ramp_roundtrip_col128"], abs=2e-4)


def test_golden_grids(golden: dict) -> None:
    warp = golden["warp"]
    grid = log_axis_grid(256)[warp["rows"]]
    assert grid.tolist() == pytest.approx(warp["grid_y"], abs=1e-7)  # kept as float32
    assert ((grid + 1) / 2 * 511).tolist() == pytest.approx(warp["linear_bin_align_true"], abs=2e-5)
    assert linear_axis_grid(512)[warp["inv_rows"]].tolist() == pytest.approx(
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


def waves(num_frames: int) -> torch.Tensor:
    """One slow wave over all bins, five over all frames, however many there are."""
    bins, frames = torch.linspace(0, 1, 512)[:, None], torch.linspace(0, 1, num_frames)
    return 2 + torch.sin(6 * bins) + torch.sin(10 * torch.pi * frames)


def test_frames_are_resized_and_come_back() -> None:
    """DAVIS on AVE: 430 frames of 10 s at 11 kHz on 256 x 256."""
    image = waves(430)
    rows = to_log_frequency(image, num_columns=256)
    assert rows.shape == (256, 256)
    # Columns lie where so many frames would: first and last stay where they are.
    assert torch.allclose(rows, to_log_frequency(waves(256)), atol=2e-3)
    assert torch.allclose(rows[:, [0, -1]], to_log_frequency(image)[:, [0, -1]], atol=1e-5)
    back = to_linear_frequency(rows, 512, num_frames=430)
    assert back.shape == image.shape
    assert torch.allclose(back, image, atol=5e-3)  # of 0 to 4
    # One column alone: it fades towards its neighbours.
    pulse = torch.zeros(256, 256)
    pulse[:, 100] = 1
    spread = to_linear_frequency(pulse, 512, num_frames=430)[200]
    middle = 100 * 429 / 255
    expected = (1 - (torch.arange(430) - middle).abs() * 255 / 429).clamp_min(0)
    assert torch.allclose(spread, expected, atol=1e-4)


@pytest.mark.parametrize("legacy", [False, True])
def test_as_many_columns_as_frames_change_nothing(legacy: bool) -> None:
    image = golden_image()
    plain = to_log_frequency(image, legacy_corners=legacy)
    assert to_log_frequency(image, num_columns=256, legacy_corners=legacy).equal(plain)
    back = to_linear_frequency(plain, legacy_corners=legacy)
    assert to_linear_frequency(plain, num_frames=256, legacy_corners=legacy).equal(back)


def test_gradients_flow_through_resized_frames() -> None:
    image = torch.rand(2, 512, 43, dtype=torch.float64, requires_grad=True)
    to_linear_frequency(to_log_frequency(image, num_columns=32), num_frames=43).sum().backward()
    assert image.grad is not None
    # No frame is further than one from a column that is read.
    assert torch.isfinite(image.grad).all() and (image.grad[:, :100] > 0).any(1).all()


def test_a_front_end_resizes_both_ways() -> None:
    """Settings hold the number of columns; the caller gives the number of frames to go back to."""
    ave = FrontEndSettings(sample_rate_hz=11_000, window_samples=110_000, num_columns=256)
    assert ave.stft.num_frames(ave.window_samples) == 430
    assert ave.count_columns(110_000) == 256 and FrontEndSettings().count_columns(65_535) == 256
    assert FrontEndSettings().count_columns(110_000) == 430
    front_end = FrontEnd(ave)
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(110_000) / 11_000)
    magnitude = front_end.magnitude(tone)
    rows = front_end.to_rows(magnitude)
    assert rows.shape == (256, 256)
    assert front_end.to_bins(rows, 430).shape == magnitude.shape == (512, 430)
    assert front_end.to_bins(rows).shape == (512, 256)
    # The tone lies on bin 41 of 512 throughout; what the rows lose is the same with 430 columns.
    plain = FrontEnd(ave.model_copy(update={"num_columns": None}))
    expected = plain.to_bins(plain.to_rows(magnitude))[41, 5:-5]
    assert torch.allclose(front_end.to_bins(rows, 430)[41, 5:-5], expected, rtol=1e-3)


def test_peak_of_a_tone_lands_on_its_row() -> None:
    image = torch.zeros(512, 4)
    image[41] = 124.0
    assert to_log_frequency(image)[:, 2].argmax().item() == 80  # REFERENCE 8.5: row 80.182
