"""Test SI-SDR, SA-SDR and improvements against fast_bss_eval, torchmetrics and formulas."""

import fast_bss_eval
import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import (
    scale_invariant_signal_distortion_ratio,
    source_aggregated_signal_distortion_ratio,
)

from avsep.errors import InputError
from avsep.evaluation.bss_eval import BssScores, bss_eval
from avsep.evaluation.metrics.scale_invariant import sa_sdr_db, sdr_improvement_db, si_bss_eval

# Both sides are float64, and their figures lie below 60 dB.
ROUNDING_DB = 1e-9


def table(scores: BssScores) -> np.ndarray:
    return np.stack([scores.sdr_db, scores.sir_db, scores.sar_db])


def mixed(seed: int, *batch: int, num_sources: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Correlated sources with means, and estimates that leak and hiss."""
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((*batch, num_sources, 900)) + 0.2
    sources = sources + 0.5 * sources[..., :1, :]
    leaks = np.eye(num_sources) + rng.uniform(-0.3, 0.3, (num_sources, num_sources))
    noise = 10 ** -rng.uniform(0, 2) * rng.standard_normal(sources.shape)
    return sources, -0.7 * (leaks @ sources) + noise


@pytest.mark.parametrize("zero_mean", [False, True])
@pytest.mark.parametrize("num_sources", [2, 3, 4])
def test_fast_bss_eval_agrees(num_sources: int, zero_mean: bool) -> None:
    sources, estimates = mixed(num_sources, 2, num_sources=num_sources)
    expected = fast_bss_eval.si_bss_eval_sources(
        torch.tensor(sources),
        torch.tensor(estimates),
        zero_mean=zero_mean,
        compute_permutation=False,
    )
    result = si_bss_eval(sources, estimates, zero_mean=zero_mean)
    np.testing.assert_allclose(table(result), torch.stack(expected), rtol=0, atol=ROUNDING_DB)


def test_fast_bss_eval_agrees_on_permutations() -> None:
    sources, estimates = mixed(5, 4)
    shuffled = estimates[:, [2, 0, 1]]
    *expected, order = fast_bss_eval.si_bss_eval_sources(
        torch.tensor(sources), torch.tensor(shuffled), compute_permutation=True
    )
    result = si_bss_eval(sources, shuffled, permute=True)
    np.testing.assert_allclose(table(result), torch.stack(expected), rtol=0, atol=ROUNDING_DB)
    np.testing.assert_array_equal(result.permutation, order)
    straight = si_bss_eval(sources, estimates)
    np.testing.assert_allclose(table(result), table(straight), rtol=0, atol=ROUNDING_DB)


@pytest.mark.parametrize("zero_mean", [False, True])
def test_torchmetrics_agrees(zero_mean: bool) -> None:
    sources, estimates = mixed(6, 2)
    expected = scale_invariant_signal_distortion_ratio(
        torch.tensor(estimates), torch.tensor(sources), zero_mean=zero_mean
    )
    result = si_bss_eval(sources, estimates, zero_mean=zero_mean).sdr_db
    np.testing.assert_allclose(result, expected, rtol=0, atol=ROUNDING_DB)
    expected = source_aggregated_signal_distortion_ratio(
        torch.tensor(estimates), torch.tensor(sources), scale_invariant=False
    )
    np.testing.assert_allclose(sa_sdr_db(sources, estimates), expected, rtol=0, atol=ROUNDING_DB)


def test_one_tap_of_bss_eval_is_the_same() -> None:
    sources, estimates = mixed(7)
    one_tap = bss_eval(sources, estimates, filter_taps=1)
    result = si_bss_eval(sources, estimates)
    np.testing.assert_allclose(table(result), table(one_tap), rtol=0, atol=1e-6)


def test_by_hand() -> None:
    """Orthogonal sources: the estimate's parts are what it is made of."""
    references = np.array([[3.0, 0, 0, 0], [0, 2.0, 0, 0]])
    estimates = np.array([[4.0, 1.0, 2.0, 0], [0, 5.0, 0, 1.0]])
    result = si_bss_eval(references, estimates)
    first = [10 * np.log10(ratio) for ratio in (16 / 5, 16 / 1, 17 / 4)]
    np.testing.assert_allclose(table(result)[:, 0], first)
    np.testing.assert_allclose(result.sir_db[1], np.inf)
    np.testing.assert_allclose(result.sar_db[1], 10 * np.log10(25))
    # SA-SDR: 13 against 1 + 1 + 4 and 9 + 1.
    np.testing.assert_allclose(sa_sdr_db(references, estimates), 10 * np.log10(13 / 16))


def test_a_gain_is_forgiven_and_a_delay_is_not() -> None:
    sources, estimates = mixed(8)
    gains = np.array([[1e-150], [-3.0], [1e6]])
    louder = si_bss_eval(sources * gains, estimates * gains[::-1])
    np.testing.assert_allclose(table(louder), table(si_bss_eval(sources, estimates)), atol=1e-8)
    noise = np.random.default_rng(0).standard_normal((2, 5000))
    assert (si_bss_eval(noise, np.roll(noise, 1, axis=-1)).sdr_db < -20).all()


def test_collinear_references_span_one_direction() -> None:
    sources, estimates = mixed(9, num_sources=2)
    twice = np.stack([sources[0], -2 * sources[0]])
    result = si_bss_eval(twice, estimates)
    assert (result.sir_db > 200).all()
    np.testing.assert_allclose(result.sar_db, result.sdr_db)
    np.testing.assert_allclose(result.sdr_db[0], si_bss_eval(twice[:1], estimates[:1]).sdr_db[0])
    # Nearly collinear ones still span a plane, and the second source lies in it.
    near = np.stack([sources[0], sources[0] + 1e-6 * sources[1]])
    assert si_bss_eval(near, near + sources[1]).sar_db.min() > 150


def test_silent_estimates_and_one_source() -> None:
    sources, estimates = mixed(10)
    estimates[1] = 0.0
    result = si_bss_eval(sources, estimates)
    assert table(result)[:, 1].tolist() == [-np.inf] * 3
    assert np.isfinite(table(result)[:, [0, 2]]).all()
    assert si_bss_eval(sources[:1], estimates[:1]).sir_db.tolist() == [np.inf]
    assert table(si_bss_eval(sources[:1], 0 * estimates[:1])).tolist() == [[-np.inf]] * 3
    assert si_bss_eval(sources, estimates[[1, 0, 2]], permute=True).permutation.tolist() == [
        1,
        0,
        2,
    ]
    assert (table(si_bss_eval(sources, sources))[0] > 200).all()


def test_sa_sdr_takes_silent_sources() -> None:
    sources, estimates = mixed(11, 2)
    sources[0, 1] = 0.0
    result = sa_sdr_db(sources, estimates)
    error = ((sources - estimates) ** 2).sum((-2, -1))
    np.testing.assert_allclose(result, 10 * np.log10((sources**2).sum((-2, -1)) / error))
    assert sa_sdr_db(sources, sources).tolist() == [np.inf, np.inf]
    assert sa_sdr_db(sources, 0 * sources).tolist() == [0.0, 0.0]
    shuffled = sa_sdr_db(sources, estimates[:, [1, 2, 0]], permute=True)
    best = sa_sdr_db(sources, estimates, permute=True)
    np.testing.assert_allclose(shuffled, best)
    assert (best >= result).all()
    tiny = sa_sdr_db(1e-200 * sources, 1e-200 * estimates)
    np.testing.assert_allclose(tiny, result)


@pytest.mark.slow
def test_improvement_is_what_is_left_of_the_mixtures_score() -> None:
    rng = np.random.default_rng(12)
    sources = rng.standard_normal((2, 2, 3000))
    estimates = sources + 0.1 * sources[:, ::-1]
    mixture = sources.sum(axis=1)
    as_estimates = np.stack([mixture, mixture], axis=1)
    for scale_invariant, score in ((False, bss_eval), (True, si_bss_eval)):
        expected = score(sources, estimates).sdr_db - score(sources, as_estimates).sdr_db
        result = sdr_improvement_db(sources, estimates, mixture, scale_invariant=scale_invariant)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-9)
        nothing = sdr_improvement_db(
            sources, as_estimates, mixture, scale_invariant=scale_invariant
        )
        np.testing.assert_allclose(nothing, 0, atol=1e-9)
    silent = sdr_improvement_db(sources, 0 * estimates, mixture)
    assert (silent == -np.inf).all()
    # One source alone, nothing to improve: exact in floats, the residual is zero.
    alone = np.zeros((1, 4))
    alone[0, 1] = 1.0
    only = sdr_improvement_db(alone, np.array([[1.0, 1.0, 0, 0]]), alone[0], scale_invariant=True)
    assert np.isnan(only).all()


