"""Test 2.5D separation: parameter counts, channels one by one, the additions of LAVSS."""

import pytest
import torch
from pydantic import ValidationError

from avsep.layers.binaural_unet import BinauralUNetSettings
from avsep.models.lavss import LAVSS
from avsep.models.separation_25d import Separation25D, TiledVisualFeatures
from models.binaural_models import (
    ADDED,
    EARS,
    binaural_batch,
    check_each_ear_alone,
    check_trains_and_separates,
    count,
    separate,
    with_large_weights,
)
from tiny_models import TINY

FUSED = {"fusion": "attention", "unet": BinauralUNetSettings(channels=(8, 16, 16, 16))}


def make(**changes: object) -> Separation25D:
    return with_large_weights(Separation25D, {**TINY["separation-2.5d"], **changes})


@pytest.mark.slow
def test_parameters_of_the_published_network_accounted_for() -> None:
    """REFERENCE 8.1: 23,086,234, of complex masks and wide frames."""
    model = Separation25D()
    published = 23_086_234
    published -= 1 * 64 * 16  # one magnitude as input, not real and imaginary part
    published -= 128 * 16 + 1  # one mask as output, not two parts
    published -= (7 * 14 - 7 * 7) * 8 * 512 * 16  # the encoder reads a square crop
    assert count(model.audio_network) + count(model.fusion) == published == 19_871_897
    assert count(model.vision) == 11_176_512


def test_sizes_of_lavss() -> None:
    settings = Separation25D.Settings()
    assert settings.input_size == (256, 256) and settings.num_inputs == 1
    assert settings.masks == "ratio" and settings.spatial_cues == "none" and not settings.position


@pytest.mark.slow
def test_with_all_of_lavss_it_is_lavss() -> None:
    """Table 3's last row is Table 1's LAVSS: the same tensors give the same estimates."""
    shared = {
        **{name: TINY["lavss"][name] for name in ("front_end", "magnitude_input")},
        "unet": BinauralUNetSettings(channels=(8, 16, 16, 16)),
        "spatial_cues": "paper",
    }
    model = make(**shared, position=True, fusion="attention")
    settings = LAVSS.Settings(
        **{**TINY["lavss"], **shared, "film_every_layer": False, "num_templates": 0}
    )
    lavss = LAVSS(settings).eval()
    lavss.load_state_dict(model.state_dict())
    batch = binaural_batch()
    assert torch.equal(separate(lavss, batch).magnitudes, separate(model, batch).magnitudes)


def test_visual_features_are_beside_every_cell() -> None:
    torch.manual_seed(0)
    tiled = TiledVisualFeatures(width=4, num_channels=3).eval()
    bottom, visual = torch.randn(1, 4, 2, 5), torch.randn(2, 4, 7, 7)
    joined = tiled([bottom], visual)
    assert joined.shape == (2, 4 + 3 * 49, 2, 5)
    assert torch.equal(joined[:, :4], bottom.expand(2, -1, -1, -1))
    assert (joined[:, 4:] == joined[:, 4:, :1, :1]).all()
    torch.testing.assert_close(joined[:, 4:, 0, 0], tiled.narrow(visual).flatten(1))


@pytest.mark.slow
def test_two_channels_are_separated_each_by_itself() -> None:
    check_each_ear_alone(make())


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


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="three equal numbers"):
        make(fusion="attention")
    with pytest.raises(ValidationError, match="num_features must be 1"):
        make(unet=BinauralUNetSettings(channels=(8, 16, 16), num_features=4))
    with pytest.raises(ValidationError, match="multiples of 64"):
        make(unet=BinauralUNetSettings(channels=(8,) * 6))
