from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from avsep.checkpoint import load_model
from avsep.models import MODELS
from avsep.recipe import read_recipe, recipe_names
from avsep.training.recipe import check_groups, load_training, model_settings
from avsep.training.task import make_optimizer

RECIPES = recipe_names("train")
PAPERS = [name for name in RECIPES if name.rpartition("-")[2] in ("music", "music21", "ave")]
DAVIS = [name for name in PAPERS if name.startswith("davis")]


def test_the_papers_recipes_are_all_here() -> None:
    assert DAVIS == ["davis-ave", "davis-flow-ave", "davis-flow-music", "davis-music"]
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


@pytest.mark.parametrize("name", DAVIS)
def test_numbers_of_davis(name: str) -> None:
    """Those of REFERENCE 3.3."""
    recipe = load_training(name)
    model, _, data = name.rpartition("-")
    assert recipe.model == model
    assert (recipe.training.epochs, recipe.training.max_steps) == (400, None)
    assert (recipe.training.batch_size, recipe.training.gradient_clip) == (8, 5.0)
    assert (recipe.training.precision, recipe.training.ema_decay) == ("32", 0)
    assert recipe.mixing.repeats == 5
    for group in recipe.optimizers.values():
        assert (group.learning_rate, group.weight_decay) == (1e-4, 0.01)
        assert (group.milestones_epochs, group.factor) == ((100, 200, 300), 0.5)
    # Undivided targets under the mean of two.
    assert recipe.mixing.rule == "mean" and recipe.mixing.num_sources == 2
    assert recipe.settings["target_gain"] == 2
    looks = recipe.settings["crops"]
    assert (looks["num_crops"], looks["crop_pixels"]) == (11, 224)
    assert (looks["selection"], looks["stride"]) == ("consecutive", 1)
    assert looks["crop_rate_hz"] == (1 if data == "ave" else 4)
    assert looks["whole_when_alone"] and not looks["with_crop_motion"]
    assert recipe.weights == {"frames.encoder.encoder": "openai/clip-vit-base-patch32"}


# The networks of DAVIS, as published and as released.
DAVIS_NETWORK = {
    "unet": {
        "channels": [64, 128, 256, 256, 512],
        "blocks": ["R", "TF", "T"],
        "fusion": "local+global",
        "attention": {
            "num_heads": 4,
            "head_width": 32,
            "column_width": 512,
            "divide_values": True,
        },
        "input_gains": [1, 1],
        "visual_every_block": False,
        "fold": [1, 1],
    },
    "transformer": {
        "num_heads": 8,
        "num_encoder_layers": 3,
        "num_decoder_layers": 1,
        "feed_forward_width": 2048,
        "dropout": 0.1,
    },
    "image_encoder": "clip",
}
# Nothing of ours.
DAVIS_SWITCHES = {
    "bound_by_mixture": False,
    "timestep_power": 1,
    "self_conditioning_probability": 0,
    "word_probability": 0,
    "qualities": {},
    "time_stride": 1,
}


@pytest.mark.parametrize("name", DAVIS)
def test_settings_of_davis(name: str) -> None:
    """Network, path, loss and sampler are those of the paper and its released code."""
    settings = load_training(name).settings
    for expected in (DAVIS_NETWORK, DAVIS_SWITCHES):
        assert {key: settings[key] for key in expected} == expected
    assert "input_rms" not in settings
    is_flow, is_ave = "flow" in name, name.endswith("ave")
    path = ("flow", "velocity") if is_flow else ("diffusion", "noise")
    assert (settings["process"], settings["target"], settings["schedule"]) == (*path, "sigmoid")
    # 1000 times both terms of DAVIS-Flow, which are one.
    loss = ("l1", 2000, False) if is_flow else ("l1", 1000, True)
    assert (settings["loss"], settings["loss_scale"], settings["ignore_silence"]) == loss
    assert settings["clip"] == {
        "colours": "clip" if is_ave else "imagenet",
        "equal_lengths": False,
    }
    sampling = settings["sampling"]
    steps = ("euler", 2) if is_flow else ("ddim", 15)
    assert (sampling["sampler"], sampling["num_steps"]) == steps
    assert sampling["eta"] == 1 or is_flow
    assert sampling["silence"] == ("off" if is_flow or is_ave else "released")
    assert sampling["silence_threshold"] == 0.002
    assert sampling["clamp_estimate"] != is_flow and sampling["step_noise"] == "predicted"
    assert not sampling["reduced_precision"]


