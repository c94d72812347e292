"""DAVIS' Separation U-Net gives the output of the released one, from its filled checkpoint."""

import re
from functools import cache

import pytest
import torch
from torch import Tensor

from avsep.models.davis.convolution_attention import ConvolutionAttentionSettings
from avsep.models.davis.model import DAVISSettings
from avsep.models.davis.separation_unet import SeparationUNet, SeparationUNetSettings
from reference.released import assert_meets, given, golden, released_state

FILE = golden("davis-unet")
# Released prefix or suffix -> ours, in order.
RENAMES = (
    ("init_conv", "enter"),
    ("final_conv", "leave"),
    ("final_res_block", "last"),
    ("time_mlp.1", "time.layers.0"),
    ("time_mlp.3", "time.layers.2"),
    ("mid_block1", "interaction.layers.0"),
    ("mid_attn.fn.fn", "interaction.layers.1"),
    ("mid_attn.fn", "interaction.layers.1"),
    ("mid_block2", "interaction.layers.2"),
    (r"downs\.(\d)\.3(\.1)?", r"shrink.\1"),
    (r"ups\.(\d)\.3(\.1)?", r"grow.\1"),
    (r"(down|up)s\.(\d)\.(\d)", r"\1.\2.blocks.\3"),
    (r"\.1\.fn\.fn", ".1"),
    (r"\.([12])\.fn", r".\1"),
    ("block1.proj", "first"),
    ("block1.norm", "first_norm"),
    ("block2.proj", "second"),
    ("block2.norm", "second_norm"),
    ("res_conv", "shortcut"),
    ("to_qkv", "to_heads"),
    (r"to_out\.1\.g", "last_norm.gain"),
    (r"to_out(\.0)?", "from_heads"),
    (r"norm\.g$", "norm.gain"),
    (r"mlp\.1", "condition.linear"),
)
PROJECTIONS = {"Q": "queries", "K": "keys", "V": "values"}
_COLUMNS = re.compile(r"(.*)attn_(conv|concat)_([QKV]_(\d)|proj)\.(.*)")


def rename(key: str) -> str:
    """Return our name of a tensor outside of time attention."""
    for released, ours in RENAMES:
        key = re.sub(released, ours, key)
    return key


def convert(state: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return our state dict of the released one; what its forward never reads is left out."""
    ours: dict[str, Tensor] = {}
    columns: dict[str, list[Tensor]] = {}
    for key, value in state.items():
        match = _COLUMNS.fullmatch(key)
        if match is not None:
            columns.setdefault(column_name(match), []).append(value)
        elif not re.match(r"mid_.*mlp", key):
            ours[rename(key)] = value.squeeze() if key.endswith(".g") else value
    # The released heads are layers of their own.
    ours |= {name: join_heads(name, heads) for name, heads in columns.items()}
    width = ours["interaction.layers.0.first.weight"].shape[1] // 2
    for name in ("first", "shortcut"):
        # The visual features are concatenated in front of the audio.
        weight = ours[f"interaction.layers.0.{name}.weight"]
        ours[f"interaction.layers.0.{name}.weight"] = torch.cat(
            [weight[:, width:], weight[:, :width]], dim=1
        )
    # 1 x 1 convolutions where ours are linear layers.
    return {name: value.reshape(expected[name].shape) for name, value in ours.items()}


def column_name(match: re.Match[str]) -> str:
    """Return our name of a tensor of time attention, the same for all heads."""
    block, _, kind, _, part = match.groups()
    layer = PROJECTIONS.get(kind[0], "join")
    names = {"0.weight": "linear.weight", "0.bias": "linear.bias", "1.weight": "slopes"}
    names |= {"2.gamma": "gain", "2.beta": "bias"}
    return f"{rename(block)}{layer}.{names[part]}"


def join_heads(name: str, heads: list[Tensor]) -> Tensor:
    """Join one tensor of all heads."""
    if name.endswith((".gain", "s.bias", "join.bias")) and heads[0].ndim == 4:
        # 1 x width x 1 x rows to 1 x rows x width.
        return torch.stack([head[0].permute(1, 2, 0) for head in heads])
    return torch.cat(heads)


@cache
def filled() -> dict[str, Tensor]:
    """Return the filled checkpoint."""
    return released_state(FILE)


def released_network(settings: SeparationUNetSettings) -> SeparationUNet:
    """Return the network at paper size with the filled weights."""
    with torch.device("meta"):
        network = SeparationUNet(settings, 256, 512)
    network.load_state_dict(convert(filled(), network.state_dict()), assign=True)
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
