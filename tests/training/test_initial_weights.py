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
from avsep.training.initial_weights import LoadReport, load_part, make_model, resolved
from avsep.training.recipe import TrainRecipe
from avsep.vision.clip_encoder import ClipImageEncoder, load_clip
from avsep.vision.image_encoder import SmallImageEncoder, save_image_encoder
from models.binaural_models import EARS, binaural_batch, separate
from tiny_models import CATEGORIES, FRONT_END, TINY, tiny_model
from training.noise_training import noise_recipe
from vision.tiny_clip import TINY_IMAGE_SETTINGS, write_tiny_clip


def recipe_with(part: str, source: Path | str) -> TrainRecipe:
    return noise_recipe().model_copy(update={"weights": {part: str(source)}})


def recipe_from(init: Path | str) -> TrainRecipe:
    return noise_recipe().model_copy(update={"init": str(init)})


def test_the_seed_alone_decides_the_first_weights() -> None:
    model, same, other = (make_model(noise_recipe(seed=seed)) for seed in (3, 3, 4))
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    assert all(torch.equal(model.get_parameter(n), same.get_parameter(n)) for n in names)
    assert not all(torch.equal(model.get_parameter(n), other.get_parameter(n)) for n in names)


@pytest.mark.slow
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


def test_a_file_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
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


@pytest.mark.slow
def test_a_clip_starts_from_a_folder_in_the_form_of_a_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_clip(tmp_path / "clip")
    part = ClipImageEncoder(TINY_IMAGE_SETTINGS)
    load_part(part, str(tmp_path / "clip"))
    expected = load_clip(str(tmp_path / "clip")).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in part.state_dict().items())
    larger = ClipImageEncoder(TINY_IMAGE_SETTINGS.model_copy(update={"num_layers": 3}))
    with pytest.raises(
        InputError, match="other settings than the model's: num_layers is 2, needed"
    ):
        load_part(larger, str(tmp_path / "clip"))
    monkeypatch.chdir(tmp_path)
    recipe = recipe_with("frames.encoder", "clip")
    assert resolved(recipe).weights == {"frames.encoder": str(tmp_path / "clip")}
    recipe = recipe_with("frames.encoder", "openai/clip-vit-base-patch32")
    assert resolved(recipe).weights == recipe.weights


@pytest.mark.slow
def test_a_training_begins_with_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    trained = tiny_model("dgfnet", seed=5)
    save_checkpoint(trained, path, model_name="dgfnet", metadata={})
    reports: list[LoadReport] = []
    model = make_model(recipe_from(path), reports.append)
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in trained.state_dict().items())
    assert reports == [LoadReport(tuple(trained.state_dict()), (), (), ())]


@pytest.mark.slow
def test_parts_of_the_checkpoint_are_not_loaded_from_files_as_well(tmp_path: Path) -> None:
    """A converted model keeps its trained encoder where the recipe names ImageNet's weights."""
    trained = tiny_model("dgfnet", seed=5)
    save_checkpoint(trained, tmp_path / "tiny.safetensors", model_name="dgfnet", metadata={})
    recipe = recipe_with("fusion", tmp_path / "missing.safetensors")
    init = str(tmp_path / "tiny.safetensors")
    model = make_model(recipe.model_copy(update={"init": init}))
    assert torch.equal(model.fusion.weigh_audio.weight, trained.fusion.weigh_audio.weight)


@pytest.mark.slow
def test_a_checkpoint_of_another_shape_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_checkpoint(
        tiny_model("dgfnet", categories=CATEGORIES[::-1]), other, model_name="dgfnet", metadata={}
    )
    with pytest.raises(InputError, match="has other categories than the recipe's model: violin"):
        make_model(recipe_from(other))
    save_checkpoint(
        tiny_model("dgfnet", feed_forward_width=8), other, model_name="dgfnet", metadata={}
    )
    with pytest.raises(InputError, match="feed_forward_width is 8, needed is 16"):
        make_model(recipe_from(other))


