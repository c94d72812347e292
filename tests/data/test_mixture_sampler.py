"""Test mixture sampling: shares as set, and no source or clip twice in a mixture."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avsep.data.mixing import MixingSettings
from avsep.data.mixture_sampler import MixtureSampler
from avsep.errors import InputError

NUM_DRAWS = 600
# Three standard deviations of a share of one half in this many draws.
TOLERANCE = 3 * 0.5 / NUM_DRAWS**0.5
# Twelve clips of three sources, four categories.
CLIPS = [f"clip{i // 3}" for i in range(36)]
CATEGORIES = ["cello", "flute", "harp", "tuba"] * 9


def sample(num_draws: int = NUM_DRAWS, seed: int = 0, **settings: object) -> list:
    sampler = MixtureSampler(CLIPS, CATEGORIES, MixingSettings(**settings))
    return [
        sampler.sample(i % len(CLIPS), np.random.default_rng([seed, i])) for i in range(num_draws)
    ]


@pytest.mark.slow
@given(
    num_sources=st.integers(2, 3),
    distinct=st.booleans(),
    own=st.sampled_from([0, 0.3, 1]),
    alike=st.sampled_from([0, 0.5]),
    offscreen=st.sampled_from([0, 1]),
    seed=st.integers(0, 99),
)
def test_what_every_draw_keeps(
    num_sources: int, distinct: bool, own: float, alike: float, offscreen: int, seed: int
) -> None:
    settings = {
        "num_sources": num_sources,
        "distinct_categories": distinct,
        "same_clip_probability": own,
        "same_category_probability": alike * (1 - own),
        "offscreen_probability": offscreen,
    }
    for index, mixture in enumerate(sample(12, seed, **settings)):
        assert len(set(mixture.audible)) == num_sources + offscreen
        assert mixture.targets[0] == index
        clips = {CLIPS[place] for place in mixture.targets}
        assert len(clips) == (1 if mixture.num_of_one_clip else num_sources)
        if mixture.offscreen is not None:
            assert CLIPS[mixture.offscreen] not in clips
            targets = {CATEGORIES[place] for place in mixture.targets}
            assert not (distinct and CATEGORIES[mixture.offscreen] in targets)


@pytest.mark.slow
def test_shares_are_those_asked_for() -> None:
    samples = sample(
        same_clip_probability=0.3, same_category_probability=0.4, offscreen_probability=0.5
    )
    assert np.mean([mixture.num_of_one_clip > 0 for mixture in samples]) == pytest.approx(
        0.3, abs=TOLERANCE
    )
    assert np.mean([mixture.offscreen is not None for mixture in samples]) == pytest.approx(
        0.5, abs=TOLERANCE
    )
    others = [mixture for mixture in samples if not mixture.num_of_one_clip]
    alike = [len({CATEGORIES[place] for place in mixture.targets}) == 1 for mixture in others]
    assert sum(alike) / NUM_DRAWS == pytest.approx(0.4, abs=TOLERANCE)


@pytest.mark.slow
def test_two_of_a_kind_are_two_and_no_more() -> None:
    for mixture in sample(100, num_sources=4, same_category_probability=1):
        assert len({CATEGORIES[place] for place in mixture.targets}) == 3
        assert CATEGORIES[mixture.targets[0]] == CATEGORIES[mixture.targets[1]]


@pytest.mark.parametrize("own", [0, 1])
def test_extra_sources_are_of_other_clips_and_categories(own: int) -> None:
    samples = sample(60, extra_sources=1, same_clip_probability=own, offscreen_probability=1)
    for mixture in samples:
        assert len(mixture.targets) == 3 and mixture.num_extra == 1
        assert mixture.num_of_one_clip == 2 * own
        *first, extra = mixture.targets
        assert CLIPS[extra] not in {CLIPS[place] for place in first}
        assert len({CATEGORIES[place] for place in mixture.audible}) == 4
    # Without extras, the same numbers are drawn as before there were any.
    plain = sample(60, same_clip_probability=own, offscreen_probability=1)
    assert [m.targets for m in plain] == [m.targets[:2] for m in samples]


@pytest.mark.slow
def test_what_is_unseen_is_half_of_the_offscreen_sounds_and_never_a_target() -> None:
    clips = [*CLIPS, *(f"street{i}" for i in range(4))]
    categories = [*CATEGORIES, *["Ambience"] * 4]
    settings = MixingSettings(
        unseen_categories=("ambience",), offscreen_probability=0.5, extra_sources=1
    )
    sampler = MixtureSampler(clips, categories, settings)
    samples = [sampler.sample(i % 40, np.random.default_rng([2, i])) for i in range(NUM_DRAWS)]
    assert all(place < 36 for mixture in samples for place in mixture.targets)
    unseen = [m.offscreen is not None and m.offscreen >= 36 for m in samples]
    assert np.mean(unseen) == pytest.approx(0.25, abs=TOLERANCE)
    assert np.mean([m.offscreen is not None for m in samples]) == pytest.approx(0.5, abs=TOLERANCE)
    # Without any in the list, the same is drawn as without the setting.
    plain = sample(40, offscreen_probability=0.5)
    assert sample(40, offscreen_probability=0.5, unseen_categories=("ambience",)) == plain


def test_a_list_too_small_for_extra_sources_is_an_error() -> None:
    with pytest.raises(InputError, match="mixtures of 3 sources need as many clips"):
        MixtureSampler(["x", "y"], ["a", "b"], MixingSettings(extra_sources=1))


@pytest.mark.slow
def test_partners_are_equally_likely() -> None:
    # The sampler searches a list with few valid partners, and rejects in a common one.
    categories = ["a"] * 100 + ["b", "c"]
    sampler = MixtureSampler([str(i) for i in range(102)], categories, MixingSettings())
    rare = [sampler.sample(0, np.random.default_rng(i)).targets[1] for i in range(NUM_DRAWS)]
    assert set(rare) == {100, 101}
    assert np.mean(np.array(rare) == 100) == pytest.approx(0.5, abs=TOLERANCE)
    common = np.bincount(
        [mixture.targets[1] for mixture in sample(distinct_categories=False)], minlength=36
    )
    assert common.min() > 0


def test_a_source_alone_in_its_clip_or_category_still_begins() -> None:
    clips, categories = ["x", "y", "y", "z"], ["a", "b", "c", "c"]
    own = MixtureSampler(clips, categories, MixingSettings(same_clip_probability=1))
    assert set(own.sample(0, np.random.default_rng(0)).targets) == {1, 2}
    alike = MixtureSampler(clips, categories, MixingSettings(same_category_probability=1))
    assert alike.sample(0, np.random.default_rng(0)).targets[0] == 0


def test_settings_that_no_list_can_serve() -> None:
    with pytest.raises(InputError, match="same_clip_probability needs clips of 4 sources at least"):
        sample(1, num_sources=4, same_clip_probability=0.1)
    with pytest.raises(InputError, match="mixtures of 5 distinct categories cannot be made of 4"):
        sample(1, num_sources=4, offscreen_probability=0.1)
    with pytest.raises(ValueError, match="together they must not exceed 1"):
        MixingSettings(same_clip_probability=0.6, same_category_probability=0.6)


@pytest.mark.slow
def test_sources_that_stand_alone_mix_with_all_others_and_clips_of_several_stay_whole() -> None:
    """A list of duets and of single sounds, as audio-only clips are."""
    clips = [f"duet{i // 2}" for i in range(8)] + [f"sound{i}" for i in range(8)]
    categories = ["cello", "flute"] * 4 + ["rain", "dog bark"] * 4
    settings = MixingSettings(same_clip_probability=0.5)
    sampler = MixtureSampler(clips, categories, settings)
    samples = [sampler.sample(i % 16, np.random.default_rng([1, i])) for i in range(NUM_DRAWS)]
    share = np.mean([mixture.num_of_one_clip > 0 for mixture in samples])
    assert share == pytest.approx(0.5, abs=TOLERANCE)
    for index, mixture in enumerate(samples):
        targets = {clips[place] for place in mixture.targets}
        if mixture.num_of_one_clip:
            assert len(targets) == 1 and targets.pop().startswith("duet")
        else:
            assert len(targets) == 2 and mixture.targets[0] == index % 16
    kinds = {tuple(sorted(place < 8 for place in mixture.targets)) for mixture in samples}
    assert kinds == {(True, True), (False, True), (False, False)}
