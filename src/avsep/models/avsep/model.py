"""avsep's separator: joint masks of all objects, trained on the error of the spectra.

Ours, of no paper. docs/avsep-network.md has the measurements behind each choice. Axes are those of
network.py.
"""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Complex, Float, Int64
from pydantic import Field, model_validator
from torch import Generator, Tensor
from torch.nn.functional import avg_pool1d, binary_cross_entropy_with_logits, cross_entropy, pad

from avsep.cues.crops import CropSettings
from avsep.data.categories import MUSIC
from avsep.errors import InputError
from avsep.layers.audio_unet import UNetSettings
from avsep.models.avsep.network import (
    PICTURE_CHANNELS,
    JointMasks,
    JointNetwork,
    ObjectCues,
    column_level,
    predicted_category,
)
from avsep.models.base import ModelSettings, SeparationModel, require_sources
from avsep.records import Batch, Cues, Separation
from avsep.sound.front_end import stft
from avsep.sound.magnitudes import log1p_input, loss_weight, ratio_mask
from avsep.vision.efficientnet_lite import EfficientNetLite, load_efficientnet_lite, preprocess

# Errors further below the mixture than 30 dB count no more: a silent object's stem is not trained
# towards ever less.
_SMALLEST_ERROR = 1e-3
# A mixture of nothing has error 0 / 0: any energy above it gives 0 dB.
_SILENCE = 1e-8
# A column sounds if its level is less than this below the mixture's loudest one.
_SOUNDING_DB = 30.0
# Columns over which presence is averaged before the most present moment is taken.
_PRESENCE_COLUMNS = 9


class AVSepSettings(ModelSettings):
    """Sizes of the network, weights of its losses, and how often each cue is hidden in training."""

    categories: tuple[str, ...] = Field(
        default=MUSIC, min_length=2, description="categories, in the order of their embeddings"
    )
    crops: CropSettings = CropSettings(crop_pixels=160, crop_rate_hz=0.5, num_crops=2)
    unet: UNetSettings = UNetSettings(num_layers_after_middle=4)
    num_layers: int = Field(default=4, ge=1, description="layers of joint attention")
    num_heads: int = Field(default=8, gt=0, description="heads of every attention layer")
    feed_forward_width: int = Field(default=1024, gt=0, description="width of feed-forward layers")
    mask_loss_weight: float = Field(
        default=10.0, ge=0, description="weight of the L1 distance of the masks, by loudness"
    )
    error_loss_weight: float = Field(
        default=0.2, ge=0, description="weight of the error of the spectra, in dB"
    )
    presence_loss_weight: float = Field(
        default=0.2, ge=0, description="weight of the cross-entropy of presence"
    )
    category_loss_weight: float = Field(
        default=0.1, ge=0, description="weight of the cross-entropy of the category head"
    )
    category_dropout: float = Field(
        default=0.4, ge=0, lt=1, description="share of objects trained without their category"
    )
    picture_dropout: float = Field(
        default=0.2, ge=0, lt=1, description="share of objects with a category trained unseen"
    )
    motion_dropout: float = Field(
        default=0.2, ge=0, lt=1, description="share of objects trained with still crop motion"
    )

    @model_validator(mode="after")
    def _check_width(self) -> "AVSepSettings":
        width = self.unet.middle_channels
        # Sine positions take a quarter of the width each for sines and cosines of rows and columns.
        if width % self.num_heads or width % 4:
            raise ValueError(
                f"the {width} channels of the U-Net's middle must be a multiple of 4 and of "
                f"num_heads, {self.num_heads}"
            )
        return self


