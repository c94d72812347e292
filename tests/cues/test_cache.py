"""Test SourceCache: files have the sources' sound and cues; only what changed is built again."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from avsep.cues.cache import SourceCache, SourceCacheSettings, default_workers, fingerprint
from avsep.cues.crops import ObjectCrops
from avsep.data.clips import ClipFiles, read_i3d_features, read_sound
from avsep.data.prepared import read_prepared
from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings
from avsep.training.datamodule import MixAndSeparateDataset, cache_settings
from data.prepared_folder import hide, make_prepared
from tiny_models import tiny_model
from training.duets import (
    CATEGORIES,
    CROPS,
    FRONT_END,
    RATE_HZ,
    SETTINGS,
    grey_of,
    make_duet,
    make_duets,
    prepared,
    small_embed,
)

# Lossy video and the rounding of pictures, in steps of 255.
GREY_TOLERANCE = 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[ClipFiles]:
    return make_duets(tmp_path_factory.mktemp("duets"))


@pytest.fixture(scope="module")
def cache(clips: list[ClipFiles], tmp_path_factory: pytest.TempPathFactory) -> SourceCache:
    return prepared(clips, tmp_path_factory.mktemp("cache"))


def test_a_source_is_its_stem_and_its_own_object(cache: SourceCache) -> None:
    assert len(cache) == 8
    for index, source in enumerate(cache.sources):
        cached = cache[index]
        stem = read_sound(source.path, RATE_HZ)
        assert cached.num_samples == stem.shape[1]
        np.testing.assert_allclose(cached.piece(100, 900), stem[:, 100:900], atol=2**-15)
        rows = np.array([0, 7, 3])
        boxes = [source.visible.box_at(row / 2) for row in rows]
        torch.testing.assert_close(cached.rows("boxes", rows), torch.tensor(boxes))
        crops, crop_motion = cached.rows("crops", rows), cached.rows("crop_motion", np.arange(20))
        assert cached.num_rows("appearance") == 0
        for crop, row in zip(crops, rows, strict=True):
            # Pictures last a fifth of a second; one is shown at the time of every second crop.
            expected = grey_of(index % 2, int(row / 2 * 5) / 5)
            assert crop.float().mean().item() == pytest.approx(expected, abs=GREY_TOLERANCE)
        expected = [grey_of(index % 2, number / 5) for number in range(20)]
        assert crop_motion.float().mean((1, 2)).tolist() == pytest.approx(
            expected, abs=GREY_TOLERANCE
        )


@pytest.mark.slow
def test_sounds_beyond_full_scale_stay_as_loud(tmp_path: Path) -> None:
    clip = make_duet(tmp_path, "loud", ("cello", "flute"), 200)
    quiet, rate_hz = soundfile.read(clip.sources[0].path)
    soundfile.write(clip.sources[0].path, 5 * quiet, rate_hz, subtype="FLOAT")
    cache = prepared([clip], tmp_path / "cache")
    # One step of 16 bits is twice as high, as the peak is at 2.
    np.testing.assert_allclose(cache[0].piece(0, len(quiet))[0], 5 * quiet, atol=2**-14)
    for source, is_loud in zip(cache.paths_of(clip), (True, False), strict=True):
        with safe_open(source, framework="np") as file:
            assert ("peak" in file.keys()) == is_loud  # noqa: SIM118


@pytest.mark.slow
@given(start_seconds=st.floats(-1, 5), window_seconds=st.floats(0.1, 6))
def test_rows_are_those_of_crops_in_memory(
    cache: SourceCache, start_seconds: float, window_seconds: float
) -> None:
    source = cache[0]
    crops = ObjectCrops(*(source.whole(name) for name in ("crops", "crop_motion", "boxes")), CROPS)
    stretch = start_seconds, window_seconds
    assert source.crop_indices(*stretch).tolist() == crops.crop_indices(*stretch).tolist()
    for is_repeated in (False, True):
        indices = source.motion_indices(*stretch, is_repeated=is_repeated)
        assert indices.tolist() == crops.motion_indices(*stretch, is_repeated=is_repeated).tolist()
        if len(indices):
            rows = source.rows("crop_motion", indices)
            assert rows.equal(crops.rows("crop_motion", indices).to(rows.dtype))


@pytest.mark.slow
def test_an_unchanged_source_is_not_cached_again(clips: list[ClipFiles], tmp_path: Path) -> None:
    def written() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    prepared(clips[:2], tmp_path)
    first = written()
    assert len(first) == 4 and all(name.endswith(".safetensors") for name in first)
    more = SourceCache(clips, SETTINGS, tmp_path)
    assert more.missing() == clips[2:]
    assert sorted(more.build(num_workers=0)) == [clip.name for clip in clips]
    assert len(written()) == 8 and first.items() <= written().items()
    fewer_crops = CROPS.model_copy(update={"num_crops": 1})
    fewer = SETTINGS.model_copy(update={"crops": fewer_crops})
    assert not SourceCache(clips, fewer, tmp_path).missing()
    # A build that was killed leaves complete files, and is continued.
    next(path for path in tmp_path.iterdir()).unlink()
    rebuilt = SourceCache(clips, SETTINGS, tmp_path)
    assert len(rebuilt.missing()) == 1
    list(rebuilt.build(num_workers=0))
    assert not rebuilt.missing() and not list(tmp_path.glob("*.part"))


def test_every_input_of_a_source_changes_its_file(tmp_path: Path) -> None:
    clip = make_duet(tmp_path, "a", ("cello", "harp"), 300)
    path = SourceCache([clip], SETTINGS, tmp_path).paths_of(clip)[0]

    def path_now(**changes: object) -> Path:
        settings = SourceCacheSettings.model_validate(SETTINGS.model_dump() | changes)
        return SourceCache([clip], settings, tmp_path).paths_of(clip)[0]

    assert path_now() == path
    others = {path_now(sample_rate_hz=4000), path_now(embedder="x")}
    others.add(path_now(crops=CROPS.model_dump() | {"motion_pixels": 4}))
    for changed in (clip.video, clip.sources[0].path):
        os.utime(changed, ns=(0, changed.stat().st_mtime_ns + 1))
        others.add(path_now())
    assert len({path, *others}) == 6
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    path_before = path_now()
    shutil.copy2(clip.video, moved)
    elsewhere = ClipFiles(clip.name, moved / clip.video.name, clip.sources)
    assert SourceCache([elsewhere], SETTINGS, tmp_path).paths_of(elsewhere)[0] == path_before


def test_maps_of_the_encoder_replace_crops(clips: list[ClipFiles], tmp_path: Path) -> None:
    maps = prepared(clips[:1], tmp_path, embedder="small")
    plain = prepared(clips[:1], tmp_path / "plain")
    rows = np.array([2, 5])
    appearance, crops = maps[0].rows("appearance", rows), plain[0].rows("crops", rows)
    assert maps[0].num_rows("crops") == 0
    from avsep.records import Cues

    expected = small_embed(Cues(crops=crops[None, None])).appearance
    assert expected is not None and appearance.dtype == torch.float16
    assert appearance.float().allclose(expected[0, 0], atol=2**-11)  # half precision below 1
    assert maps[0].crop_indices(0, 2).tolist() == [0, 1, 2, 3]


@pytest.mark.slow
def test_a_cache_for_a_model_has_its_cues(clips: list[ClipFiles], tmp_path: Path) -> None:
    model = tiny_model("dgfnet")
    cache = SourceCache(clips[:1], cache_settings(model), tmp_path)
    assert list(cache.build(model.precompute, num_workers=0)) == ["000"]
    maps = cache[0].rows("appearance", cache[0].crop_indices(0, 2))
    assert maps.shape[1] == model.objects.encoder.num_channels
    assert cache[0].num_rows("crop_motion") and not cache[0].num_rows("crops")
    still = tiny_model("dgfnet", motion="none", motion_in_fusion=False)
    assert cache_settings(still).crops.with_crop_motion is False


@pytest.mark.slow
def test_only_frozen_parts_make_the_fingerprint() -> None:
    first, trained, other = tiny_model("dgfnet"), tiny_model("dgfnet"), tiny_model("dgfnet")
    with torch.no_grad():
        for group in trained.parameter_groups().values():
            for parameter in group:
                parameter.add_(1)
        next(other.objects.encoder.parameters()).add_(1)
    assert fingerprint(first) == fingerprint(trained) != fingerprint(other)
    norm = next(m for m in trained.objects.encoder.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.running_mean.add_(1)
    assert fingerprint(first) != fingerprint(trained)


@pytest.mark.slow
def test_clips_that_cannot_be_read_are_an_error_or_skipped(
    clips: list[ClipFiles], tmp_path: Path
) -> None:
    broken = make_duet(tmp_path, "broken", ("harp", "flute"), 500)
    broken.video.write_bytes(b"no video")
    listed = [clips[0], broken, clips[1]]
    with pytest.raises(InputError, match=r"broken\.mp4"):
        list(SourceCache(listed, SETTINGS, tmp_path / "cache").build(num_workers=0))
    cache = SourceCache(listed, SETTINGS, tmp_path / "cache")
    names = list(cache.build(num_workers=0, skip_broken=True))
    assert sorted(names) == ["000", "001", "broken"]
    assert cache.clips == (clips[0], clips[1]) and len(cache) == 4
    assert len(cache.skipped) == 1 and "broken.mp4" in cache.skipped[0]
    assert cache[3].num_samples == 4 * RATE_HZ
    broken.video.unlink()
    with pytest.raises(InputError, match=r"cannot read '.*broken\.mp4': No such file"):
        SourceCache(listed, SETTINGS, tmp_path / "cache")


def test_sources_that_are_not_cached_or_damaged(clips: list[ClipFiles], tmp_path: Path) -> None:
    cache = SourceCache(clips[:1], SETTINGS, tmp_path)
    with pytest.raises(InputError, match=r"\.safetensors' is not cached or damaged"):
        cache[0]
    list(cache.build(num_workers=0))
    for path in tmp_path.iterdir():
        path.write_bytes(b"cut off")
    with pytest.raises(InputError, match="remove it if it exists and run again"):
        cache[0]


def test_a_source_without_pictures_is_black_and_marked(tmp_path: Path) -> None:
    make_prepared(tmp_path / "solos")
    hide(tmp_path / "solos")
    clips = read_prepared(tmp_path / "solos")
    cache = prepared(clips, tmp_path / "cache", embedder="small")
    assert [source.is_visible for source in (cache[0], cache[1], cache[2])] == [
        True,
        False,
        True,
    ]
    hidden = cache[1]
    rows = hidden.crop_indices(1.0, 2.0)
    motion = hidden.rows("crop_motion", hidden.motion_indices(1.0, 2.0, is_repeated=False))
    assert len(rows) and not hidden.rows("appearance", rows).any() and not motion.any()
    plain = prepared(clips, tmp_path / "plain")[1]
    assert not plain.is_visible and not plain.rows("crops", rows).any()
    assert motion.shape == (10, 6, 6) and hidden.num_samples == 3 * RATE_HZ
    assert hidden.piece(0, hidden.num_samples).any()
    (clip,) = (clip for clip in clips if not clip.is_visible)
    (tmp_path / "solos/features/motion/erhu/b.npy").unlink()
    with pytest.raises(InputError, match="clip 'erhu/b' is audio-only and has no motion features"):
        read_i3d_features(replace(clip, i3d_features=None))


@pytest.mark.slow
def test_a_solo_cropped_whole_is_another_file_if_it_has_a_box(tmp_path: Path) -> None:
    make_prepared(tmp_path / "solos")
    clips = read_prepared(tmp_path / "solos")
    duet = make_duet(tmp_path, "duet", ("cello", "harp"), 300)
    whole = CROPS.model_copy(update={"whole_when_alone": True})
    boxed = prepared([*clips, duet], tmp_path / "cache")
    uncropped = SourceCache(
        [*clips, duet], SETTINGS.model_copy(update={"crops": whole}), tmp_path / "cache"
    )
    # Without a box the whole picture was the crop already; those of a duet are cropped anyway.
    assert [clip.name for clip in uncropped.missing()] == ["erhu/b", "violin/c"]
    list(uncropped.build(num_workers=0))
    rows = np.array([0, 4])
    for cache, greys in ((boxed, [0, 160]), (uncropped, [0, 80])):  # the left half is black
        crops = cache[2].rows("crops", rows)
        assert crops.float().mean((1, 2, 3)).tolist() == greys


@pytest.mark.slow
def test_pictures_in_folders_and_motion_features(tmp_path: Path) -> None:
    make_prepared(tmp_path / "solos")
    clips = read_prepared(tmp_path / "solos")
    cache = prepared(clips, tmp_path / "cache", with_i3d_features=True)
    assert [source.whole("i3d_features").shape for source in (cache[0], cache[1])] == [
        (3, 2),
        (3, 4),
    ]
    crops = cache[2].rows("crops", np.array([0, 4]))  # of the violin: the right half, at 0 and 2 s
    assert crops.float().mean((1, 2, 3)).tolist() == [0, 160]
    clips[0].i3d_features.unlink()
    silent = read_prepared(tmp_path / "solos")
    with pytest.raises(InputError, match="clip 'acoustic_guitar/a' has no motion features: put"):
        prepared(silent, tmp_path / "cache", with_i3d_features=True)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_file(clips: list[ClipFiles], tmp_path: Path) -> None:
    prepared(clips, tmp_path / "one")
    cache = SourceCache(clips, SETTINGS, tmp_path / "two")
    state = torch.get_rng_state()
    assert list(cache.build(num_workers=2)) == [clip.name for clip in clips]
    assert torch.get_rng_state().equal(state)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert FRONT_END.window_samples < cache[0].num_samples


def test_the_default_is_one_worker_per_core_up_to_eight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for num_cores, num_workers in ((1, 1), (2, 2), (64, 8)):
        monkeypatch.setattr("avsep.cues.cache.available_cores", lambda number=num_cores: number)
        assert default_workers() == num_workers


def test_two_channels_have_a_file_of_their_own(clips: list[ClipFiles], tmp_path: Path) -> None:
    stem = clips[0].sources[0].path
    mono, rate_hz = soundfile.read(stem)
    ears = tmp_path / "ears.wav"
    soundfile.write(ears, np.stack([mono, 0.5 * mono[::-1]], axis=1), rate_hz, subtype="FLOAT")
    sources = tuple(replace(source, path=ears) for source in clips[0].sources)
    clip = replace(clips[0], sources=sources)
    binaural = SETTINGS.model_copy(update={"num_channels": 2})
    cache = SourceCache([clip], binaural, tmp_path / "cache")
    list(cache.build(num_workers=0))
    sound = cache[0].piece(0, cache[0].num_samples)
    np.testing.assert_allclose(sound, read_sound(ears, RATE_HZ, 2), atol=2**-15)
    mono_cache = SourceCache([clip], SETTINGS, tmp_path / "cache")
    assert not set(mono_cache.paths_of(clip)) & set(cache.paths_of(clip))
    mono_front_end = FrontEndSettings(sample_rate_hz=RATE_HZ, window_samples=2 * RATE_HZ)
    with pytest.raises(InputError, match=r"Hz in 2 channels cannot be mixed at .* in 1 chan"):
        MixAndSeparateDataset(cache, CATEGORIES, None, mono_front_end)
