"""Test Sound of Pixels: parameter counts, synthesiser, masks, the additions of LAVSS."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from avsep.layers.audio_unet import UNetSettings
from avsep.models.sound_of_pixels import SoundOfPixels, Synthesiser
from avsep.records import Cues
from models.binaural_models import (
    ADDED,
    EARS,
    check_each_ear_alone,
    check_trains_and_separates,
    count,
    logits_of,
    separate,
    with_large_weights,
)
from tiny_models import TINY, tiny_batch

# The cells of the three deepest maps are tokens of LAVSS' fusion, so their widths are equal.
FUSED = {"fusion": "attention", "unet": UNetSettings(channels=(8, 8, 16, 16, 16), num_features=8)}


def make(**changes: object) -> SoundOfPixels:
    return with_large_weights(SoundOfPixels, {**TINY["sound-of-pixels"], **changes})


@pytest.mark.slow
def test_parameters_as_published() -> None:
    """REFERENCE 8.1, every number."""
    model = SoundOfPixels()
    assert count(model.audio_network) == 30_274_210
    assert count(model.vision) + count(model.to_vector) == 11_324_000
    assert count(model.synthesiser) == 33
    assert count(model) == 41_598_243


@pytest.mark.slow
def test_sizes_as_published() -> None:
    model = SoundOfPixels()
    assert model.settings.input_size == (256, 256) and model.settings.num_inputs == 1
    assert (model.settings.masks, model.settings.magnitude_input) == ("binary", "log")
    assert model.required_cues == {"crops"}
    with torch.no_grad():
        assert model.vision.encoder.eval()(torch.zeros(1, 3, 224, 224, dtype=torch.uint8)).shape[
            1:
        ] == (512, 14, 14)


def test_the_synthesiser_by_hand() -> None:
    """A sum of components weighted by the visual vector, and one bias."""
    synthesiser = Synthesiser(2)
    with torch.no_grad():
        synthesiser.weight.copy_(torch.tensor([2.0, -1.0]))
        synthesiser.bias.fill_(0.5)
    vectors = torch.tensor([[1.0, 0.0], [0.25, 1.0]])  # two sources of one channel
    components = torch.tensor([3.0, 4.0])[None, :, None, None].expand(1, 2, 5, 7)
    logits = synthesiser(vectors, components)
    assert logits.shape == (2, 5, 7)
    assert logits[0].unique().tolist() == [2 * 1 * 3 + 0.5]
    assert logits[1].unique().tolist() == [2 * 0.25 * 3 - 1 * 1 * 4 + 0.5]


@pytest.mark.slow
def test_the_visual_vector_is_the_maximum_over_frames() -> None:
    """The vector is the maximum over frames and places: a repeated frame changes nothing."""
    model, batch = make(), tiny_batch(2)
    assert batch.cues.crops is not None
    magnitudes, repeated, first = (
        separate(model, replace(batch, cues=Cues(crops=batch.cues.crops[:, :, frames]))).magnitudes
        for frames in ([0, 1], [0, 1, 0], [0])
    )
    torch.testing.assert_close(repeated, magnitudes)
    assert not torch.allclose(first, magnitudes, rtol=1e-3)


@pytest.mark.slow
def test_two_channels_are_separated_each_by_itself() -> None:
    check_each_ear_alone(make())


@pytest.mark.slow
def test_binary_masks_and_their_loss() -> None:
    model, batch = make(masks="binary", weighted_loss=False), tiny_batch(2)
    assert batch.sources is not None
    separation = separate(model, batch)
    mixture = model.front_end.magnitude(batch.mixture)[:, None]
    share = separation.magnitudes / mixture.clamp_min(1e-9)
    # Masks are interpolated between rows and bins; where neighbouring rows agree they are 0 or 1.
    is_binary = (share < 1e-4) | (share > 1 - 1e-4)
    assert is_binary.float().mean() > 0.5 and share.max() < 1 + 1e-4
    losses = model.losses(batch)
    assert set(losses) == {"masks", "total"}
    rows = model.front_end.to_rows(model.front_end.magnitude(batch.mixture))
    target = model.front_end.to_rows(model.front_end.magnitude(batch.sources)) > rows[:, None] / 2
    logits = logits_of(model, torch.log(rows.clamp_min(1e-5))[:, :, None], batch.cues)
    likelihood = torch.where(target, logits.sigmoid(), 1 - logits.sigmoid())
    assert losses["total"].item() == pytest.approx(-likelihood.log().mean().item(), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        *ADDED,
        FUSED,
        {**FUSED, "front_end": EARS, "position": True, "spatial_cues": "signed"},
    ],
)
def test_every_row_trains_and_separates(changes: dict[str, object]) -> None:
    check_trains_and_separates(make(**changes))


def test_initial_weights_as_released() -> None:
    torch.manual_seed(0)
    model = SoundOfPixels(SoundOfPixels.Settings(**TINY["sound-of-pixels"]))
    convolutions = [m for m in model.audio_network.modules() if isinstance(m, nn.Conv2d)]
    weights = torch.cat([layer.weight.flatten() for layer in convolutions])
    assert weights.std().item() == pytest.approx(0.001, rel=0.02)
    assert model.synthesiser.weight.eq(1).all() and model.synthesiser.bias.eq(0).all()


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="three equal numbers"):
        make(fusion="attention", unet=UNetSettings(channels=(8, 8, 8, 8, 16), num_features=8))
    with pytest.raises(ValidationError, match="need two channels"):
        make(spatial_cues="paper")
