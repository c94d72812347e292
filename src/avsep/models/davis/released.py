"""The names of DAVIS' released tensors, and the settings of its code.

Diffusion and flow matching were released with one network and the same names: a checkpoint does not
tell which of the two it is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from avsep.released import (
    ReleasedNetwork,
    ReleasedSystem,
    Rename,
    Unused,
    Weights,
    flattened,
    only,
)

_REPOSITORY = "github.com/WikiChao/DAVIS"
_LICENCE = "none stated: all rights reserved"


def _settings(weights: Weights) -> dict[str, object]:
    layers = "frames.transformer.transformer"
    first_layer = weights[f"{layers}.encoder.layers.0.linear1.weight"]
    # The pictures of a solo are whole frames.
    crops = {"num_crops": 11, "crop_rate_hz": 4.0, "whole_when_alone": True}
    crops |= {"selection": "consecutive", "with_crop_motion": False}
    settings: dict[str, object] = {
        "unet": _read_unet_settings(weights),
        "transformer": {
            "num_encoder_layers": _count(weights, f"{layers}.encoder.layers.", ".norm1.weight"),
            "num_decoder_layers": _count(weights, f"{layers}.decoder.layers.", ".norm1.weight"),
            "feed_forward_width": len(first_layer),
        },
        "crops": crops,
    }
    if (rows := _read_rows(weights)) is not None:
        settings["front_end"] = {"num_rows": rows}
    return settings


def _read_unet_settings(weights: Weights) -> dict[str, object]:
    depth = _count(weights, "unet.shrink.", ".weight")
    attention: dict[str, object] = {}
    for name, weight in weights.items():
        # Queries, keys and values of all heads; rows and channels of a head's query.
        if name.startswith("unet.down.0.") and name.endswith("to_heads.weight"):
            attention["head_width"] = len(weight) // 3 // _count_heads(weights)
        if name.startswith("unet.down.0.") and name.endswith("queries.gain"):
            attention["column_width"] = weight.shape[2] * weight.shape[3]
    return {
        "channels": [len(weights[f"unet.shrink.{level}.weight"]) for level in range(depth)],
        "blocks": [_block_name(weights, place) for place in range(3)],
        "attention": attention | {"num_heads": _count_heads(weights)},
    }


def _block_name(weights: Weights, place: int) -> str:
    block = f"unet.down.0.blocks.{place}."
    if f"{block}first.weight" in weights:
        return "R"
    return "TF" if f"{block}to_heads.weight" in weights else "T"


def _count_heads(weights: Weights) -> int:
    """Return the number of heads; a network of ResNet blocks alone does not show it."""
    slopes = [weight for name, weight in weights.items() if name.endswith("queries.slopes")]
    return len(slopes[0]) if slopes else 4


def _read_rows(weights: Weights) -> int | None:
    """Return the rows of the network's input, which only time attention fixes."""
    gains = [
        weight
        for name, weight in weights.items()
        if name.startswith("unet.down.0.") and name.endswith("queries.gain")
    ]
    return gains[0].shape[2] if gains else None


def _count(weights: Weights, start: str, end: str) -> int:
    return sum(name.startswith(start) and name.endswith(end) for name in weights)


# Changes of tensors


def _matrix(tensors: Sequence[Tensor]) -> Tensor:
    """Return the kernels of 1 x 1 convolutions as one matrix."""
    return torch.cat([kernel[:, :, 0, 0] for kernel in tensors])


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    """Join vectors, one for each head."""
    return torch.cat(list(tensors))


def _channels_last(tensors: Sequence[Tensor]) -> Tensor:
    """Join gains of 1 x channels x 1 x rows, one for each head, with the channels last."""
    return torch.cat([gain.permute(0, 2, 3, 1) for gain in tensors])


def _audio_first(tensors: Sequence[Tensor]) -> Tensor:
    """Move the input channels of the visual features behind those of the audio."""
    kernel = only(tensors)
    num_visual = kernel.shape[1] - len(kernel)
    return torch.cat([kernel[:, num_visual:], kernel[:, :num_visual]], dim=1)


# Rows of the table


def _resnet_rows(released: str, ours: str, change_input: bool = False) -> tuple[Rename, ...]:
    change = _audio_first if change_input else only
    return (
        Rename(rf"{released}\.block1\.proj\.weight", f"{ours}.first.weight", change),
        Rename(rf"{released}\.block1\.proj\.bias", f"{ours}.first.bias"),
        Rename(rf"{released}\.block2\.proj\.(\w+)", f"{ours}.second.{_last(released)}"),
        Rename(rf"{released}\.block1\.norm\.(\w+)", f"{ours}.first_norm.{_last(released)}"),
        Rename(rf"{released}\.block2\.norm\.(\w+)", f"{ours}.second_norm.{_last(released)}"),
        Rename(rf"{released}\.res_conv\.weight", f"{ours}.shortcut.weight", change),
        Rename(rf"{released}\.res_conv\.bias", f"{ours}.shortcut.bias"),
    )


def _condition_row(released: str, ours: str) -> Rename:
    """Return the name of the linear layer of the timestep's scale and shift."""
    return Rename(rf"{released}\.mlp\.1\.(\w+)", f"{ours}.condition.linear.{_last(released)}")


