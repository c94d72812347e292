from pathlib import Path

import pytest

from avsep.errors import InputError
from avsep.recipe import write_recipe
from avsep.training.recipe import COMMAND, check_groups, load_training
from training.noise_training import noise_recipe


def write(folder: Path, text: str) -> Path:
    path = folder / "own.toml"
    path.write_text('command = "train"\n' + text)
    return path


def test_defaults_are_filled_in(tmp_path: Path) -> None:
    recipe = load_training(write(tmp_path, 'model = "iquery"\n[settings]\nnum_heads = 4\n'))
    assert recipe.settings["num_heads"] == 4
    assert recipe.settings["fusion"] == "none"  # iQuery's own default
    assert recipe.settings["front_end"]["stft"]["hop_samples"] == 256


def test_a_written_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = noise_recipe(gradient_clip=None)
    path = tmp_path / "recipe.toml"
    path.write_text(write_recipe(recipe, COMMAND))
    assert load_training(path) == recipe


def test_settings_can_be_set(tmp_path: Path) -> None:
    path = write(tmp_path, 'model = "dgfnet"\n')
    recipe = load_training(path, ["settings.fusion=mul", "optimizers.rest.learning_rate=0.01"])
    assert recipe.settings["fusion"] == "mul"
    assert recipe.optimizers["rest"].learning_rate == 0.01


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('model = "dgfnt"', "unknown model 'dgfnt'; did you mean 'dgfnet'"),
        ('model = "dgfnet"\n[settings]\nfusoin = "mul"', "did you mean 'fusion'"),
        ('model = "dgfnet"\n[training]\nbatchsize = 3', "did you mean 'training.batch_size'"),
        ('model = "dgfnet"\n[training]\nbatch_size = 0', "training.batch_size: .*greater than"),
        ('model = "dgfnet"\n[mixing]\nrule = "max"', "mixing.rule"),
        ('model = "dgfnet"\n[settings]\nfusion = "add"', "settings.*: fusion"),
        (
            'model = "dgfnet"\n[mixing]\nresize_pixels = 200',
            "mixing.resize_pixels 200 is below the 224 of settings.crops.crop_pixels",
        ),
    ],
)
def test_a_wrong_recipe_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_training(write(tmp_path, text))


def test_every_group_has_its_optimizer() -> None:
    recipe = noise_recipe()
    check_groups(recipe, ["transformer", "rest"])
    with pytest.raises(InputError, match=r"unknown group of parameters 'rest'.*known: all"):
        check_groups(recipe.model_copy(update={"optimizers": {"rest": None}}), ["all"])
    with pytest.raises(InputError, match=r"no optimizer for the parameters 'eyes'"):
        check_groups(recipe, ["transformer", "rest", "eyes"])