@pytest.mark.slow
def test_a_recipe_holds_to_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(tiny_model("dgfnet", seed=5), path, model_name="dgfnet", metadata={})
    monkeypatch.chdir(tmp_path)
    recipe = resolved(recipe_from("tiny.safetensors"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (recipe.init, recipe.init_sha256) == (str(path), digest)
    assert resolved(recipe) == recipe
    assert resolved(noise_recipe()) == noise_recipe()
    assert resolved(recipe_from("dgfnet-mini")).init == "dgfnet-mini"  # a name, not a path
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


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO_EARS)
def test_a_mono_network_is_loaded_into_a_binaural_one(name: str, tmp_path: Path) -> None:
    mono = saved_mono(name, tmp_path / "mono.safetensors")
    reports: list[LoadReport] = []
    changes = {"front_end": EARS, "spatial_cues": "signed", "position": True}
    recipe = ears_recipe(name, tmp_path / "mono.safetensors", **changes)
    model = make_model(recipe, reports.append)
    (report,) = reports
    source, target = mono.state_dict(), model.state_dict()
    assert set(report.widened) == model.widenable_tensors & set(target) and report.unused == ()
    assert set(report.initialised) == set(target) - set(source)
    parts = {name.split(".")[0] for name in report.initialised}
    assert parts == {"position", "vision_position"}
    assert all(torch.equal(target[tensor], source[tensor]) for tensor in report.loaded)
    assert set(report.loaded) | set(report.widened) == set(source)
    for tensor in report.widened:
        axis = 1 if target[tensor].ndim > 1 else 0
        assert torch.equal(target[tensor].narrow(axis, 0, 1), source[tensor])
        if target[tensor].ndim > 1:
            assert target[tensor].narrow(axis, 1, 3).eq(0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO_EARS)
def test_before_training_the_estimates_of_each_ear_are_those_of_the_mono_network(
    name: str, tmp_path: Path
) -> None:
    mono = saved_mono(name, tmp_path / "mono.safetensors").eval()
    changes = {"front_end": EARS, "spatial_cues": "paper", "position": False}
    model = make_model(ears_recipe(name, tmp_path / "mono.safetensors", **changes)).eval()
    batch = binaural_batch()
    torch.testing.assert_close(separate(model, batch).magnitudes, separate(mono, batch).magnitudes)


@pytest.mark.slow
def test_parts_that_the_checkpoint_lacks_are_loaded_from_files(tmp_path: Path) -> None:
    mono = saved_mono("lavss", tmp_path / "mono.safetensors")
    changes = {"front_end": EARS, "spatial_cues": "none", "position": True}
    with_position = make_model(ears_recipe("lavss", **changes))
    position = with_position.get_submodule("position")
    for parameter in position.parameters():
        torch.nn.init.normal_(parameter)
    save_file(position.state_dict(), tmp_path / "position.safetensors")
    recipe = ears_recipe("lavss", tmp_path / "mono.safetensors", **changes)
    weights = {name: str(tmp_path / f"{name}.safetensors") for name in ("position", "fusion")}
    model = make_model(recipe.model_copy(update={"weights": weights}))
    for part, source in (("position", position), ("fusion", mono.get_submodule("fusion"))):
        state = model.get_submodule(part).state_dict()
        assert all(torch.equal(state[name], value) for name, value in source.state_dict().items())


@pytest.mark.slow
def test_tensors_that_the_model_does_not_have_are_unused(tmp_path: Path) -> None:
    path = tmp_path / "two.safetensors"
    recipe = ears_recipe("lavss", front_end=EARS, spatial_cues="none", position=True)
    save_checkpoint(make_model(recipe), path, model_name="lavss", metadata={})
    reports: list[LoadReport] = []
    make_model(ears_recipe("lavss", path, **MONO), reports.append)
    assert reports[0].unused and reports[0].widened == reports[0].initialised == ()
    assert {name.split(".")[0] for name in reports[0].unused} == {"position", "vision_position"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "changes", "message"),
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
def test_a_checkpoint_that_cannot_be_loaded_is_refused(
    tmp_path: Path, model: str, changes: dict[str, object], message: str
) -> None:
    path = tmp_path / "two.safetensors"
    recipe = ears_recipe("lavss", front_end=EARS, spatial_cues="signed")
    save_checkpoint(make_model(recipe), path, model_name="lavss", metadata={})
    changes = {"front_end": EARS, "spatial_cues": "signed"} | changes
    with pytest.raises(InputError, match=message):
        make_model(ears_recipe(model, path, **changes))
