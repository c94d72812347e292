"""Test MixAndSeparateDataset: sound and cues of one window, fixed by seed and index."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from avsep.cues.cache import SourceCache
from avsep.cues.windows import join_cues, select_lowest
from avsep.data.mixing import MixingSettings
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.records import Batch, Cues
from avsep.sound.front_end import FrontEndSettings
from avsep.training.datamodule import AudioVisualItem, MixAndSeparateDataset
from data.prepared_folder import hide, make_prepared
from training.duets import CATEGORIES, FRONT_END, RATE_HZ, grey_of, make_duet, make_duets, prepared

# Lossy video and the rounding of pictures, in steps of 255.
GREY_TOLERANCE = 4
PLAIN = {"gain_range": (1, 1), "rule": "sum"}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> SourceCache:
    folder = tmp_path_factory.mktemp("mixtures")
    return prepared(make_duets(folder / "duets"), folder / "cache")


def mixtures(cache: SourceCache, seed: int = 0, **settings: object) -> MixAndSeparateDataset:
    return MixAndSeparateDataset(
        cache, CATEGORIES, MixingSettings(**settings), FRONT_END, seed=seed
    )


def is_same(a: AudioVisualItem, b: AudioVisualItem) -> bool:
    pairs = [(getattr(a.cues, f.name), getattr(b.cues, f.name)) for f in fields(Cues)]
    return np.array_equal(a.mixed.mixture, b.mixed.mixture) and all(
        x is y if x is None or y is None else x.equal(y) for x, y in pairs
    )


@pytest.mark.slow
def test_items_depend_on_seed_and_index_alone(cache: SourceCache) -> None:
    first, second = mixtures(cache, 3), mixtures(cache, 3)
    in_order = [first[index] for index in range(20)]
    for index in (19, 3, 11, 0):
        assert is_same(second[index], in_order[index])
    assert not any(is_same(mixtures(cache, 4)[i], in_order[i]) for i in range(4))
    assert not any(is_same(in_order[i], in_order[i + 8]) for i in range(8))


@pytest.mark.slow
def test_every_source_begins_once_in_a_stretch(cache: SourceCache) -> None:
    data = mixtures(cache)
    sources = {(source.clip, source.category) for source in cache.sources}
    orders = []
    for stretch in range(3):
        items = [data[8 * stretch + place].mixed for place in range(8)]
        orders.append([(item.names[0], item.categories[0]) for item in items])
        assert set(orders[-1]) == sources
    assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize("position", ["random", "middle"])
def test_sound_and_pictures_are_of_one_window(cache: SourceCache, position: str) -> None:
    data = mixtures(cache, position=position, **PLAIN)
    for index in range(8):
        item = data[index]
        for place, sound in enumerate(item.mixed.sources):
            names = (item.mixed.names[place], item.mixed.categories[place])
            side = next(i % 2 for i, s in enumerate(cache.sources) if (s.clip, s.category) == names)
            # The stems grow louder from 0 to 0.4, the pictures brighter or darker: both are clocks.
            middle_seconds = 4 * np.abs(sound[0, 6000:10000]).max() / 0.4
            moves = item.cues.crop_motion[0, place].float().mean((1, 2))
            assert len(moves) == 10
            expected = grey_of(side, middle_seconds)
            assert moves[4:6].mean().item() == pytest.approx(expected, abs=20)  # half a second
            crops = item.cues.crops[0, place].float().mean((1, 2, 3))
            # A picture lasts 8 steps of grey; times are rounded to the nearest one.
            darkest, brightest = sorted([moves[0].item(), moves[-1].item()])
            assert darkest - 8 - GREY_TOLERANCE <= crops.min().item()
            assert crops.max().item() <= brightest + 8 + GREY_TOLERANCE


def test_crops_in_the_middle_are_evenly_spread(cache: SourceCache) -> None:
    item = mixtures(cache, position="middle")[0]
    # The middle two of four seconds hold the crops at 1, 1.5, 2, 2.5 s; the outer two are selected.
    greys = item.cues.crops[0, :, :, 0].float().mean((2, 3))
    difference = (greys[:, 1] - greys[:, 0]).abs()
    assert difference.tolist() == pytest.approx([40 * 1.4, 40 * 1.4], abs=2 * GREY_TOLERANCE)


@given(num_rows=st.integers(1, 8), num_crops=st.integers(1, 6), seed=st.integers(0, 99))
def test_rows_are_drawn_without_repeats_while_there_are_enough(
    num_rows: int, num_crops: int, seed: int
) -> None:
    rows = np.arange(10, 10 + num_rows)
    chosen = select_lowest(rows, np.random.default_rng(seed).random(num_rows), num_crops)
    assert len(chosen) == num_crops and set(chosen) <= set(rows)
    assert chosen.tolist() == sorted(chosen)
    assert len(set(chosen)) == min(num_rows, num_crops)


def test_sources_of_one_clip_keep_their_relative_levels(cache: SourceCache) -> None:
    data = mixtures(cache, same_clip_probability=1, rule="sum")
    plain = mixtures(cache, same_clip_probability=1, **PLAIN)
    for index in range(8):
        item = data[index]
        assert item.mixed.names[0] == item.mixed.names[1]
        sources, bare = item.mixed.sources, plain[index].mixed.sources
        factors = np.abs(sources).max((1, 2)) / np.abs(bare).max((1, 2))
        assert factors[0] == pytest.approx(factors[1], rel=1e-3) and 0.5 <= factors[0] <= 1.5
        # One window: the two grow in step, and of the pictures one brightens as the other darkens.
        assert np.abs(bare[0]).max() == pytest.approx(np.abs(bare[1]).max(), abs=0.01)
        moves = item.cues.crop_motion[0].float().mean((2, 3)).sum(0)
        np.testing.assert_allclose(moves, 280, atol=2 * GREY_TOLERANCE)


def test_an_offscreen_sound_is_in_the_mixture_and_no_target(cache: SourceCache) -> None:
    data = mixtures(cache, offscreen_probability=1, **PLAIN)
    for index in range(8):
        item = data[index]
        rest = item.mixed.mixture - item.mixed.sources.sum(0)
        assert len(item.mixed.sources) == 2 and np.abs(rest).max() > 0.01
        assert item.cues.category.shape == (1, 2)
    silent = mixtures(cache, silent_probability=0.9, offscreen_probability=1, **PLAIN)[0]
    assert silent.mixed.sources.any()


def test_categories_are_the_models(cache: SourceCache) -> None:
    item = mixtures(cache)[0]
    assert item.cues.category.tolist() == [[CATEGORIES.index(c) for c in item.mixed.categories]]
    others = MixAndSeparateDataset(cache, ("Tuba", "harp", "violoncello", "flute"), None, FRONT_END)
    expected = [{"cello": 2, "flute": 3, "harp": 1, "tuba": 0}[c] for c in item.mixed.categories]
    assert others[0].cues.category.tolist() == [expected]
    with pytest.raises(InputError, match="unknown category 'flute'; known: cello, harp, tuba"):
        MixAndSeparateDataset(cache, ("cello", "harp", "tuba"), None, FRONT_END)


def test_a_model_without_categories_has_no_category_cue(cache: SourceCache) -> None:
    item = MixAndSeparateDataset(cache, (), MixingSettings(), FRONT_END)[0]
    assert item.cues.category.tolist() == [[-1, -1]]
    assert set(item.mixed.categories) < {source.category for source in cache.sources}
    assert is_same(replace(item, cues=mixtures(cache)[0].cues), mixtures(cache)[0])


def test_a_batch_is_its_items(cache: SourceCache) -> None:
    data = mixtures(cache)
    items = [data[index] for index in range(3)]
    batch = data.collate(items)
    assert isinstance(batch, Batch) and batch.sources is not None
    assert batch.mixture.shape == (3, 1, 16001) and batch.sources.shape == (3, 2, 1, 16001)
    assert batch.cues.crops is not None and batch.cues.crop_motion is not None
    assert batch.cues.crops.shape == (3, 2, 2, 3, 8, 8)
    assert batch.cues.crop_motion.shape == (3, 2, 10, 6, 6)
    for place, item in enumerate(items):
        assert batch.cues.crops[place].equal(item.cues.crops[0])
        np.testing.assert_array_equal(batch.mixture[place].numpy(), item.mixed.mixture)
    assert batch.cues.i3d_features is None and batch.cues.appearance is None


@pytest.mark.slow
def test_motion_features_are_padded(tmp_path: Path) -> None:
    make_prepared(tmp_path / "solos")
    cache = prepared(read_prepared(tmp_path / "solos"), tmp_path / "cache", with_i3d_features=True)
    data = MixAndSeparateDataset(
        cache, ("acoustic guitar", "erhu", "violin"), MixingSettings(), FRONT_END
    )
    items = [data[index] for index in range(6)]
    cues = data.collate(items).cues
    assert (
        cues.i3d_features is not None and cues.i3d_padding is not None and cues.category is not None
    )
    # Guitar, erhu, violin have 2, 4, 6 times; their features count from 0.
    lengths = 2 * (cues.category + 1)
    assert (~cues.i3d_padding).sum(2).equal(lengths)
    for i3d_features, length in zip(
        cues.i3d_features.flatten(0, 1), lengths.flatten().tolist(), strict=True
    ):
        expected = torch.arange(3 * length).reshape(3, length).float()
        assert i3d_features[:, :length].equal(expected) and not i3d_features[:, length:].any()


@pytest.mark.slow
def test_a_source_without_pictures_is_a_target_too(tmp_path: Path) -> None:
    make_prepared(tmp_path / "solos")
    hide(tmp_path / "solos")
    cache = prepared(read_prepared(tmp_path / "solos"), tmp_path / "cache")
    data = MixAndSeparateDataset(
        cache, ("acoustic guitar", "erhu", "violin"), MixingSettings(**PLAIN), FRONT_END
    )
    items = [data[index] for index in range(9)]
    is_hidden = [[category == "erhu" for category in item.mixed.categories] for item in items]
    assert any(map(any, is_hidden)) and not all(map(any, is_hidden))
    for item, hidden in zip(items, is_hidden, strict=True):
        is_visible, crops = item.cues.is_visible, item.cues.crops
        assert (is_visible is None) == (not any(hidden)) and crops is not None
        assert np.abs(item.mixed.sources).max((1, 2)).min() > 0.2  # neither is silent
        assert not crops[0, torch.tensor(hidden)].any()
    cues = data.collate(items).cues
    assert cues.is_visible is not None and (~cues.is_visible).tolist() == is_hidden


def test_sources_are_visible_where_cues_have_no_visibility() -> None:
    with_visibility = Cues(
        category=torch.zeros(1, 2, dtype=torch.int64), is_visible=torch.tensor([[True, False]])
    )
    without = Cues(category=torch.zeros(2, 2, dtype=torch.int64))
    joined = join_cues([without, with_visibility]).is_visible
    assert joined is not None and joined.tolist() == [[True, True], [True, True], [True, False]]
    assert join_cues([without, without]).is_visible is None


def test_short_clips_fill_the_window(cache: SourceCache, tmp_path: Path) -> None:
    long_window = FrontEndSettings(sample_rate_hz=RATE_HZ, window_samples=10 * RATE_HZ)
    item = MixAndSeparateDataset(cache, CATEGORIES, MixingSettings(**PLAIN), long_window)[0]
    assert (
        item.cues.crop_motion.shape[2] == 50 and np.abs(item.mixed.sources[..., -8000:]).max() > 0.1
    )


@pytest.mark.slow
def test_clips_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    clips = []
    for place, pair in enumerate([("cello", "flute"), ("harp", "tuba")]):
        (tmp_path / str(place)).mkdir()
        clips.append(make_duet(tmp_path / str(place), "000", pair, 300 + place))
    cache = prepared(clips, tmp_path / "cache")
    for index in range(4):
        together = mixtures(cache, same_clip_probability=1)[index].mixed.categories
        assert set(together) in ({"cello", "flute"}, {"harp", "tuba"})
        others = mixtures(cache)[index].mixed.categories
        assert set(others) not in ({"cello", "flute"}, {"harp", "tuba"})


def test_a_cache_of_another_rate_is_refused(cache: SourceCache) -> None:
    with pytest.raises(
        InputError, match="sources cached at 8000 Hz in 1 channels cannot be mixed at 11025"
    ):
        MixAndSeparateDataset(cache, CATEGORIES)


def test_sound_and_pictures_of_a_clip_are_mirrored_together(cache: SourceCache) -> None:
    plain, mirrored = (
        mixtures(cache, mirror_probability=share, position="middle", **PLAIN) for share in (0, 1)
    )
    for index in range(4):
        before, after = plain[index].cues, mirrored[index].cues
        assert before.crops is not None and before.boxes is not None
        assert torch.equal(after.crops, before.crops.flip(-1))
        assert torch.equal(after.crop_motion, before.crop_motion.flip(-1))
        x1, y1, x2, y2 = before.boxes.unbind(-1)
        torch.testing.assert_close(after.boxes, torch.stack([1 - x2, y1, 1 - x1, y2], dim=-1))
    together = mixtures(cache, mirror_probability=0.5, same_clip_probability=1, **PLAIN)
    straight = mixtures(cache, same_clip_probability=1, **PLAIN)
    draws = set()
    for index in range(12):
        generator = np.random.default_rng(index)
        draw = straight.sampler.sample(index % 8, generator)
        drawn = together._draw_mirrored(draw, generator)[: len(draw.targets)]
        assert drawn.all() or not drawn.any()
        draws.add(bool(drawn.all()))
    assert draws == {True, False}