def test_tensors_of_any_kind_and_a_batch_is_a_loop() -> None:
    sources, estimates = mixed(13, 2, 2)
    whole = si_bss_eval(torch.tensor(sources), torch.tensor(estimates).requires_grad_())
    for index in np.ndindex(2, 2):
        item = si_bss_eval(sources[index], estimates[index])
        np.testing.assert_allclose(table(whole)[:, *index], table(item), rtol=0, atol=ROUNDING_DB)
    shared = si_bss_eval(sources[0, 0], estimates)
    item = si_bss_eval(sources[0, 0], estimates[1, 1])
    np.testing.assert_allclose(table(shared)[:, 1, 1], table(item), rtol=0, atol=ROUNDING_DB)
    assert whole.sdr_db.dtype == np.float64 and whole.permutation.shape == (2, 2, 3)


NOISE = np.random.default_rng(14).standard_normal((2, 50))
BROKEN = np.where(np.arange(50) == 7, np.nan, NOISE)


@pytest.mark.parametrize("score", [si_bss_eval, sa_sdr_db])
@pytest.mark.parametrize(
    ("references", "estimates", "message"),
    [
        (
            NOISE,
            NOISE[:, :-1],
            r"references have shape \[2, 50\], estimates \[2, 49\]; both must have one shape",
        ),
        (
            NOISE[0],
            NOISE[0],
            r"have shape \[50\], estimates \[50\]: they must be \[..., sources, samples\]",
        ),
        (NOISE, BROKEN, "estimate 0 holds NaN or infinite samples; repair it"),
        (NOISE * 1j, NOISE, "references are complex numbers"),
        ("loud", NOISE, "references are no array of numbers"),
    ],
)
def test_bad_input(score: object, references: object, estimates: object, message: str) -> None:
    assert callable(score)
    with pytest.raises(InputError, match=message):
        score(references, estimates)


def test_silence_has_no_score() -> None:
    quiet = NOISE * [[1.0], [0.0]]
    with pytest.raises(InputError, match="reference 1 is silent: no score is defined against it"):
        si_bss_eval(quiet, NOISE)
    constant = np.stack([NOISE[0], np.full(50, 0.1)])
    assert np.isfinite(si_bss_eval(constant, NOISE).sdr_db).all()
    with pytest.raises(InputError, match="reference 1 is silent"):
        si_bss_eval(constant, NOISE, zero_mean=True)
    with pytest.raises(InputError, match=r"all references of mixture \[1\] are silent"):
        sa_sdr_db(np.stack([NOISE, 0 * NOISE]), np.stack([NOISE, NOISE]))
    with pytest.raises(InputError, match="all references are silent: no score"):
        sa_sdr_db(0 * NOISE, NOISE)
    with pytest.raises(InputError, match="2 samples are too short: filters of 1 taps on 2 sources"):
        si_bss_eval(NOISE[:, :2], NOISE[:, :2])
    with pytest.raises(InputError, match=r"the mixture has shape \[49\], references \[2, 50\]"):
        sdr_improvement_db(NOISE, NOISE, NOISE[0, :-1])
