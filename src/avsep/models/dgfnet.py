"""DGFNet: gated audio-visual fusion and a query for every category (Yu and Sun, 2025).

Axes beside those of records.py: f t rows and columns of the intermediate features, D their width,
E channels of the final features, N sources of all mixtures in a row (B times S), G groups of
channels.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from avsep.cues.crops import CropSettings
from avsep.data.categories import MUSIC
from avsep.errors import InputError
from avsep.layers.audio_unet import AudioUNet, UNetSettings
from avsep.layers.crop_motion import CROP_MOTION_CHANNELS, CropMotionEncoder
from avsep.layers.transformer import QueryTransformer
from avsep.models.base import (
    ModelSettings,
    SeparationModel,
    presence,
    require_sources,
    trained_groups,
)
from avsep.records import Batch, Cues, Separation
from avsep.sound.magnitudes import log1p_input, loss_weight, ratio_mask
from avsep.vision.object_network import ObjectEncoderName, ObjectNetwork

# Width of I3D's features before its classifier.
I3D_CHANNELS = 1024


class DGFNetSettings(ModelSettings):
    """Every number of the paper's section 4, and the choices that it leaves open."""

    categories: tuple[str, ...] = Field(
        default=MUSIC, min_length=2, description="categories, in the order of their queries"
    )
    num_queries: int | None = Field(
        default=None, description="audio queries; none: one more than there are categories"
    )
    fusion: Literal["none", "mul", "gate"] = Field(
        default="gate", description="what replaces F_mid: itself, F_av or the gated sum (Table 3)"
    )
    gate_feeds_decoder: bool = Field(
        default=True,
        description="the fused features also feed the rest of the U-Net, once for each source, as "
        "'replaces F_mid in the network' reads; else the transformer alone",
    )
    unet: UNetSettings = UNetSettings()
    audio_attention: bool = Field(
        default=True, description="audio attention behind each upsampling layer (section 3.2.2)"
    )
    attention_groups: int = Field(
        default=32, gt=0, description="groups of channels in each audio attention"
    )
    num_attention_layers: int | None = Field(
        default=None, ge=1, description="deepest layers with audio attention; none: all (paper)"
    )
    crops: CropSettings = CropSettings(with_crop_motion=False)
    image_encoder: ObjectEncoderName = Field(
        default="resnet18", description="frozen encoder of the crops"
    )
    object_channels: int = Field(default=32, gt=0, description="C_O, of the object features F_O")
    motion: Literal["i3d", "crop_motion", "none"] = Field(
        default="i3d",
        description="motion features F_M: precomputed by I3D, learned from the object's own crops "
        "over time, or none (AVE: a fourth decoder layer instead)",
    )
    motion_in_fusion: bool = Field(
        default=False,
        description="ours, not the paper's: motion also enters the fused features, at its time",
    )
    motion_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="ours: share of sources trained with still crop motion"
    )
    num_heads: int = Field(default=8, gt=0, description="heads of every attention layer")
    feed_forward_width: int = Field(default=1024, gt=0, description="width of feed-forward layers")
    weighted_loss: bool = Field(
        default=True, description="weight the loss by log1p of the mixture (iQuery); equation 7: no"
    )
    predict_category: bool = Field(
        default=True,
        description="predict the category of an object without a label; false (iQuery as "
        "released): every object needs a label, as the category head is not trained",
    )
    motion_padding: Literal["masked", "added"] = Field(
        default="masked",
        description="where a shorter video's motion is padded: masked, or as iQuery's code does it "
        "one is added to the scores of padding, which masks nothing",
    )
    category_loss_weight: float = Field(
        default=0.1, ge=0, description="weight of the category head's cross-entropy"
    )

    @model_validator(mode="after")
    def _check_consistent(self) -> "DGFNetSettings":
        if self.num_queries is not None and self.num_queries < len(self.categories):
            raise ValueError(
                f"num_queries {self.num_queries} must be at least {len(self.categories)}, one for "
                "each category"
            )
        if self.unet.middle_channels % (2 * self.num_heads):
            raise ValueError(
                f"the {self.unet.middle_channels} channels of the U-Net's middle must be a "
                f"multiple of twice num_heads, {2 * self.num_heads}"
            )
        if self.motion_in_fusion and (self.motion != "crop_motion" or self.fusion == "none"):
            raise ValueError("motion_in_fusion needs motion = 'crop_motion' and a fusion")
        return self


