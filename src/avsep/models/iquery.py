"""iQuery: DGFNet without gate and audio attention (Chen et al., 2023), and its released weights."""

from typing import Literal

from avsep.cues.crops import CropSettings
from avsep.data.categories import AVE, MUSIC, MUSIC_21
from avsep.errors import InputError
from avsep.layers.audio_unet import numbered_renames, read_unet_settings
from avsep.models.dgfnet import DGFNet, DGFNetSettings
from avsep.released import ReleasedNetwork, ReleasedSystem, Rename, Unused, Weights
from avsep.vision.resnet18 import trunk_renames


class IQuerySettings(DGFNetSettings):
    """iQuery: no fusion in the middle and no audio attention."""

    fusion: Literal["none", "mul", "gate"] = "none"
    audio_attention: bool = False
    crops: CropSettings = CropSettings(selection="consecutive", with_crop_motion=False)


class IQuery(DGFNet):
    """iQuery (Chen et al., 2023), which DGFNet extends: the same network with other settings."""

    Settings = IQuerySettings


# Released weights: a file for each network

# Queries -> categories: one query more than MUSIC and MUSIC-21 have, two more than AVE.
_CATEGORIES = {12: MUSIC, 22: MUSIC_21, 30: AVE}
# The front end and the crops of the code on AVE.
_AVE_SETTINGS: dict[str, object] = {
    "motion": "none",
    "front_end": {
        "sample_rate_hz": 22050,
        "window_samples": 47087,
        "stft": {"hop_samples": 184},
        "legacy_corners": True,
    },
    # Departure: the code takes six successive frames of 25 a second, here they are of 5 a second:
    # 25 crops a second of ten minutes of video are 2 GB for each object.
    "crops": {
        "crop_rate_hz": 5.0,
        "num_crops": 6,
        "selection": "consecutive",
        "with_crop_motion": False,
    },
}


def _settings(weights: Weights) -> dict[str, object]:
    num_queries, width = weights["transformer.queries.weight"].shape
    unet = read_unet_settings(weights)
    channels = unet["channels"]
    assert isinstance(channels, list), "the settings of a U-Net have a list of channels"
    has_motion = "transformer.motion_projection.weight" in weights
    settings: dict[str, object] = {
        "unet": unet | {"num_layers_after_middle": _find_middle(channels, width)},
        "num_queries": num_queries,
        "object_channels": len(weights["objects.linear.weight"]),
        "feed_forward_width": len(weights["transformer.audio_encoder.feed_forward.widen.weight"]),
        "predict_category": False,
    }
    if num_queries in _CATEGORIES:
        settings["categories"] = _CATEGORIES[num_queries]
    if not has_motion:
        return settings | _AVE_SETTINGS
    return settings | {"motion": "i3d", "front_end": {"legacy_corners": True}}


def _find_middle(channels: list[int], width: int) -> int:
    """Return the number of layers after the middle, whose channels are the transformer's width."""
    # At the paper's size 256 channels are those of the third layer.
    if width not in channels:
        raise InputError(f"no layer of the U-Net has {width} channels, the transformer's width")
    return channels.index(width) + 1


def _attention_rows(released: str, ours: str, norm: str) -> tuple[Rename, ...]:
    """Return the names of an attention layer and its norm."""
    released, ours = rf"transformer\.{released}", f"transformer.{ours}"
    place = released.rpartition(r"\.")[0]
    return (
        Rename(rf"{released}\.(.+)", rf"{ours}.attention.\1"),
        Rename(rf"{place}\.{norm}\.(\w+)", rf"{ours}.norm.\1"),
    )


def _feed_forward_rows(released: str, ours: str, norm: str) -> tuple[Rename, ...]:
    """Return the names of a feed-forward layer and its norm."""
    released, ours = rf"transformer\.{released}", f"transformer.{ours}.feed_forward"
    return (
        Rename(rf"{released}\.linear1\.(\w+)", rf"{ours}.widen.\1"),
        Rename(rf"{released}\.linear2\.(\w+)", rf"{ours}.narrow.\1"),
        Rename(rf"{released}\.{norm}\.(\w+)", rf"{ours}.norm.\1"),
    )


def _decoder_rows(released: str, ours: str) -> tuple[Rename, ...]:
    """Return the names of an ordinary decoder layer."""
    return (
        *_attention_rows(rf"{released}\.self_attn", f"{ours}.self_attention", "norm1"),
        *_attention_rows(rf"{released}\.multihead_attn", f"{ours}.cross_attention", "norm2"),
        *_feed_forward_rows(released, ours, "norm3"),
    )


_ENCODER = r"encoder\.layers\.0"
_COMMON_ROWS = (
    *_attention_rows(rf"{_ENCODER}\.self_attn", "audio_encoder.self_attention", "norm1"),
    *_feed_forward_rows(_ENCODER, "audio_encoder", "norm2"),
    Rename(r"transformer\.decoder\.norm\.(\w+)", r"transformer.norm.\1"),
    Rename(r"query_embed\.weight", "transformer.queries.weight"),
    # The odd layers of the MLP are ReLUs.
    *(
        Rename(rf"mask_embed\.layers\.{k}\.(\w+)", rf"transformer.mask_mlp.{2 * k}.\1")
        for k in range(3)
    ),
    Rename(r"upobj\.(\w+)", r"transformer.object_to_query.\1"),
)
_MOTION_LAYER = r"decoder\.layers\.0"
PREDICTOR = ReleasedNetwork(
    "predictor",
    ("query_embed.weight", "down.weight"),
    (
        *_COMMON_ROWS,
        Rename(r"down\.(\w+)", r"transformer.motion_projection.\1"),
        *_attention_rows(
            rf"{_MOTION_LAYER}\.cross_attn_motion", "motion_layer.cross_attention", "norm4"
        ),
        *_feed_forward_rows(_MOTION_LAYER, "motion_layer", "norm3"),
        *(
            row
            for k in range(1, 4)
            for row in _decoder_rows(rf"decoder\.layers\.{k}", f"layers.{k - 1}")
        ),
    ),
    unused=(
        Unused(
            r"transformer\.decoder\.layers\.0\.(self_attn|multihead_attn|norm[12])\..+",
            "the motion layer never uses its self-attention and audio-visual attention",
        ),
        Unused(
            r"transformer\.decoder\.layers\.[1-9]\.(cross_attn_motion|norm4)\..+",
            "layers after the first never use their motion attention",
        ),
    ),
)
PREDICTOR_WITHOUT_MOTION = ReleasedNetwork(
    "predictor",
    ("query_embed.weight",),
    (
        *_COMMON_ROWS,
        *(row for k in range(4) for row in _decoder_rows(rf"decoder\.layers\.{k}", f"layers.{k}")),
    ),
    absent=("down.weight",),
)
RELEASE = ReleasedSystem(
    model="iquery",
    repository="github.com/JiabenChen/iQuery",
    licence="none stated: all rights reserved",
    networks=(
        ReleasedNetwork("audio U-Net", ("downconv1.weight",), numbered_renames()),
        ReleasedNetwork(
            "frame network",
            ("features.7.1.bn2.weight", "fc.weight"),
            (
                *trunk_renames("features", "objects.encoder.trunk"),
                Rename(r"fc\.(\w+)", r"objects.linear.\1"),
            ),
        ),
        PREDICTOR,
        PREDICTOR_WITHOUT_MOTION,
    ),
    settings=_settings,
    zeros=(
        Unused(
            r"objects\.category_head\.\w+",
            "iQuery predicts no category: give labels, or train it",
        ),
    ),
)
