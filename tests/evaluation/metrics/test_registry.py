"""Test the registry of metrics: contract, averaging over channels, inputs, unknown names."""

import re

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.metrics.binaural_errors import ild_error_db, itd_error_us
from avsep.evaluation.metrics.registry import METRICS, choose_metrics, mean_values, measure
from avsep.evaluation.metrics.scale_invariant import sa_sdr_db, si_bss_eval
from avsep.evaluation.metrics.spectral_distance import spectral_distance

RATE_HZ = 16000
OWN = [name for name, metric in METRICS.items() if metric.package is None]


def stereo(num_sources: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Sources and estimates, float32, other axes of other lengths."""
    rng = np.random.default_rng(0)
    sources, noise = 0.1 * rng.standard_normal((2, num_sources, 2, 4000))
    estimates = sources + 0.2 * sources[::-1] + 0.1 * noise
    return sources.astype(np.float32), estimates.astype(np.float32)


def test_the_registry_describes_itself() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name and re.fullmatch(r"[a-z-]+", name)
        assert re.fullmatch(r"[a-z_]+", metric.key)
        assert metric.unit in ("dB", "µs", "") and metric.label and metric.formula
        assert len(metric.formula.splitlines()) == 1
    assert len({metric.key for metric in METRICS.values()}) == len(METRICS)
    assert METRICS["itd-error"].key == "itd_error_us" and METRICS["si-sdr"].key == "si_sdr_db"


@pytest.mark.slow
def test_each_is_the_mean_over_channels() -> None:
    truth, guess = stereo()
    mixture = truth.sum(axis=0)
    result = measure(OWN, truth, guess, mixture, RATE_HZ)
    assert list(result) == OWN and all(row.shape == (3,) for row in result.values())
    ears = [(truth[:, c].astype(float), guess[:, c].astype(float)) for c in (0, 1)]
    as_estimates = [np.stack([mixture[c].astype(float)] * 3) for c in (0, 1)]
    si = [si_bss_eval(*ear) for ear in ears]
    expected = {
        "si-sdr": np.mean([item.sdr_db for item in si], axis=0),
        "si-sir": np.mean([item.sir_db for item in si], axis=0),
        "si-sar": np.mean([item.sar_db for item in si], axis=0),
        "sdri": np.mean(
            [
                bss_eval(*ear).sdr_db - bss_eval(ear[0], heard).sdr_db
                for ear, heard in zip(ears, as_estimates, strict=True)
            ],
            axis=0,
        ),
        "si-sdri": np.mean(
            [
                item.sdr_db - si_bss_eval(ear[0], heard).sdr_db
                for item, ear, heard in zip(si, ears, as_estimates, strict=True)
            ],
            axis=0,
        ),
        "sa-sdr": np.full(3, sa_sdr_db(truth.reshape(3, -1), guess.reshape(3, -1))),
        "ild-error": ild_error_db(truth, guess),
        "itd-error": itd_error_us(truth, guess, RATE_HZ),
        "spectral": np.mean([spectral_distance(*ear) for ear in ears], axis=0),
    }
    for side, ear in zip(("left", "right"), ears, strict=True):
        alone = bss_eval(*ear)
        expected |= {f"sdr-{side}": alone.sdr_db, f"sir-{side}": alone.sir_db}
    assert set(expected) == set(OWN)
    for name, row in expected.items():
        np.testing.assert_allclose(result[name], row, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.slow
def test_better_estimates_have_better_figures() -> None:
    truth, guess = stereo()
    mixture = truth.sum(axis=0)
    better = truth + 0.1 * (guess - truth)
    for name, near in measure(OWN, truth, better, mixture, RATE_HZ).items():
        far = measure([name], truth, guess, mixture, RATE_HZ)[name]
        assert (near > far if METRICS[name].higher_is_better else near < far).all(), name


def test_a_channel_with_a_silent_reference_is_left_out() -> None:
    truth, guess = stereo(2)
    truth[0, 1] = 0.0
    both = measure(["si-sdr"], truth, guess, None, RATE_HZ)["si-sdr"]
    left = measure(["si-sdr"], truth[:, :1], guess[:, :1], None, RATE_HZ)["si-sdr"]
    np.testing.assert_array_equal(both, left)
    truth[1, 0] = 0.0
    with pytest.raises(InputError, match=r"reference \[0, 1\] is silent"):
        measure(["si-sdr"], truth, guess, None, RATE_HZ)


def test_what_a_metric_needs() -> None:
    truth, guess = stereo()
    with pytest.raises(InputError, match="ild-error needs 2 channels, the sound has 1; leave"):
        measure(["ild-error"], truth[:, :1], guess[:, :1], None, RATE_HZ)
    with pytest.raises(InputError, match="sdri needs the mixture: give it, by --mixture FILE"):
        measure(["sdri"], truth, guess, None, RATE_HZ)
    with pytest.raises(InputError, match="unknown metric 'si-sdrr'; did you mean 'si-sdr'"):
        choose_metrics(["si-sdrr"])
    with pytest.raises(
        InputError, match="fad compares sets of sounds: use avsep score with a folder"
    ):
        choose_metrics(["fad"])
    assert [metric.name for metric in choose_metrics(["sa-sdr", "sdri", "sa-sdr"])] == [
        "sa-sdr",
        "sdri",
    ]


def test_means_of_what_is_no_number() -> None:
    figures = np.array([[1.0, np.inf, np.nan, np.nan], [3.0, -np.inf, 5.0, np.nan]])
    np.testing.assert_array_equal(mean_values(figures), [2.0, -np.inf, 5.0, np.nan])
