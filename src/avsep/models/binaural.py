"""Binaural separators: inputs, losses and outputs shared by LAVSS and its baselines.

Axes beside those of records.py: Z maps that go in, R t rows and columns of a network's cells.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Self, TypeVar

import torch
from jaxtyping import Complex, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, interpolate

from avsep.errors import InputError
from avsep.layers.cross_modal import CrossModalSettings, PositionNetwork, VisionPosition
from avsep.records import Batch, Cues, Separation
from avsep.sound.binaural import NUM_MAPS, SpatialCues, spatial_maps
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import (
    binary_mask,
    input_gain,
    log1p_input,
    log_input,
    loss_weight,
    ratio_mask,
)


class BinauralSettings(BaseModel):
    """What goes in, which masks come out, and how they are learned (sections 3.3 and 4.1)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    front_end: FrontEndSettings = FrontEndSettings(num_channels=2)
    spatial_cues: SpatialCues = Field(
        default="paper",
        description="paper: cos IPD beside the magnitude (equation 4); signed: sin IPD and the "
        "level difference too, without which left and right are alike; none: magnitude alone",
    )
    magnitude_input: Literal["log", "log1p"] = Field(
        default="log", description="how the network sees magnitudes"
    )
    masks: Literal["ratio", "binary"] = Field(
        default="ratio", description="ratio under L1 and L2, or binary under cross-entropy"
    )
    squared_weight: float = Field(
        default=0.5, ge=0, description="alpha, of the L2 distance of masks (equation 8)"
    )
    time_weight: float = Field(
        default=0.25, ge=0, description="beta, of the L1 distance of waveforms (equation 8)"
    )
    weighted_loss: bool = Field(
        default=True, description="loud cells weigh more (the code); equation 8 weighs all alike"
    )
    time_stride: int = Field(
        default=1,
        ge=1,
        description="ours: so many spectrogram frames are averaged before the network and its "
        "masks interpolated after it",
    )
    input_rms: float | None = Field(
        default=None,
        gt=0,
        description="ours: mixtures are heard at this RMS over both ears; none: as they are",
    )

    random_ear_per_step: bool = Field(
        default=False,
        description="ours: a step learns each mixture at one ear drawn at random, as the weights "
        "are shared; twice as many mixtures in the same time",
    )

    @model_validator(mode="after")
    def _two_ears(self) -> Self:
        if self.spatial_cues != "none" and self.front_end.num_channels != 2:
            raise ValueError(
                f"spatial_cues '{self.spatial_cues}' need two ears: set front_end.num_channels = "
                "2, or spatial_cues = 'none'"
            )
        return self

    @property
    def num_inputs(self) -> int:
        """Maps that go in for each ear: its magnitude, and what both ears tell together."""
        return 1 + NUM_MAPS[self.spatial_cues]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of what the network sees of a whole window."""
        columns = self.front_end.columns_of(self.front_end.window_samples)
        return self.front_end.num_rows, -(-columns // self.time_stride)


@dataclass(frozen=True)
class BinauralInput:
    """A mixture as the network hears it, and what its answer is made of.

    Attributes:
        rows: magnitudes of each ear, on the logarithmic axis.
        maps: what both ears tell together, the same for either.
    """

    level: Float[Tensor, "B 1"]
    magnitude: Float[Tensor, "B C F T"]
    phase: Complex[Tensor, "B C F T"]
    rows: Float[Tensor, "B C R t"]
    maps: Float[Tensor, "B D R t"]


Chosen = TypeVar("Chosen", bound=BinauralSettings)


class BinauralSeparator(nn.Module, ABC, Generic[Chosen]):
    """A network that is asked for each ear with the same weights, and for each source."""

    def __init__(self, settings: Chosen) -> None:
        super().__init__()
        self.settings = settings
        self.front_end = FrontEnd(settings.front_end)

    @abstractmethod
    def logits(self, inputs: Float[Tensor, "B C Z R t"], cues: Cues) -> Float[Tensor, "B S C R t"]:
        """The mask of each source at each ear, before its sigmoid."""

    @property
    def input_tensors(self) -> frozenset[str]:
        """Names of the tensors that have an entry for each map that goes in.

        A training that begins with a network of fewer maps widens them; what is new in a
        convolution begins at zero.
        """
        return frozenset({"audio_network.down.0.0.weight"})

    def at_quality(self, quality: str) -> Self:
        """Itself: it answers in one pass, whatever quality is asked for."""
        return self

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`total`; `masks` and `squared` in frequency, `time` on waveforms (equation 8).

        Departure: equation 8 sums over sources, ears and cells, its second norm against the mask
        itself; here, as in the code, they are means, and both norms are against the truth's mask.
        """
        assert batch.sources is not None, "training needs the true sources"
        settings = self.settings
        heard, sources = self._hear(self._for_ears(batch.mixture)), self._for_ears(batch.sources)
        if settings.random_ear_per_step and self.training:
            heard, sources = _one_ear(heard, sources)
        sources = sources * heard.level[:, None, None]
        truth = self._to_network(self.front_end.magnitude(sources))  # B S C R t
        logits = self.logits(self._inputs(heard), batch.cues).float()
        weight = loss_weight(heard.rows)[:, None] if settings.weighted_loss else 1.0
        mixture = heard.rows[:, None]
        if settings.masks == "binary":
            wanted = binary_mask(truth, mixture)
            error = binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            losses = {"masks": (error * weight).mean()}
            losses["total"] = losses["masks"]
            return losses
        error = logits.sigmoid() - ratio_mask(truth, mixture)
        losses = {"masks": (error.abs() * weight).mean()}
        losses["squared"] = (error.square() * weight).mean()
        losses["total"] = losses["masks"] + settings.squared_weight * losses["squared"]
        if settings.time_weight:
            found = self._waveforms(heard, logits.sigmoid(), batch.mixture.shape[-1])
            losses["time"] = (found - sources).abs().mean()
            losses["total"] = losses["total"] + settings.time_weight * losses["time"]
        return losses

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Each source's share of the mixture at each ear; one channel is heard by both."""
        num_given = batch.mixture.shape[1]
        heard = self._hear(self._for_ears(batch.mixture))
        masks = self._from_network(
            self.logits(self._inputs(heard), batch.cues).float().sigmoid(), heard
        )
        if self.settings.masks == "binary":
            masks = (masks > 0.5).to(masks.dtype)
        magnitude = heard.magnitude / heard.level[:, None, None]
        magnitudes = magnitude[:, None] * masks  # B S C F T
        energy = magnitude.square().sum((1, 2, 3))[:, None].clamp_min(1e-12)
        presence = (magnitudes.square().sum((2, 3, 4)) / energy).clamp(0, 1)
        return Separation(magnitudes[:, :, :num_given], presence, heard.phase[:, :num_given])

    def _for_ears(self, sound: Float[Tensor, "*axes C N"]) -> Float[Tensor, "*axes ears N"]:
        """Sound of one channel, which both ears hear where there are two; else as it is."""
        num_ears = max(sound.shape[-2], self.settings.front_end.num_channels)
        return sound.expand(*sound.shape[:-2], num_ears, sound.shape[-1])

    def _hear(self, mixture: Float[Tensor, "B C N"]) -> BinauralInput:
        level = input_gain(mixture, self.settings.input_rms)
        magnitude, phase = self.front_end.spectrogram(mixture * level[:, None])
        maps = magnitude[:, :0]
        if self.settings.spatial_cues != "none":
            maps = spatial_maps(self.settings.spatial_cues, magnitude, phase)
        return BinauralInput(
            level, magnitude, phase, self._to_network(magnitude), self._to_network(maps)
        )

    def _inputs(self, heard: BinauralInput) -> Float[Tensor, "B C Z R t"]:
        """What goes in for each ear: its own magnitude, and the same maps for both."""
        compress = log_input if self.settings.magnitude_input == "log" else log1p_input
        shared = heard.maps[:, None].expand(-1, heard.rows.shape[1], -1, -1, -1)
        return torch.cat([compress(heard.rows)[:, :, None], shared], dim=2)

    def _to_network(self, linear: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """On the logarithmic axis, `time_stride` frames in one."""
        if linear.numel() == 0:
            return linear.new_zeros(*linear.shape[:-2], *self.settings.size)
        rows, stride = self.front_end.to_rows(linear), self.settings.time_stride
        if stride == 1:
            return rows
        flat = avg_pool2d(rows.flatten(0, -3), (1, stride), ceil_mode=True)
        return flat.unflatten(0, rows.shape[:-2])

    def _from_network(
        self, masks: Float[Tensor, "B S C R t"], heard: BinauralInput
    ) -> Float[Tensor, "B S C F T"]:
        """Masks on the linear axis, for every frame."""
        if self.settings.time_stride > 1:
            size = (masks.shape[3], heard.magnitude.shape[-1])
            flat = interpolate(masks.flatten(1, 2), size=size, mode="bilinear", align_corners=False)
            masks = flat.unflatten(1, masks.shape[1:3])
        return self.front_end.to_bins(masks, heard.magnitude.shape[-1])

    def _waveforms(
        self, heard: BinauralInput, masks: Float[Tensor, "B S C R t"], num_samples: int
    ) -> Float[Tensor, "B S C N"]:
        """What masks make of the mixture, at the level it is heard at."""
        magnitudes = heard.magnitude[:, None] * self._from_network(masks, heard)
        return self.front_end.waveform(magnitudes, heard.phase[:, None], num_samples)


def _one_ear(
    heard: BinauralInput, sources: Float[Tensor, "B S C N"]
) -> tuple[BinauralInput, Float[Tensor, "B S 1 N"]]:
    """A mixture and its sources at one ear each, drawn at random; the maps of both stay."""
    num_mixtures, num_ears = heard.rows.shape[:2]
    which = torch.randint(num_ears, (num_mixtures,), device=heard.rows.device)
    every = torch.arange(num_mixtures, device=which.device)
    chosen = BinauralInput(
        heard.level,
        heard.magnitude[every, which][:, None],
        heard.phase[every, which][:, None],
        heard.rows[every, which][:, None],
        heard.maps,
    )
    return chosen, sources[every, :, which][:, :, None]


# Ear separators that look at objects and may read where they stand, whatever their network is
# Axes beside those of records.py: E one ear of one mixture, N one source at one ear, Z maps that go
# in, W the width of what is seen, R t rows and columns of the network's cells.


_NUM_SCALES = 3  # the deepest maps of sound, which are tokens (equation 5)


class GuidedSettings(BinauralSettings):
    """What is seen and where, and how it meets the sound; the defaults are LAVSS's."""

    categories: tuple[str, ...] = Field(
        default=(), max_length=0, description="none: it goes by pictures and places alone"
    )
    encoder_categories: tuple[str, ...] = Field(
        default=(), description="what the head of the image encoder 'small' tells apart"
    )
    position: bool = Field(
        default=True, description="where the object stands is read (Table 3: position guidance)"
    )
    position_octaves: int = Field(default=16, ge=1, le=24, description="D of equation 1")
    position_width: int = Field(default=256, ge=1, description="hidden layer of the position MLP")
    attention: CrossModalSettings = CrossModalSettings()

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each layer of the U-Net on its way down."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Channels of all tokens, W: those of the U-Net's bottom."""
        return self.channels[-1]

    @property
    def token_sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of the three deepest maps, the deepest last."""
        depth = len(self.channels)
        levels = range(depth - _NUM_SCALES + 1, depth + 1)
        return [(self.size[0] >> level, self.size[1] >> level) for level in levels]

    def check_layers(self, *, with_tokens: bool) -> None:
        """See that the U-Net takes the spectrogram, and that its deepest maps can be tokens.

        Raises ValueError, in the words of settings.
        """
        channels = self.channels
        if with_tokens and (len(channels) < _NUM_SCALES or len(set(channels[-_NUM_SCALES:])) > 1):
            raise ValueError(
                f"unet.channels {list(channels)} must end with three equal numbers, the width of "
                "the tokens"
            )
        if (with_tokens or self.position) and channels[-1] % self.attention.num_heads:
            raise ValueError(
                f"the width {channels[-1]} must be a multiple of attention.num_heads, "
                f"{self.attention.num_heads}"
            )
        halved = 2 ** len(channels)
        if any(side % halved for side in self.size):
            raise ValueError(
                f"{self.size[0]} rows and {self.size[1]} columns must be multiples of {halved}, as "
                f"{len(channels)} layers halve them"
            )


class BaselineSettings(GuidedSettings):
    """Of a network that is older than LAVSS: as published, and what Table 3 adds as switches."""

    spatial_cues: SpatialCues = Field(
        default="none", description="what two ears tell together goes in too (Table 3: IPD)"
    )
    position: bool = Field(
        default=False, description="where the object stands is read (Table 3: position guidance)"
    )
    fusion: Literal["none", "attention"] = Field(
        default="none",
        description="none: what is seen meets the sound as published; attention: at the bottom of "
        "the U-Net, by LAVSS's Figure 3, for which its three deepest layers are of one width",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.check_layers(with_tokens=self.fusion == "attention")
        return self


GuidedChosen = TypeVar("GuidedChosen", bound=GuidedSettings)


class GuidedBinauralSeparator(BinauralSeparator[GuidedChosen]):
    """Objects are seen once a mixture; the network is asked for each source at each ear."""

    def __init__(self, settings: GuidedChosen, vision: nn.Module, width: int) -> None:
        """`vision` is an `ObjectMaps`, which lies beside this folder; `width` is of its maps."""
        super().__init__(settings)
        self.vision: Any = vision
        where = settings.position
        self.position = (
            PositionNetwork(width, settings.position_octaves, settings.position_width)
            if where
            else None
        )
        self.what_and_where = VisionPosition(width, settings.attention) if where else None

    @property
    def required_cues(self) -> frozenset[str]:
        """The cues it reads: never a category."""
        return frozenset({"crops", "boxes"} if self.settings.position else {"crops"})

    def precompute(self, cues: Cues) -> Cues:
        """The cues with a frozen encoder's maps instead of the crops; as they are if it learns."""
        maps = None if cues.appearance is not None else self.vision.encode(cues)
        return cues if maps is None else replace(cues, crops=None, appearance=maps)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """What is trained: the vision network, and all that separates (REFERENCE 3.4, 4)."""
        vision = list(self.vision.parameters())
        known = {id(parameter) for parameter in vision}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in known]
        groups = {"vision": vision, "separation": rest}
        return {
            name: [parameter for parameter in group if parameter.requires_grad]
            for name, group in groups.items()
        }

    def logits(self, inputs: Float[Tensor, "B C Z R t"], cues: Cues) -> Float[Tensor, "B S C R t"]:
        """The mask of each source at each ear: the same object is shown to either."""
        num_mixtures, num_ears = inputs.shape[:2]
        seen = self.seen(cues)
        # N counts mixtures, then ears, then sources.
        guide = seen[:, None].expand(-1, num_ears, *seen.shape[1:]).flatten(0, 2)
        found = self.masks_of(inputs.flatten(0, 1), guide)
        return found.unflatten(0, (num_mixtures, num_ears, -1)).transpose(1, 2)

    @abstractmethod
    def masks_of(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N *seen"]
    ) -> Float[Tensor, "N R t"]:
        """The network proper: one mask, before its sigmoid, for what is seen of each source.

        N is a multiple of E; the sources of one ear follow each other.
        """

    def seen(self, cues: Cues) -> Float[Tensor, "B S *seen"]:
        """F_vp of every source, or F_v where nobody says where it is.

        Raises:
            InputError: a cue that it reads is missing.
        """
        seen = self.vision(cues)
        if self.position is None or self.what_and_where is None:
            return seen
        if cues.boxes is None:
            raise InputError("this model reads `boxes`: tell where each object is")
        boxes = cues.boxes.mean(2).flatten(0, 1)  # over the crops
        both = self.what_and_where(seen.flatten(0, 1), self.position(boxes))
        return both.unflatten(0, seen.shape[:2])
