"""EfficientNet-Lite: the published network's logits, shapes, class activation maps, loading."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from avsep.errors import InputError
from avsep.vision.efficientnet_lite import (
    SHIPPED,
    VARIANTS,
    EfficientNetLite,
    EfficientNetLiteSettings,
    load_efficientnet_lite,
    preprocess,
    read_efficientnet_lite,
)
from avsep.vision.imagenet import find_classes
from vision.made_pictures import made_picture, photographs

GOLDEN = Path(__file__).parents[1] / "golden" / "efficientnet-lite0.json"
# Layers and channels at a quarter: the shapes of everything, in a hundredth of the time.
SMALL = EfficientNetLiteSettings(width=0.25, depth=0.5, picture_pixels=64, num_classes=5)
PALACE, FLOWER = find_classes("palace")[0], find_classes("daisy")[0]


@pytest.fixture(scope="module")
def shipped() -> EfficientNetLite:
    return load_efficientnet_lite()


def test_logits_are_those_of_the_published_network(shipped: EfficientNetLite) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    picture = made_picture()
    assert int(picture.long().sum()) == golden["picture_sum"]
    maps = shipped(preprocess(picture, 224, "whole"))
    expected = torch.tensor(golden["logits"])
    # Weights are stored in float16, to a part in 2,000 each; with those in float32 the difference
    # is below 1e-4. The published logits have a deviation of about 1 among classes.
    torch.testing.assert_close(shipped.logits(maps)[0], expected, atol=0.03, rtol=0)
    assert maps.mean().item() == pytest.approx(golden["feature_mean"], rel=5e-3)


def test_photographs_are_named(shipped: EfficientNetLite) -> None:
    logits = shipped.logits(shipped(preprocess(photographs(), 224)))
    assert logits.argmax(dim=1).tolist() == [PALACE, FLOWER]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 97), (1, 33), (32, 250)])
def test_sides_of_the_maps_are_rounded_up(height: int, width: int) -> None:
    network = EfficientNetLite(SMALL)
    pictures = torch.zeros(2, 3, height, width)
    features = network.features(pictures)
    for maps, stride, channels in zip(features, (8, 16, 32), network.pyramid_channels, strict=True):
        assert maps.shape == (2, channels, -(-height // stride), -(-width // stride))
    maps = network(pictures)
    assert maps.shape == (2, 1280, *features.stride_32.shape[2:])
    assert network.embedding(maps).shape == (2, network.num_channels)
    assert network.logits(maps).shape == (2, SMALL.num_classes)


@pytest.mark.parametrize(
    ("name", "num_parameters"),
    # The published sizes in millions: 4.65, 5.42, 6.09, 8.20, 13.0.
    [("lite0", 4.65), ("lite1", 5.42), ("lite2", 6.09), ("lite3", 8.20), ("lite4", 13.0)],
)
def test_variants_have_the_published_number_of_parameters(name: str, num_parameters: float) -> None:
    with torch.device("meta"):
        network = EfficientNetLite(VARIANTS[name])
    size = sum(parameter.numel() for parameter in network.parameters())
    assert size / 1e6 == pytest.approx(num_parameters, rel=2e-3)


def test_pictures_do_not_depend_on_each_other(shipped: EfficientNetLite) -> None:
    pictures = preprocess(photographs(), 96)
    torch.testing.assert_close(shipped(pictures)[1:], shipped(pictures[1:]), atol=1e-4, rtol=1e-4)


def test_preprocessing_takes_the_central_square() -> None:
    picture = torch.zeros(1, 3, 256, 300, dtype=torch.uint8)
    picture[:, :, 16:240, 38:262] = 255
    centre = preprocess(picture, 224)
    assert torch.equal(centre, torch.ones(1, 3, 224, 224))
    whole = preprocess(picture, 224, "whole")
    assert whole.shape == (1, 3, 224, 262)
    assert whole.min() == pytest.approx(-127 / 128) and whole.max() == 1.0


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 900), (500, 20), (224, 224)])
def test_pictures_of_any_size_are_preprocessed(height: int, width: int) -> None:
    picture = torch.full((1, 3, height, width), 127, dtype=torch.uint8)
    for framing in ("centre", "whole"):
        result = preprocess(picture, 32, framing)
        assert min(result.shape[2:]) == 32
        # An even grey stays what it is, but for the rounding of float32 in the filter.
        assert result.abs().max() < 1e-5
    assert preprocess(picture, 32).shape == (1, 3, 32, 32)


def test_the_mean_of_a_class_activation_map_is_the_logit(shipped: EfficientNetLite) -> None:
    maps = shipped(preprocess(photographs(), 224, "whole"))
    classes = (PALACE, FLOWER, 7)
    activations = shipped.class_activation(maps, classes)
    assert activations.shape == (2, 3, *maps.shape[2:])
    expected = shipped.logits(maps)[:, list(classes)]
    torch.testing.assert_close(activations.mean(dim=(2, 3)), expected, atol=1e-4, rtol=1e-4)


def test_a_word_with_several_classes_has_the_maximum_of_their_maps(
    shipped: EfficientNetLite,
) -> None:
    maps = shipped(preprocess(photographs(), 96))
    guitar = shipped.class_activation(maps, find_classes("guitar")).amax(dim=1)
    both = shipped.word_activation(maps, ["daisy", "guitar"])
    assert len(find_classes("guitar")) == 2
    torch.testing.assert_close(both[:, 1], guitar)
    torch.testing.assert_close(both[:, 0], shipped.class_activation(maps, [FLOWER])[:, 0])


def test_words_without_a_class_are_one_clear_line(shipped: EfficientNetLite) -> None:
    maps = torch.zeros(1, 1280, 2, 2)
    with pytest.raises(InputError, match="unknown ImageNet class 'violn'; did you mean 'violin'"):
        shipped.word_activation(maps, ["violn"])
    with pytest.raises(InputError, match="no words to find; give one or more"):
        shipped.word_activation(maps, [])


@pytest.mark.parametrize("is_flower_right", [True, False])
def test_activation_peaks_in_the_half_that_shows_the_class(
    shipped: EfficientNetLite, is_flower_right: bool
) -> None:
    palace, flower = photographs()
    halves = [palace, flower] if is_flower_right else [flower, palace]
    mosaic = torch.cat(halves, dim=2)[None]
    maps = shipped(preprocess(mosaic, 224, "whole"))
    activations = shipped.word_activation(maps, ["palace", "daisy"])[0]
    peaks = activations.flatten(1).argmax(dim=1) % activations.shape[2]
    is_right = (peaks >= activations.shape[2] / 2).tolist()
    assert is_right == [not is_flower_right, is_flower_right]


def test_loading_leaves_the_random_state_and_shares_the_network(shipped: EfficientNetLite) -> None:
    state = torch.get_rng_state()
    with torch.inference_mode():
        network = read_efficientnet_lite(SHIPPED)
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(weight.is_inference() for weight in network.parameters())
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}
    assert load_efficientnet_lite() is shipped and load_efficientnet_lite("cpu") is shipped


def test_the_network_stays_frozen() -> None:
    network = EfficientNetLite(SMALL)
    holder = torch.nn.Sequential(network).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert holder.training and not any(module.training for module in network.modules())
    assert not any(weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize("content", [b"", b"no weights at all", None])
def test_other_files_are_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read '.*other.* as an EfficientNet-Lite") as e:
        read_efficientnet_lite(path)
    assert "\n" not in str(e.value)


def test_files_without_settings_or_with_missing_weights_are_refused(tmp_path: Path) -> None:
    weights = load_file(SHIPPED)
    del weights["head.conv.weight"]
    save_file(weights, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"as an EfficientNet-Lite: .* validation error"):
        read_efficientnet_lite(tmp_path / "a.safetensors")
    settings = {"settings": VARIANTS["lite0"].model_dump_json()}
    save_file(weights, tmp_path / "b.safetensors", settings)
    with pytest.raises(InputError, match=r"b\.safetensors' does not fit .*missing: head\.conv"):
        read_efficientnet_lite(tmp_path / "b.safetensors")
