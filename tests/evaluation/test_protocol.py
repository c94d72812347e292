"""Test the protocols: mixtures that count, scores of silence, averages."""

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.protocol import PairScores, score_pairs, summarise

NUM_SAMPLES = 1500
NAMES = ("violin", "piano")


def waveforms(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sources = 0.1 * rng.standard_normal((2, NUM_SAMPLES)).astype(np.float32)
    return sources, sources + 0.3 * sources[::-1]


def score_mono(name: str, sources: np.ndarray, estimates: np.ndarray) -> PairScores:
    """Score one method's estimates [S, N] in one channel."""
    (pair,) = score_pairs(name, NAMES, sources[:, None], estimates[None, :, None])
    return pair


def three_pairs() -> list[PairScores]:
    """One good, one with a silent estimate, one with a silent reference."""
    good = score_mono("good", *waveforms(0))
    sources, estimates = waveforms(1)
    estimates[1] = 1e-9  # not zeros, but nobody hears it: the sum is 1.5e-6
    mute = score_mono("mute", sources, estimates)
    sources, estimates = waveforms(2)
    sources[0] = 0.0
    return [good, mute, score_mono("rest", sources, estimates)]


@pytest.mark.slow
def test_a_pair_holds_its_scores() -> None:
    good = three_pairs()[0]
    scores = bss_eval(*waveforms(0))
    expected_db = np.stack([scores.sdr_db, scores.sir_db, scores.sar_db], axis=-1)
    np.testing.assert_array_equal(good.scores_db, expected_db)
    assert (good.name, good.categories) == ("good", NAMES)
    assert good.left_out_reason("strict") is None and good.left_out_reason("legacy") is None


@pytest.mark.slow
def test_legacy_excuses_silence() -> None:
    good, mute, rest = three_pairs()
    summary = summarise([good, mute, rest], "legacy")
    assert (summary.num_mixtures, summary.num_left_out) == (3, 2)
    assert summary.reasons == {"silent estimate": 1, "silent reference": 1}
    assert mute.left_out_reason("legacy") == "silent estimate"
    found_db = [summary.sdr_db, summary.sir_db, summary.sar_db]
    np.testing.assert_array_equal(found_db, good.scores_db.mean(axis=0))
    assert np.isnan(mute.mean_db("legacy")).all()


def test_strict_counts_silence_as_failure() -> None:
    good, mute, rest = three_pairs()
    summary = summarise([good, mute, rest])
    assert (summary.protocol, summary.num_left_out) == ("strict", 1)
    assert summary.reasons == {"silent reference": 1}
    assert rest.left_out_reason("strict") == "silent reference"
    # Mean over the sources, -30 dB for the silent one, then mean over the mixtures that count.
    mute_db = (mute.scores_db[0] - 30.0) / 2
    expected_db = (good.scores_db.mean(axis=0) + mute_db) / 2
    found_db = [summary.sdr_db, summary.sir_db, summary.sar_db]
    np.testing.assert_allclose(found_db, expected_db, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "silent"), [(0.9e-5, True), (1.1e-5, False)])
def test_where_silence_begins(level: float, silent: bool) -> None:
    """The published threshold: the sum of absolute samples is at most 1e-5."""
    sources, estimates = waveforms(3)
    estimates[0] *= np.float32(level / np.abs(estimates[0]).sum())
    pair = score_mono("faint", sources, estimates)
    assert pair.silent_estimates.tolist() == [silent, False]
    sources[1] *= np.float32(level / np.abs(sources[1]).sum())
    assert score_mono("faint", sources, estimates).silent_references[1] == silent


@pytest.mark.slow
def test_zeros_score_the_floor_in_all_three() -> None:
    sources, estimates = waveforms(4)
    pair = score_mono("nothing", sources, 0 * estimates)
    assert np.isneginf(pair.scores_db).all()
    assert pair.mean_db("strict").tolist() == [-30.0] * 3


@pytest.mark.slow
def test_nothing_is_below_silence() -> None:
    """A tone where no source sounds is far below -30 dB; silence must not be better."""
    sources, _ = waveforms(5)
    sounds = np.pad(sources, ((0, 0), (0, 6000)))  # a filter reaches none of the tone
    tone = np.zeros_like(sounds)
    tone[:, 4000:] = np.sin(np.arange(3500))
    wrong = score_mono("wrong", sounds, tone)
    assert wrong.scores_db[:, 0].max() < -30
    assert (wrong.counted_db("strict") >= -30).all()
    np.testing.assert_array_equal(wrong.counted_db("legacy"), wrong.scores_db)
    silent = score_mono("silent", sounds, 0 * sounds)
    assert (wrong.mean_db("strict") >= silent.mean_db("strict")).all()


