"""Binaural mask models: settings, inputs, losses and separation shared by LAVSS and its baselines.

Axes beside those of records.py: Z input maps, D spatial maps, R t rows and columns of the
network's cells, E one channel (ear) of one mixture, N one source in one channel, W the width of
visual features.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from jaxtyping import Complex, Float
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from typing_extensions import TypeVar

from avsep.errors import InputError
from avsep.layers.cross_modal import CrossModalSettings, PositionNetwork
from avsep.layers.cross_modal_released import make_vision_position
from avsep.models.base import (
    ModelSettings,
    SeparationModel,
    presence,
    require_sources,
    trained_groups,
)
from avsep.records import Batch, Cues, Separation
from avsep.sound.front_end import FrontEndSettings
from avsep.sound.magnitudes import binary_mask, log1p_input, log_input, loss_weight, ratio_mask
from avsep.vision.object_network import ObjectMaps

SpatialCues = Literal["none", "paper", "signed"]
TimeLoss = Literal["l1", "si-snr"]
# Number of maps D of each choice of `spatial_maps`.
NUM_MAPS: dict[str, int] = {"none": 0, "paper": 1, "signed": 3}
# Added to both magnitudes, so that the level difference of silence is zero.
_LEVEL_FLOOR = 1e-4
# Limit of the level difference: e^3 is 26 dB, about the most that a head causes. Cells in which
# the sound of one ear cancels would exceed it without bound.
_MAX_LEVEL_NEPER = 3.0
# The deepest maps of the U-Net whose cells are tokens of the fusion (equation 5).
_NUM_SCALES = 3
# Added to energies, so that the SI-SNR of silence is finite (the released code's).
_ENERGY_FLOOR = 1e-10


class BinauralSettings(ModelSettings):
    """Inputs, masks and losses (sections 3.3 and 4.1), and the visual and position features.

    The defaults are LAVSS's.
    """

    categories: tuple[str, ...] = Field(
        default=(), max_length=0, description="none: objects are known by crops and boxes alone"
    )
    front_end: FrontEndSettings = FrontEndSettings(num_channels=2)
    spatial_cues: SpatialCues = Field(
        default="paper",
        description="paper: cos IPD beside the magnitude (equation 4); signed: also sin IPD and "
        "the level difference, without which left and right are alike; none: magnitude alone",
    )
    magnitude_input: Literal["log", "log1p"] = Field(
        default="log", description="compression of the input magnitude"
    )
    masks: Literal["ratio", "binary"] = Field(
        default="ratio", description="ratio masks trained by L1 and L2, or binary by cross-entropy"
    )
    squared_weight: float = Field(
        default=0.5, ge=0, description="alpha, weight of the L2 distance of masks (equation 8)"
    )
    time_weight: float = Field(
        default=0.25, ge=0, description="beta, weight of the distance of waveforms (equation 8)"
    )
    time_loss: TimeLoss = Field(
        default="l1",
        description="distance of waveforms: L1 (equation 8), or the negative SI-SNR in dB (a later "
        "training script of the code, with squared_weight = 1 and time_weight = 0.001)",
    )
    weighted_loss: bool = Field(
        default=True,
        description="weight the loss by log1p of the mixture (the code); equation 8: no",
    )
    random_ear_per_step: bool = Field(
        default=False,
        description="ours: train each mixture on one channel drawn at random, as the weights are "
        "shared; twice as many mixtures in the same time",
    )
    encoder_categories: tuple[str, ...] = Field(
        default=(), description="categories of the head of the image encoder 'small'"
    )
    position: bool = Field(
        default=True, description="read the boxes of objects (Table 3: position guidance)"
    )
    position_octaves: int = Field(default=16, ge=1, le=24, description="D of equation 1")
    position_width: int = Field(default=256, ge=1, description="hidden layer of the position MLP")
    attention: CrossModalSettings = CrossModalSettings()

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if self.spatial_cues != "none" and self.front_end.num_channels != 2:
            raise ValueError(
                f"spatial_cues '{self.spatial_cues}' need two channels: set front_end.num_channels "
                "= 2, or spatial_cues = 'none'"
            )
        return self

    @property
    def num_inputs(self) -> int:
        """Number of input maps of each channel: its magnitude, and the spatial maps of both."""
        return 1 + NUM_MAPS[self.spatial_cues]

    @property
    def input_size(self) -> tuple[int, int]:
        """Rows and columns of the network's input for a whole window."""
        columns = self.front_end.count_columns(self.front_end.window_samples)
        return self.front_end.num_rows, -(-columns // self.time_stride)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each downsampling layer of the U-Net."""
        raise NotImplementedError

    @property
    def width(self) -> int:
        """Width W of all tokens: the channels at the bottom of the U-Net."""
        return self.channels[-1]

    @property
    def token_sizes(self) -> list[tuple[int, int]]:
        """Rows and columns of the three deepest maps, the deepest last."""
        depth = len(self.channels)
        levels = range(depth - _NUM_SCALES + 1, depth + 1)
        return [(self.input_size[0] >> level, self.input_size[1] >> level) for level in levels]

    def check_layers(self, *, with_tokens: bool) -> None:
        """Check that the U-Net fits the spectrogram, and that its deepest maps can be tokens.

        Raises:
            ValueError: they do not fit.
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
        # Maps are halved without padding: upsampling must meet the skip connections' sizes again.
        divisor = 2 ** len(channels)
        if any(side % divisor for side in self.input_size):
            raise ValueError(
                f"{self.input_size[0]} rows and {self.input_size[1]} columns must be multiples of "
                f"{divisor}, as {len(channels)} layers halve them"
            )


class BaselineSettings(BinauralSettings):
    """Settings of a network older than LAVSS: as published; Table 3's additions are switches."""

    spatial_cues: SpatialCues = Field(
        default="none", description="spatial maps of two channels as further inputs (Table 3: IPD)"
    )
    position: bool = Field(
        default=False, description="read the boxes of objects (Table 3: position guidance)"
    )
    fusion: Literal["none", "attention"] = Field(
        default="none",
        description="none: visual features join the audio as published; attention: at the bottom "
        "of the U-Net by LAVSS's Figure 3, for which its three deepest layers have one width",
    )

    @model_validator(mode="after")
    def _check_fusion(self) -> Self:
        self.check_layers(with_tokens=self.fusion == "attention")
        return self


@dataclass(frozen=True)
class NetworkInput:
    """Spectrograms of a mixture, and what the network reads of them.

    Attributes:
        gain: factor to `input_rms`; magnitude and rows are at that level.
        rows: magnitudes of each channel on the log-frequency axis.
        spatial: maps of both channels together, shared by either.
    """

    gain: Float[Tensor, "B 1"]
    magnitude: Float[Tensor, "B C F T"]
    phase: Complex[Tensor, "B C F T"]
    rows: Float[Tensor, "B C R t"]
    spatial: Float[Tensor, "B D R t"]


Settings_co = TypeVar("Settings_co", bound=BinauralSettings, covariant=True)


class BinauralSeparator(SeparationModel[Settings_co]):
    """A mask network run on each channel with shared weights, guided by crops and boxes.

    A system gives its network in `predict_masks`.
    """

    def __init__(self, settings: Settings_co, vision: ObjectMaps, width: int) -> None:
        """Build the visual and position networks; `width` is that of the vision's maps."""
        super().__init__(settings)
        self.vision = vision
        self.position = self.vision_position = None
        if settings.position:
            # Equations 1 and 2: octaves of sines of the corners, then an MLP; F_vp by attention.
            octaves, hidden_width = settings.position_octaves, settings.position_width
            self.position = PositionNetwork(width, octaves, hidden_width)
            self.vision_position = make_vision_position(width, settings.attention)

    @abstractmethod
    def predict_masks(
        self, inputs: Float[Tensor, "E Z R t"], guide: Float[Tensor, "N *visual"]
    ) -> Float[Tensor, "N R t"]:
        """Predict one mask, before its sigmoid, for the visual features of each source.

        N is a multiple of E; the sources of one channel follow each other.
        """

    @property
    def required_cues(self) -> frozenset[str]:
        """Crops, and boxes where positions are read; never a category."""
        return frozenset({"crops", "boxes"} if self.settings.position else {"crops"})

    @property
    def widenable_tensors(self) -> frozenset[str]:
        """The first convolution; new input maps start at zero."""
        return frozenset({"audio_network.down.0.0.weight"})

    def precompute(self, cues: Cues) -> Cues:
        """Replace the crops by maps of a frozen encoder; unchanged where the encoder is trained."""
        maps = None if cues.appearance is not None else self.vision.encode(cues)
        return cues if maps is None else replace(cues, crops=None, appearance=maps)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Group the vision network apart from the rest (REFERENCE 3.4, 4)."""
        return trained_groups(self, {"vision": self.vision}, rest="separation")

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Compute `masks` and `squared` in frequency, `time` on waveforms and `total` (equation 8).

        Departure: equation 8 sums over sources, ears and cells, its second norm against the mask
        itself; here, as in the code, they are means, and both norms are against the target mask.
        The code adds the means of both ears; here they are averaged, half of that. The code's later
        script holds the waveforms of both ears against the left one's; here each has its own.
        """
        settings = self.settings
        inputs = self._transform(self._expand_channels(batch.mixture))
        sources = self._expand_channels(require_sources(batch))
        if settings.random_ear_per_step and self.training:
            inputs, sources = _draw_channel(inputs, sources)
        sources = sources * inputs.gain[:, None, None]
        targets = self.to_network(self.front_end.magnitude(sources))  # B S C R t
        logits = self._predict_logits(inputs, batch.cues)
        mixture = inputs.rows[:, None]
        # The released code weights both distances; the equation does not.
        weight = loss_weight(mixture) if settings.weighted_loss else 1.0
        if settings.masks == "binary":
            error = binary_cross_entropy_with_logits(
                logits, binary_mask(targets, mixture), reduction="none"
            )
            loss = (error * weight).mean()
            return {"masks": loss, "total": loss}
        # Equation 8: L1 of masks, alpha L2 of masks, beta L1 of waveforms.
        error = logits.sigmoid() - ratio_mask(targets, mixture)
        losses = {
            "masks": (error.abs() * weight).mean(),
            "squared": (error.square() * weight).mean(),
        }
        losses["total"] = losses["masks"] + settings.squared_weight * losses["squared"]
        if settings.time_weight:
            estimates = self._waveforms(inputs, logits.sigmoid(), batch.mixture.shape[-1])
            if settings.time_loss == "l1":
                losses["time"] = (estimates - sources).abs().mean()
            else:
                losses["time"] = -si_snr_db(estimates, sources).mean()
            losses["total"] = losses["total"] + settings.time_weight * losses["time"]
        return losses

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Mask each channel of the mixture; a mono mixture is given to both channels."""
        num_channels = batch.mixture.shape[1]
        inputs = self._transform(self._expand_channels(batch.mixture))
        masks = self._predict_logits(inputs, batch.cues).sigmoid()
        masks = self.from_network(masks, inputs.magnitude.shape[-1])
        if self.settings.masks == "binary":
            # After the warp to linear bins, which would blur a mask of zeros and ones.
            masks = (masks > 0.5).to(masks.dtype)
        magnitude = inputs.magnitude / inputs.gain[:, None, None]
        estimates = magnitude[:, None] * masks  # B S C F T
        return Separation(
            estimates[:, :, :num_channels],
            presence(estimates, magnitude),
            inputs.phase[:, :num_channels],
        )

    def visual_features(self, cues: Cues) -> Float[Tensor, "B S *visual"]:
        """Compute F_vp of every source, or F_v where positions are not read.

        Raises:
            InputError: a required cue is missing.
        """
        visual = self.vision(cues)
        if self.position is None or self.vision_position is None:
            return visual
        if cues.boxes is None:
            raise InputError("this model reads `boxes`: give the box of each object")
        # Equation 1 takes one box a source: the mean over the crops of the window.
        boxes = cues.boxes.mean(2).flatten(0, 1)
        fused = self.vision_position(visual.flatten(0, 1), self.position(boxes))
        return fused.unflatten(0, visual.shape[:2])

    def _predict_logits(self, inputs: NetworkInput, cues: Cues) -> Float[Tensor, "B S C R t"]:
        """Predict the masks, before their sigmoid, of each source in each channel."""
        compress = log_input if self.settings.magnitude_input == "log" else log1p_input
        num_mixtures, num_channels = inputs.rows.shape[:2]
        spatial = inputs.spatial[:, None].expand(-1, num_channels, -1, -1, -1)
        maps = torch.cat([compress(inputs.rows)[:, :, None], spatial], dim=2)  # B C Z R t
        visual = self.visual_features(cues)
        # N counts mixtures, then channels, then sources: all channels have the same objects.
        guide = visual[:, None].expand(-1, num_channels, *visual.shape[1:]).flatten(0, 2)
        logits = self.predict_masks(maps.flatten(0, 1), guide)
        return logits.unflatten(0, (num_mixtures, num_channels, -1)).transpose(1, 2).float()

    def _expand_channels(self, sound: Float[Tensor, "*axes C N"]) -> Float[Tensor, "*axes both N"]:
        """Repeat a mono sound for a model of two channels; others are returned as they are."""
        num_channels = max(sound.shape[-2], self.settings.front_end.num_channels)
        return sound.expand(*sound.shape[:-2], num_channels, sound.shape[-1])

    def _transform(self, mixture: Float[Tensor, "B C N"]) -> NetworkInput:
        gain = self.input_gain(mixture)
        magnitude, phase = self.front_end.spectrogram(mixture * gain[:, None])
        rows = self.to_network(magnitude)
        spatial = rows[:, :0]
        if self.settings.spatial_cues != "none":
            spatial = self.to_network(spatial_maps(self.settings.spatial_cues, magnitude, phase))
        return NetworkInput(gain, magnitude, phase, rows, spatial)

    def _waveforms(
        self, inputs: NetworkInput, masks: Float[Tensor, "B S C R t"], num_samples: int
    ) -> Float[Tensor, "B S C N"]:
        """Apply masks to the mixture and invert its spectrogram, at the input level."""
        masks = self.from_network(masks, inputs.magnitude.shape[-1])
        magnitudes = inputs.magnitude[:, None] * masks
        return self.front_end.waveform(magnitudes, inputs.phase[:, None], num_samples)


def _draw_channel(
    inputs: NetworkInput, sources: Float[Tensor, "B S C N"]
) -> tuple[NetworkInput, Float[Tensor, "B S 1 N"]]:
    """Draw one channel of each mixture and its sources; spatial maps stay those of both."""
    num_mixtures, num_channels = inputs.rows.shape[:2]
    # Drawn by the global generator, which the training seeds by the number of the step.
    channel = torch.randint(num_channels, (num_mixtures,), device=inputs.rows.device)
    mixture = torch.arange(num_mixtures, device=channel.device)
    drawn = replace(
        inputs,
        magnitude=inputs.magnitude[mixture, channel][:, None],
        phase=inputs.phase[mixture, channel][:, None],
        rows=inputs.rows[mixture, channel][:, None],
    )
    return drawn, sources[mixture, :, channel][:, :, None]


def si_snr_db(
    estimates: Float[Tensor, "*batch N"], sources: Float[Tensor, "*batch N"]
) -> Float[Tensor, "*batch"]:
    """Compute the scale-invariant signal-to-noise ratio of zero-mean waveforms, in dB.

    An estimate is split into its projection on the source and the rest (Luo and Mesgarani, TasNet,
    2018). The score of silence is finite.
    """
    estimates = estimates - estimates.mean(-1, keepdim=True)
    sources = sources - sources.mean(-1, keepdim=True)
    energy = sources.square().sum(-1, keepdim=True) + _ENERGY_FLOOR
    target = (estimates * sources).sum(-1, keepdim=True) / energy * sources
    noise_energy = (estimates - target).square().sum(-1) + _ENERGY_FLOOR
    return 10 * torch.log10(target.square().sum(-1) / noise_energy + _ENERGY_FLOOR)


# Spatial cues: differences between the ears, left minus right whichever is separated


def spatial_maps(
    kind: SpatialCues, magnitude: Float[Tensor, "B 2 F T"], phase: Complex[Tensor, "B 2 F T"]
) -> Float[Tensor, "B D F T"]:
    """Compute the D maps of a choice: cos IPD; with `signed` also sin IPD and ILD in neper.

    Equation 4 of LAVSS is the cosine alone. It is even: sources at mirrored azimuths have the same
    maps, so that `paper` cannot distinguish left from right.
    """
    if kind == "none":
        return magnitude[:, :0]
    cosine, sine = phase_difference(phase)
    if kind == "paper":
        return cosine[:, None]
    return torch.stack([cosine, sine, level_difference(magnitude)], dim=1)


def phase_difference(
    phase: Complex[Tensor, "*batch 2 F T"],
) -> tuple[Float[Tensor, "*batch F T"], Float[Tensor, "*batch F T"]]:
    """Compute cosine and sine of the interaural phase difference (IPD, LAVSS equation 4).

    Takes unit phases, as of `front_end.unit_phase`.

    Departure: the released code divides by magnitudes, which makes a silent cell's cosine 0; by
    the equation it is 1, as the phase of silence is taken as zero.
    """
    left, right = phase.unbind(dim=-3)
    # e^(i l) conj(e^(i r)) = e^(i (l - r)): no unwrapping, no angles.
    difference = left * right.conj()
    return difference.real, difference.imag


def level_difference(magnitude: Float[Tensor, "*batch 2 F T"]) -> Float[Tensor, "*batch F T"]:
    """Compute the interaural level difference (ILD), ln(left / right), clamped to 26 dB."""
    left, right = (magnitude + _LEVEL_FLOOR).log().unbind(dim=-3)
    return (left - right).clamp(-_MAX_LEVEL_NEPER, _MAX_LEVEL_NEPER)
