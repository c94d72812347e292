import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from avsep.checkpoint import save_checkpoint
from avsep.errors import InputError
from avsep.layers.audio_unet import UNetSettings
from avsep.layers.binaural_unet import BinauralUNetSettings
from avsep.models import MODELS
from avsep.training.initial_weights import LoadReport, fill, make_model, resolved
from avsep.training.recipe import TrainRecipe
from avsep.vision.clip_encoder import ClipImageEncoder, load_clip
from avsep.vision.image_encoder import SmallImageEncoder, save_image_encoder
from models.binaural_models import EARS, binaural_batch, separate
from tiny_models import CATEGORIES, FRONT_END, TINY, tiny_model
from training.noise_training import noise_recipe
from vision.tiny_clip import TINY_IMAGE_SETTINGS, write_tiny_clip


def recipe_with(part: str, source: Path | str) -> TrainRecipe:
    return noise_recipe().model_copy(update={"weights": {part: str(source)}})


def begun_with(init: Path | str) -> TrainRecipe:
    return noise_recipe().model_copy(update={"init": str(init)})


def test_the_seed_alone_decides_the_first_weights() -> None:
    one, same, other = (make_model(noise_recipe(seed=seed)) for seed in (3, 3, 4))
    names = [name for name, value in one.named_parameters() if value.requires_grad]
    equal = [torch.equal(one.get_parameter(n), same.get_parameter(n)) for n in names]
    assert all(equal)
    assert not all(torch.equal(one.get_parameter(n), other.get_parameter(n)) for n in names)


def test_parts_start_from_files(tmp_path: Path) -> None:
    encoder = tiny_model("dgfnet", seed=1).objects.encoder
    save_image_encoder(encoder, tmp_path / "eyes.safetensors", {})
    fusion = tiny_model("dgfnet", seed=1).fusion
    save_file(fusion.state_dict(), tmp_path / "fusion.safetensors")
    model = make_model(recipe_with("objects.encoder", tmp_path / "eyes.safetensors"))
    # Stored in float16.
    assert torch.equal(model.objects.encoder.head.weight, encoder.head.weight.half().float())
    model = make_model(recipe_with("fusion", tmp_path / "fusion.safetensors"))
    assert torch.equal(model.fusion.weigh_audio.weight, fusion.weigh_audio.weight)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    settings = SmallImageEncoder.Settings(categories=("kazoo", "harp"))
    save_image_encoder(SmallImageEncoder(settings), tmp_path / "eyes.safetensors", {})
    with pytest.raises(InputError, match="made with other settings than the model's: categories"):
        make_model(recipe_with("objects.encoder", tmp_path / "eyes.safetensors"))
    save_file({"x": torch.ones(1)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"cannot start from '.*x.safetensors': .*Missing key"):
        make_model(recipe_with("fusion", tmp_path / "x.safetensors"))
    with pytest.raises(
        InputError, match="unknown part of the model 'fusoin'; did you mean 'fusion"
    ):
        make_model(recipe_with("fusoin", tmp_path / "x.safetensors"))


def test_a_clip_starts_from_a_folder_in_the_form_of_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_clip(tmp_path / "clip")
    part = ClipImageEncoder(TINY_IMAGE_SETTINGS)
    fill(part, str(tmp_path / "clip"))
    wanted = load_clip(str(tmp_path / "clip")).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in part.state_dict().items())
    larger = ClipImageEncoder(TINY_IMAGE_SETTINGS.model_copy(update={"num_layers": 3}))
    with pytest.raises(
        InputError, match="other settings than the model's: num_layers is 2, needed"
    ):
        fill(larger, str(tmp_path / "clip"))
    monkeypatch.chdir(tmp_path)
    recipe = recipe_with("frames.encoder", "clip")
    assert resolved(recipe).weights == {"frames.encoder": str(tmp_path / "clip")}
    recipe = recipe_with("frames.encoder", "openai/clip-vit-base-patch32")
    assert resolved(recipe).weights == recipe.weights


def test_a_training_begins_with_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    trained = tiny_model("dgfnet", seed=5)
    save_checkpoint(trained, path, model_name="dgfnet", metadata={})
    told: list[LoadReport] = []
    model = make_model(begun_with(path), told.append)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in trained.state_dict().items())
    assert told == [LoadReport(tuple(trained.state_dict()), (), (), ())]


def test_parts_that_the_recipe_names_do_not_come_from_the_checkpoint(tmp_path: Path) -> None:
    trained = tiny_model("dgfnet", seed=5)
    save_checkpoint(trained, tmp_path / "tiny.safetensors", model_name="dgfnet", metadata={})
    fusion = tiny_model("dgfnet", seed=1).fusion
    save_file(fusion.state_dict(), tmp_path / "fusion.safetensors")
    recipe = recipe_with("fusion", tmp_path / "fusion.safetensors")
    init = str(tmp_path / "tiny.safetensors")
    model = make_model(recipe.model_copy(update={"init": init}))
    assert torch.equal(model.fusion.weigh_audio.weight, fusion.weigh_audio.weight)
    assert torch.equal(model.objects.linear.weight, trained.objects.linear.weight)


def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_checkpoint(
        tiny_model("dgfnet", categories=CATEGORIES[::-1]), other, model_name="dgfnet", metadata={}
    )
    with pytest.raises(InputError, match="knows other categories than the recipe's model: violin"):
        make_model(begun_with(other))
    save_checkpoint(
        tiny_model("dgfnet", feed_forward_width=8), other, model_name="dgfnet", metadata={}
    )
    with pytest.raises(InputError, match="feed_forward_width is 8, needed is 16"):
        make_model(begun_with(other))


