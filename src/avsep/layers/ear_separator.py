"""Separators that mask each ear by itself: what goes in, losses, and the answer, for all of them.

Axes beside those of records.py: Z maps that go in, R t rows and columns of a network's cells.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, Literal, Self, TypeVar

import torch
from jaxtyping import Complex, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, interpolate

from avsep.records import Batch, Cues, Separation
from avsep.sound.binaural import NUM_MAPS, SpatialCues, spatial_maps
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.hearing_level import hearing_factor
from avsep.sound.masks import binary_mask, log1p_input, log_input, loss_weight, ratio_mask


class EarSettings(BaseModel):
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
    hearing_level: float | None = Field(
        default=None,
        gt=0,
        description="ours: mixtures are heard at this RMS over both ears; none: as they are",
    )

    one_ear_a_step: bool = Field(
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
class Heard:
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


Chosen = TypeVar("Chosen", bound=EarSettings)


class EarSeparator(nn.Module, ABC, Generic[Chosen]):
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
        if settings.one_ear_a_step and self.training:
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

    def _hear(self, mixture: Float[Tensor, "B C N"]) -> Heard:
        level = hearing_factor(mixture, self.settings.hearing_level)
        magnitude, phase = self.front_end.spectrogram(mixture * level[:, None])
        maps = magnitude[:, :0]
        if self.settings.spatial_cues != "none":
            maps = spatial_maps(self.settings.spatial_cues, magnitude, phase)
        return Heard(level, magnitude, phase, self._to_network(magnitude), self._to_network(maps))

    def _inputs(self, heard: Heard) -> Float[Tensor, "B C Z R t"]:
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
        self, masks: Float[Tensor, "B S C R t"], heard: Heard
    ) -> Float[Tensor, "B S C F T"]:
        """Masks on the linear axis, for every frame."""
        if self.settings.time_stride > 1:
            size = (masks.shape[3], heard.magnitude.shape[-1])
            flat = interpolate(masks.flatten(1, 2), size=size, mode="bilinear", align_corners=False)
            masks = flat.unflatten(1, masks.shape[1:3])
        return self.front_end.to_bins(masks, heard.magnitude.shape[-1])

    def _waveforms(
        self, heard: Heard, masks: Float[Tensor, "B S C R t"], num_samples: int
    ) -> Float[Tensor, "B S C N"]:
        """What masks make of the mixture, at the level it is heard at."""
        magnitudes = heard.magnitude[:, None] * self._from_network(masks, heard)
        return self.front_end.waveform(magnitudes, heard.phase[:, None], num_samples)


def _one_ear(
    heard: Heard, sources: Float[Tensor, "B S C N"]
) -> tuple[Heard, Float[Tensor, "B S 1 N"]]:
    """A mixture and its sources at one ear each, drawn at random; the maps of both stay."""
    num_mixtures, num_ears = heard.rows.shape[:2]
    which = torch.randint(num_ears, (num_mixtures,), device=heard.rows.device)
    every = torch.arange(num_mixtures, device=which.device)
    chosen = Heard(
        heard.level,
        heard.magnitude[every, which][:, None],
        heard.phase[every, which][:, None],
        heard.rows[every, which][:, None],
        heard.maps,
    )
    return chosen, sources[every, :, which][:, :, None]
