"""DAVIS' Separation U-Net gives the output of the released one, from its filled checkpoint."""

from functools import cache

import pytest
import torch
from torch import Tensor

from avsep.models.davis.convolution_attention import ConvolutionAttentionSettings
from avsep.models.davis.model import DAVISSettings
from avsep.models.davis.released import SEPARATION_UNET
from avsep.models.davis.separation_unet import SeparationUNet, SeparationUNetSettings
from avsep.released import Weights
from reference.released import assert_meets, given, golden, released_state

FILE = golden("davis-unet")


@cache
def converted() -> Weights:
    """Return the filled checkpoint under the names of `avsep convert`."""
    translation = SEPARATION_UNET.translate(released_state(FILE))
    assert not translation.unknown
    return {name.removeprefix("unet."): w for name, w in translation.weights.items()}


def released_network(settings: SeparationUNetSettings) -> SeparationUNet:
    """Return the network at paper size with the filled weights."""
    with torch.device("meta"):
        network = SeparationUNet(settings, 256, 512)
    network.load_state_dict(converted(), assign=True)
    return network.eval()


def predict(network: SeparationUNet) -> Tensor:
    """Return the prediction for the inputs of the file: [1 1 R T]."""
    noisy, mixture, time, visual = (
        given(FILE["inputs"][name]) for name in ("x", "mixture", "time", "visual")
    )
    with torch.no_grad():
        return network(noisy[:, 0], mixture[:, 0], time.float(), visual.mean(2))[:, None]


@pytest.mark.slow
def test_it_meets_the_released_network() -> None:
    network = released_network(DAVISSettings().unet)
    assert_meets(predict(network), FILE["outputs"]["noise"])


@pytest.mark.slow
def test_values_that_are_not_divided_are_another_network() -> None:
    """By 1.9 standard deviations: the setting `divide_values` of the minis."""
    attention = ConvolutionAttentionSettings(divide_values=False)
    network = released_network(SeparationUNetSettings(attention=attention))
    with pytest.raises(AssertionError, match="of std"):
        assert_meets(predict(network), FILE["outputs"]["noise"], tolerance=1.0)
