from pathlib import Path

import numpy as np
import pytest
import torch

from avsep.data.mixing import MixingSettings
from avsep.errors import InputError
from avsep.training.datamodule import DataModule, read_lists, validation_mixing
from avsep.training.initial_weights import make_model
from avsep.training.recipe import TrainRecipe, load_training
from training.tiny_band import make_band, write_tiny_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a band to train on, one to test with, and a recipe."""
    folder = tmp_path_factory.mktemp("bands")
    make_band(folder / "band", 6)
    make_band(folder / "test", 1, seed=1000)
    write_tiny_recipe(folder / "tiny.toml")
    return folder


def recipe_on(folder: Path, *names: str, **training: object) -> TrainRecipe:
    recipe = load_training(folder / "tiny.toml")
    changed = recipe.training.model_copy(update=training)
    data = tuple(str(folder / name) for name in names)
    return recipe.model_copy(update={"data": data, "training": changed})


def test_a_clip_is_in_one_list(folder: Path) -> None:
    lists = read_lists(recipe_on(folder, "band"))
    names = [{clip.name for clip in clips} for clips in (lists.training, lists.validation)]
    assert len(names[0]) + len(names[1]) == 6
    assert not names[0] & names[1]
    assert lists.num_sources == 2 * len(names[0])


def test_held_out_clips_are_not_trained_on(folder: Path) -> None:
    with pytest.raises(InputError, match=r"test' holds clips of held-out notes \(a seed of 1000"):
        read_lists(recipe_on(folder, "band", "test"))


def test_an_empty_list_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data: give --data DIR"):
        read_lists(recipe_on(folder))
    with pytest.raises(InputError, match="6 clips to train on and 0 to validate with"):
        read_lists(recipe_on(folder, "band", validation_share=0.01))


def test_too_few_clips_to_mix_are_an_error(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_on(folder, "band", validation_share=0.1)
    with pytest.raises(InputError, match="with the 1 clips to validate with: mixtures of 2 source"):
        read_lists(recipe)
    recipe = recipe_on(folder, "band", validation_share=0.8)
    with pytest.raises(InputError, match="with the 1 clips to train on: mixtures of 2 sources"):
        read_lists(recipe)


@pytest.mark.slow
def test_validation_is_the_standard_test_whatever_is_mixed(folder: Path, tmp_path: Path) -> None:
    recipe = recipe_on(folder, "band", num_validation=3)
    model = make_model(recipe)
    data = DataModule(recipe, tmp_path)
    clips = (*data.lists.training, *data.lists.validation)
    assert sorted(data.build_caches(model)) == sorted(clip.name for clip in clips)
    (batch,) = data.validation
    assert batch.sources is not None and batch.cues.category is not None
    assert batch.mixture.shape == (3, 1, 2047)
    assert torch.allclose(batch.sources.sum(1), batch.mixture, atol=1e-6)
    assert (batch.cues.category[:, 0] != batch.cues.category[:, 1]).all()
    assert batch.cues.crops is None and batch.cues.appearance is not None
    louder = recipe.mixing.model_copy(
        update={"gain_range": (3.0, 3.0), "silent_probability": 0.5, "position": "random"}
    )
    mixed = DataModule(recipe.model_copy(update={"mixing": louder}), tmp_path)
    list(mixed.build_caches(model))
    (same,) = mixed.validation
    assert torch.equal(same.mixture, batch.mixture)
    # Every source is the middle of a stem at its own level, halved by the rule "mean" of two.
    middles = []
    for index in range(len(data.caches[1])):
        source = data.caches[1][index]
        start = source.num_samples // 2 - 2047 // 2
        middles.append(torch.from_numpy(source.piece(start, start + 2046))[0] / 2)
    for sound in batch.sources.flatten(0, 2):
        assert any(torch.allclose(sound[:2046], middle, atol=1e-6) for middle in middles)


def test_validation_mixes_as_the_papers_test(folder: Path) -> None:
    """Middle windows at their own level, all audible, whatever the recipe says of training."""
    recipe = recipe_on(folder, "band")
    mixing = MixingSettings(
        num_sources=3, distinct_categories=False, rule="sum", gain_range=(3.0, 3.0),
        silent_probability=0.5, position="random", offscreen_probability=0.5,
        same_clip_probability=0.5, same_category_probability=0.5, equaliser_db=3.0,
        mirror_probability=0.5, resize_pixels=300,
    )  # fmt: skip
    assert validation_mixing(recipe.model_copy(update={"mixing": mixing})) == MixingSettings(
        num_sources=3, distinct_categories=False, rule="sum", gain_range=(1.0, 1.0),
        silent_probability=0.0, position="middle",
    )  # fmt: skip


@pytest.mark.slow
def test_squares_are_cut_out_of_larger_crops_in_training_alone(
    folder: Path, tmp_path: Path
) -> None:
    """A frozen encoder then sees every crop anew; what is validated with is encoded once."""
    recipe = recipe_on(folder, "band", num_validation=1)
    resized = recipe.mixing.model_copy(update={"resize_pixels": 24})
    model = make_model(recipe)
    plain, data = (
        DataModule(item, tmp_path)
        for item in (recipe, recipe.model_copy(update={"mixing": resized}))
    )
    for module in (plain, data):
        list(module.build_caches(model))
    side = model.settings.crops.crop_pixels
    assert side == 20
    item, other = data.mixtures[0], data.mixtures[1]
    assert data.caches[0][0].rows("crops", np.array([0])).shape[-2:] == (24, 24)
    assert item.cues.crops is not None and item.cues.appearance is None
    assert item.cues.crops.shape[-2:] == (20, 20) and item.cues.boxes is not None
    (batch,) = data.validation
    assert batch.cues.crops is None and batch.cues.appearance is not None
    assert torch.equal(batch.cues.appearance, plain.validation[0].cues.appearance)
    # Nothing else is drawn otherwise, and the model takes crops as well as their maps.
    assert np.array_equal(plain.mixtures[0].mixed.mixture, item.mixed.mixture)
    losses = model.losses(data.mixtures.collate([item, other]))
    assert torch.isfinite(losses["total"])


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["error", "skip"])
def test_a_broken_clip_is_an_error_or_skipped_by_the_recipe(tmp_path: Path, broken: str) -> None:
    make_band(tmp_path / "band", 6)
    write_tiny_recipe(tmp_path / "tiny.toml")
    recipe = recipe_on(tmp_path, "band")
    mixing = recipe.mixing.model_copy(update={"broken": broken})
    recipe = recipe.model_copy(update={"mixing": mixing})
    model, data = make_model(recipe), DataModule(recipe, tmp_path / "cache")
    broken_clip = data.lists.training[0]
    broken_clip.sources[0].path.write_bytes(b"no sound")
    if broken == "error":
        with pytest.raises(InputError, match=broken_clip.sources[0].path.name):
            list(data.build_caches(model))
        return
    list(data.build_caches(model))
    assert len(data.skipped) == 1 and broken_clip.sources[0].path.name in data.skipped[0]
    assert data.num_sources == data.lists.num_sources - len(broken_clip.sources)
    assert data.mixtures[0].mixed.sources.any()
