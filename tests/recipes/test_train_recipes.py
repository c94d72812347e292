import pytest
import torch

from avsep.data.dataset_categories import CATEGORY_LISTS
from avsep.models import MODELS
from avsep.recipe import read_recipe, recipe_names
from avsep.training.optimizers import make_optimizer
from avsep.training.recipe import check_groups, load_training, model_settings

RECIPES = recipe_names("train")
PAPERS = [name for name in RECIPES if name.split("-")[1] in ("music", "music21", "ave")]


def test_the_papers_recipes_are_all_here() -> None:
    assert len(PAPERS) == 6
    assert "dgfnet-mini" in RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_builds_its_model_and_optimizer(name: str) -> None:
    recipe = load_training(name)
    assert not recipe.data, "a recipe of the package names no folder of ours"
    with torch.device("meta"):
        model = MODELS[recipe.model](model_settings(recipe, name))
    groups = model.parameter_groups()
    check_groups(recipe, list(groups))
    make_optimizer(groups, recipe.optimizers)
    for part in recipe.weights:
        assert model.get_submodule(part)


@pytest.mark.parametrize("name", PAPERS)
def test_numbers_of_the_papers(name: str) -> None:
    recipe = load_training(name)
    model, data = name.split("-")
    assert recipe.model == model
    assert tuple(recipe.settings["categories"]) == CATEGORY_LISTS[data.replace("c21", "c-21")]
    assert recipe.training.epochs == 100
    assert recipe.training.max_steps is None
    assert recipe.training.gradient_clip is None
    assert recipe.training.ema_decay == 0
    transformer, rest = recipe.optimizers["transformer"], recipe.optimizers["rest"]
    assert (transformer.learning_rate, transformer.weight_decay) == (1e-4, 1e-4)
    assert (rest.learning_rate, rest.weight_decay) == (1e-4, 0)
    assert rest.milestones_epochs == (30, 50)
    assert transformer.milestones_epochs == ((40,) if data == "ave" else (80,))
    assert recipe.settings["motion"] == ("none" if data == "ave" else "i3d")
    assert recipe.settings["fusion"] == ("gate" if model == "dgfnet" else "none")


def test_a_window_of_ave_is_256_frames() -> None:
    stft = load_training("dgfnet-ave").settings["front_end"]
    assert 1 + (stft["window_samples"] - 1) // stft["stft"]["hop_samples"] == 256


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    assert read_recipe(name)["model"] in MODELS
