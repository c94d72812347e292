"""Released networks: their state dicts pass through avsep's tables and its networks meet them.

Every test fills a released state dict by the rule of its golden file, renames it as `avsep convert`
does, and feeds the released inputs to avsep's network.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from avsep.conversion import SYSTEMS
from avsep.layers.binaural_unet import BinauralUNet, BinauralUNetSettings
from avsep.layers.cross_modal_released import ReleasedAudioFusion
from avsep.layers.transformer import QueryTransformer
from avsep.models import MODELS
from avsep.models.base import SeparationModel
from avsep.models.davis.frame_network import TemporalTransformer, TemporalTransformerSettings
from avsep.models.iquery import IQuery
from avsep.models.lavss import LAVSS
from avsep.models.separation_25d import TiledVisualFeatures
from avsep.models.sound_of_pixels import SoundOfPixels, Synthesiser
from avsep.recipe import check_settings
from avsep.released import Assignment, Weights, assign
from avsep.vision.i3d import I3D
from avsep.vision.resnet18 import ResNet18
from reference.released import assert_meets, given, golden, released_state

# Networks at the size of their papers: about half a minute together.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def translate(system: str, *names: str) -> Assignment:
    """Return the tensors of released networks under avsep's names: all of them, or unused."""
    files = {name: released_state(golden(name)) for name in names}
    assignment = assign(SYSTEMS[system], files)
    assert not assignment.unknown
    assert {part.file for part in assignment.parts} == set(names)
    released = sum(map(len, files.values()))
    sources = [n for part in assignment.parts for n in part.translation.sources.values()]
    assert sum(map(len, sources)) + len(assignment.left_out) == released
    return assignment


def converted(system: str, *names: str) -> Weights:
    parts = translate(system, *names).parts
    return {name: value for part in parts for name, value in part.translation.weights.items()}


def load(network: nn.Module, weights: Weights, prefix: str = "") -> None:
    """Load the weights under a prefix, all that the network has."""
    chosen = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    network.load_state_dict(chosen, assign=True)
    network.eval()


def load_model(system: str, *names: str, zeros: tuple[str, ...] = ()) -> SeparationModel:
    """Build a model by the settings of a release and load all its networks."""
    weights, release = converted(system, *names), SYSTEMS[system]
    cls = MODELS[release.model]
    model = make(cls, check_settings(release.settings(weights), cls.Settings, system))
    assert isinstance(model, SeparationModel)
    missing, unexpected = model.load_state_dict(weights, strict=False, assign=True)
    assert (tuple(missing), unexpected) == (zeros, [])
    return model.eval()


def make(cls: type, *arguments: object, **options: object) -> nn.Module:
    """Build a network without initial values: they are replaced."""
    with torch.device("meta"):
        network = cls(*arguments, **options)
    # Buffers that no checkpoint holds, such as the mean of the pictures.
    for module in network.modules():
        for name in module._non_persistent_buffers_set:
            module.register_buffer(name, torch.zeros(()), persistent=False)
    return network


def inputs(name: str) -> dict[str, Tensor]:
    return {key: given(spec) for key, spec in golden(name)["inputs"].items()}


def meets(name: str, **outputs: Tensor) -> None:
    for key, value in outputs.items():
        assert_meets(value, golden(name)["outputs"][key])


def trunk_maps(encoder: ResNet18, pictures: Tensor) -> Tensor:
    """Return the maps of pictures that are normalised already."""
    trunk = encoder.trunk
    maps = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(pictures))))
    return trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(maps))))


# Sound of Pixels


@pytest.fixture(scope="module")
def sound_of_pixels() -> SoundOfPixels:
    names = ("sop-unet7-32", "sop-resnet-dilated", "sop-synthesizer")
    model = load_model("sound-of-pixels", *names)
    assert isinstance(model, SoundOfPixels)
    return model


