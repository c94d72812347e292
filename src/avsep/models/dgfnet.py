"""DGFNet: gated fusion of what is heard and seen, then a query for every category (Yu, Sun 2025).

Axes beside those of records.py: f t rows and columns of the intermediate features, D their width,
E the channels of the final features, N the sources of all mixtures in a row (B times S).
"""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy, interpolate

from avsep.cues.crops import CropSettings
from avsep.data.categories import MUSIC
from avsep.errors import InputError
from avsep.layers.audio_unet import AudioUNet, UNetSettings
from avsep.layers.transformer import QueryTransformer
from avsep.records import Batch, Cues, Separation
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import input_gain, log1p_input, loss_weight, ratio_mask
from avsep.vision.object_network import ObjectEncoderName, ObjectNetwork

# DGFNet's dynamic gating fusion: how much of what is seen goes into what is heard


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
        """F_d and the gate sigma."""
        gate = torch.sigmoid(self.weigh_product(product) + self.weigh_audio(audio))
        return gate * product + (1 - gate) * audio, gate


# A small learned encoder of movement: an object's crop over time in, features over time out


class CropMotionEncoder(nn.Module):
    """Features of how an object moves, one vector a picture; it learns with the model it serves.

    It sees each picture less the mean of all, which hides what does not move, and less the picture
    before, which shows what just moved.
    """

    def __init__(self, num_channels: int = 64) -> None:
        super().__init__()
        self.num_channels = num_channels
        self.pictures = nn.Sequential(
            _picture_layer(2, 16), _picture_layer(16, 32), _picture_layer(32, 48)
        )
        self.times = nn.Sequential(
            nn.Conv1d(2 * 48, num_channels, 5, padding=2),
            nn.BatchNorm1d(num_channels),
            nn.ReLU(),
            nn.Conv1d(num_channels, num_channels, 5, padding=2),
        )

    def forward(self, crop_motion: UInt8[Tensor, "B M H W"]) -> Float[Tensor, "B D M"]:
        """Features at the time of each picture."""
        pictures = crop_motion.float() / 255
        still = pictures - pictures.mean(dim=1, keepdim=True)
        change = torch.diff(pictures, dim=1, prepend=pictures[:, :1])
        seen = torch.stack([still, change], dim=2).flatten(0, 1)  # [B M, 2, H, W]
        maps = self.pictures(4 * seen)  # differences are small numbers
        features = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], dim=1)
        return self.times(features.unflatten(0, crop_motion.shape[:2]).transpose(1, 2))


