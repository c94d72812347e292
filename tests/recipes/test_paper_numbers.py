"""The recipes of the papers against the papers' numbers, written out here, none taken from us.

Sources: the papers, and REFERENCE 2 to 4 for what their released codes have. Those of DAVIS are in
test_train_recipes.py.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from avsep.models.base import ModelSettings
from avsep.recipe import recipe_names
from avsep.training.recipe import TrainRecipe, load_training, model_settings

SIX_SECONDS = (11025, 65535, 1022, 256)  # rate in Hz, window, FFT and hop in samples
TWO_SECONDS = (22050, 47087, 1022, 184)  # AVE: 2.1355 s


@dataclass(frozen=True)
class Numbers:
    """What a paper or its code states of one training.

    Attributes:
        optimizers: group -> learning rate, weight decay, epochs at which it falls to a tenth.
        sound: as SIX_SECONDS.
        crops: number, choice, seconds from one to the next (of stored ones, if drawn).
        resized: side of the picture that 224 x 224 is cut out of.
        is_any_video: the partner may be of the same category.
    """

    model: str
    epochs: int
    batch_size: int
    repeats: int
    optimizers: dict[str, tuple[float, float, tuple[int, ...]]]
    sound: tuple[int, int, int, int]
    crops: tuple[int, str, float]
    resized: int
    is_any_video: bool
    rule: str = "mean"
    optimizer: str = "adamw"
    num_categories: int = 0
    weights: tuple[str, ...] = ()


def query_network(model: str, batch_size: int, **changes: Any) -> Numbers:
    """DGFNet 4.1.4 or iQuery's scripts: Adam 1e-4, AdamW for the transformer, 100 epochs."""
    optimizers = {"transformer": (1e-4, 1e-4, (80,)), "rest": (1e-4, 0.0, (30, 50))}
    stated: dict[str, Any] = {
        "optimizers": optimizers, "sound": SIX_SECONDS, "crops": (3, "spread", 1.0),
        "resized": 256, "num_categories": 11,
    }  # fmt: skip
    return Numbers(
        model, 100, batch_size, 40, is_any_video=False, weights=("objects.encoder",),
        **(stated | changes),
    )  # fmt: skip


# iQuery: three successive frames at one a second, on AVE six at 25; 246 = 224 times 1.1.
IQUERY: dict[str, Any] = {"crops": (3, "consecutive", 1.0), "resized": 246}
AVE: dict[str, Any] = {
    "optimizers": {"transformer": (1e-4, 1e-4, (40, 80)), "rest": (1e-4, 0.0, (30, 50))},
    "sound": TWO_SECONDS, "crops": (6, "consecutive", 1 / 25), "rule": "sum", "num_categories": 28,
}  # fmt: skip
SOUND_OF_PIXELS: dict[str, Any] = {
    "optimizers": {"vision": (1e-4, 1e-4, (40, 80)), "separation": (1e-3, 1e-4, (40, 80))},
    "sound": SIX_SECONDS,
    "crops": (3, "consecutive", 24 / 8),  # every 24th frame of 8 a second
    "resized": 246, "is_any_video": True, "optimizer": "sgd", "weights": ("vision.encoder",),
}  # fmt: skip
# One frame at random, of 8 a second.
LAVSS: dict[str, Any] = {
    "sound": SIX_SECONDS, "crops": (1, "spread", 1 / 8), "resized": 246, "is_any_video": True,
}  # fmt: skip

