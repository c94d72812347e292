"""Clips as batches: the window's sound and cues belong together, strangers are of other kinds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avsep.cues.crops import CropSettings
from avsep.data.clips import ClipFiles
from avsep.data.mixing import Waveform, crop, mix_clip
from avsep.errors import InputError
from avsep.evaluation import batches
from avsep.evaluation.batches import ClipReader, CueSettings, category_cue
from avsep.evaluation.mixtures import clip_mixture
from avsep.evaluation.protocol import mixture_groups
from avsep.sound.front_end import FrontEndSettings

FRONT_END = FrontEndSettings(window_samples=11025)
CROPS = CropSettings(crop_pixels=16, motion_pixels=8, num_crops=2)
CATEGORIES = ("harp", "tuba", "violin", "drums", "cello")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClipFiles, ...]:
    """Three small duets: violin and tuba, tuba and drums, harp and cello, the last in harmony."""
    from avsep.data.toyband import read_clip
    from avsep.toyband.clip import ToybandSettings, make_clip
    from avsep.toyband.folder import ClipPaths
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    folder = tmp_path_factory.mktemp("band")
    pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=5)
    bands = [("violin", "tuba"), ("tuba", "drums"), ("harp", "cello")]
    for number, band in enumerate(bands, 1):
        settings = ToybandSettings(
            clip_seconds=3,
            num_performers=(2,),
            categories=band,
            same_category_probability=0,
            offscreen_player_probability=0,
            noise_probability=0,
            together_probability=float(number == 3),
            pictures=pictures,
        )
        make_clip(ClipPaths(folder, str(number)), 1000, number, settings, Material.read())
    return tuple(read_clip(ClipPaths(folder, str(number))) for number in (1, 2, 3))


def read(clips: tuple[ClipFiles, ...], index: int, **cue_settings: object) -> torch.Tensor:
    result = ClipReader(clips).batch(
        index, FRONT_END, CueSettings(CROPS, CATEGORIES, **cue_settings)
    )
    return result[1].cues


def test_the_window_is_the_one_in_the_middle(clips: tuple[ClipFiles, ...]) -> None:
    item, batch = ClipReader(clips).batch(0, FRONT_END)
    whole = mix_clip(clips[0], FRONT_END)
    windows, sounds = [item.mixture, *item.sources], [whole.mixture, *whole.sources]
    for window, sound in zip(windows, sounds, strict=True):
        expected = crop(Waveform(sound), sound.shape[1] // 2, FRONT_END.window_samples)
        np.testing.assert_array_equal(window, expected)
    assert batch.cues.crops is None and batch.mixture.shape == (1, 1, 11025)


@pytest.mark.slow
def test_cues_are_of_the_clips_own_objects(clips: tuple[ClipFiles, ...]) -> None:
    cues = read(clips, 0)
    assert cues.crops.shape == (1, 2, 2, 3, 16, 16)
    assert cues.crop_motion.shape == (1, 2, 10, 8, 8)
    told = [CATEGORIES[index] for index in cues.category[0]]
    assert told == [source.category for source in clips[0].sources]
    assert read(clips, 0, labels="predicted").category is None
    assert torch.equal(read(clips, 0, labels="predicted").crops, cues.crops)


@pytest.mark.slow
def test_strangers_are_of_no_kind_in_the_clip(clips: tuple[ClipFiles, ...]) -> None:
    # The second clip has one object of another kind than the first, the third has two.
    reader = ClipReader(clips)
    item, batch = reader.batch(0, FRONT_END, CueSettings(CROPS, CATEGORIES, ablation="wrong"))
    kinds = {source.category for source in clips[0].sources}
    output = [
        (part.source.category, clips.index(part.clip), part.place)
        for part in reader._other_parts(0)
    ]
    assert not kinds & {kind for kind, _, _ in output} and len(output) == 2
    # Crops of strangers are those that their own clips show at that time.
    own = {clip: read(clips, clip) for _, clip, _ in output}
    for source, (_, clip, place) in enumerate(output):
        assert torch.equal(batch.cues.crops[0, source], own[clip].crops[0, place])
    told = read(clips, 0).category
    assert torch.equal(batch.cues.category, told) and item.names == (clips[0].name,)


def test_without_a_third_instrument_nobody_is_a_stranger(clips: tuple[ClipFiles, ...]) -> None:
    with pytest.raises(InputError, match=r"need 2 objects of other categories than clip '1'.*hold"):
        read(clips[:2], 0, ablation="wrong")


@pytest.mark.slow
def test_models_share_the_sounds_and_crops_of_a_clip(
    clips: tuple[ClipFiles, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may differ in the rows of their front end and in what a window takes of the crops."""
    calls = []
    for name in ("extract_clip_crops", "read_middle_window"):
        original = getattr(batches, name)

        def spy(*given: object, name: str = name, original: Any = original, **more: object) -> Any:
            calls.append(name)
            return original(*given, **more)

        monkeypatch.setattr(batches, name, spy)
    other = CROPS.model_copy(update={"num_crops": 1, "whole_when_alone": True})
    rows = FRONT_END.model_copy(update={"num_rows": 64})
    reader = ClipReader(clips)
    _, first = reader.batch(0, FRONT_END, CueSettings(CROPS, CATEGORIES))
    _, second = reader.batch(0, rows, CueSettings(other, CATEGORIES))
    assert sorted(calls) == ["extract_clip_crops", "read_middle_window"]
    assert torch.equal(first.mixture, second.mixture)
    # Each takes what it would take alone.
    alone = ClipReader(clips).batch(0, rows, CueSettings(other, CATEGORIES))[1].cues
    assert torch.equal(second.cues.crops, alone.crops) and second.cues.crops.shape[2] == 1
    assert torch.equal(second.cues.crop_motion, alone.crop_motion)
    reader.batch(0, rows, CueSettings(other.model_copy(update={"crop_pixels": 8}), CATEGORIES))
    assert calls.count("extract_clip_crops") == 3  # with that of the reader alone


def test_words_are_looked_up_in_the_models_own_list() -> None:
    known = ("acoustic_guitar", "Violin")
    result = category_cue(["fiddle", "Acoustic guitar", "kazoo"], known)
    assert result.tolist() == [1, 0, -1]


def test_groups_come_from_the_clip(clips: tuple[ClipFiles, ...]) -> None:
    assert mixture_groups(clip_mixture(clips[0])) == ("different categories", "2 sources")
    assert mixture_groups(clip_mixture(clips[2])) == (
        "different categories",
        "in harmony",
        "2 sources",
    )


@pytest.mark.slow
def test_motion_features_lie_beside_the_clip(clips: tuple[ClipFiles, ...], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    features = generator.standard_normal((4, 2)).astype(np.float32)
    np.save(tmp_path / "motion.npy", features)
    with_i3d_features = (replace(clips[0], i3d_features=tmp_path / "motion.npy"), *clips[1:])
    cues = read(with_i3d_features, 0, with_i3d_features=True)
    assert cues.i3d_features.shape == (1, 2, 4, 2) and not cues.i3d_padding.any()
    np.testing.assert_array_equal(cues.i3d_features[0, 1].numpy(), features)
    with pytest.raises(InputError, match="clip '2' has no motion features"):
        read(with_i3d_features, 1, with_i3d_features=True)