def _picture_layer(num_in: int, num_out: int) -> nn.Sequential:
    """Half the height and width."""
    return nn.Sequential(
        nn.Conv2d(num_in, num_out, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(num_out),
        nn.ReLU(),
    )


I3D_CHANNELS = 1024


class DGFNetSettings(BaseModel):
    """Every number of the paper's section 4, and the choices that it leaves open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(
        default=MUSIC, min_length=2, description="in the order of their queries"
    )
    num_queries: int | None = Field(
        default=None, description="audio queries; none: one more than there are categories"
    )
    fusion: Literal["none", "mul", "gate"] = Field(
        default="gate", description="what becomes of F_mid: itself, F_av or the gated sum (Table 3)"
    )
    gate_feeds_decoder: bool = Field(
        default=True,
        description="the fused features go to the rest of the U-Net too, once for each source, as "
        "'replaces F_mid in the network' reads; else to the transformer alone",
    )
    unet: UNetSettings = UNetSettings()
    audio_attention: bool = Field(
        default=True, description="an attention module behind each upsampling layer (section 3.2.2)"
    )
    attention_groups: int = Field(
        default=32, gt=0, description="groups of channels in each attention module"
    )
    num_attention_layers: int | None = Field(
        default=None, ge=1, description="deepest layers that have one; none: each, as the paper"
    )
    front_end: FrontEndSettings = FrontEndSettings()
    crops: CropSettings = CropSettings(with_crop_motion=False)
    image_encoder: ObjectEncoderName = Field(
        default="resnet18", description="what looks at the crops; frozen"
    )
    object_channels: int = Field(default=32, gt=0, description="C_O, of the object features F_O")
    motion: Literal["i3d", "crop_motion", "none"] = Field(
        default="i3d",
        description="motion features F_M: computed beforehand by I3D, learned from the object's "
        "own crop over time, or none (AVE: a fourth decoder layer instead)",
    )
    motion_in_fusion: bool = Field(
        default=False,
        description="ours, not the paper's: motion also reaches the fused features, at its time",
    )
    motion_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="ours: share of sources that are trained unmoving"
    )
    num_heads: int = Field(default=8, gt=0, description="of every attention layer")
    feed_forward_width: int = Field(default=1024, gt=0, description="of every feed-forward layer")
    weighted_loss: bool = Field(
        default=True, description="loud cells weigh more (iQuery); equation 7 weighs all alike"
    )
    category_loss_weight: float = Field(
        default=0.1, ge=0, description="of the category head's cross-entropy; it changes no mask"
    )
    time_stride: int = Field(
        default=1,
        ge=1,
        description="ours: so many spectrogram frames are averaged before the network and its "
        "masks interpolated after it; at 2 the network has half of the cells to compute",
    )
    input_rms: float | None = Field(
        default=None,
        gt=0,
        description="ours: mixtures are heard at this RMS, whatever their level; none: as they are",
    )

    @model_validator(mode="after")
    def _fits(self) -> "DGFNetSettings":
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
class Fused:
    """Masks of all sources, and what is worth knowing of how they came about.

    Attributes:
        masks: on the logarithmic axis, 0..1.
        category: the query that was read for each source.
        gate: sigma, mean over channels; none without a gate.
        category_logits: the category head's answer to the crops; none without crops.
    """

    masks: Float[Tensor, "B S R T"]
    category: Int64[Tensor, "B S"]
    gate: Float[Tensor, "B S f t"] | None
    category_logits: Float[Tensor, "B S categories"] | None


class DGFNet(nn.Module):
    """DGFNet (Figure 2): U-Net, object and motion features, gated fusion, queries, masks."""

    Settings = DGFNetSettings

    def __init__(self, settings: DGFNetSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or self.Settings()
        width = settings.unet.middle_channels
        self.front_end = FrontEnd(settings.front_end)
        self.audio_network = AudioUNet(
            settings.unet,
            make_attention=self._make_attention if settings.audio_attention else None,
            num_attention_layers=settings.num_attention_layers,
        )
        self.objects = ObjectNetwork(
            settings.categories, settings.image_encoder, settings.object_channels
        )
        self.crop_motion = CropMotionEncoder() if settings.motion == "crop_motion" else None
        self.fusion = GatedFusion(width) if settings.fusion == "gate" else None
        self.motion_to_fusion = (
            nn.Conv1d(self.crop_motion.num_channels, width, 1)
            if self.crop_motion is not None and settings.motion_in_fusion
            else None
        )
        self.transformer = QueryTransformer(
            settings.num_queries or len(settings.categories) + 1,
            object_channels=settings.object_channels,
            motion_channels=self._motion_channels(),
            mask_channels=settings.unet.num_features,
            width=width,
            num_heads=settings.num_heads,
            feed_forward_width=settings.feed_forward_width,
        )

    @property
    def required_cues(self) -> frozenset[str]:
        """The cues it reads; the category only where it is told."""
        motion = {"i3d": {"i3d_features"}, "crop_motion": {"crop_motion"}, "none": set()}
        return frozenset({"crops", "category"} | motion[self.settings.motion])

    def at_quality(self, quality: str) -> Self:
        """Itself: it answers in one pass, whatever quality is asked for."""
        return self

    def precompute(self, cues: Cues) -> Cues:
        """The cues with the frozen encoder's maps instead of the crops, so that it runs once."""
        if cues.appearance is not None or cues.crops is None:
            return cues
        return replace(cues, crops=None, appearance=self.objects.encode(cues.crops))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """What is trained: the audio-visual transformer, and the rest (section 4.1.4)."""
        transformer = list(self.transformer.parameters())
        known = {id(parameter) for parameter in transformer}
        rest = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        return {"transformer": transformer, "rest": rest}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`total`, `separation` (equation 7) and `category`, the cross-entropy of the head.

        Departure: equation 7 sums the L1 distances of the sources' masks; here, as in iQuery's
        code, it is their mean over sources and cells, weighted by the mixture's log1p.
        """
        assert batch.sources is not None, "training needs the true sources"
        level = input_gain(batch.mixture, self.settings.input_rms)
        sources = self.front_end.magnitude(batch.sources[:, :, 0] * level[:, None])
        rows = self._to_network(self.front_end.magnitude(batch.mixture[:, 0] * level))
        fused = self._masks(rows, batch.cues)
        truth = ratio_mask(self._to_network(sources), rows[:, None])
        error = (fused.masks.float() - truth).abs()
        if self.settings.weighted_loss:
            error = error * loss_weight(rows)[:, None]
        losses = {"separation": error.mean()}
        losses["total"] = losses["separation"]
        told = batch.cues.category
        if self.objects.is_head_trained and fused.category_logits is not None and told is not None:
            logits, known = fused.category_logits.flatten(0, 1), told.flatten()
            losses["category"] = cross_entropy(logits.float(), known, ignore_index=-1)
            losses["total"] = (
                losses["total"] + self.settings.category_loss_weight * losses["category"]
            )
        return losses

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Each source's share of the mixture; channels are heard one by one with the same cues."""
        num_channels = batch.mixture.shape[1]
        answers = [self._separate(batch.mixture[:, c], batch.cues) for c in range(num_channels)]
        magnitudes = torch.stack([answer.magnitudes[:, :, 0] for answer in answers], dim=2)
        phase = torch.cat([answer.phase for answer in answers], dim=1)
        presence = torch.stack([answer.presence for answer in answers]).amax(0)
        return Separation(magnitudes, presence, phase, answers[0].metadata)

    def _separate(self, mixture: Float[Tensor, "B N"], cues: Cues) -> Separation:
        level = input_gain(mixture[:, None], self.settings.input_rms)
        magnitude, phase = self.front_end.spectrogram(mixture * level)
        fused = self._masks(self._to_network(magnitude), cues)
        masks = self._from_network(fused.masks.float(), magnitude.shape[-1])
        magnitudes = (magnitude / level[:, None])[:, None] * masks  # B S F T
        heard = (magnitude / level[:, None]).square().sum((-1, -2))[:, None]
        presence = magnitudes.square().sum((-1, -2)) / heard.clamp_min(1e-12)
        metadata: dict[str, object] = {
            "category": fused.category,
            "category_source": _category_source(cues.category),
        }
        if fused.gate is not None:
            metadata["gate"] = fused.gate.float()
        return Separation(magnitudes[:, :, None], presence.clamp(0, 1), phase[:, None], metadata)

    def _to_network(self, magnitude: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """A magnitude as the network sees it: logarithmic rows, `time_stride` frames in one."""
        rows = self.front_end.to_rows(magnitude)
        stride = self.settings.time_stride
        return rows if stride == 1 else avg_pool2d(rows, (1, stride), ceil_mode=True)

    def _from_network(
        self, masks: Float[Tensor, "B S R t"], num_frames: int
    ) -> Float[Tensor, "B S F T"]:
        """The network's masks on the linear axis, for every frame."""
        if self.settings.time_stride > 1:
            size = (masks.shape[2], num_frames)
            masks = interpolate(masks, size=size, mode="bilinear", align_corners=False)
        return self.front_end.to_bins(masks)

    def _masks(self, rows: Float[Tensor, "B R T"], cues: Cues) -> Fused:
        """The network proper, read as Figure 2 from left to right."""
        middle, skips = self.audio_network.to_middle(log1p_input(rows)[:, None])
        seen = self.objects(self.precompute(cues))
        num_mixtures, num_sources = seen.category.shape
        motion, padding = self._motion(cues)
        named = self.transformer.project(seen.features.flatten(0, 1))  # N D
        own, gate = self._fuse(middle, named, motion)
        in_network = own if self.settings.gate_feeds_decoder else middle
        features = self.audio_network.from_middle(in_network, skips)
        embeddings = self.transformer(own, named, seen.category.flatten(), motion, padding)
        shape = (num_mixtures, num_sources)
        # Inner products over channels, which lie last in memory on their way out of the network.
        per_map = embeddings.unflatten(0, (len(features), -1))  # [n, sources of a map, E]
        cells = features.permute(0, 2, 3, 1).flatten(1, 2)  # [n, R t, E]
        masks = (cells @ per_map.mT).mT.reshape(num_mixtures * num_sources, *features.shape[2:])
        return Fused(
            masks.sigmoid().unflatten(0, shape),
            seen.category,
            None if gate is None else gate.mean(1).unflatten(0, shape),
            seen.category_logits,
        )

    def _fuse(
        self,
        middle: Float[Tensor, "B D f t"],
        named: Float[Tensor, "N D"],
        motion: Float[Tensor, "N motion K"] | None,
    ) -> tuple[Float[Tensor, "n D f t"], Float[Tensor, "N D f t"] | None]:
        """F_d of every source with its gate; without a fusion F_mid, one for each mixture."""
        if self.settings.fusion == "none":
            return middle, None
        seen = named[:, :, None, None]
        if self.motion_to_fusion is not None and motion is not None:
            moves = self.motion_to_fusion(motion)
            seen = seen + _at_columns(moves, middle.shape[3])[:, :, None]
        repeated = middle.repeat_interleave(len(named) // len(middle), dim=0)
        product = seen * repeated  # F_av
        if self.fusion is None:
            return product, None
        return self.fusion(product, repeated)

    def _make_attention(self, num_channels: int) -> nn.Module:
        return AudioAttention(num_channels, self.settings.attention_groups)

    def _motion_channels(self) -> int | None:
        if self.settings.motion == "none":
            return None
        return self.crop_motion.num_channels if self.crop_motion else I3D_CHANNELS

    def _motion(
        self, cues: Cues
    ) -> tuple[Float[Tensor, "N motion K"] | None, Bool[Tensor, "N K"] | None]:
        """Motion features of every source, and where they are padding."""
        if self.settings.motion == "none":
            return None, None
        if self.crop_motion is not None:
            if cues.crop_motion is None:
                raise InputError("this model reads `crop_motion`, the objects' crops over time")
            return self.crop_motion(self._drop(cues.crop_motion.flatten(0, 1))), None
        if cues.i3d_features is None:
            raise InputError(
                "this model reads `motion`, I3D features computed beforehand: prepare the data "
                "with them, or set motion = 'none'"
            )
        padding = cues.i3d_padding
        return cues.i3d_features.flatten(0, 1), None if padding is None else padding.flatten(0, 1)

    def _drop(self, crop_motion: UInt8[Tensor, "N M H W"]) -> UInt8[Tensor, "N M H W"]:
        """Movements, in training some of them held still."""
        if not self.training or not self.settings.motion_dropout:
            return crop_motion
        still = (
            torch.rand(len(crop_motion), device=crop_motion.device) < self.settings.motion_dropout
        )
        return torch.where(still[:, None, None, None], crop_motion[:, :1], crop_motion)


class IQuerySettings(DGFNetSettings):
    """iQuery: nothing is fused in the middle, and no audio attention."""

    fusion: Literal["none", "mul", "gate"] = "none"
    audio_attention: bool = False


class IQuery(DGFNet):
    """iQuery (Chen et al., 2023), the base of DGFNet: the same network under other settings."""

    Settings = IQuerySettings


def _at_columns(features: Float[Tensor, "N D K"], num_columns: int) -> Float[Tensor, "N D columns"]:
    """Features over time, read at the times of a map's columns."""
    return interpolate(features, size=num_columns, mode="linear", align_corners=False)


def _category_source(told: Int64[Tensor, "B S"] | None) -> str:
    """Who told the categories: the caller, the picture, or each of them some."""
    if told is None or bool((told < 0).all()):
        return "picture"
    return "told" if bool((told >= 0).all()) else "mixed"


# DGFNet's audio attention: which cells of a map matter, after efficient multi-scale attention


class AudioAttention(nn.Module):
    """Efficient multi-scale attention whose 3x3 branch has batch norm and ReLU (DGFNet, Figure 3).

    Channels are treated in groups that share all weights. Shapes are kept, nothing is reduced.
    """

    def __init__(self, num_channels: int, num_groups: int = 32) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(f"{num_channels} channels cannot be parted in {num_groups} groups")
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
        """The maps, every cell of every group weighted by a number in 0..1."""
        num_maps, _, height, width = maps.shape
        groups = maps.reshape(num_maps * self.num_groups, -1, height, width)
        wide = self._wide(groups)
        local = self.local(groups)
        weight = _attend(wide, local) + _attend(local, wide)
        return (groups * torch.sigmoid(weight)).reshape_as(maps)

    def _wide(self, groups: Float[Tensor, "G D F T"]) -> Float[Tensor, "G D F T"]:
        """The 1x1 branch: what the means over time and over frequency say of each cell."""
        over_time, over_rows = groups.mean(3, keepdim=True), groups.mean(2, keepdim=True)
        both = self.along_axes(torch.cat([over_time, over_rows.transpose(2, 3)], dim=2))
        rows, columns = both.split([groups.shape[2], groups.shape[3]], dim=2)
        return self.norm(groups * rows.sigmoid() * columns.transpose(2, 3).sigmoid())


def _attend(
    asking: Float[Tensor, "G D F T"], answering: Float[Tensor, "G D F T"]
) -> Float[Tensor, "G 1 F T"]:
    """One map: the channels of one branch, weighted by the means of the other's."""
    importance = torch.softmax(asking.mean((2, 3)), dim=1)
    return torch.einsum("gd,gdft->gft", importance, answering)[:, None]
