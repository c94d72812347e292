"""DAVIS: sample each source's magnitude from noise, given the mixture and its frames.

Huang et al., High-quality visually-guided sound separation from diverse categories (2024), and
their follow-up by flow matching. Axes beside those of records.py: N the sources of all mixtures
in a row (B times S), R rows of the logarithmic axis, D width of the visual condition.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast, get_args

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
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
from avsep.models.base import (
    ModelSettings,
    SeparationModel,
    presence,
    require_sources,
    trained_groups,
)
from avsep.models.davis.frame_network import (
    CLIPSettings,
    FrameEncoderName,
    FrameNetwork,
    TemporalTransformerSettings,
    count_sources,
)
from avsep.models.davis.separation_unet import SeparationUNet, SeparationUNetSettings
from avsep.recipe import check_settings
from avsep.records import Batch, Cues, Quality, Separation
from avsep.sound.magnitudes import compress, expand, log1p_input, loss_weight, ratio_mask

# The network's timestep embedding covers 0..1000, also where the path's time is 0..1 (a flow).
_TIMESTEPS = 1000
# Largest ln(1 + magnitude) of a cell that the released loss counts as silent.
_SILENCE_LOG1P = 1e-3


class DAVISSettings(ModelSettings):
    """Every number of the paper's sections 3 and 4, of its code where the paper has none."""

    categories: tuple[str, ...] = Field(
        default=(), description="categories with a learned embedding, usable instead of pictures"
    )
    crops: CropSettings = CropSettings(
        num_crops=11, crop_rate_hz=4.0, selection="consecutive", with_crop_motion=False
    )
    unet: SeparationUNetSettings = SeparationUNetSettings()
    image_encoder: FrameEncoderName = Field(
        default="clip", description="frozen encoder of each picture"
    )
    clip: CLIPSettings = CLIPSettings()
    encoder_categories: tuple[str, ...] = Field(
        default=(), description="categories of the head of the image encoder 'small'"
    )
    transformer: TemporalTransformerSettings = TemporalTransformerSettings()
    process: Literal["diffusion", "flow"] = Field(
        default="diffusion", description="the path from noise to sound: DDPM's, or a straight line"
    )
    schedule: Literal["sigmoid", "cosine", "linear"] = Field(
        default="sigmoid", description="noise schedule of the diffusion"
    )
    target: Target = Field(
        default="noise",
        description="what the network predicts: noise (DAVIS), data, velocity (DAVIS-Flow), or "
        "ours: mask, the source's share of the mixture's magnitude",
    )
    loss: Literal["l1", "l2"] = Field(
        default="l1",
        description="distance to the target: l1 (section 3.4) or l2 (equation 4); of a mask "
        "between the shares of the mixture, louder cells weighted more",
    )
    ignore_silence: bool = Field(
        default=True,
        description="cells in which the mixture is silent, ln(1 + magnitude) at most 0.001, add "
        "nothing to the loss, as released (DAVIS-Flow: all count); not of a mask",
    )
    loss_scale: float = Field(default=1000.0, gt=0, description="factor of the whole loss")
    timestep_power: float = Field(
        default=1.0, ge=1, description="ours: above 1 noisy timesteps are trained more often"
    )
    self_conditioning_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="ours: share of sources trained from the network's own first estimate under "
        "noise instead of the reference, as sampling in several steps meets it",
    )
    word_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="ours: share of sources trained with the embedding of their category instead "
        "of pictures",
    )
    target_gain: float = Field(
        default=2.0,
        gt=0,
        description="level of targets over their level in the mixture: DAVIS has undivided sources "
        "under the mean of two",
    )
    bound_by_mixture: bool = Field(
        default=False,
        description="ours: limit every estimate to the mixture's magnitude, cell by cell, which "
        "also raises the scores of exact magnitudes; a mask is limited in any case",
    )
    sampling: SamplingSettings = SamplingSettings()
    qualities: dict[Quality, SamplingSettings] = Field(
        default_factory=dict, description="sampling of each `--quality`; default: `sampling`"
    )

    @model_validator(mode="after")
    def _check_target(self) -> "DAVISSettings":
        if self.self_conditioning_probability and self.target not in ("data", "mask"):
            raise ValueError("self_conditioning_probability needs the target 'data' or 'mask'")
        if self.word_probability and not self.categories:
            raise ValueError("word_probability needs categories")
        return self