def test_sound_of_pixels_audio(sound_of_pixels: SoundOfPixels) -> None:
    maps = sound_of_pixels.audio_network.to_bottom(inputs("sop-unet7-32")["log_magnitude"])
    features = sound_of_pixels.audio_network.from_bottom(maps[-1], maps)
    meets("sop-unet7-32", maps=features)


def test_sound_of_pixels_frames(sound_of_pixels: SoundOfPixels) -> None:
    frames = inputs("sop-resnet-dilated")["frames"].transpose(1, 2).flatten(0, 1)
    encoder = sound_of_pixels.vision.encoder
    assert isinstance(encoder, ResNet18)
    maps = sound_of_pixels.to_vector(trunk_maps(encoder, frames))  # K E h w
    meets("sop-resnet-dilated", map=maps.transpose(0, 1)[None], vector=maps.amax((0, 2, 3))[None])


def test_sound_of_pixels_synthesiser(sound_of_pixels: SoundOfPixels) -> None:
    values, synthesiser = inputs("sop-synthesizer"), sound_of_pixels.synthesiser
    logits = synthesiser(values["image"], values["sound"])
    # The code has two further outputs: each product without the sum, and all pairs of cells.
    alone = Synthesiser(1)
    alone.bias.copy_(synthesiser.bias)
    scaled = values["image"] * synthesiser.weight
    products = [alone(scaled[:, k, None], values["sound"][:, k, None]) for k in range(32)]
    pixels = values["image_map"].flatten(2).transpose(1, 2).flatten(0, 1)
    pixelwise = synthesiser(pixels, values["sound"]).unflatten(0, (2, 3, 4))
    meets(
        "sop-synthesizer",
        logits=logits[:, None],
        nosum=torch.stack(products, 1),
        pixelwise=pixelwise,
    )


# iQuery


@pytest.fixture(scope="module")
def iquery() -> IQuery:
    names = ("iquery-audio-unet", "iquery-resnet", "iquery-predictor")
    head = ("objects.category_head.weight", "objects.category_head.bias")
    model = load_model("iquery", *names, zeros=head)
    assert isinstance(model, IQuery)
    return model


def test_iquery_audio(iquery: IQuery) -> None:
    latent, skips = iquery.audio_network.to_middle(inputs("iquery-audio-unet")["log1p_magnitude"])
    features = iquery.audio_network.from_middle(latent, skips)
    meets("iquery-audio-unet", features=features, latent=latent)


def test_iquery_frames(iquery: IQuery) -> None:
    frames = inputs("iquery-resnet")["frames"].transpose(1, 2).flatten(0, 1)
    encoder = iquery.objects.encoder
    assert isinstance(encoder, ResNet18)
    maps = iquery.objects.linear(trunk_maps(encoder, frames))
    meets("iquery-resnet", map=maps.transpose(0, 1)[None], vector=maps.amax((0, 2, 3))[None])


def predict(
    transformer: QueryTransformer, values: dict[str, Tensor], padding: Tensor | None = None
) -> Tensor:
    """Return the mask logits of the queried classes."""
    embedding = transformer(
        values["latent"],
        transformer.project(values["objects"]),
        values["classes"].flatten(),
        values.get("motion"),
        padding,
    )
    return torch.einsum("nd,ndrt->nrt", embedding, values["features"])[:, None]


def test_iquery_predictor(iquery: IQuery) -> None:
    values = inputs("iquery-predictor")
    padding = values["motion_mask_padded"]
    meets(
        "iquery-predictor",
        logits=predict(iquery.transformer, values),
        logits_boolean_mask=predict(iquery.transformer, values, padding.bool()),
        # motion_padding = "added"
        logits_float_mask_as_released=predict(iquery.transformer, values, padding),
    )


def test_iquery_predictor_of_ave() -> None:
    weights = converted("iquery", "iquery-ave-predictor")
    transformer = make(
        QueryTransformer, 30, object_channels=32, motion_channels=None, mask_channels=32
    )
    assert isinstance(transformer, QueryTransformer)
    load(transformer, weights, "transformer.")
    meets("iquery-ave-predictor", logits=predict(transformer, inputs("iquery-ave-predictor")))


