"""Test framewise BSS Eval against mir_eval, with medians and silence."""

import warnings

import mir_eval
import numpy as np
import pytest
import torch

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.metrics.framewise import (
    FramewiseScores,
    bss_eval_framewise,
    median_over_frames,
)

# What bss_eval promises against mir_eval.
TOLERANCE_DB = 1e-6


def table(scores: FramewiseScores) -> np.ndarray:
    return np.stack([scores.sdr_db, scores.sir_db, scores.sar_db])


def mixed(seed: int, num_samples: int, num_sources: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sources, noise = rng.standard_normal((2, num_sources, num_samples))
    return sources, sources + 0.2 * sources[::-1] + 0.1 * noise


def referee(
    sources: np.ndarray, estimates: np.ndarray, window: int, hop: int, permute: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        *scores, order = mir_eval.separation.bss_eval_sources_framewise(
            sources, estimates, window, hop, permute
        )
    return np.stack(scores), np.asarray(order)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "hop"),
    [
        (2000, 2000),
        (6000, 1),
        *(
            pytest.param(*frames, marks=pytest.mark.slow)
            for frames in ((2000, 1000), (1100, 1700), (3000, 700), (5999, 1), (9000, 100))
        ),
    ],
)
def test_mir_eval_agrees(window: int, hop: int) -> None:
    sources, estimates = mixed(window, 6000 if hop > 1 else 6001)
    expected, _ = referee(sources, estimates, window, hop)
    result = bss_eval_framewise(sources, estimates, window, hop)
    assert table(result).shape == expected.shape
    np.testing.assert_allclose(table(result), expected, rtol=0, atol=TOLERANCE_DB)
    assert result.window_samples == (window if expected.shape[-1] > 1 else sources.shape[-1])


@pytest.mark.slow
def test_mir_eval_agrees_on_silence_and_permutations() -> None:
    sources, estimates = mixed(1, 8000)
    estimates = estimates[::-1].copy()
    sources[1, :2100] = 0.0
    estimates[0, 5900:] = 0.0
    expected, expected_order = referee(sources, estimates, 2000, 1000, permute=True)
    result = bss_eval_framewise(sources, estimates, 2000, 1000, permute=True)
    assert np.isnan(expected).any() and np.isfinite(expected).any()
    np.testing.assert_allclose(table(result), expected, rtol=0, atol=TOLERANCE_DB)
    np.testing.assert_array_equal(result.permutation, np.nan_to_num(expected_order, nan=-1))
    assert result.num_left_out == np.isnan(expected[0, 0]).sum() == 2
    assert result.start_samples.tolist() == list(range(0, 7000, 1000))


def test_default_frames_are_those_of_mir_eval() -> None:
    """30 s every 15 s at 44.1 kHz: here the whole."""
    sources, estimates = mixed(2, 3000)
    result = bss_eval_framewise(sources, estimates)
    assert result.sdr_db.shape == (2, 1) and result.window_samples == 3000
    np.testing.assert_array_equal(result.sdr_db[:, 0], bss_eval(sources, estimates).sdr_db)


@pytest.mark.slow
def test_a_batch_is_a_loop_on_tensors_too() -> None:
    sources, estimates = (np.stack(x) for x in zip(mixed(3, 5000), mixed(4, 5000), strict=True))
    sources[0, 0, 1000:3100] = 0.0
    whole = bss_eval_framewise(torch.tensor(sources), torch.tensor(estimates), 2000, 1000)
    assert whole.table_db.shape == (2, 2, 4, 3) and whole.num_left_out.tolist() == [1, 0]
    for index in (0, 1):
        item = bss_eval_framewise(sources[index], estimates[index], 2000, 1000)
        np.testing.assert_allclose(table(whole)[:, index], table(item), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_silence_throughout_gains_nothing() -> None:
    sources, estimates = mixed(5, 6000)
    both = bss_eval_framewise(sources, estimates, 2000, 2000)
    estimates[0] = 0.0
    result = bss_eval_framewise(sources, estimates, 2000, 2000)
    assert (table(result)[:, 0] == -np.inf).all()
    np.testing.assert_allclose(result.sdr_db[1], both.sdr_db[1], rtol=0, atol=1e-9)
    assert result.median_db[0].tolist() == [-np.inf] * 3


def test_no_frame_may_be_left() -> None:
    sources, estimates = mixed(6, 6000)
    for start in (0, 2000, 4000):
        sources[(start // 2000) % 2, start : start + 2000] = 0.0
    result = bss_eval_framewise(sources, estimates, 2000, 2000)
    assert np.isnan(table(result)).all() and np.isnan(result.median_db).all()
    assert (result.permutation == -1).all()


def test_median_is_of_what_has_a_score() -> None:
    sources, estimates = mixed(7, 8000)
    sources[0, :2000] = 0.0
    result = bss_eval_framewise(sources, estimates, 2000, 2000)
    expected = np.median(result.table_db[:, 1:], axis=1)
    np.testing.assert_array_equal(result.median_db, expected)
    assert median_over_frames(np.array([-np.inf, np.nan, 1.0, 2.0])) == 1.0


@pytest.mark.slow
def test_bad_input() -> None:
    sources, estimates = mixed(8, 4000)
    with pytest.raises(InputError, match="500 samples are too short: filters of 512 taps on 2 sou"):
        bss_eval_framewise(sources, estimates, 500, 500)
    assert bss_eval_framewise(sources, estimates, 514, 514).sdr_db.shape == (2, 7)
    with pytest.raises(InputError, match="window_samples is 0; it must be 1 or more"):
        bss_eval_framewise(sources, estimates, 0, 500)
    with pytest.raises(InputError, match="hop_samples is -1; it must be 1 or more"):
        bss_eval_framewise(sources, estimates, 1000, -1)
    with pytest.raises(InputError, match="reference 0 is silent"):
        bss_eval_framewise(0 * sources, estimates, 1000, 1000)
    with pytest.raises(InputError, match="both must have one shape"):
        bss_eval_framewise(sources, estimates[:1], 1000, 1000)