@dataclass(frozen=True)
class _Condition:
    """The condition of the network for N sources.

    Attributes:
        magnitude: the mixture's, at the level of the targets.
        mixture: the compressed magnitude of the mixture.
        visual: one vector a source, of its pictures or its word.
    """

    magnitude: Float[Tensor, "N R T"]
    mixture: Float[Tensor, "N R T"]
    visual: Float[Tensor, "N D"]


class DAVIS(SeparationModel[DAVISSettings]):
    """DAVIS (Figure 2): frame encoder, temporal transformer, Separation U-Net, sampler."""

    Settings = DAVISSettings

    def __init__(self, settings: DAVISSettings | None = None) -> None:
        super().__init__(settings)
        settings = self.settings
        self.frames = FrameNetwork(
            settings.image_encoder,
            settings.encoder_categories,
            settings.transformer,
            settings.categories,
            settings.clip,
        )
        self.unet = SeparationUNet(
            settings.unet, settings.front_end.num_rows, self.frames.num_channels
        )
        is_flow = settings.process == "flow"
        self.path: ProbabilityPath = (
            FlowPath() if is_flow else DiffusionPath(settings.schedule, _TIMESTEPS)
        )
        self._timesteps_per_time = _TIMESTEPS if is_flow else 1

    @property
    def text_prompts(self) -> Literal["category", "embedding"] | None:
        """CLIP embeds any text (section 4.4); other encoders have the learned categories."""
        if self.settings.image_encoder == "clip":
            return "embedding"
        return "category" if self.settings.categories else None

    def at_quality(self, quality: str) -> Self:
        """Return the model with the sampling that its settings give for a quality."""
        if quality not in get_args(Quality):
            raise unknown_name("quality", quality, get_args(Quality))
        settings = self.settings
        return self._sampled_by(settings.qualities.get(cast("Quality", quality), settings.sampling))

    def with_sampling(self, changes: Mapping[str, object]) -> Self:
        """Return the model with changed sampling settings; weights are shared."""
        values = self.settings.sampling.model_dump() | dict(changes)
        return self._sampled_by(check_settings(values, SamplingSettings, "sampling"))

    def _sampled_by(self, sampling: SamplingSettings) -> Self:
        # A shallow copy: parameters and buffers are the same objects.
        other = copy.copy(self)
        other.settings = self.settings.model_copy(update={"sampling": sampling})
        return other

    def precompute(self, cues: Cues) -> Cues:
        """Replace the crops by the frozen encoder's vectors."""
        return self.frames.precompute(cues)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Group the U-Net apart from the vision: temporal transformer and category embeddings."""
        return trained_groups(self, {"unet": self.unet}, rest="vision")

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Compute `separation`, the distance to the target summed over sources, and `total`."""
        sources = require_sources(batch)
        gain = self.input_gain(batch.mixture)
        condition = self._condition(
            self.front_end.magnitude(batch.mixture[:, 0] * gain), batch.cues
        )
        targets = sources[:, :, 0] * gain[:, None] * self.settings.target_gain
        magnitudes = self.to_network(self.front_end.magnitude(targets.flatten(0, 1)))
        # x_0 and the noise of equation 1; each source has its own time.
        clean, noise = compress(magnitudes), torch.randn_like(magnitudes)
        time = self.path.sample_times(
            len(clean), torch.default_generator, clean.device, self.settings.timestep_power
        )
        noisy = self.path.noised(self._start(clean, noise, condition), noise, time)
        # Sampling may have left the network in reduced precision; training never is.
        self.unet.reduce_precision(reduced=False)
        prediction = self._predict(noisy, time, condition)
        loss = self._distance(prediction, condition, magnitudes, noise, time)
        # Equation 4 is a sum over sources, the distance a mean.
        loss = loss * sources.shape[1] * self.settings.loss_scale
        return {"separation": loss, "total": loss}

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Sample the sources of each channel, with the same cues and noise for all channels."""
        cues, noise = self.precompute(batch.cues), self._noise(batch, generator)
        mixture, phase = self.front_end.spectrogram(batch.mixture)  # B C F T
        gain = self.input_gain(batch.mixture)[..., None, None]  # B 1 1 1
        channels = (mixture * gain).unbind(1)
        estimates = torch.stack([self._sample(mono, cues, noise) for mono in channels], dim=2)
        estimates = estimates / gain[..., None]  # B S C F T
        sampling = self.settings.sampling
        metadata: dict[str, object] = {
            "sampler": sampling.sampler,
            "evaluations": sampling.evaluations,
        }
        return Separation(estimates, presence(estimates, mixture), phase, metadata)

    def to_network(self, magnitude: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """Warp to log-frequency rows, padded to as many columns as the network can halve."""
        rows = super().to_network(magnitude)
        return pad(rows, (0, -rows.shape[-1] % self.settings.unet.cells[1]))

    def from_network(
        self, rows: Float[Tensor, "*batch R t"], num_frames: int
    ) -> Float[Tensor, "*batch F T"]:
        """Warp magnitudes or masks back to linear bins, without the columns of padding."""
        num_columns = self.settings.front_end.num_columns or num_frames
        num_columns = -(-num_columns // self.settings.time_stride)
        return super().from_network(rows[..., :num_columns], num_frames)

    def _sample(
        self, mixture: Float[Tensor, "B F T"], cues: Cues, noise: Callable[[int], Tensor]
    ) -> Float[Tensor, "B S F T"]:
        """Sample the magnitudes of all sources of one channel, at their level in the mixture."""
        settings = self.settings
        condition = self._condition(mixture, cues)

        def estimate(noisy: Float[Tensor, "N R T"], time: float) -> Float[Tensor, "N R T"]:
            return self._estimate(noisy, time, condition)

        reduced = settings.sampling.reduced_precision and supports_bfloat16(mixture.device)
        self.unet.reduce_precision(reduced=reduced)
        compressed = sample(settings.sampling, estimate, condition.mixture, self.path, noise)
        magnitudes, (num_mixtures, _, num_frames) = expand(compressed), mixture.shape
        if settings.target == "mask":
            # The mask, not the magnitude, is warped back: on the linear axis the mixture is known.
            masks = ratio_mask(magnitudes, condition.magnitude, 1.0)
            masks = self.from_network(masks, num_frames).unflatten(0, (num_mixtures, -1))
            return masks * mixture[:, None]
        linear = self.from_network(magnitudes, num_frames) / settings.target_gain
        linear = linear.unflatten(0, (num_mixtures, -1))
        return linear.minimum(mixture[:, None]) if settings.bound_by_mixture else linear

    def _predict(
        self, noisy: Float[Tensor, "N R T"], time: Float[Tensor, " N"], condition: _Condition
    ) -> Float[Tensor, "N R T"]:
        """Run the network at times of the path."""
        timestep = time * self._timesteps_per_time
        return self.unet(noisy, condition.mixture, timestep, condition.visual).float()

    def _estimate(
        self, noisy: Float[Tensor, "N R T"], time: float, condition: _Condition
    ) -> Float[Tensor, "N R T"]:
        """Estimate the clean compressed magnitude at one time of the path, not limited."""
        times = torch.full((len(noisy),), time, device=noisy.device)
        prediction = self._predict(noisy, times, condition)
        return self._to_data(prediction, noisy, times, condition)

    def _to_data(
        self,
        prediction: Float[Tensor, "N R T"],
        noisy: Float[Tensor, "N R T"],
        times: Float[Tensor, " N"],
        condition: _Condition,
    ) -> Float[Tensor, "N R T"]:
        """Convert a prediction of any target to the clean compressed magnitude."""
        if self.settings.target == "mask":
            return compress(prediction.sigmoid() * condition.magnitude)
        return recover_data(self.settings.target, prediction, noisy, times, self.path)

    def _start(
        self, clean: Float[Tensor, "N R T"], noise: Float[Tensor, "N R T"], condition: _Condition
    ) -> Float[Tensor, "N R T"]:
        """Replace a random share of the clean magnitudes by the network's own first estimates."""
        share = self.settings.self_conditioning_probability
        chosen = torch.rand(len(clean), device=clean.device) < share
        if not self.training or not share or not bool(chosen.any()):
            return clean
        part = _Condition(
            condition.magnitude[chosen], condition.mixture[chosen], condition.visual[chosen]
        )
        with torch.no_grad():
            start = torch.randn_like(noise[chosen])
            estimates = self._estimate(start, self.path.times(1)[0], part).clamp(-1, 1)
        return clean.masked_scatter(chosen[:, None, None], estimates)

    def _distance(
        self,
        prediction: Float[Tensor, "N R T"],
        condition: _Condition,
        magnitudes: Float[Tensor, "N R T"],
        noise: Float[Tensor, "N R T"],
        time: Float[Tensor, " N"],
    ) -> Float[Tensor, ""]:
        """Compute the loss of a prediction, mean over sources and all cells.

        Departure: equation 4 weighs all cells alike; the released code leaves out silent ones.
        """
        settings, mixture = self.settings, condition.magnitude / self.settings.target_gain
        if settings.target == "mask":
            error = prediction.sigmoid() - ratio_mask(magnitudes, condition.magnitude, 1.0)
            weight = loss_weight(mixture)
        else:
            clean = compress(magnitudes)
            error = prediction - compute_target(settings.target, clean, noise, time, self.path)
            weight = torch.ones_like(error)
            if settings.ignore_silence:
                weight = (log1p_input(mixture) > _SILENCE_LOG1P).to(error.dtype)
        error = error.abs() if settings.loss == "l1" else error.square()
        return (weight * error).mean()

    def _condition(self, mixture: Float[Tensor, "B F T"], cues: Cues) -> _Condition:
        """Compute the condition: the mixture repeated for each source, and the visual vectors."""
        share = self.settings.word_probability if self.training else 0.0
        visual = self.frames(cues, share)
        rows = self.to_network(mixture).repeat_interleave(visual.shape[1], dim=0)
        return _Condition(rows * self.settings.target_gain, compress(rows), visual.flatten(0, 1))

    def _noise(
        self, batch: Batch, generator: Generator | None
    ) -> Callable[[int], Float[Tensor, "N R T"]]:
        """Return the noise of each step, the same for all sources and all mixtures of a batch.

        Overlapping windows of one long sound share it where they overlap.
        """
        starts = [0] * len(batch.mixture)
        if batch.start_frames is not None and generator is not None:
            # The seed, not the state: every window of one long sound reads the same noise field.
            starts, seed = batch.start_frames.tolist(), generator.initial_seed()
        else:
            device = torch.device("cpu") if generator is None else generator.device
            seed = int(torch.randint(2**62, (1,), generator=generator, device=device))
        num_samples, front_end = batch.mixture.shape[-1], self.settings.front_end
        num_columns = front_end.count_columns(num_samples)
        # On AVE frames are resized to fewer columns; noise is laid out in columns.
        starts = [s * num_columns // front_end.stft.num_frames(num_samples) for s in starts]
        num_columns += -num_columns % self.settings.unet.cells[1]
        repeats, device = count_sources(batch.cues), batch.mixture.device

        def noise(step: int) -> Float[Tensor, "N R T"]:
            drawn = NoiseField(seed).window(starts, front_end.num_rows, num_columns, step, device)
            return drawn.repeat_interleave(repeats, dim=0)

        return noise


class DAVISFlowSettings(DAVISSettings):
    """The released follow-up: a straight path, its velocity, two steps."""

    process: Literal["diffusion", "flow"] = "flow"
    target: Target = "velocity"
    ignore_silence: bool = False
    # The released loss is 1000 times the L1 distance of the velocity plus that of the data it
    # implies with the true noise, which is the same number.
    loss_scale: float = 2000.0
    sampling: SamplingSettings = SamplingSettings(
        sampler="euler", num_steps=2, silence="off", clamp_estimate=False
    )


class DAVISFlow(DAVIS):
    """DAVIS-Flow, by flow matching (Lipman et al., 2023): the same network on another path."""

    Settings = DAVISFlowSettings