@dataclass(frozen=True)
class FusedMasks:
    """Masks of all sources with the intermediate results that are reported or trained.

    Attributes:
        masks: on the log-frequency axis, 0..1.
        category: index of the query used for each source.
        gate: sigma of section 3.3, mean over channels; none without a gate.
        category_logits: output of the category head; none without crops.
    """

    masks: Float[Tensor, "B S R T"]
    category: Int64[Tensor, "B S"]
    gate: Float[Tensor, "B S f t"] | None
    category_logits: Float[Tensor, "B S categories"] | None


class DGFNet(SeparationModel[DGFNetSettings]):
    """DGFNet (Figure 2): U-Net, object and motion features, gated fusion, queries, masks."""

    Settings = DGFNetSettings

    def __init__(self, settings: DGFNetSettings | None = None) -> None:
        super().__init__(settings)
        settings = self.settings
        width = settings.unet.middle_channels
        self.audio_network = AudioUNet(
            settings.unet,
            make_attention=partial(AudioAttention, num_groups=settings.attention_groups)
            if settings.audio_attention
            else None,
            num_attention_layers=settings.num_attention_layers,
        )
        self.objects = ObjectNetwork(
            settings.categories, settings.image_encoder, settings.object_channels
        )
        self.crop_motion = CropMotionEncoder() if settings.motion == "crop_motion" else None
        self.fusion = GatedFusion(width) if settings.fusion == "gate" else None
        self.motion_to_fusion = (
            nn.Conv1d(CROP_MOTION_CHANNELS, width, 1)
            if self.crop_motion is not None and settings.motion_in_fusion
            else None
        )
        motion_channels = {"none": None, "i3d": I3D_CHANNELS, "crop_motion": CROP_MOTION_CHANNELS}
        self.transformer = QueryTransformer(
            settings.num_queries or len(settings.categories) + 1,
            object_channels=settings.object_channels,
            motion_channels=motion_channels[settings.motion],
            mask_channels=settings.unet.num_features,
            width=width,
            num_heads=settings.num_heads,
            feed_forward_width=settings.feed_forward_width,
        )

    @property
    def required_cues(self) -> frozenset[str]:
        """Crops, the category where it is given, and the cue of its motion features."""
        motion = {"i3d": {"i3d_features"}, "crop_motion": {"crop_motion"}, "none": set()}
        return frozenset({"crops", "category"} | motion[self.settings.motion])

    @property
    def predicts_category(self) -> bool:
        """True if the category head is trained."""
        return self.settings.predict_category

    @property
    def takes_predicted_category(self) -> bool:
        """True where one is predicted: the transformer reads an index, given or predicted."""
        return self.predicts_category

    def precompute(self, cues: Cues) -> Cues:
        """Replace the crops by the frozen encoder's feature maps."""
        if cues.appearance is not None or cues.crops is None:
            return cues
        return replace(cues, crops=None, appearance=self.objects.encode(cues.crops))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Group the audio-visual transformer apart from the rest (section 4.1.4)."""
        return trained_groups(self, {"transformer": self.transformer}, rest="rest")

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Compute `separation` (equation 7), `category` (cross-entropy of the head) and `total`.

        Departure: equation 7 sums the L1 distances of the sources' masks; here, as in iQuery's
        code, it is their mean over sources and cells, weighted by the mixture's log1p.
        """
        gain = self.input_gain(batch.mixture)
        # The papers' data is mono: of several channels the first is trained on.
        mixture = self.to_network(self.front_end.magnitude(batch.mixture[:, 0] * gain))
        sources = require_sources(batch)[:, :, 0] * gain[:, None]
        # Equation 6; the quotient is held below 5, as a cell where sources cancel has no largest.
        targets = ratio_mask(self.to_network(self.front_end.magnitude(sources)), mixture[:, None])
        predicted = self._predict(mixture, batch.cues)
        error = (predicted.masks.float() - targets).abs()
        # iQuery's code: a cell counts by its loudness, as masks of near silence are noise.
        if self.settings.weighted_loss:
            error = error * loss_weight(mixture)[:, None]
        losses = {"separation": error.mean()}
        losses["total"] = losses["separation"]
        logits, category = predicted.category_logits, batch.cues.category
        trains_head = self.settings.predict_category and self.objects.is_head_trained
        if trains_head and logits is not None and category is not None:
            # -1 marks a source whose category is not given: it trains no head. Summed and divided
            # here, as the mean over no source at all would be NaN.
            error = cross_entropy(
                logits.flatten(0, 1).float(), category.flatten(), ignore_index=-1, reduction="sum"
            )
            losses["category"] = error / (category >= 0).sum().clamp_min(1)
            weight = self.settings.category_loss_weight
            losses["total"] = losses["total"] + weight * losses["category"]
        return losses

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Mask each channel of the mixture on its own, with the same cues."""
        shape = batch.mixture.shape[:2]
        gain = self.input_gain(batch.mixture.flatten(0, 1)[:, None]).unflatten(0, shape)  # B C 1
        magnitude, phase = self.front_end.spectrogram(batch.mixture * gain)  # B C F T
        predicted, masks = [], []
        for mono in magnitude.unbind(1):
            # Masks are predicted on the network's axis and applied on the linear one, where the
            # mixture is known exactly.
            predicted.append(self._predict(self.to_network(mono), batch.cues))
            masks.append(self.from_network(predicted[-1].masks.float(), magnitude.shape[-1]))
        magnitude = magnitude / gain[..., None]  # at the level of the mixture again
        # Equation 5.
        estimates = magnitude[:, None] * torch.stack(masks, dim=2)  # B S C F T
        metadata: dict[str, object] = {"category": predicted[0].category}
        if predicted[0].gate is not None:
            metadata["gate"] = predicted[0].gate.float()
        return Separation(estimates, presence(estimates, magnitude), phase, metadata)

    def _predict(self, mixture: Float[Tensor, "B R T"], cues: Cues) -> FusedMasks:
        """Predict the masks of all sources; read beside Figure 2, from left to right."""
        middle, skips = self.audio_network.to_middle(log1p_input(mixture)[:, None])
        objects = self.objects(self.precompute(cues))
        if not self.settings.predict_category:
            _require_categories(cues.category)
        num_mixtures, num_sources = objects.category.shape
        motion, padding = self._motion_features(cues)
        object_queries = self.transformer.project(objects.features.flatten(0, 1))  # N D
        # Section 3.3: F_d in place of F_mid, one for each source, as the object is part of it.
        fused, gate = self._fuse(middle, object_queries, motion)
        decoder_input = fused if self.settings.gate_feeds_decoder else middle
        features = self.audio_network.from_middle(decoder_input, skips)
        embeddings = self.transformer(
            fused, object_queries, objects.category.flatten(), motion, padding
        )
        # Section 3.4.3: inner products over channels, moved to the last axis for the product.
        per_map = embeddings.unflatten(0, (len(features), -1))  # [n, sources of a map, E]
        cells = features.permute(0, 2, 3, 1).flatten(1, 2)  # [n, R t, E]
        masks = (cells @ per_map.mT).mT.reshape(num_mixtures * num_sources, *features.shape[2:])
        shape = (num_mixtures, num_sources)
        return FusedMasks(
            masks.sigmoid().unflatten(0, shape),
            objects.category,
            None if gate is None else gate.mean(1).unflatten(0, shape),
            objects.category_logits,
        )

    def _fuse(
        self,
        middle: Float[Tensor, "B D f t"],
        objects: Float[Tensor, "N D"],
        motion: Float[Tensor, "N motion K"] | None,
    ) -> tuple[Float[Tensor, "n D f t"], Float[Tensor, "N D f t"] | None]:
        """Fuse objects into F_mid: F_d and its gate for every source; without fusion F_mid."""
        if self.settings.fusion == "none":
            return middle, None
        visual = objects[:, :, None, None]
        if self.motion_to_fusion is not None and motion is not None:
            # Motion is sampled at the times of the map's columns.
            moves = self.motion_to_fusion(motion)
            moves = interpolate(moves, size=middle.shape[3], mode="linear", align_corners=False)
            visual = visual + moves[:, :, None]
        repeated = middle.repeat_interleave(len(objects) // len(middle), dim=0)
        product = visual * repeated  # F_av of section 3.3
        if self.fusion is None:
            return product, None
        return self.fusion(product, repeated)

    def _motion_features(
        self, cues: Cues
    ) -> tuple[Float[Tensor, "N motion K"] | None, Shaped[Tensor, "N K"] | None]:
        """Return the motion features of every source, and a mask of their padding."""
        if self.settings.motion == "none":
            return None, None
        if self.crop_motion is not None:
            if cues.crop_motion is None:
                raise InputError("this model reads `crop_motion`, the objects' crops over time")
            pictures = cues.crop_motion.flatten(0, 1)
            if self.training:
                pictures = self._drop_motion(pictures)
            return self.crop_motion(pictures), None
        if cues.i3d_features is None:
            raise InputError(
                "this model reads `i3d_features`, motion features that I3D precomputes: prepare "
                "the data with them (avsep motion), or set motion = 'none'"
            )
        padding = None if cues.i3d_padding is None else cues.i3d_padding.flatten(0, 1)
        if padding is not None and self.settings.motion_padding == "added":
            return cues.i3d_features.flatten(0, 1), padding.to(cues.i3d_features.dtype)
        return cues.i3d_features.flatten(0, 1), padding

    def _drop_motion(self, crop_motion: UInt8[Tensor, "N M H W"]) -> UInt8[Tensor, "N M H W"]:
        """Hold a random share of the sources still, at their first picture."""
        if not self.settings.motion_dropout:
            return crop_motion
        drawn = torch.rand(len(crop_motion), device=crop_motion.device)
        is_still = drawn < self.settings.motion_dropout
        return torch.where(is_still[:, None, None, None], crop_motion[:, :1], crop_motion)


class GatedFusion(nn.Module):
    """Dynamic gating fusion (section 3.3, Figure 4): sigma F_av + (1 - sigma) F_mid.

    Departure: the paper leaves open whether the gate is one map or one for each channel; this one
    has a number for every channel and cell.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh_product = nn.Conv2d(width, width, 1)
        self.weigh_audio = nn.Conv2d(width, width, 1)

    def forward(
        self, product: Float[Tensor, "N D f t"], audio: Float[Tensor, "N D f t"]
    ) -> tuple[Float[Tensor, "N D f t"], Float[Tensor, "N D f t"]]:
        """Return the fused features F_d and the gate sigma (section 3.3)."""
        gate = torch.sigmoid(self.weigh_product(product) + self.weigh_audio(audio))
        return gate * product + (1 - gate) * audio, gate