class AVSep(SeparationModel[AVSepSettings]):
    """One network for any number of objects, with whatever cues there are of each."""

    Settings = AVSepSettings

    def __init__(self, settings: AVSepSettings | None = None) -> None:
        super().__init__(settings)
        settings = self.settings
        self.network = JointNetwork(
            len(settings.categories),
            settings.unet,
            num_layers=settings.num_layers,
            num_heads=settings.num_heads,
            feed_forward_width=settings.feed_forward_width,
        )

    @property
    def required_cues(self) -> frozenset[str]:
        """Crops, their motion, and the category where it is given."""
        return frozenset({"crops", "crop_motion", "category"})

    @property
    def text_prompts(self) -> Literal["category"]:
        """An object may be given by its category alone."""
        return "category"

    @property
    def is_joint(self) -> bool:
        """True: the estimate of one object depends on which others are given."""
        return True

    @property
    def frozen_encoder(self) -> EfficientNetLite:
        """The package's image encoder, which all models share; no part of the weights."""
        return load_efficientnet_lite(next(self.parameters()).device)

    def precompute(self, cues: Cues) -> Cues:
        """Replace the crops by the frozen encoder's embeddings, as maps of one cell."""
        if cues.appearance is not None or cues.crops is None:
            return cues
        shape, encoder = cues.crops.shape[:3], self.frozen_encoder
        pictures = preprocess(
            cues.crops.flatten(0, 2), self.settings.crops.crop_pixels, framing="whole"
        )
        with torch.no_grad(), torch.autocast(pictures.device.type, enabled=False):
            embeddings = encoder.embedding(encoder(pictures))
        return replace(cues, crops=None, appearance=embeddings.unflatten(0, shape)[..., None, None])

    def losses(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Compute `separation` (masks), `error_db` (spectra), `presence`, `category`, `total`."""
        settings = self.settings
        gain = self.input_gain(batch.mixture)
        # Of several channels the first is trained on.
        mixture = batch.mixture[:, 0] * gain
        sources = require_sources(batch)[:, :, 0] * gain[:, None]
        spectrum = stft(mixture, settings.front_end.stft)  # B F T
        spectra = stft(sources, settings.front_end.stft)
        # The rest is what is in the mixture and no object: off-screen sounds and noise.
        spectra = torch.cat([spectra, (spectrum - spectra.sum(1))[:, None]], dim=1)  # B P F T
        rows = self.to_network(power(spectrum).sqrt())
        source_rows = self.to_network(power(spectra).sqrt())
        cues = self._object_cues(batch.cues)
        predicted = self.network(
            log1p_input(rows), rows, self._hide_cues(cues) if self.training else cues
        )
        targets = ratio_mask(source_rows, rows[:, None], maximum=1)
        distance = (predicted.masks - targets).abs()
        losses = {
            "separation": (distance * loss_weight(rows)[:, None]).mean(),
            "error_db": self._error_db(predicted.masks, spectrum, spectra).mean(),
            "presence": binary_cross_entropy_with_logits(
                predicted.presence_logits, is_sounding(source_rows[:, :-1], rows).float()
            ),
            "category": _category_loss(predicted, cues, batch.cues.category),
        }
        losses["total"] = (
            settings.mask_loss_weight * losses["separation"]
            + settings.error_loss_weight * losses["error_db"]
            + settings.presence_loss_weight * losses["presence"]
            + settings.category_loss_weight * losses["category"]
        )
        return losses

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """Mask each channel of the mixture on its own, with the same cues.

        `metadata` has `category`, and `presence_over_time` [B, S, t], the mean of the channels.
        """
        shape = batch.mixture.shape[:2]
        gain = self.input_gain(batch.mixture.flatten(0, 1)[:, None]).unflatten(0, shape)  # B C 1
        magnitude, phase = self.front_end.spectrogram(batch.mixture * gain)  # B C F T
        cues = self._object_cues(self.precompute(batch.cues))
        outputs, masks, presences = [], [], []
        for mono in magnitude.unbind(1):
            rows = self.to_network(mono)
            outputs.append(self.network(log1p_input(rows), rows, cues))
            masks.append(self.from_network(outputs[-1].masks[:, :-1], magnitude.shape[-1]))
            # In silence no object sounds, whatever the head makes of it.
            is_sound = (rows.amax((1, 2)) > 0)[:, None, None]
            presences.append(outputs[-1].presence_logits.float().sigmoid() * is_sound)
        over_time = torch.stack(presences).mean(0)
        estimates = (magnitude / gain[..., None])[:, None] * torch.stack(masks, dim=2)
        metadata: dict[str, object] = {
            "category": predicted_category(cues.category, outputs[0].category_logits),
            "presence_over_time": over_time,
        }
        return Separation(estimates, _most_present(over_time), phase, metadata)

    def _error_db(
        self,
        masks: Float[Tensor, "B P R t"],
        mixture: Complex[Tensor, "B F T"],
        spectra: Complex[Tensor, "B P F T"],
    ) -> Float[Tensor, "B P"]:
        """Return 10 log10 of the energy of each estimate's error over that of the sound.

        The negative of a signal-to-distortion ratio without its projections. Both energies have
        30 dB below the mixture added, so that a silent sound has an error too, and none is
        infinite. A mask holds for all frames of its column.
        """
        # |M X - S|^2 = M^2 |X|^2 - 2 M Re(X* S) + |S|^2, of which only M is trained: real sums over
        # the frames of a column are a quarter of the work of complex errors of frames.
        energy = self._column_sums(power(mixture))[:, None]  # B 1 F t
        mixture = mixture[:, None]
        product = self._column_sums(mixture.real * spectra.real + mixture.imag * spectra.imag)
        sound = power(spectra).sum((2, 3))
        # As a matrix, which is faster than sampling a grid.
        to_bins = self.front_end.to_bins(torch.eye(masks.shape[2], device=masks.device))  # F R
        on_bins = to_bins @ masks
        error = (on_bins * (on_bins * energy - 2 * product)).sum((2, 3)) + sound
        floor = _SMALLEST_ERROR * energy.sum((2, 3)) + _SILENCE
        # Rounding may leave a perfect mask below zero.
        return 10 * ((error.clamp_min(0) + floor) / (sound + floor)).log10()

    def _column_sums(self, frames: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F t"]:
        """Sum the frames of each column of the network."""
        stride = self.settings.time_stride
        padded = pad(frames, (0, -frames.shape[-1] % stride))
        return padded.unflatten(-1, (-1, stride)).sum(-1)

    def _object_cues(self, cues: Cues) -> ObjectCues:
        """Return the network's cues; InputError if a visible object has no pictures."""
        cues = self.precompute(cues)
        if cues.is_visible is not None and not bool(cues.is_visible.any()):
            cues = self._without_pictures(cues, cues.is_visible)
        if cues.appearance is None:
            raise InputError("this model reads `crops`: give it pictures of each object")
        if cues.crop_motion is None:
            raise InputError("this model reads `crop_motion`, the objects' crops over time")
        shape, device = cues.appearance.shape[:2], cues.appearance.device
        visible, category = cues.is_visible, cues.category
        if visible is None:
            visible = torch.ones(shape, dtype=torch.bool, device=device)
        if category is None:
            category = torch.full(shape, -1, device=device)
        embeddings = cues.appearance.mean((-2, -1)).float()
        return ObjectCues(embeddings, visible, category, cues.crop_motion)

    def _without_pictures(self, cues: Cues, is_visible: Bool[Tensor, "B S"]) -> Cues:
        """Return the cues of text prompts, with zeros for the pictures that they lack."""
        shape, side = is_visible.shape, self.settings.crops.motion_pixels
        embeddings = torch.zeros(*shape, 1, PICTURE_CHANNELS, 1, 1, device=is_visible.device)
        motion = torch.zeros(*shape, 1, side, side, dtype=torch.uint8, device=is_visible.device)
        return Cues(
            appearance=embeddings,
            crop_motion=motion,
            category=cues.category,
            is_visible=is_visible,
        )

    def _hide_cues(self, cues: ObjectCues) -> ObjectCues:
        """Hide cues at random; an object keeps its category or its picture."""
        settings, shape, device = self.settings, cues.category.shape, cues.category.device
        hides_category = torch.rand(shape, device=device) < settings.category_dropout
        category = torch.where(hides_category & cues.has_picture, -1, cues.category)
        hides_picture = torch.rand(shape, device=device) < settings.picture_dropout
        has_picture = cues.has_picture & ~(hides_picture & (category >= 0))
        is_still = torch.rand(shape, device=device) < settings.motion_dropout
        motion = torch.where(
            is_still[..., None, None, None], cues.crop_motion[:, :, :1], cues.crop_motion
        )
        return ObjectCues(cues.pictures, has_picture, category, motion)


def power(spectrum: Complex[Tensor, "*batch F T"]) -> Float[Tensor, "*batch F T"]:
    """Return squared magnitudes; many times faster than `abs`, which guards against overflow."""
    return spectrum.real.square() + spectrum.imag.square()


def is_sounding(
    sources: Float[Tensor, "B S R t"], mixture: Float[Tensor, "B R t"]
) -> Bool[Tensor, "B S t"]:
    """True where a source is at most 30 dB below the loudest column of the mixture."""
    loudest = column_level(mixture).amax(-1)[:, None, None]
    return column_level(sources) > loudest - _SOUNDING_DB / 20


def _category_loss(
    predicted: JointMasks, cues: ObjectCues, category: Int64[Tensor, "B S"] | None
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy over the objects with a picture and a category; 0 of none."""
    logits = predicted.category_logits.float().flatten(0, 1)
    if category is None:
        return logits.sum() * 0
    target = torch.where(cues.has_picture, category, -1).flatten()
    error = cross_entropy(logits, target, ignore_index=-1, reduction="sum")
    return error / (target >= 0).sum().clamp_min(1)


def _most_present(over_time: Float[Tensor, "B S t"]) -> Float[Tensor, "B S"]:
    """Return the presence at the most present moment, a mean of some columns."""
    width = min(_PRESENCE_COLUMNS, over_time.shape[-1])
    return avg_pool1d(over_time, width, stride=1).amax(-1)
