"""Test the cast of a clip: probabilities, too few instruments, and invalid settings."""

import numpy as np
import pytest

from avsep.errors import InputError
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.clip import ToybandSettings, check_cast, draw_cast


def test_casts_are_drawn_with_their_probabilities() -> None:
    settings = ToybandSettings()
    casts = [draw_cast(settings, CATEGORIES, np.random.default_rng([n])) for n in range(2000)]
    sizes = np.bincount([len(cast.visible) for cast in casts], minlength=5)[1:] / 2000
    # Three standard deviations of a share of 2000 are 0.03 at most.
    np.testing.assert_allclose(sizes, [1 / 6, 1 / 2, 1 / 6, 1 / 6], atol=0.035)
    groups = [cast for cast in casts if len(cast.visible) > 1]
    share_of_twins = np.mean([len(set(cast.visible)) < len(cast.visible) for cast in groups])
    # Again three standard deviations: 0.026 for the casts with several performers, 0.02 for all.
    assert share_of_twins == pytest.approx(0.15, abs=0.03)
    assert np.mean([len(cast.offscreen) for cast in casts]) == pytest.approx(0.1, abs=0.02)
    assert all(not set(cast.offscreen) & set(cast.visible) for cast in casts)
    assert {name for cast in casts for name in cast.visible} == set(CATEGORIES)


@pytest.mark.parametrize(
    ("changes", "num_needed"),
    [
        ({"num_performers": (1, 4)}, 5),
        ({"num_performers": (1, 4), "offscreen_player_probability": 0.0}, 4),
        ({"num_performers": (2,), "same_category_probability": 1.0}, 2),
    ],
)
def test_as_many_instruments_are_required_as_a_clip_may_need(
    changes: dict[str, object], num_needed: int
) -> None:
    settings = ToybandSettings().model_copy(update=changes)
    check_cast(settings, CATEGORIES[:num_needed])
    for seed in range(50):
        draw_cast(settings, CATEGORIES[:num_needed], np.random.default_rng(seed))
    with pytest.raises(InputError, match=f"{num_needed} different instruments are needed"):
        check_cast(settings, CATEGORIES[: num_needed - 1])


@pytest.mark.parametrize(
    "settings",
    [
        {"level_spread_db": float("inf")},
        {"score": {"slowest_bpm": 150, "fastest_bpm": 140}},
        {"score": {"fastest_bpm": float("inf")}},
        {"score": {"slowest_bpm": 0.01}},
        {"score": {"timing_spread_seconds": 9}},
        {"pictures": {"frame_rate_hz": 0.01}},
        {"pictures": {"most_distractors": 1000}},
        {"pictures": {"least_size": 0.001}},
    ],
)
def test_settings_that_make_no_music_or_picture_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"less than|greater than|is above"):
        ToybandSettings.model_validate(settings)
