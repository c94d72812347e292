"""Test `avsep convert`: each released layout is converted, separates and trains; errors."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from avsep.checkpoint import find_checkpoint, load_model, read_card
from avsep.conversion import SYSTEMS
from avsep.recipe import write_recipe
from avsep.toyband.categories import CATEGORIES
from avsep.training.recipe import COMMAND, OptimizerSettings, TrainingSettings, TrainRecipe
from avsep.vision.clip_encoder import ClipImageEncoder
from avsep.vision.i3d import load_i3d
from reference import checkpoints
from training.tiny_band import make_band

# The labels are categories of MUSIC, of AVE and of toyband.
OBJECTS = ["--object=violin@0,0,0.5,1", "--object=flute@0.5,0,1,1"]


@pytest.fixture(scope="module")
def sop_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound of Pixels as its code saves it, with a small U-Net."""
    folder = tmp_path_factory.mktemp("sop")
    return checkpoints.write(folder, checkpoints.sound_of_pixels())


@pytest.fixture
def release(sop_release: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(sop_release, tmp_path / "release"))


def change(file: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a file."""
    weights = torch.load(file)
    edit(weights)
    torch.save(weights, file)


# What is converted


@pytest.mark.slow
def test_separate_files_wrappers_and_prefixes(run: Callable, release: Path, tmp_path: Path) -> None:
    out = tmp_path / "sop.safetensors"
    done = run("convert", release, "-o", out)
    assert done.code == 0 and not done.err
    assert "Setting: front_end.stft.padding = reflect" in done.out
    assert "if it is one, type --as ccol" in done.out
    card, model = read_card(out), load_model(out)
    assert card.model == "sound-of-pixels"
    assert card.metadata["converted_from"]["system"] == "sound-of-pixels"
    # The best files alone were read.
    assert set(card.metadata["converted_from"]["files"]) == {
        "sound_best.pth", "frame_best.pth", "synthesizer_best.pth",
    }  # fmt: skip
    settings = card.settings
    assert settings["unet"]["channels"] == [4, 8, 16, 32, 32, 32, 32]
    assert settings["masks"] == "binary" and settings["magnitude_input"] == "log"
    weights = torch.load(release / "sound_best.pth")
    kernel = model.get_parameter("audio_network.down.0.convolution.weight")
    assert torch.equal(kernel, weights["unet_block.model.0.weight"])


@pytest.mark.slow
def test_every_tensor_is_counted(run: Callable, release: Path, tmp_path: Path) -> None:
    done = run("convert", release, "-o", tmp_path / "a.safetensors", "--json")
    report = json.loads(done.out)
    assert {item["network"]: item["converted"] for item in report["networks"]} == {
        "audio U-Net": 75, "frame network": 122, "synthesiser": 2,
    }  # fmt: skip
    assert report["left_out"] == {} and report["added"] == {}


@pytest.mark.slow
def test_ccol_is_sound_of_pixels_with_other_settings(
    run: Callable, release: Path, tmp_path: Path
) -> None:
    ground = grounding()
    for name in ("net_sound_ground", "net_frame_ground", "net_grounding"):
        state = {k.removeprefix(f"{name}."): v for k, v in ground.items() if k.startswith(name)}
        torch.save(state, release / f"{name}_best.pth")
    out = tmp_path / "ccol.safetensors"
    # With the grounding no other system has all names.
    done = run("convert", release, "-o", out)
    assert done.code == 0, done.err
    assert f"{out}: ccol" in done.out and "which is not used to separate" in done.out
    settings = read_card(out).settings
    assert settings["masks"] == "ratio" and settings["magnitude_input"] == "log1p"
    assert settings["front_end"]["legacy_corners"] and not settings["crops"]["whole_when_alone"]


def grounding() -> dict[str, Tensor]:
    """The tensors by which CCoL's grounding networks are recognised."""
    names = (
        "net_sound_ground.features.13.weight", "net_frame_ground.features.7.1.bn2.weight",
        "net_grounding.fc_v1.weight", "net_grounding.fc3.weight",
    )  # fmt: skip
    return {name: torch.ones(2) for name in names}


@pytest.mark.slow
def test_iquery_reads_its_size_from_the_tensors(run: Callable, tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "iquery", checkpoints.iquery(motion=True))
    out = tmp_path / "iquery.safetensors"
    done = run("convert", folder, "-o", out, "--as", "iquery")
    assert done.code == 0, done.err
    assert "Left out: 18 tensors" in done.out and "Left out: 12 tensors" in done.out
    assert "Added: 2 tensors, such as objects.category_head" in done.out
    card = read_card(out)
    assert len(card.categories) == 11 and card.categories[9] == "violin"
    assert (
        card.settings["motion"] == "i3d" and card.settings["unet"]["num_layers_after_middle"] == 3
    )
    assert card.settings["front_end"]["legacy_corners"]
    assert not load_model(out).get_parameter("objects.category_head.weight").any()


@pytest.mark.slow
def test_a_recipe_gives_what_tensors_do_not_show(
    run: Callable, release: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('model = "sound-of-pixels"\n[settings.crops]\nnum_crops = 7\n')
    out = tmp_path / "a.safetensors"
    assert run("convert", release, "-o", out, "--recipe", recipe).code == 0
    settings = read_card(out).settings
    assert settings["crops"]["num_crops"] == 7
    assert settings["front_end"]["stft"]["padding"] == "reflect"


@pytest.mark.slow
def test_i3d_stays_what_motion_reads(run: Callable, i3d_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "i3d.safetensors"
    done = run("convert", i3d_file, "-o", out)
    assert done.code == 0, done.err
    with safe_open(out, framework="pt") as file:
        assert not file.metadata()
    expected, model = load_i3d(i3d_file).state_dict(), load_i3d(out).state_dict()
    assert all(torch.equal(model[name], value) for name, value in expected.items())


# Errors: one line, exit code 2, nothing written


class Trap:
    """Payload of a malicious file: unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def corrupt(release: Path) -> None:
    file = release / "sound_best.pth"
    file.write_bytes(file.read_bytes()[:5000])


def with_code(release: Path) -> None:
    payload = {"state_dict": torch.load(release / "sound_best.pth"), "x": Trap(release / "sprung")}
    torch.save(payload, release / "sound_best.pth")


def with_code_alone(release: Path) -> None:
    (release / "sound_best.pth").write_bytes(pickle.dumps(Trap(release / "sprung")))


def short_of_a_tensor(release: Path) -> None:
    name = "unet_block.model.1.model.3.model.1.weight"
    change(release / "sound_best.pth", lambda weights: weights.pop(name))


def short_of_a_norm(release: Path) -> None:
    name = "features.5.0.bn1.running_var"
    change(release / "frame_best.pth", lambda weights: weights.pop(f"module.{name}"))


def of_another_shape(release: Path) -> None:
    name = "unet_block.model.1.model.1.weight"
    change(
        release / "sound_best.pth", lambda weights: weights.update({name: torch.ones(8, 3, 4, 4)})
    )


def with_unknown_tensor(release: Path) -> None:
    extra = {"unet_block.extra.weight": torch.ones(1)}
    change(release / "sound_best.pth", lambda weights: weights.update(extra))


def without_a_network(release: Path) -> None:
    (release / "frame_best.pth").unlink()


def with_a_network_twice(release: Path) -> None:
    shutil.copy(release / "sound_best.pth", release / "again_best.pth")


def of_something_else(release: Path) -> None:
    shutil.rmtree(release)
    checkpoints.write(release, {"a.pth": torch.nn.Linear(2, 3).state_dict()})


def converted_already(release: Path) -> None:
    shutil.rmtree(release)
    release.mkdir()
    shutil.copy(find_checkpoint("lavss-mini"), release)


def emptied(release: Path) -> None:
    shutil.rmtree(release)
    release.mkdir()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "options", "message"),
    [
        (corrupt, [], "sound_best.pth' cannot be read as weights: it is damaged"),
        (with_code, [], "objects beside tensors, which are never run"),
        (with_code_alone, [], "objects beside tensors, which are never run"),
        (None, ["--as", "lavss"], "is no checkpoint of lavss: its names are those of sound-of-pix"),
        (None, ["--as", "lavs"], "unknown system 'lavs'; did you mean 'lavss'?"),
        (short_of_a_tensor, [], "that becomes 'audio_network.down.2.convolution.weight'"),
        (short_of_a_norm, [], "lacks 1 of 199 tensors: that for 'vision.encoder.trunk.layer2.0.bn"),
        (of_another_shape, [], "'unet_block.model.1.model.1.weight' becomes 8 x 3 x 4 x 4, needed"),
        (with_unknown_tensor, [], "1 tensors are not sound-of-pixels's, such as 'unet_block.extra"),
        (without_a_network, [], "lack these networks of sound-of-pixels: frame network ('feature"),
        (with_a_network_twice, [], "sound_best.pth both hold the audio U-Net of sound-of-pixels"),
        (of_something_else, [], "are those of none of the systems sound-of-pixels, ccol, iquery"),
        (converted_already, [], "is a model of avsep already: give it to --model or --init"),
        (emptied, [], "holds no checkpoint (.pth, .pt, .tar, .ckpt, .bin, .safetensors)"),
        (
            None,
            ["--recipe", "davis-music"],
            "'davis-music' is for model 'davis', not for 'sound-of",
        ),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    damage: Callable[[Path], None] | None,
    options: list[str],
    message: str,
    run: Callable,
    release: Path,
    tmp_path: Path,
) -> None:
    if damage is not None:
        damage(release)
    before = sorted(tmp_path.rglob("*"))
    done = run("convert", release, "-o", tmp_path / "out.safetensors", *options)
    assert done.code == 2 and not done.out
    assert message in done.err and done.err.startswith("avsep: ")
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    # Also no file of the code in a file.
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("model.pth", "must end in .safetensors: give -o model.safetensors"),
        ("no/model.safetensors", "make the folder"),
    ],
)
def test_the_name_of_the_result_is_checked_first(
    run: Callable, tmp_path: Path, out: str, message: str
) -> None:
    done = run("convert", "missing.pth", "-o", tmp_path / out)
    assert done.code == 2 and message in done.err


@pytest.mark.slow
def test_mono_to_binaural_weights_separate_nothing(run: Callable, tmp_path: Path) -> None:
    files = {
        "visual.pth": checkpoints.released("separation25d-visual"),
        "audio.pth": checkpoints.released("separation25d-audio"),
    }
    folder = checkpoints.write(tmp_path / "mono2binaural", files)
    done = run("convert", folder, "-o", tmp_path / "a.safetensors")
    assert done.code == 2 and done.err.count("\n") == 1
    assert "predicts 2 masks from 2 input maps and 98 visual cells" in done.err
    assert "makes a mono recording binaural and separates no objects" in done.err


# From a released checkpoint to stems and to further training


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("band") / "band"
    make_band(folder, 6)
    return folder


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random weights of CLIP's ViT-B/32, with a tiny text encoder, in the layout of a hub."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip") / "clip"
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config=ClipImageEncoder().network.config.to_dict(),
        text_config=text,
        projection_dim=512,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    yield folder
    shutil.rmtree(folder)  # some hundred megabytes


def separates(run: Callable, model: Path, band: Path, out: Path, *more: str | Path) -> None:
    """Separate a duet from the command line; the stems sum to the mixture."""
    video = band / "000001.mp4"
    done = run("separate", video, *OBJECTS, "--model", model, "-o", out, "--device=cpu", *more)
    assert done.code == 0, done.err
    names = {path.name for path in (out / "000001").iterdir()}
    assert {"01-violin.wav", "02-flute.wav", "residual.wav", "manifest.json"} <= names


def trains_on(
    run: Callable, model: Path, band: Path, tmp_path: Path, changes: dict[str, object] | None = None
) -> None:
    """Train one step from a converted checkpoint, with a rate at which its weights stay."""
    converted = load_model(model)
    training = TrainingSettings(
        batch_size=1, max_steps=1, num_workers=0, num_validation=1, validate_every_steps=1,
        validation_share=0.5, num_samples=0, ema_decay=0, precision="32",
    )  # fmt: skip
    recipe = TrainRecipe(
        model=read_card(model).model,
        settings=converted.settings.model_dump(mode="json", exclude_none=True) | (changes or {}),
        training=training,
        optimizers={
            name: OptimizerSettings(learning_rate=1e-12) for name in converted.parameter_groups()
        },
    )
    file = tmp_path / "further.toml"
    file.write_text(write_recipe(recipe, COMMAND), encoding="utf-8")
    words = ["--data", band, "--run", tmp_path / "run", "--init", model, "--device", "cpu"]
    done = run("train", file, *words, "--cache", tmp_path / "cache")
    assert done.code == 0, done.err
    before, after = load_file(model), load_file(tmp_path / "run" / "model.safetensors")
    assert before.keys() == after.keys()
    kernels = [name for name, value in before.items() if value.ndim == 4]
    assert kernels
    for name in kernels:
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sound-of-pixels", "ccol"])
def test_sound_of_pixels_separates_and_trains(
    name: str, run: Callable, release: Path, band: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.safetensors"
    assert run("convert", release, "-o", out, "--as", name).code == 0
    separates(run, out, band, tmp_path / "stems")
    trains_on(run, out, band, tmp_path)
    scored = run("evaluate", out, "--data", band, "--limit=1", "--set=workers=1", "--json")
    assert scored.code == 0, scored.err


@pytest.mark.slow
def test_sound_of_pixels_at_its_size(run: Callable, band: Path, tmp_path: Path) -> None:
    folder = checkpoints.write(tmp_path / "sop", checkpoints.sound_of_pixels(small=False))
    assert run("convert", folder, "-o", tmp_path / "a.safetensors").code == 0
    separates(run, tmp_path / "a.safetensors", band, tmp_path / "stems")


@pytest.mark.slow
def test_iquery_without_motion_separates_and_trains(
    run: Callable, band: Path, tmp_path: Path
) -> None:
    """With categories of one's own, as the data of a lab has them."""
    folder, out = tmp_path / "ave", tmp_path / "a.safetensors"
    checkpoints.write(folder, checkpoints.iquery())
    assert run("convert", folder, "-o", out).code == 0
    assert len(read_card(out).categories) == 28
    assert read_card(out).settings["front_end"]["sample_rate_hz"] == 22050
    recipe = tmp_path / "categories.toml"
    recipe.write_text(f'model = "iquery"\n[settings]\ncategories = {json.dumps(CATEGORIES)}\n')
    assert run("convert", folder, "-o", out, "--recipe", recipe).code == 0
    separates(run, out, band, tmp_path / "stems")
    trains_on(run, out, band, tmp_path)
    # Its category head is not trained: without labels there is nothing to score.
    words = ["evaluate", out, "--data", band, "--limit=1", "--set=workers=1", "--json"]
    scored = run(*words)
    assert scored.code == 0 and "predicted" not in scored.out, scored.err
    refused = run(*words, "--labels", "predicted")
    assert refused.code == 2 and "predicts no category: give --labels given" in refused.err


@pytest.mark.slow
def test_iquery_with_motion_separates(
    run: Callable, band: Path, tmp_path: Path, i3d_file: Path
) -> None:
    """At its size, with I3D features of converted weights."""
    files = checkpoints.iquery(motion=True, small=False)
    folder, out = checkpoints.write(tmp_path / "music", files), tmp_path / "a.safetensors"
    assert run("convert", folder, "-o", out).code == 0
    i3d = tmp_path / "i3d.safetensors"
    assert run("convert", i3d_file, "-o", i3d).code == 0
    separates(run, out, band, tmp_path / "stems", "--i3d", i3d)
    refused = run(
        "separate", band / "000001.mp4", "--object=@0,0,0.5,1", "--model", out, "--i3d", i3d,
        "-o", tmp_path / "more",
    )  # fmt: skip
    assert refused.code == 2 and "predicts no category and has none for" in refused.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lavss", "separation-2.5d"])
def test_binaural_systems_separate_and_train(
    name: str, run: Callable, band: Path, tmp_path: Path
) -> None:
    files = checkpoints.lavss() if name == "lavss" else checkpoints.separation_25d()
    folder, out = checkpoints.write(tmp_path / "release", files), tmp_path / "a.safetensors"
    done = run("convert", folder, "-o", out)
    assert done.code == 0 and f"{out}: {name}" in done.out, done.err
    separates(run, out, band, tmp_path / "stems")
    trains_on(run, out, band, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["davis", "davis-flow"])
def test_davis_separates_and_trains(
    name: str, run: Callable, band: Path, tmp_path: Path, clip_folder: Path
) -> None:
    folder, out = tmp_path / "davis", tmp_path / "a.safetensors"
    checkpoints.write(folder, checkpoints.davis())
    recipe = tmp_path / "one-step.toml"
    # A step of the sampler takes seconds at this size.
    recipe.write_text(f'model = "{name}"\n[settings.sampling]\nnum_steps = 1\n')
    done = run(
        "convert", folder, "-o", out, "--as", name, "--clip", clip_folder, "--recipe", recipe
    )
    assert done.code == 0, done.err
    for text in ("a copy of the network", "state of the optimizer", "counter", "timestep MLP"):
        assert text in done.out
    # The moving average was converted: the weights that it is of are zero.
    assert load_model(out).get_parameter("unet.enter.weight").any()
    separates(run, out, band, tmp_path / "stems")
    if name == "davis":  # the flow has the same network and names
        front_end = {**read_card(out).settings["front_end"], "window_samples": 4095}
        front_end.pop("num_columns")
        trains_on(run, out, band, tmp_path, {"front_end": front_end})


def test_every_system_has_a_test_and_a_licence() -> None:
    assert set(SYSTEMS) == {
        "sound-of-pixels", "ccol", "iquery", "davis", "davis-flow", "lavss", "separation-2.5d",
        "i3d",
    }  # fmt: skip
    assert all(system.licence and system.repository for system in SYSTEMS.values())
