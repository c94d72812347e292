"""Test mixtures of several clips: the sum of middle windows, and the cues of each source."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.cues.crops import CropSettings
from avsep.data.clips import ClipFiles
from avsep.data.prepared import read_prepared
from avsep.evaluation.batches import ClipReader, CueSettings
from avsep.evaluation.mixtures import (
    Mixture,
    MixturePart,
    as_mixtures,
    clip_mixture,
    read_middle_window,
)
from avsep.evaluation.protocol import mixture_groups
from avsep.sound.front_end import FrontEndSettings
from evaluation.solos import hide_solos, make_solos, solo_sound

FRONT_END = FrontEndSettings(window_samples=11025)  # a second
CROPS = CropSettings(crop_pixels=4, motion_pixels=4, num_crops=2, crop_rate_hz=2)
CATEGORIES = ("violin", "cello", "flute", "acoustic guitar")


@pytest.fixture(scope="module")
def solos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ClipFiles]:
    folder = tmp_path_factory.mktemp("solos")
    make_solos(folder)
    return {clip.name: clip for clip in read_prepared(folder)}


def pair(solos: dict[str, ClipFiles], *names: str, rule: str = "mean") -> Mixture:
    return Mixture(" + ".join(names), tuple(MixturePart(solos[name]) for name in names), rule)


def test_the_middle_of_each_is_divided_by_their_number(solos: dict[str, ClipFiles]) -> None:
    mixture = pair(solos, "cello/c", "violin/a")
    item, batch = ClipReader([mixture]).batch(0, FRONT_END)
    for source, number in zip(item.sources, (2, 0), strict=True):
        middle = solo_sound(number, 2.0)[22050 // 2 - 5512 :][:11024]
        np.testing.assert_allclose(source[0, :11024], middle / 2, atol=1e-7)
    np.testing.assert_array_equal(item.mixture, item.sources.sum(axis=0))
    assert item.names == ("cello/c", "violin/a") and item.categories == ("cello", "violin")
    assert batch.sources.shape == (1, 2, 1, 11025)
    summed, _ = ClipReader([pair(solos, "cello/c", "violin/a", rule="sum")]).batch(0, FRONT_END)
    np.testing.assert_allclose(summed.sources, 2 * item.sources)


def test_a_short_solo_is_repeated_and_seen_again(solos: dict[str, ClipFiles]) -> None:
    """Five seconds of a two-second solo: the window is the middle of three times the solo."""
    front_end = FrontEndSettings(window_samples=5 * 11025)
    window = read_middle_window(solos["violin/a"], front_end, repeat=True)
    assert window.repeated_seconds == 2.0 and window.start_seconds == pytest.approx(0.5, abs=1e-4)
    endless = np.tile(solo_sound(0, 2.0), 3)
    start = round(window.start_seconds * 11025)
    np.testing.assert_array_equal(window.sounds[0, 0, :55124], endless[start:][:55124])
    reader = ClipReader([pair(solos, "violin/a", "cello/c")])
    _, batch = reader.batch(0, front_end, CueSettings(CROPS, CATEGORIES))
    crop_motion = batch.cues.crop_motion[0, 0].float().mean((-1, -2))  # M, 10 a second
    assert (
        torch.equal(crop_motion[:20], crop_motion[20:40]) and crop_motion[:20].unique().numel() == 4
    )
    alone = read_middle_window(solos["violin/a"], front_end, repeat=False)
    assert alone.start_seconds < 0 and not alone.sounds[0, 0, :1000].any()


def test_each_source_is_seen_in_its_own_video(solos: dict[str, ClipFiles]) -> None:
    reader = ClipReader([pair(solos, "flute/d", "violin/b"), pair(solos, "violin/b", "flute/d")])
    cue_settings = CueSettings(CROPS, CATEGORIES)
    (_, there), (_, back) = (reader.batch(index, FRONT_END, cue_settings) for index in (0, 1))
    assert there.cues.category.tolist() == [[2, 0]]
    # The second that is heard begins half a second in: the second and third picture.
    greys = there.cues.crops[0, :, :, 0, 0, 0].tolist()
    assert greys == [[20 + 30 + 3, 20 + 30 + 6], [20 + 10 + 3, 20 + 10 + 6]]
    assert torch.equal(back.cues.crops, there.cues.crops.flip(1))
    swapped = CueSettings(CROPS, CATEGORIES, ablation="swapped")
    turned = reader.batch(0, FRONT_END, swapped)[1].cues
    assert torch.equal(turned.crops, there.cues.crops.flip(1))


def test_what_nobody_sees_is_black_and_told(tmp_path: Path) -> None:
    make_solos(tmp_path)
    hide_solos(tmp_path, "cello/c", "flute/d")
    solos = {clip.name: clip for clip in read_prepared(tmp_path)}
    mixtures = [
        pair(solos, "violin/a", "cello/c"),
        pair(solos, "acoustic_guitar/-e.x", "violin/b"),
        pair(solos, "flute/d", "violin/b"),
    ]
    reader, cue_settings = ClipReader(mixtures), CueSettings(CROPS, CATEGORIES)
    # Two seconds are a window of five and of one: once the sound is repeated, once it is not.
    for front_end in (FRONT_END, FrontEndSettings(window_samples=5 * 11025)):
        item, batch = reader.batch(0, front_end, cue_settings)
        cues = batch.cues
        assert cues.is_visible.tolist() == [[True, False]] and cues.category.tolist() == [[0, 1]]
        assert cues.crops[0, 0].any() and not cues.crops[0, 1].any()
        assert cues.crop_motion[0, 0].any() and not cues.crop_motion[0, 1].any()
        assert np.abs(item.sources).max(axis=(1, 2)).min() > 0.05
        assert reader.batch(1, front_end, cue_settings)[1].cues.is_visible is None
    output = reader.batch(1, FRONT_END, replace(cue_settings, ablation="wrong"))[1].cues.is_visible
    assert output.tolist() == [[False, False]]  # flute and cello stand in for guitar and violin


def test_strangers_come_from_other_mixtures(solos: dict[str, ClipFiles]) -> None:
    mixtures = [
        pair(solos, "violin/a", "cello/c"),
        pair(solos, "violin/b", "flute/d"),
        pair(solos, "flute/d", "acoustic_guitar/-e.x"),
    ]
    wrong = CueSettings(CROPS, CATEGORIES, ablation="wrong")
    output = ClipReader(mixtures).batch(0, FRONT_END, wrong)[1].cues.crops
    others = ClipReader([mixtures[2]]).batch(0, FRONT_END, CueSettings(CROPS, CATEGORIES))[1]
    # The flute of the second and of the third mixture is one and the same.
    assert torch.equal(output, others.cues.crops)


def test_what_was_read_lately_is_not_read_again(solos: dict[str, ClipFiles]) -> None:
    names = ("violin/a", "cello/c"), ("violin/a", "flute/d"), ("cello/c", "flute/d")
    reader = ClipReader([pair(solos, *two) for two in names])
    for index in range(2):
        reader.batch(index, FRONT_END, CueSettings(CROPS, CATEGORIES))
    moved = [solos["cello/c"].sources[0].path, solos["flute/d"].sources[0].path]
    for path in moved:
        path.rename(path.with_suffix(".away"))
    try:
        item, _ = reader.batch(2, FRONT_END, CueSettings(CROPS, CATEGORIES))
    finally:
        for path in moved:
            path.with_suffix(".away").rename(path)
    fresh, _ = ClipReader([pair(solos, *names[2])]).batch(0, FRONT_END)
    np.testing.assert_array_equal(item.mixture, fresh.mixture)


def test_kinds_of_pairs(solos: dict[str, ClipFiles]) -> None:
    assert mixture_groups(pair(solos, "violin/a", "violin/b")) == ("same category", "2 sources")
    trio = pair(solos, "violin/a", "cello/c", "flute/d")
    assert mixture_groups(trio) == ("different categories", "3 sources")
    assert trio.videos == ("violin/a", "cello/c", "flute/d")
    (own,) = as_mixtures([solos["violin/a"]])
    assert own == clip_mixture(solos["violin/a"]) and own.rule is None and mixture_groups(own) == ()
