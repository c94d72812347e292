"""LAVSS: binaural separation guided by appearance and position (Ye et al., WACV 2024).

Axes beside those of records.py: E one channel of one mixture, N one source in one channel, Z input
maps, D spatial maps, W the width of all attention, R t rows and columns of the network's cells.
"""

from collections.abc import Sequence
from typing import Self

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from avsep.cues.crops import CropSettings
from avsep.layers.binaural_unet import (
    BinauralUNet,
    BinauralUNetSettings,
    counted_renames,
    read_binaural_unet_settings,
)
from avsep.layers.cross_modal_released import make_audio_fusion
from avsep.models.binaural import BinauralSeparator, BinauralSettings
from avsep.released import ReleasedNetwork, ReleasedSystem, Rename, Unused, Weights, only
from avsep.vision.object_network import ObjectEncoderName, ObjectMaps
from avsep.vision.resnet18 import trunk_renames


class LAVSSSettings(BinauralSettings):
    """Every number of sections 3 and 4.1, the switches of Tables 3 and 4, and our additions."""

    unet: BinauralUNetSettings = BinauralUNetSettings()
    crops: CropSettings = CropSettings(with_crop_motion=False, num_crops=1)
    image_encoder: ObjectEncoderName = Field(default="resnet18", description="encoder of the crops")
    film_every_layer: bool = Field(
        default=False,
        description="ours: visual and position features also scale and shift every decoder layer",
    )
    num_templates: int = Field(
        default=0,
        ge=0,
        description="ours: maps that score how well each cell's spatial cues match the object's "
        "direction, by weights for each row predicted from visual and position features",
    )

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        self.check_layers(with_tokens=True)
        if self.num_templates and (self.spatial_cues == "none" or self.unet.num_features == 1):
            raise ValueError("num_templates needs spatial_cues, and unet.num_features above 1")
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each downsampling layer of the U-Net."""
        return self.unet.channels


class LAVSS(BinauralSeparator[LAVSSSettings]):
    """LAVSS (Figure 2): vision, position and audio networks, cross-modal fusion, a mask per ear."""

    Settings = LAVSSSettings

    def __init__(self, settings: LAVSSSettings | None = None) -> None:
        settings = settings or LAVSSSettings()
        width = settings.width
        vision = ObjectMaps(settings.image_encoder, width, settings.encoder_categories)
        super().__init__(settings, vision, width)
        self.audio_network = BinauralUNet(
            settings.unet,
            settings.num_inputs,
            guide_channels=2 * width,
            film_width=width if settings.film_every_layer else None,
        )
        self.fusion = make_audio_fusion(width, settings.token_sizes, settings.attention)
        self.head = _TemplateHead(settings) if settings.unet.num_features > 1 else None

    def predict_masks(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N W h w"]
    ) -> Float[Tensor, "N R t"]:
        """Fuse audio with the guide at the bottom of the U-Net and decode one mask a source."""
        maps = self.audio_network.to_bottom(inputs)
        # Ours: one vector a source guides every decoder layer (FiLM) and the templates.
        vector = guide.mean((2, 3))
        # Equations 5 and 6: cells of the three deepest maps are the audio's tokens.
        bottom = self.fusion(maps[-3:], guide)
        features = self.audio_network.from_bottom(bottom, maps, vector)
        if self.head is not None:
            features = self.head(features, inputs[:, 1:], vector)
        return features[:, 0]


class _TemplateHead(nn.Module):
    """Ours: predict the mask from full-resolution features and spatial templates."""

    def __init__(self, settings: LAVSSSettings) -> None:
        super().__init__()
        features, templates = settings.unet.num_features, settings.num_templates
        self.shape = (templates, settings.num_inputs - 1, settings.input_size[0])
        # The spatial cues of a direction differ by frequency (HRTF), hence weights for each row.
        num_weights = torch.Size(self.shape).numel()
        self.templates = nn.Linear(settings.width, num_weights) if templates else None
        self.first = nn.Conv2d(features + templates, features, 3, padding=1)
        self.last = nn.Conv2d(features, 1, 3, padding=1)

    def forward(
        self,
        features: Float[Tensor, "N out R t"],
        spatial: Float[Tensor, "E D R t"],
        guide: Float[Tensor, "N W"],
    ) -> Float[Tensor, "N 1 R t"]:
        """Return mask logits; a template is a sum of the spatial maps, weighted for each row."""
        if self.templates is not None:
            weights = self.templates(guide).unflatten(1, self.shape)  # N templates D R
            # Sources of one channel follow each other, so each of its maps is repeated in place.
            cells = spatial.repeat_interleave(len(guide) // len(spatial), dim=0)
            # k templates of n sources: a weighted sum over the d spatial maps of every cell.
            match = torch.einsum("nkdr,ndrt->nkrt", weights, cells)
            features = torch.cat([features, match.to(features.dtype)], dim=1)
        return self.last(leaky_relu(self.first(features), 0.2))


# Released weights: a file for the visual network and one for the U-Net with its fusion

_DEPTH = 7


def _settings(weights: Weights) -> dict[str, object]:
    # One input map is a magnitude alone, as in the first step of the training on MUSIC.
    num_inputs = weights["audio_network.down.0.0.weight"].shape[1]
    hidden_width, num_position_channels = weights["position.layers.0.weight"].shape[:2]
    return {
        "unet": read_binaural_unet_settings(weights, _DEPTH),
        "front_end": {"num_channels": 2 if num_inputs > 1 else 1, "legacy_corners": True},
        "spatial_cues": "paper" if num_inputs > 1 else "none",
        "position_octaves": num_position_channels // 4,
        "position_width": hidden_width,
        "attention": {
            "blocks": "released",
            "num_layers": 1,
            "hidden_width": len(weights["fusion.audio_layer.widen.weight"]),
        },
    }


def _cell_kernel(tensors: Sequence[Tensor]) -> Tensor:
    """Return the kernel of a 1 x 1 convolution for the matrix of a linear layer."""
    return only(tensors)[:, :, None, None]


def _transposed(tensors: Sequence[Tensor]) -> Tensor:
    return only(tensors).T


def _map_attention_rows(released: str, ours: str) -> tuple[Rename, ...]:
    """Return the names of an attention between visual and position maps."""
    names = {"proj_in": "enter", "Wq": "query", "Wk": "key", "Wv": "value", "proj_out": "leave"}
    return tuple(
        Rename(rf"{released}\.{name}\.(\w+)", rf"vision_position.{ours}.{layer}.\1")
        for name, layer in names.items()
    )


def _fusion_rows() -> tuple[Rename, ...]:
    """Return the names of the fusion of audio (x) and visual tokens (y)."""
    rows, layer = [], r"cross_attention\.encoder\.layers\.0"
    for side, ours in (("x", "audio"), ("y", "visual")):
        attention = rf"{layer}\.self_attn_{side}"
        rows += [
            # Stored transposed, with the columns of queries, keys and values.
            Rename(
                rf"{attention}\.in_proj_weight", f"fusion.to_{ours}.in_proj_weight", _transposed
            ),
            Rename(rf"{attention}\.(.+)", rf"fusion.to_{ours}.\1"),
            Rename(rf"{layer}\.norm1_{side}\.(\w+)", rf"fusion.{ours}_norm.\1"),
            Rename(rf"{layer}\.linear1_{side}\.(\w+)", rf"fusion.{ours}_layer.widen.\1"),
            Rename(rf"{layer}\.linear2_{side}\.(\w+)", rf"fusion.{ours}_layer.narrow.\1"),
            Rename(rf"{layer}\.norm2_{side}\.(\w+)", rf"fusion.{ours}_layer.norm.\1"),
        ]
    return (
        *rows,
        Rename(r"cross_attention\.proj_out1\.(\w+)", r"fusion.project_audio.\1"),
        Rename(r"cross_attention\.proj_out2\.(\w+)", r"fusion.to_bottom.\1"),
    )


VISUAL_NETWORK = ReleasedNetwork(
    "visual network",
    ("attenion_visual.Wq.weight", "feature_extraction.0.weight"),
    (
        *trunk_renames("feature_extraction", "vision.encoder.trunk"),
        # An MLP on each cell: a linear layer there, a 1 x 1 convolution here.
        Rename(r"mlp\.layers\.0\.weight", "position.layers.0.weight", _cell_kernel),
        Rename(r"mlp\.layers\.0\.bias", "position.layers.0.bias"),
        Rename(r"mlp\.layers\.1\.weight", "position.layers.2.weight", _cell_kernel),
        Rename(r"mlp\.layers\.1\.bias", "position.layers.2.bias"),
        *_map_attention_rows("attenion_visual", "visual"),
        *_map_attention_rows("attenion_pos", "position"),
        Rename(r"conv1x1_2\.([01])\.(\w+)", r"vision_position.join.\1.\2"),
    ),
    unused=(
        Unused(r"conv1\.weight", "the same tensor as feature_extraction.0.weight"),
        Unused(r"(conv1x1|fc)\..+", "never used in the released network"),
    ),
)
RELEASE = ReleasedSystem(
    model="lavss",
    repository="github.com/YYX666660/LAVSS",
    licence="none stated: all rights reserved",
    networks=(
        VISUAL_NETWORK,
        ReleasedNetwork(
            "audio U-Net",
            ("audionet_convlayer7.0.weight", "cross_attention.proj_out1.weight"),
            (*counted_renames(_DEPTH), *_fusion_rows()),
            unused=(
                Unused(
                    r"cross_attention\.(norm_Fusion_[AB]|conv_after_body_Fusion)\..+",
                    "never used in the released network",
                ),
            ),
        ),
    ),
    settings=_settings,
)