def test_a_recipe_holds_to_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet", seed=5), path, model_name="dgfnet", metadata={})
    monkeypatch.chdir(tmp_path)
    recipe = resolved(begun_with("tiny.safetensors"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (recipe.init, recipe.init_sha256) == (str(path), digest)
    assert resolved(recipe) == recipe
    assert resolved(noise_recipe()) == noise_recipe()
    assert resolved(begun_with("dgfnet-mini")).init == "dgfnet-mini"  # a name means no path
    save_checkpoint(tiny_model("dgfnet", seed=6), path, model_name="dgfnet", metadata={})
    with pytest.raises(
        InputError, match=rf"not the checkpoint .* not {digest[:12]}.*bring that file back, or"
    ):
        make_model(recipe)


# From one ear to two (LAVSS, section 3.4)

MONO = {"front_end": FRONT_END, "spatial_cues": "none", "position": False}
PLAIN = {"film_every_layer": False, "num_templates": 0}
FUSED = {"fusion": "attention", "unet": UNetSettings(channels=(8, 8, 16, 16, 16), num_features=8)}
TWO_EARS = {
    "lavss": {**PLAIN, "unet": BinauralUNetSettings(channels=(8, 16, 16, 16))},
    "sound-of-pixels": FUSED,
    "separation-2.5d": {
        "fusion": "attention",
        "unet": BinauralUNetSettings(channels=(8, 16, 16, 16)),
    },
}


def ears_recipe(name: str, init: Path | None = None, **changes: object) -> TrainRecipe:
    settings = MODELS[name].Settings(**{**TINY[name], **TWO_EARS[name], **changes})
    values = {"model": name, "settings": settings.model_dump(mode="json", exclude_none=True)}
    return noise_recipe().model_copy(update={**values, "init": init and str(init)})


def saved_mono(name: str, path: Path) -> Any:
    model = make_model(ears_recipe(name, **MONO))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    save_checkpoint(model, path, model_name=name, metadata={})
    return model


@pytest.mark.parametrize("name", TWO_EARS)
def test_a_mono_network_is_taken_into_a_binaural_one(name: str, tmp_path: Path) -> None:
    mono = saved_mono(name, tmp_path / "mono.safetensors")
    told: list[LoadReport] = []
    wanted = {"front_end": EARS, "spatial_cues": "signed", "position": True}
    recipe = ears_recipe(name, tmp_path / "mono.safetensors", **wanted)
    model = make_model(recipe, told.append)
    (taken,) = told
    given, own = mono.state_dict(), model.state_dict()
    assert set(taken.widened) == model.widenable_tensors & set(own) and taken.left == ()
    assert set(taken.fresh) == set(own) - set(given)
    assert {one.split(".")[0] for one in taken.fresh} == {"position", "vision_position"}
    assert all(torch.equal(own[one], given[one]) for one in taken.taken)
    assert set(taken.taken) | set(taken.widened) == set(given)
    for one in taken.widened:
        axis = 1 if own[one].ndim > 1 else 0
        assert torch.equal(own[one].narrow(axis, 0, 1), given[one])
        if own[one].ndim > 1:
            assert own[one].narrow(axis, 1, 3).eq(0).all()


@pytest.mark.parametrize("name", TWO_EARS)
def test_before_it_learns_anything_it_answers_for_each_ear_as_the_mono_network(
    name: str, tmp_path: Path
) -> None:
    mono = saved_mono(name, tmp_path / "mono.safetensors").eval()
    wanted = {"front_end": EARS, "spatial_cues": "paper", "position": False}
    model = make_model(ears_recipe(name, tmp_path / "mono.safetensors", **wanted)).eval()
    batch = binaural_batch()
    torch.testing.assert_close(separate(model, batch).magnitudes, separate(mono, batch).magnitudes)


def test_what_the_model_has_no_place_for_is_left(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    recipe = ears_recipe("lavss", front_end=EARS, spatial_cues="none", position=True)
    save_checkpoint(make_model(recipe), path, model_name="lavss", metadata={})
    told: list[LoadReport] = []
    make_model(ears_recipe("lavss", path, **MONO), told.append)
    assert told[0].left and told[0].widened == told[0].fresh == ()
    assert {one.split(".")[0] for one in told[0].left} == {"position", "vision_position"}


@pytest.mark.parametrize(
    ("model", "changes", "why"),
    [
        (
            "lavss",
            {"spatial_cues": "none"},
            r"down\.0\.0\.weight' is 8 x 4 x 4 x 4, needed is 8 x 1",
        ),
        ("lavss", {"unet": BinauralUNetSettings(channels=(8, 8, 8, 8))}, "' is .*, needed is "),
        ("separation-2.5d", {}, "recipe's model: a LAVSS, needed is a Separation25D"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(
    tmp_path: Path, model: str, changes: dict[str, object], why: str
) -> None:
    path = tmp_path / "two.safetensors"
    recipe = ears_recipe("lavss", front_end=EARS, spatial_cues="signed")
    save_checkpoint(make_model(recipe), path, model_name="lavss", metadata={})
    wanted = {"front_end": EARS, "spatial_cues": "signed"} | changes
    with pytest.raises(InputError, match=why):
        make_model(ears_recipe(model, path, **wanted))