def _attention_rows(released: str, ours: str) -> tuple[Rename, ...]:
    """Return the names of a time-frequency attention, or of full attention, which has no norm."""
    inner = rf"{released}\.fn\.fn"
    return (
        Rename(rf"{released}\.fn\.norm\.g", f"{ours}.norm.gain", flattened),
        Rename(rf"{inner}\.to_qkv\.weight", f"{ours}.to_heads.weight", _matrix),
        Rename(rf"{inner}\.to_out(?:\.0)?\.weight", f"{ours}.from_heads.weight", _matrix),
        Rename(rf"{inner}\.to_out(?:\.0)?\.bias", f"{ours}.from_heads.bias"),
        Rename(rf"{inner}\.to_out\.1\.g", f"{ours}.last_norm.gain", flattened),
    )


def _time_attention_rows(released: str, ours: str) -> tuple[Rename, ...]:
    rows = []
    letters = {"Q": "queries", "K": "keys", "V": "values"}
    sides = {rf"attn_conv_{letter}_\d": name for letter, name in letters.items()}
    for side, name in (sides | {"attn_concat_proj": "join"}).items():
        part = rf"{released}\.fn\.{side}"
        rows += [
            Rename(rf"{part}\.0\.weight", f"{ours}.{name}.linear.weight", _matrix),
            Rename(rf"{part}\.0\.bias", f"{ours}.{name}.linear.bias", _joined),
            Rename(rf"{part}\.1\.weight", f"{ours}.{name}.slopes", _joined),
            Rename(rf"{part}\.2\.gamma", f"{ours}.{name}.gain", _channels_last),
            Rename(rf"{part}\.2\.beta", f"{ours}.{name}.bias", _channels_last),
        ]
    return tuple(rows)


def _last(released: str) -> str:
    r"""Return the reference to the group behind those of `released`, such as \4."""
    return rf"\{released.count('(') + 1}"


# A level's blocks, whichever of the three kinds each is: way, level, place.
_BLOCK, _OURS = r"(down|up)s\.(\d)\.([012])", r"unet.\1.\2.blocks.\3"
_UNET_ROWS = (
    Rename(r"init_conv\.(\w+)", r"unet.enter.\1"),
    # 0 is the sines, 2 the GELU.
    Rename(r"time_mlp\.1\.(\w+)", r"unet.time.layers.0.\1"),
    Rename(r"time_mlp\.3\.(\w+)", r"unet.time.layers.2.\1"),
    *_resnet_rows(_BLOCK, _OURS),
    _condition_row(_BLOCK, _OURS),
    *_attention_rows(_BLOCK, _OURS),
    _condition_row(rf"{_BLOCK}\.fn\.fn", _OURS),
    *_time_attention_rows(_BLOCK, _OURS),
    _condition_row(rf"{_BLOCK}\.fn", _OURS),
    # Between levels: a rearrangement or an upsampling first, but for the last level of a way.
    Rename(r"downs\.(\d)\.3\.(?:1\.)?(\w+)", r"unet.shrink.\1.\2"),
    Rename(r"ups\.(\d)\.3\.(?:1\.)?(\w+)", r"unet.grow.\1.\2"),
    *_resnet_rows("mid_block1", "unet.interaction.layers.0", change_input=True),
    *_attention_rows("mid_attn", "unet.interaction.layers.1"),
    *_resnet_rows("mid_block2", "unet.interaction.layers.2"),
    *_resnet_rows("final_res_block", "unet.last"),
    _condition_row("final_res_block", "unet.last"),
    Rename(r"final_conv\.(\w+)", r"unet.leave.\1"),
)
SEPARATION_UNET = ReleasedNetwork(
    "separation U-Net",
    ("init_conv.weight", "mid_block1.block1.proj.weight"),
    _UNET_ROWS,
    unused=(
        Unused(
            r"mid_(block[12]|attn\.fn\.fn)\.mlp\..+",
            "the middle is called without the timestep, so these are never used",
        ),
    ),
)
TEMPORAL_TRANSFORMER = ReleasedNetwork(
    "temporal transformer",
    ("encoder.norm.weight", "decoder.layers.0.multihead_attn.in_proj_weight"),
    (Rename(r"((?:en|de)coder\..+)", r"frames.transformer.transformer.\1"),),
)


def _release(model: str) -> ReleasedSystem:
    return ReleasedSystem(
        model=model,
        repository=_REPOSITORY,
        licence=_LICENCE,
        networks=(SEPARATION_UNET, TEMPORAL_TRANSFORMER),
        settings=_settings,
        unused=(
            Unused(r"(.*\.)?time_mlp\..+", "the wrapper's timestep MLP, never used"),
            Unused(
                r"(.*\.)?((alphas|betas|sqrt_|log_one_minus|posterior_)\w*|(p2_)?loss_weight)",
                "the noise schedule, which avsep computes",
            ),
        ),
        clip="frames.encoder.encoder",
    )


RELEASE = _release("davis")
FLOW_RELEASE = _release("davis-flow")