@pytest.mark.slow
def test_legacy_means_are_over_batches() -> None:
    good, mute, _ = three_pairs()
    other = score_mono("other", *waveforms(6))
    # Batches [good, mute], [good, other], [other]: the last weighs as much as the others.
    pairs = [good, mute, good, other, other]
    result = summarise(pairs, "legacy", batch_size=2)
    good_db, other_db = good.mean_db("legacy"), other.mean_db("legacy")
    expected_db = (good_db + (good_db + other_db) / 2 + other_db) / 3
    np.testing.assert_allclose([result.sdr_db, result.sir_db, result.sar_db], expected_db)
    assert result.num_empty_batches == 0 and result.num_left_out == 1


@pytest.mark.slow
def test_legacy_batches_are_of_64_mixtures() -> None:
    good, other = three_pairs()[0], score_mono("other", *waveforms(6))
    # The 65th mixture is a batch by itself, and weighs as much as the 64 before it.
    summary = summarise([good] * 64 + [other], "legacy")
    expected_db = (good.mean_db("legacy") + other.mean_db("legacy")) / 2
    np.testing.assert_allclose([summary.sdr_db, summary.sir_db, summary.sar_db], expected_db)


@pytest.mark.slow
def test_estimates_are_judged_in_the_channels_that_are_scored() -> None:
    left, right = waveforms(7), waveforms(8)
    references, estimates = (np.stack(pair, axis=1) for pair in zip(left, right, strict=True))
    references[1, 1] = 0  # the right channel is not scored
    estimates[0, 1] = 0
    (pair,) = score_pairs("ears", NAMES, references, estimates[None])
    assert not pair.silent_estimates.any() and pair.left_out_reason("legacy") is None


@pytest.mark.slow
def test_a_batch_of_silence_is_zero_decibels_under_legacy() -> None:
    good, mute, rest = three_pairs()
    result = summarise([good, mute, rest], "legacy", batch_size=1)
    assert result.sdr_db == pytest.approx(good.mean_db("legacy")[0] / 3)
    assert result.num_empty_batches == 2
    assert summarise([mute], "legacy").sdr_db == 0.0


@pytest.mark.slow
def test_channels_are_scored_apart_and_averaged() -> None:
    left, right = waveforms(7), waveforms(8)
    references, estimates = (np.stack(pair, axis=1) for pair in zip(left, right, strict=True))
    (both,) = score_pairs("ears", NAMES, references, estimates[None])
    each_db = [score_mono("ear", *ear).scores_db for ear in (left, right)]
    np.testing.assert_allclose(both.scores_db, np.mean(each_db, axis=0), atol=1e-9)
    # A source on the left alone leaves the right ear without scores.
    references[1, 1] = 0
    (item,) = score_pairs("ears", NAMES, references, estimates[None])
    np.testing.assert_allclose(item.scores_db, each_db[0], atol=1e-9)
    assert not item.silent_references.any() and not item.silent_estimates.any()
    # Silence in an ear that counts is silence.
    estimates[0, 0] = 0
    (mute,) = score_pairs("ears", NAMES, references, estimates[None])
    assert mute.silent_estimates.tolist() == [True, False]
    assert mute.counted_db("strict")[0].tolist() == [-30.0] * 3


@pytest.mark.slow
def test_several_answers_at_once_are_each_by_itself() -> None:
    sources, estimates = waveforms(9)
    estimates[:, 700:] += 0.01 * waveforms(10)[0][:, 700:]  # artifacts, so that no SAR is rounding
    answers = np.stack([estimates, estimates[::-1], 0 * estimates])
    together = score_pairs("many", NAMES, sources[:, None], answers[:, :, None])
    for answer, result in zip(answers, together, strict=True):
        alone = score_mono("many", sources, answer)
        np.testing.assert_allclose(result.scores_db, alone.scores_db, atol=1e-9)
        np.testing.assert_array_equal(result.silent_estimates, alone.silent_estimates)


@pytest.mark.parametrize("pairs", [[], three_pairs()[2:]], ids=["none given", "none counts"])
def test_no_pair_that_counts_has_no_figure_under_strict(pairs: list[PairScores]) -> None:
    summary = summarise(pairs)
    assert np.isnan([summary.sdr_db, summary.sir_db, summary.sar_db]).all()
    assert summary.num_left_out == summary.num_mixtures == len(pairs)


def test_an_unknown_protocol_lists_the_known() -> None:
    with pytest.raises(InputError, match="unknown protocol 'strickt'; did you mean 'strict'"):
        summarise([], "strickt")
