"""DAVIS: each source's magnitude is generated from noise, given the mixture and its pictures.

Huang et al., High-quality visually-guided sound separation from diverse categories (2024), and
their follow-up by flow matching. Axes beside those of records.py: N the sources of all mixtures
in a row (B times S), R rows of the logarithmic axis, K pictures, D width of what they show.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn.functional import pad

from avsep.cues.crops import CropSettings
from avsep.devices import supports_bfloat16
from avsep.diffusion.paths import (
    DiffusionPath,
    FlowPath,
    ProbabilityPath,
    Target,
    compute_target,
    recover_data,
)
from avsep.diffusion.sampling import NoiseField, SamplingSettings, sample
from avsep.errors import unknown_name
from avsep.models.davis.frame_network import (
    FrameEncoderName,
    FrameNetwork,
    TemporalTransformerSettings,
    count_sources,
)
from avsep.models.davis.separation_unet import SeparationUNet, SeparationUNetSettings
from avsep.records import Batch, Cues, Quality, Separation
from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.magnitudes import compress, expand, input_gain, loss_weight, ratio_mask

# The network counts time in as many steps, whatever the clock of the path.
_TIMESTEPS = 1000


class DAVISSettings(BaseModel):
    """Every number of the paper's sections 3 and 4, of its code where the paper has none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: tuple[str, ...] = Field(
        default=(), description="words with a stored embedding each, to be told instead of pictures"
    )
    front_end: FrontEndSettings = FrontEndSettings()
    crops: CropSettings = CropSettings(num_crops=11, crop_rate_hz=4.0, with_crop_motion=False)
    unet: SeparationUNetSettings = SeparationUNetSettings()
    image_encoder: FrameEncoderName = Field(default="clip", description="of each picture; frozen")
    encoder_categories: tuple[str, ...] = Field(
        default=(), description="what the head of the image encoder 'small' tells apart"
    )
    transformer: TemporalTransformerSettings = TemporalTransformerSettings()
    process: Literal["diffusion", "flow"] = Field(
        default="diffusion", description="the path from noise to sound: DDPM's, or a straight line"
    )
    schedule: Literal["sigmoid", "cosine", "linear"] = Field(
        default="sigmoid", description="of the diffusion's noise"
    )
    target: Target = Field(
        default="noise",
        description="what the network says: noise (DAVIS), data, velocity (DAVIS-Flow), or ours: "
        "bounded, the part of the mixture's magnitude that is the source's",
    )
    loss: Literal["l1", "l2"] = Field(
        default="l1",
        description="distance to the target: l1 (section 3.4) or l2 (equation 4); of a bounded one "
        "between the parts of the mixture, louder cells counting more",
    )
    data_loss: float = Field(
        default=0.0, ge=0, description="weight of the l1 distance of the clean sound beside it"
    )
    loss_scale: float = Field(default=1000.0, gt=0, description="factor of the whole loss")
    timestep_power: float = Field(
        default=1.0, ge=1, description="ours: above 1 noisy times are trained more often"
    )
    self_conditioning_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="ours: share of sources that are trained from the network's own first estimate "
        "under noise instead of the truth, as sampling in several steps meets it",
    )
    word_probability: float = Field(
        default=0.0, ge=0, le=1, description="ours: share of sources that are trained by their word"
    )
    target_gain: float = Field(
        default=2.0,
        gt=0,
        description="level of targets over their level in the mixture: DAVIS has undivided sources "
        "under the mean of two",
    )
    bound_by_mixture: bool = Field(
        default=True, description="no answer exceeds the mixture's magnitude anywhere"
    )
    input_rms: float | None = Field(
        default=None,
        gt=0,
        description="ours: mixtures are heard at this RMS, whatever their level; none: as they are",
    )
    sampling: SamplingSettings = SamplingSettings()
    qualities: dict[Quality, SamplingSettings] = Field(
        default_factory=dict, description="of `--quality`; what is missing is `sampling`"
    )

    @model_validator(mode="after")
    def _fits(self) -> "DAVISSettings":
        if self.self_conditioning_probability and self.target not in ("data", "mask"):
            raise ValueError("own_estimate_probability needs the target 'data' or 'bounded'")
        if self.word_probability and not self.categories:
            raise ValueError("word_probability needs categories")
        return self


@dataclass(frozen=True)
class _Condition:
    """What the network is asked about N sources.

    Attributes:
        bound: the mixture's magnitude at the level of the targets.
        heard: the mixture as it is represented.
        seen: what is seen, or told, of each source.
    """

    bound: Float[Tensor, "N R T"]
    heard: Float[Tensor, "N R T"]
    seen: Float[Tensor, "N D"]