# LAVSS


@pytest.fixture(scope="module")
def lavss() -> LAVSS:
    model = load_model("lavss", "lavss-unet", "lavss-visual")
    assert isinstance(model, LAVSS)
    return model


def test_lavss_audio(lavss: LAVSS) -> None:
    values = inputs("lavss-unet")
    spectrogram, visual = values["log_magnitude_and_ipd"], values["visual"]
    maps = lavss.audio_network.to_bottom(spectrogram)
    tokens = torch.cat([scale.flatten(2).mT for scale in maps[-3:]], dim=1)
    assert isinstance(lavss.fusion, ReleasedAudioFusion)
    sound_tokens, seen_tokens = lavss.fusion.attend(tokens, visual.flatten(2).mT)
    meets(
        "lavss-unet",
        sound_tokens=sound_tokens,
        seen_tokens=seen_tokens,
        fused=lavss.fusion(maps[-3:], visual),
        mask=lavss.predict_masks(spectrogram, visual).sigmoid()[:, None],
    )


def test_lavss_visual(lavss: LAVSS) -> None:
    values, encoder = inputs("lavss-visual"), lavss.vision.encoder
    assert isinstance(encoder, ResNet18)
    assert lavss.position is not None and lavss.vision_position is not None
    position = lavss.position.layers(values["position"])
    meets(
        "lavss-visual",
        fused=lavss.vision_position(trunk_maps(encoder, values["picture"]), position),
    )


# 2.5D Visual Sound: its two masks are of the difference between the ears, and its visual maps those
# of whole frames, so that its networks are built here and not by a separator.


def test_separation_25d_audio() -> None:
    weights = converted("separation-2.5d", "separation25d-audio")
    settings = BinauralUNetSettings(channels=(64, 128, 256, 512, 512), num_features=2)
    network = BinauralUNet(settings, 2, guide_channels=512 + 8 * 7 * 14)
    load(network, weights, "audio_network.")
    fusion = TiledVisualFeatures(512, 8)
    load(fusion, weights, "fusion.")
    values = inputs("separation25d-audio")
    maps = network.to_bottom(values["mixture"])
    logits = network.from_bottom(fusion(maps[-3:], values["visual"]), maps)
    meets("separation25d-audio", masks=2 * logits.sigmoid() - 1)


def test_separation_25d_visual() -> None:
    weights = converted("separation-2.5d", "separation25d-visual")
    encoder = make(ResNet18)
    assert isinstance(encoder, ResNet18)
    load(encoder, weights, "vision.encoder.")
    picture = inputs("separation25d-visual")["picture"]
    meets("separation25d-visual", map=trunk_maps(encoder, picture))


# I3D, and the temporal transformer of DAVIS


def test_i3d() -> None:
    model = make(I3D)
    load(model, converted("i3d", "i3d"))
    values = inputs("i3d")
    meets("i3d", map=model(values["clip"]), map_odd_size=model(values["clip_odd"]))


def test_davis_temporal_transformer() -> None:
    weights = converted("davis", "davis-temporal-transformer")
    network = TemporalTransformer(TemporalTransformerSettings(), 512)
    load(network, weights, "frames.transformer.")
    frames = inputs("davis-temporal-transformer")["frames"]
    # With gradients PyTorch computes it layer by layer, as the golden values were.
    with torch.enable_grad():
        sequence = network.transformer(frames, frames)
        mean = network(frames)
    meets("davis-temporal-transformer", sequence=sequence, mean=mean)


def test_all_of_davis_is_converted() -> None:
    assignment = translate("davis", "davis-unet", "davis-temporal-transformer")
    assert {item.reason for item in assignment.left_out} == {
        "the middle is called without the timestep, so these are never used"
    }
    released = sum(
        tensor.numel() for part in assignment.parts for tensor in part.translation.weights.values()
    )
    # 789,504 parameters of the middle get no gradient in the released network.
    assert released == 36_549_603 - 789_504 + 13_663_232