NUMBERS = {
    "dgfnet-music": query_network("dgfnet", 20),
    "dgfnet-music21": query_network("dgfnet", 20, num_categories=21),
    "dgfnet-ave": query_network("dgfnet", 20, **AVE),
    "iquery-music": query_network("iquery", 64, **IQUERY),
    "iquery-music21": query_network("iquery", 64, **IQUERY, num_categories=21),
    "iquery-ave": query_network("iquery", 16, **AVE, resized=246),
    "sound-of-pixels-music": Numbers("sound-of-pixels", 100, 80, 100, **SOUND_OF_PIXELS),
    "sound-of-pixels-music21": Numbers("sound-of-pixels", 100, 80, 100, **SOUND_OF_PIXELS),
    "sound-of-pixels-ave": Numbers(
        "sound-of-pixels", 100, 80, 100,
        **SOUND_OF_PIXELS | {"sound": TWO_SECONDS, "crops": (3, "consecutive", 1.0)},
    ),
    "lavss-music": Numbers(
        "lavss", 60, 32, 10,
        {"vision": (1e-4, 1e-4, (40,)), "separation": (5e-4, 1e-4, (40,))},
        weights=("vision.encoder",), **LAVSS,
    ),
    "lavss-fair-play": Numbers(
        "lavss", 60, 32, 10,
        {"vision": (5e-5, 1e-4, (15, 30)), "separation": (1e-4, 1e-4, (15, 30))},
        **LAVSS,
    ),
}  # fmt: skip


def loaded(name: str) -> tuple[TrainRecipe, ModelSettings]:
    recipe = load_training(name)
    return recipe, model_settings(recipe, name)


def test_every_recipe_of_a_paper_has_its_numbers() -> None:
    data = ("music", "music21", "ave", "play")
    papers = {name for name in recipe_names("train") if name.rpartition("-")[2] in data}
    assert papers == set(NUMBERS) | {name for name in papers if name.startswith("davis")}


def test_the_documents_list_every_row_of_a_table() -> None:
    folder = files("avsep") / "recipes" / "ablations"
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = [item.name.removesuffix(".toml") for item in folder.iterdir()]
    assert len(rows) > 30 and set(rows) <= set(recipe_names("train"))
    assert [row for row in rows if f"`{row}`" not in page] == []


@pytest.mark.parametrize("name", NUMBERS)
def test_length_batches_and_optimizers(name: str) -> None:
    (recipe, _), stated = loaded(name), NUMBERS[name]
    training = recipe.training
    assert (recipe.model, training.optimizer) == (stated.model, stated.optimizer)
    assert (training.epochs, training.max_steps) == (stated.epochs, None)
    assert (training.batch_size, recipe.mixing.repeats) == (stated.batch_size, stated.repeats)
    assert (training.precision, training.gradient_clip, training.ema_decay) == ("32", None, 0)
    assert set(recipe.weights) == set(stated.weights) <= {"objects.encoder", "vision.encoder"}
    assert set(recipe.weights.values()) <= {"imagenet"}
    assert set(recipe.optimizers) == set(stated.optimizers)
    for group, (rate, decay, milestones) in stated.optimizers.items():
        settings = recipe.optimizers[group]
        assert (settings.learning_rate, settings.weight_decay) == (rate, decay)
        assert (settings.schedule, settings.factor) == ("steps", 0.1)
        assert (settings.milestones_epochs, settings.warmup_steps) == (milestones, 0)


@pytest.mark.parametrize("name", NUMBERS)
def test_sounds_and_their_mixtures(name: str) -> None:
    (recipe, settings), stated = loaded(name), NUMBERS[name]
    front_end, mixing = settings.front_end, recipe.mixing
    stft = front_end.stft
    sound = (front_end.sample_rate_hz, front_end.window_samples, stft.fft_samples, stft.hop_samples)
    assert sound == stated.sound
    # 512 bins are warped to 256 rows, and 256 frames stay.
    assert (front_end.num_rows, stft.num_frames(front_end.window_samples)) == (256, 256)
    assert front_end.num_channels == (2 if name == "lavss-fair-play" else 1)
    assert (mixing.num_sources, mixing.rule, mixing.gain_range) == (2, stated.rule, (0.5, 1.5))
    assert mixing.distinct_categories is not stated.is_any_video
    extras = (
        mixing.same_category_probability, mixing.same_clip_probability, mixing.silent_probability,
        mixing.offscreen_probability, mixing.equaliser_db,
    )  # fmt: skip
    assert extras == (0, 0, 0, 0, 0), "nothing of ours"


