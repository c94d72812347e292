"""Draws: the shares that were asked for, and never a sound twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.data.mixing import Draws, MixingSettings
from avsep.errors import InputError

NUM_DRAWS = 600
# Three standard deviations of a share of half in so many draws.
TOLERANCE = 3 * 0.5 / NUM_DRAWS**0.5
# Twelve clips of three sources, four categories.
CLIPS = [f"clip{i // 3}" for i in range(36)]
CATEGORIES = ["cello", "flute", "harp", "tuba"] * 9


def drawn(num_draws: int = NUM_DRAWS, seed: int = 0, **settings: object) -> list:
    draws = Draws(CLIPS, CATEGORIES, MixingSettings(**settings))
    return [draws.draw(i % len(CLIPS), np.random.default_rng([seed, i])) for i in range(num_draws)]


@given(
    num_sources=st.integers(2, 3),
    distinct=st.booleans(),
    own=st.sampled_from([0, 0.3, 1]),
    alike=st.sampled_from([0, 0.5]),
    unseen=st.sampled_from([0, 1]),
    seed=st.integers(0, 99),
)
def test_what_every_draw_keeps(
    num_sources: int, distinct: bool, own: float, alike: float, unseen: int, seed: int
) -> None:
    settings = {
        "num_sources": num_sources,
        "distinct_categories": distinct,
        "own_clip_probability": own,
        "same_category_probability": alike * (1 - own),
        "unseen_probability": unseen,
    }
    for index, draw in enumerate(drawn(12, seed, **settings)):
        assert len(set(draw.heard)) == num_sources + unseen
        assert draw.shown[0] == index
        clips = {CLIPS[place] for place in draw.shown}
        assert len(clips) == (1 if draw.is_one_clip else num_sources)
        if draw.unseen is not None:
            assert CLIPS[draw.unseen] not in clips
            shown = {CATEGORIES[place] for place in draw.shown}
            assert not (distinct and CATEGORIES[draw.unseen] in shown)


def test_shares_are_those_asked_for() -> None:
    found = drawn(own_clip_probability=0.3, same_category_probability=0.4, unseen_probability=0.5)
    assert np.mean([one.is_one_clip for one in found]) == pytest.approx(0.3, abs=TOLERANCE)
    assert np.mean([one.unseen is not None for one in found]) == pytest.approx(0.5, abs=TOLERANCE)
    others = [one for one in found if not one.is_one_clip]
    alike = [len({CATEGORIES[place] for place in one.shown}) == 1 for one in others]
    assert sum(alike) / NUM_DRAWS == pytest.approx(0.4, abs=TOLERANCE)


def test_two_of_a_kind_are_two_and_no_more() -> None:
    for one in drawn(100, num_sources=4, same_category_probability=1):
        assert len({CATEGORIES[place] for place in one.shown}) == 3
        assert CATEGORIES[one.shown[0]] == CATEGORIES[one.shown[1]]


def test_partners_are_equally_likely() -> None:
    # A list in which nearly nothing may join is searched, a common one drawn from blindly.
    categories = ["a"] * 100 + ["b", "c"]
    draws = Draws([str(i) for i in range(102)], categories, MixingSettings())
    rare = [draws.draw(0, np.random.default_rng(i)).shown[1] for i in range(NUM_DRAWS)]
    assert set(rare) == {100, 101}
    assert np.mean(np.array(rare) == 100) == pytest.approx(0.5, abs=TOLERANCE)
    common = np.bincount([one.shown[1] for one in drawn(distinct_categories=False)], minlength=36)
    assert common.min() > 0


def test_a_source_alone_in_its_clip_or_category_still_begins() -> None:
    clips, categories = ["x", "y", "y", "z"], ["a", "b", "c", "c"]
    own = Draws(clips, categories, MixingSettings(own_clip_probability=1))
    assert set(own.draw(0, np.random.default_rng(0)).shown) == {1, 2}
    alike = Draws(clips, categories, MixingSettings(same_category_probability=1))
    assert alike.draw(0, np.random.default_rng(0)).shown[0] == 0


def test_settings_that_no_list_can_serve() -> None:
    with pytest.raises(InputError, match="own_clip_probability needs clips of 4 sources at least"):
        drawn(1, num_sources=4, own_clip_probability=0.1)
    with pytest.raises(InputError, match="mixtures of 5 distinct categories cannot be made of 4"):
        drawn(1, num_sources=4, unseen_probability=0.1)
    with pytest.raises(ValueError, match="together they must not exceed 1"):
        MixingSettings(own_clip_probability=0.6, same_category_probability=0.6)


def test_sources_that_stand_alone_mix_with_all_others_and_clips_of_several_stay_whole() -> None:
    """A list of duets and of sounds that are heard by themselves, as words without pictures are."""
    clips = [f"duet{i // 2}" for i in range(8)] + [f"sound{i}" for i in range(8)]
    categories = ["cello", "flute"] * 4 + ["rain", "dog bark"] * 4
    settings = MixingSettings(own_clip_probability=0.5)
    draws = Draws(clips, categories, settings)
    found = [draws.draw(i % 16, np.random.default_rng([1, i])) for i in range(NUM_DRAWS)]
    share = np.mean([one.is_one_clip for one in found])
    assert share == pytest.approx(0.5, abs=TOLERANCE)
    for index, one in enumerate(found):
        shown = {clips[place] for place in one.shown}
        if one.is_one_clip:
            assert len(shown) == 1 and shown.pop().startswith("duet")
        else:
            assert len(shown) == 2 and one.shown[0] == index % 16
    kinds = {tuple(sorted(place < 8 for place in one.shown)) for one in found}
    assert kinds == {(True, True), (False, True), (False, False)}
