"""Test intervals by video: against theory, with shared videos, with too few of them."""

import numpy as np
import pytest

from avsep.evaluation.protocol import Resamples


def solo(num: int) -> list[tuple[str, ...]]:
    return [(str(index),) for index in range(num)]


def half_width(values: np.ndarray, videos: list[tuple[str, ...]]) -> float:
    result = Resamples.draw(videos).intervals(values[:, None], np.arange(len(values)))
    assert result is not None
    return float(result[0, 1] - result[0, 0]) / 2


def test_independent_videos_agree_with_the_normal_theory() -> None:
    values = np.random.default_rng(0).normal(5, 3, 400)
    result = Resamples.draw(solo(400)).intervals(values[:, None], np.arange(400))
    margin = 1.96 * values.std() / 20
    # 2000 resamples leave the ends uncertain by some percent of the margin.
    np.testing.assert_allclose(
        result[0], values.mean() + margin * np.array([-1, 1]), atol=0.1 * margin
    )


def pairs_of(num_videos: int, num_mixtures: int, seed: int) -> list[tuple[str, str]]:
    every = [(str(a), str(b)) for a in range(num_videos) for b in range(a)]
    chosen = np.random.default_rng(seed).choice(len(every), num_mixtures, replace=False)
    return [every[index] for index in chosen]


def test_pairs_that_share_videos_say_less() -> None:
    """25 videos in 250 pairs, each score its two videos' worth and a little noise."""
    rng = np.random.default_rng(1)
    pairs = pairs_of(25, 250, seed=2)
    worth = dict(zip(map(str, range(25)), rng.normal(0, 3, 25), strict=True))
    values = np.array([worth[a] + worth[b] + rng.normal(0, 0.5) for a, b in pairs])
    naive = half_width(values, solo(250))
    assert half_width(values, pairs) > 3 * naive
    # The mean is near twice the mean of the videos' worth, whose margin is known.
    margin = 2 * 1.96 * np.std(list(worth.values())) / 5
    assert half_width(values, pairs) == pytest.approx(margin, rel=0.35)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Videos drawn anew 200 times: naive intervals of their pairs miss the truth most times."""
    rng = np.random.default_rng(3)
    pairs = pairs_of(20, 100, seed=4)
    by_video, by_pair = Resamples.draw(pairs), Resamples.draw(solo(100))
    firsts, seconds = np.array(pairs).astype(int).T
    held = np.zeros(2)
    for _ in range(200):
        worth = rng.normal(0, 1, 20)
        values = (worth[firsts] + worth[seconds])[:, None]
        for place, resamples in enumerate((by_video, by_pair)):
            lowest, highest = resamples.intervals(values, np.arange(100))[0]
            held[place] += lowest <= 0 <= highest
    assert held[0] >= 0.9 * 200 and held[1] < 0.7 * 200


def test_a_constant_has_no_width_and_columns_are_apart() -> None:
    values = np.stack([np.full(30, 2.5), np.arange(30.0)], axis=1)
    result = Resamples.draw(solo(30)).intervals(values, np.arange(30))
    np.testing.assert_allclose(result[0], 2.5)
    assert result[1, 0] < 14.5 < result[1, 1]


def test_rows_of_one_mixture_go_together() -> None:
    """Twice the rows with the same values are no more evidence."""
    values = np.random.default_rng(5).normal(0, 1, (50, 1))
    resamples = Resamples.draw(solo(50))
    once = resamples.intervals(values, np.arange(50))
    twice = resamples.intervals(values.repeat(2, axis=0), np.arange(50).repeat(2))
    np.testing.assert_allclose(twice, once)


@pytest.mark.parametrize(
    "videos",
    [[], [("a",)], [("a",), ("a",)], [("a", "b")]],
    ids=["nothing", "one", "one video", "one pair"],
)
def test_too_little_has_no_interval(videos: list[tuple[str, ...]]) -> None:
    values = np.arange(float(len(videos)))[:, None]
    assert Resamples.draw(videos).intervals(values, np.arange(len(videos))) is None


def test_the_same_videos_give_the_same_resamples() -> None:
    first, second = (Resamples.draw(pairs_of(10, 20, seed=6)) for _ in range(2))
    np.testing.assert_array_equal(first.counts, second.counts)
    assert first.counts[:, :-1].sum(axis=1).tolist() == [10] * len(first.counts)


def test_two_sources_of_one_mixture_have_no_interval() -> None:
    """They are in every resample together, so that their mean would seem to be certain."""
    draws = Resamples.draw([("a", "b"), ("c", "d")])
    assert draws.intervals(np.array([[1.0], [5.0]]), np.array([0, 0])) is None
    assert draws.intervals(np.array([[1.0], [5.0]]), np.array([0, 1])) is not None