class DAVIS(nn.Module):
    """DAVIS (Figure 2): frame encoder, temporal transformer, Separation U-Net, sampler."""

    Settings = DAVISSettings

    def __init__(self, settings: DAVISSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or self.Settings()
        self.front_end = FrontEnd(settings.front_end)
        self.frames = FrameNetwork(
            settings.image_encoder,
            settings.encoder_categories,
            settings.transformer,
            settings.categories,
        )
        self.unet = SeparationUNet(
            settings.unet, settings.front_end.num_rows, self.frames.num_channels
        )
        is_flow = settings.process == "flow"
        self.path: ProbabilityPath = (
            FlowPath() if is_flow else DiffusionPath(settings.schedule, _TIMESTEPS)
        )
        self._clock = _TIMESTEPS if is_flow else 1

    @property
    def required_cues(self) -> frozenset[str]:
        """The cues it reads: pictures; of the category it knows nothing (section 4.2)."""
        return frozenset({"crops"})

    def at_quality(self, quality: str) -> Self:
        """The same model, sampling as fast, as balanced or as well as its settings have it."""
        if quality not in get_args(Quality):
            raise unknown_name("quality", quality, get_args(Quality))
        known = self.settings.qualities
        return self.sampled_by(known.get(cast("Quality", quality), self.settings.sampling))

    def sampled_by(self, sampling: SamplingSettings) -> Self:
        """The same model, its weights shared, sampling in another way."""
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"sampling": sampling})
        return other

    def precompute(self, cues: Cues) -> Cues:
        """The cues with the frozen encoder's vectors instead of the pictures."""
        return self.frames.precompute(cues)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """What is trained: the U-Net, and what sees (temporal transformer, stored words)."""
        seeing = [one for one in self.frames.parameters() if one.requires_grad]
        return {"unet": list(self.unet.parameters()), "seeing": seeing}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`total`: the distance to what the network should say, summed over sources."""
        assert batch.sources is not None, "training needs the true sources"
        num_sources = batch.sources.shape[1]
        level = input_gain(batch.mixture, self.settings.input_rms)
        condition = self._condition(
            self.front_end.magnitude(batch.mixture[:, 0] * level), batch.cues
        )
        sources = batch.sources[:, :, 0] * level[:, None] * self.settings.target_gain
        rows = self._to_network(self.front_end.magnitude(sources.flatten(0, 1)))
        clean, noise = compress(rows), torch.randn_like(rows)
        time = self.path.sample_times(
            len(rows), torch.default_generator, rows.device, self.settings.timestep_power
        )
        noisy = self.path.noised(self._started_from(clean, noise, condition), noise, time)
        self.unet.reduce_precision(reduced=False)
        prediction = self.unet(noisy, condition.heard, time * self._clock, condition.seen).float()
        found = self._distance(prediction, condition, rows, noise, noisy, time) * num_sources
        loss = found * self.settings.loss_scale
        return {"separation": loss, "total": loss}

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Each source's magnitude, sampled; channels one by one, with the same cues and noise."""
        cues, noise = self.precompute(batch.cues), self._noise(batch, generator)
        heard, phase = self.front_end.spectrogram(batch.mixture)  # B C F T
        level = input_gain(batch.mixture, self.settings.input_rms)
        channels = (heard * level[..., None, None]).unbind(1)
        found = [self._sample(channel, cues, noise) for channel in channels]
        magnitudes = torch.stack(found, dim=2) / level[..., None, None, None]
        energy = heard.square().sum((1, 2, 3))[:, None]
        presence = magnitudes.square().sum((2, 3, 4)) / energy.clamp_min(1e-12)
        sampling = self.settings.sampling
        metadata = {"sampler": sampling.sampler, "evaluations": sampling.evaluations}
        return Separation(magnitudes, presence.clamp(0, 1), phase, metadata)

    def _sample(
        self, heard: Float[Tensor, "B F T"], cues: Cues, noise: Callable[[int], Tensor]
    ) -> Float[Tensor, "B S F T"]:
        """Magnitudes of all sources of one channel, at their level in what is heard."""
        condition = self._condition(heard, cues)

        def estimate(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
            return self._estimate(noisy, time, condition)

        reduced = self.settings.sampling.reduced_precision and supports_bfloat16(heard.device)
        self.unet.reduce_precision(reduced=reduced)
        rows = sample(self.settings.sampling, estimate, condition.heard, self.path, noise)
        magnitude, num_mixtures = expand(rows), len(heard)
        if self.settings.target == "mask":
            # The part of the mixture is carried to the linear axis: its magnitude is known there.
            share = self._from_network(ratio_mask(magnitude, condition.bound, 1.0), heard.shape[-1])
            return share.unflatten(0, (num_mixtures, -1)) * heard[:, None]
        linear = self._from_network(magnitude, heard.shape[-1]) / self.settings.target_gain
        found = linear.unflatten(0, (num_mixtures, -1))
        return found.minimum(heard[:, None]) if self.settings.bound_by_mixture else found

    def _estimate(
        self, noisy: Float[Tensor, "N R T"], time: float, condition: _Condition
    ) -> Float[Tensor, "N R T"]:
        """The clean sound as the network has it at one time of the path."""
        times = torch.full((len(noisy),), time, device=noisy.device)
        prediction = self.unet(noisy, condition.heard, times * self._clock, condition.seen).float()
        return self._data(prediction, noisy, times, condition).clamp(-1, 1)

    def _data(
        self,
        prediction: Float[Tensor, "N R T"],
        noisy: Float[Tensor, "N R T"],
        times: Float[Tensor, " N"],
        condition: _Condition,
    ) -> Float[Tensor, "N R T"]:
        """The clean sound that the network's answer stands for."""
        if self.settings.target == "mask":
            return compress(prediction.sigmoid() * condition.bound)
        return recover_data(self.settings.target, prediction, noisy, times, self.path)

    def _started_from(
        self, clean: Float[Tensor, "N R T"], noise: Float[Tensor, "N R T"], condition: _Condition
    ) -> Float[Tensor, "N R T"]:
        """What noise is added to in training: the truth, or the network's own first estimate."""
        share = self.settings.self_conditioning_probability
        chosen = torch.rand(len(clean), device=clean.device) < share
        if not self.training or not share or not bool(chosen.any()):
            return clean
        part = _Condition(condition.bound[chosen], condition.heard[chosen], condition.seen[chosen])
        with torch.no_grad():
            start = torch.randn_like(noise[chosen])
            own = self._estimate(start, self.path.times(1)[0], part)
        return clean.masked_scatter(chosen[:, None, None], own)

    def _distance(
        self,
        prediction: Float[Tensor, "N R T"],
        condition: _Condition,
        rows: Float[Tensor, "N R T"],
        noise: Float[Tensor, "N R T"],
        noisy: Float[Tensor, "N R T"],
        time: Float[Tensor, " N"],
    ) -> Float[Tensor, ""]:
        """The loss of what the network said, mean over sources and cells."""
        settings, clean, weight = self.settings, compress(rows), rows.new_ones(())
        if settings.target == "mask":
            error = prediction.sigmoid() - ratio_mask(rows, condition.bound, 1.0)
            weight = loss_weight(condition.bound / settings.target_gain)
        else:
            error = prediction - compute_target(settings.target, clean, noise, time, self.path)
        error = error.abs() if settings.loss == "l1" else error.square()
        found = (weight * error).mean()
        if settings.data_loss:
            data = self._data(prediction, noisy, time, condition)
            found = found + settings.data_loss * (data - clean).abs().mean()
        return found

    def _condition(self, heard: Float[Tensor, "B F T"], cues: Cues) -> _Condition:
        """What the network is asked: the mixture's magnitude once for each source, what is seen."""
        share = self.settings.word_probability if self.training else 0.0
        seen = self.frames(cues, share)
        rows = self._to_network(heard).repeat_interleave(seen.shape[1], dim=0)
        return _Condition(rows * self.settings.target_gain, compress(rows), seen.flatten(0, 1))

    def _noise(
        self, batch: Batch, generator: Generator | None
    ) -> Callable[[int], Float[Tensor, "N R T"]]:
        """The noise of each step, the same for all sources and all mixtures of a batch.

        Windows of one sound share it where they overlap.
        """
        starts = [0] * len(batch.mixture)
        if batch.start_frames is not None and generator is not None:
            starts, seed = batch.start_frames.tolist(), generator.initial_seed()
        else:
            place = torch.device("cpu") if generator is None else generator.device
            seed = int(torch.randint(2**62, (1,), generator=generator, device=place))
        num_samples, front_end = batch.mixture.shape[-1], self.settings.front_end
        num_columns = front_end.columns_of(num_samples)
        starts = [s * num_columns // front_end.stft.num_frames(num_samples) for s in starts]
        num_columns += -num_columns % self.settings.unet.cells[1]
        repeats, device = count_sources(batch.cues), batch.mixture.device

        def noise(step: int) -> Float[Tensor, "N R T"]:
            drawn = NoiseField(seed).window(starts, front_end.num_rows, num_columns, step, device)
            return drawn.repeat_interleave(repeats, dim=0)

        return noise

    def _to_network(self, magnitude: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """A magnitude on the logarithmic axis, in as many columns as the network can halve."""
        rows = self.front_end.to_rows(magnitude)
        return pad(rows, (0, -rows.shape[-1] % self.settings.unet.cells[1]))

    def _from_network(
        self, rows: Float[Tensor, "*batch R t"], num_frames: int
    ) -> Float[Tensor, "*batch F T"]:
        """A magnitude or share of the logarithmic axis on the linear one."""
        num_columns = self.settings.front_end.num_columns or num_frames
        return self.front_end.to_bins(rows[..., :num_columns], num_frames)


class DAVISFlowSettings(DAVISSettings):
    """The released follow-up: a straight path, its velocity, two steps."""

    process: Literal["diffusion", "flow"] = "flow"
    target: Target = "velocity"
    data_loss: float = 1.0
    loss_scale: float = 1.0
    sampling: SamplingSettings = SamplingSettings(sampler="euler", num_steps=2, silence="off")


class DAVISFlow(DAVIS):
    """DAVIS-Flow, by flow matching (Lipman et al., 2023): the same network on another path."""

    Settings = DAVISFlowSettings