def test_a_part_of_the_network_is_named_in_quotes() -> None:
    """As docs/training.md and the recipes say it."""
    recipe = load_training("dgfnet-music", ['weights."objects.encoder"="resnet18.pth"'])
    assert recipe.weights == {"objects.encoder": "resnet18.pth"}
    recipe = load_training("lavss-fair-play", ['weights."vision.encoder"="imagenet"'])
    assert recipe.weights == {"vision.encoder": "imagenet"}


def test_both_steps_of_lavss_are_one_network() -> None:
    """What the first learns, the second takes; sizes alone are made here."""
    with torch.device("meta"):
        first, second = (
            MODELS["lavss"](model_settings(load_training(name), name)).state_dict()
            for name in ("lavss-music", "lavss-fair-play")
        )
    widened = {name for name, value in first.items() if second[name].shape != value.shape}
    assert widened == {"audio_network.down.0.0.weight"}


def test_a_clip_of_ave_is_430_frames_on_256_columns() -> None:
    front_end = model_settings(load_training("davis-ave"), "").front_end
    assert front_end.window_samples == 10 * front_end.sample_rate_hz == 110_000
    assert front_end.stft.num_frames(front_end.window_samples) == 430
    assert front_end.count_columns(front_end.window_samples) == 256


# A network for tests instead of the paper's, in as many steps as are watched.
TINY = [
    "weights={}", "settings.image_encoder=small", 'settings.encoder_categories=["kettle"]',
    "settings.unet.channels=[8,8]", "settings.unet.fold=[16,16]",
    "settings.transformer.feed_forward_width=16", "settings.transformer.num_encoder_layers=1",
    "settings.crops.crop_pixels=32", "settings.sampling.num_steps=1", "training.max_steps=1",
    "training.batch_size=1", "training.num_validation=1", "training.num_samples=0",
]  # fmt: skip


def make_solos(folder: Path) -> None:
    """Three seconds of noise and grey pictures of things that no list of categories knows."""
    lines = ["id,category,split,frame_rate_hz,num_frames,duration_seconds"]
    generator = np.random.default_rng(0)
    for number, thing in enumerate(["kettle", "saw", "printer", "zip"]):
        lines.append(f"{number},{thing},{'train' if number < 2 else 'val'},4,12,")
        frames = folder / "frames" / thing / str(number)
        frames.mkdir(parents=True)
        for place in range(12):
            grey = np.full((24, 32, 3), 20 * place, np.uint8)
            Image.fromarray(grey).save(frames / f"{place + 1:06d}.png")
        (folder / "audio" / thing).mkdir(parents=True)
        sound = 0.1 * generator.standard_normal(3 * 11_025)
        soundfile.write(folder / "audio" / thing / f"{number}.wav", sound, 11_025)
    (folder / "index.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_davis_trains_on_whatever_there_is(run: Callable, tmp_path: Path) -> None:
    """Ten seconds of any category, no label read; nothing is downloaded for a dry run of it."""
    make_solos(tmp_path / "solos")
    words = ["train", "davis-ave", "--data", tmp_path / "solos", "--cache", tmp_path / "cache"]
    words += ["--device", "cpu", "--workers", "0", "--run", tmp_path / "run"]
    words += [word for line in TINY for word in ("--set", line)]
    output = run(*words, "--dry-run")
    assert output.code == 0 and "num_columns = 256" in output.out
    assert "2 clips to train on (2 sources), 2 to validate with" in output.out
    assert not (tmp_path / "run").exists()
    done = run(*words)
    assert done.code == 0 and "step 1: SDR " in done.err
    assert load_model(tmp_path / "run" / "model.safetensors").settings.categories == ()


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name: str) -> None:
    assert read_recipe(name)["model"] in MODELS