class AudioAttention(nn.Module):
    """Efficient multi-scale attention whose 3x3 branch has batch norm and ReLU (Figure 3).

    Channels are processed in groups that share all weights. Shapes are kept, nothing is pooled.
    """

    def __init__(self, num_channels: int, num_groups: int = 32) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"{num_channels} channels cannot be split into {num_groups} groups")
        width = num_channels // num_groups
        self.num_groups = num_groups
        self.along_axes = nn.Conv2d(width, width, 1)
        self.norm = nn.GroupNorm(width, width)
        # Departure: the paper does not say whether this convolution keeps its bias beside the batch
        # norm; it does here, as in the module that the paper starts from.
        self.local = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()
        )

    def forward(self, maps: Float[Tensor, "B D F T"]) -> Float[Tensor, "B D F T"]:
        """Weight every cell of every group by a number in 0..1."""
        num_maps, _, height, width = maps.shape
        groups = maps.reshape(num_maps * self.num_groups, -1, height, width)
        axial = self._axial_branch(groups)
        local = self.local(groups)
        weight = _cross_attend(axial, local) + _cross_attend(local, axial)
        return (groups * torch.sigmoid(weight)).reshape_as(maps)

    def _axial_branch(self, groups: Float[Tensor, "G D F T"]) -> Float[Tensor, "G D F T"]:
        """Weight cells by their means over time and over frequency: the 1x1 branch."""
        over_time, over_rows = groups.mean(3, keepdim=True), groups.mean(2, keepdim=True)
        both = self.along_axes(torch.cat([over_time, over_rows.transpose(2, 3)], dim=2))
        rows, columns = both.split([groups.shape[2], groups.shape[3]], dim=2)
        return self.norm(groups * rows.sigmoid() * columns.transpose(2, 3).sigmoid())


def _cross_attend(
    queries: Float[Tensor, "G D F T"], values: Float[Tensor, "G D F T"]
) -> Float[Tensor, "G 1 F T"]:
    """Sum one branch's channels, weighted by the softmax of the other branch's means."""
    importance = torch.softmax(queries.mean((2, 3)), dim=1)
    return torch.einsum("gd,gdft->gft", importance, values)[:, None]


def _require_categories(category: Int64[Tensor, "B S"] | None) -> None:
    if category is None or bool((category < 0).any()):
        raise InputError(
            "this model reads `category` and predicts none: give a label of its categories to "
            "each object"
        )