@pytest.mark.parametrize("name", NUMBERS)
def test_pictures(name: str) -> None:
    (recipe, settings), stated = loaded(name), NUMBERS[name]
    crops = settings.crops
    number, selection, seconds = stated.crops
    assert (crops.num_crops, crops.selection, crops.crop_pixels) == (number, selection, 224)
    assert crops.stride / crops.crop_rate_hz == pytest.approx(seconds)
    assert (recipe.mixing.resize_pixels, recipe.mixing.mirror_probability) == (stated.resized, 0.5)
    assert not crops.with_crop_motion
    # Sound of Pixels reads whole frames, the others the boxes of objects.
    assert crops.whole_when_alone is (stated.model == "sound-of-pixels")
    assert len(settings.categories) == stated.num_categories


@pytest.mark.parametrize("name", [name for name in NUMBERS if NUMBERS[name].num_categories])
def test_networks_of_dgfnet_and_iquery(name: str) -> None:
    """REFERENCE 3.1 and 3.2."""
    settings = load_training(name).settings
    is_dgfnet, is_ave = name.startswith("dgfnet"), name.endswith("ave")
    assert settings["unet"]["channels"] == [64, 128, 256, 512, 512, 512, 512]
    assert settings["unet"]["num_features"] == 32
    assert settings["fusion"] == ("gate" if is_dgfnet else "none")
    assert settings["audio_attention"] is is_dgfnet and settings["attention_groups"] == 32
    assert settings["motion"] == ("none" if is_ave else "i3d")
    assert settings["image_encoder"] == "resnet18" and settings["object_channels"] == 32
    assert (settings["num_heads"], settings["feed_forward_width"]) == (8, 1024)
    queries = {11: 12, 21: 22, 28: 30}[len(settings["categories"])]
    assert settings.get("num_queries", len(settings["categories"]) + 1) == queries
    assert settings["weighted_loss"] and settings["time_stride"] == 1
    assert "input_rms" not in settings and not settings["motion_in_fusion"]


@pytest.mark.parametrize("name", [name for name in NUMBERS if name.startswith("sound")])
def test_network_of_sound_of_pixels(name: str) -> None:
    """REFERENCE 4."""
    settings = load_training(name).settings
    assert settings["unet"]["channels"] == [64, 128, 256, 512, 512, 512, 512]
    assert (settings["unet"]["num_features"], settings["unet"]["last_bias"]) == (32, True)
    assert (settings["masks"], settings["magnitude_input"]) == ("binary", "log")
    assert settings["weighted_loss"] and not settings["position"]
    assert (settings["spatial_cues"], settings["fusion"]) == ("none", "none")
    assert "input_rms" not in settings and not settings["random_ear_per_step"]


@pytest.mark.parametrize("name", ["lavss-music", "lavss-fair-play"])
def test_network_of_lavss(name: str) -> None:
    """Section 4.1; the first step has neither IPD nor position (section 3.4)."""
    settings = load_training(name).settings
    is_binaural = name == "lavss-fair-play"
    assert settings["unet"]["channels"] == [64, 128, 256, 512, 512, 512, 512]
    assert settings["position"] is is_binaural
    assert settings["spatial_cues"] == ("paper" if is_binaural else "none")
    assert (settings["position_octaves"], settings["position_width"]) == (16, 256)
    attention = settings["attention"]
    assert (attention["num_heads"], attention["num_layers"]) == (8, 2)
    assert attention["hidden_width"] == 1024 and attention["fusion"] == "attention"
    assert attention["vision_position"] and attention["audio"] and attention["multi_scale"]
    assert (settings["squared_weight"], settings["time_weight"]) == (0.5, 0.25)
    assert (settings["masks"], settings["magnitude_input"]) == ("ratio", "log")
    assert not settings["film_every_layer"] and not settings["num_templates"]
    assert "input_rms" not in settings and not settings["random_ear_per_step"]
