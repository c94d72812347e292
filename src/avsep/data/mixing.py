"""Mix-and-separate (Sound of Pixels): cut windows of the sources that were sampled and sum these.

In the order of use: `MixingSettings`, `MixtureSampler.sample` (mixture_sampler.py),
`sample_centres`, `cut_windows`, `mix_sampled`, `to_batch`. Each random step draws from the
generator it is given, in this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.data.clips import ClipFiles, SourceFile, read_sound
from avsep.errors import InputError
from avsep.records import Batch
from avsep.sound.front_end import FrontEndSettings

# Bands of the equaliser: octaves up to half the sample rate, so from 43 Hz at 11025 Hz.
NUM_BANDS = 8


class MixingSettings(BaseModel):
    """Settings of mix-and-separate: sampling of sources, their levels and the rule of the sum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_sources: int = Field(default=2, ge=2, le=4, description="sources in a mixture")
    distinct_categories: bool = Field(
        default=True,
        description="no two sources of one category (iQuery, DAVIS); clips always differ",
    )
    same_category_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures in which two sources are of one category nevertheless",
    )
    same_clip_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures whose sources are of one clip: one window, their own levels "
        "times a common gain, their own categories",
    )
    offscreen_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures with one more source, of another clip, which is neither "
        "visible nor a target",
    )
    unseen_categories: tuple[str, ...] = Field(
        default=(),
        description="ours: categories of sources that are never targets, such as ambience; half of "
        "the additional sources of offscreen_probability are of them",
    )
    extra_sources: int = Field(
        default=0,
        ge=0,
        le=2,
        description="ours: further sources of other clips in each mixture, visible and targets, "
        "each of which sounds or is silent",
    )
    extra_silent_probability: float = Field(
        default=0.5, ge=0, le=1, description="probability that an extra source is silent"
    )
    rule: Literal["mean", "sum", "mean-undivided"] = Field(
        default="mean",
        description="mean: every source divided by their number, targets alike (Sound of Pixels, "
        "iQuery, LAVSS); sum: nothing divided (iQuery on AVE); mean-undivided: the mixture is the "
        "mean, targets keep their level (DAVIS)",
    )
    gain_range: tuple[float, float] = Field(
        default=(0.5, 1.5), description="the gain of each source is uniform in this range"
    )
    equaliser_db: float = Field(
        default=0.0,
        ge=0,
        description="ours: standard deviation of each source's random octave gains; 0: none",
    )
    mirror_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of clips mirrored left to right: channels, boxes and pictures together, "
        "I3D motion features as they are (released codes: pictures alone, half of the clips)",
    )
    resize_pixels: int | None = Field(
        default=None,
        ge=2,
        description="side that crops are resized to before a random square of `crop_pixels` is cut "
        "out, the same out of all crops of a source (codes: 246 for 224, DGFNet 256); none: uncut",
    )
    silent_probability: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="probability that a source is silent though visible; one always sounds",
    )
    position: Literal["random", "middle"] = Field(
        default="random",
        description="position of the window in a clip, and choice of crops; middle, with evenly "
        "spaced crops, is for validation",
    )
    broken: Literal["error", "skip"] = Field(
        default="error",
        description="unreadable files: error stops the run, skip reports and leaves out clips",
    )
    repeats: int = Field(default=1, ge=1, description="mixtures per source in one epoch")

    @model_validator(mode="after")
    def _in_bounds(self) -> "MixingSettings":
        if not 0 < self.gain_range[0] <= self.gain_range[1]:
            raise ValueError(f"gain_range {self.gain_range} must hold 0 < lowest <= highest")
        if self.same_clip_probability + self.same_category_probability > 1:
            raise ValueError(
                "same_clip_probability and same_category_probability are shares of all mixtures: "
                "together they must not exceed 1"
            )
        return self


@dataclass(frozen=True)
class SampledMixture:
    """The sources of one mixture, as indices into the list of sources.

    Attributes:
        targets: the sources to be separated.
        offscreen: an additional source that is no target; None: without one.
        num_of_one_clip: number of first targets that are of one clip; 0: all are of different ones.
        num_extra: number of last targets that are extra sources.
    """

    targets: tuple[int, ...]
    offscreen: int | None = None
    num_of_one_clip: int = 0
    num_extra: int = 0

    @property
    def audible(self) -> tuple[int, ...]:
        """Every source in the mixture, the targets first."""
        return self.targets if self.offscreen is None else (*self.targets, self.offscreen)


# Windows: cut a piece of each source


@runtime_checkable
class SampleReader(Protocol):
    """Sound that is read by ranges of samples: an array, or a cached source on disk."""

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        ...

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """Read the samples from `start` up to `stop`."""
        ...


@dataclass(frozen=True)
class Waveform:
    """A `SampleReader` of an array in memory."""

    samples: Float32[np.ndarray, "C N"]

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return self.samples.shape[1]

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """Return the samples from `start` up to `stop`."""
        return self.samples[:, start:stop]


def sample_centres(
    sampled: SampledMixture,
    lengths: Sequence[int],
    window_samples: int,
    settings: MixingSettings,
    generator: np.random.Generator,
) -> list[int]:
    """Sample the middle sample of each source's window; targets of one clip share one.

    Lengths are in samples. Short sources count as repeated, as `cut_windows` repeats them.
    """
    centres = []
    for num_samples in lengths:
        repeated = num_samples * max(1, -(-window_samples // num_samples))  # rounded up
        half = window_samples // 2
        # Drawn for "middle" too, so that both positions leave the generator in the same state.
        centre = int(generator.integers(half, repeated - half, endpoint=True))
        centres.append(centre if settings.position == "random" else repeated // 2)
    num_together = sampled.num_of_one_clip
    centres[:num_together] = centres[:1] * num_together
    return centres


def cut_windows(
    sounds: Sequence[SampleReader], centres: Sequence[int], window_samples: int
) -> Float32[np.ndarray, "audible C N"]:
    """Cut the window around a sample of each sound, reading nothing else.

    A sound that is shorter than a window is repeated, as in all codes of the field.
    """
    windows = []
    for sound, centre in zip(sounds, centres, strict=True):
        length = sound.num_samples
        if length < window_samples:
            sound = Waveform(np.tile(sound.piece(0, length), -(-window_samples // length)))
        windows.append(crop(sound, centre, window_samples))
    return np.stack(windows)


def crop(sound: SampleReader, centre: int, window_samples: int) -> Float32[np.ndarray, "C M"]:
    """Cut the window around a sample, with zeros beyond both ends of the sound.

    The last sample of an odd window stays zero: 65,534 of 65,535, as all codes of the field cut it.
    """
    half = window_samples // 2
    start, stop = max(0, centre - half), min(sound.num_samples, centre + half)
    # A window entirely beyond the end has start > stop.
    samples = sound.piece(min(start, stop), max(stop, 0))
    window = np.zeros((samples.shape[0], window_samples), dtype=np.float32)
    offset = start - (centre - half)
    window[:, offset : offset + samples.shape[1]] = samples
    return window


# Mixing: equalise, scale and sum the windows


@dataclass(frozen=True)
class MixtureItem:
    """One mixture with its sources.

    Attributes:
        names: clip of each source; for a whole clip as its own mixture, its name alone.
        categories: category of each source.
    """

    mixture: Float32[np.ndarray, "C N"]
    sources: Float32[np.ndarray, "S C N"]
    names: tuple[str, ...]
    categories: tuple[str, ...]


def mix_sampled(
    sampled: SampledMixture,
    windows: Float32[np.ndarray, "audible C N"],
    sources: Sequence[SourceFile],
    settings: MixingSettings,
    generator: np.random.Generator,
) -> MixtureItem:
    """Equalise, scale and sum the windows of `sampled.audible`.

    All channels of a source have one gain and one equaliser. Departure: LAVSS's code draws a gain
    for each ear, which destroys the level difference that tells where the sound is.
    """
    num_targets = len(sampled.targets)
    if settings.equaliser_db > 0:
        bands_db = generator.normal(0, settings.equaliser_db, (len(windows), NUM_BANDS))
        windows = equalise(windows, bands_db)
    gains = generator.uniform(*settings.gain_range, size=(len(windows), 1, 1))
    # A common gain keeps the levels that the sources have in the clip.
    gains[: sampled.num_of_one_clip] = gains[0]
    # Clipped to full scale, as Sound of Pixels and its successors do.
    sounds = np.clip(windows * gains.astype(np.float32), -1, 1)
    # Drawn at probability 0 too, so that this setting changes no other random number.
    num_first = num_targets - sampled.num_extra
    silent = generator.random(num_first) < settings.silent_probability
    silent[generator.integers(num_first)] = False
    extra = generator.random(sampled.num_extra) < settings.extra_silent_probability
    silent = np.concatenate([silent, extra])
    sounds[:num_targets][silent] = 0
    mixture, scaled = mix(sounds, settings.rule)
    targets = [sources[index] for index in sampled.targets]
    names, categories = ([s.clip for s in targets], [s.category for s in targets])
    return MixtureItem(mixture, scaled[:num_targets], tuple(names), tuple(categories))


def equalise(
    waveforms: Float32[np.ndarray, "S C N"], gains_db: Float[np.ndarray, "S bands"]
) -> Float32[np.ndarray, "S C N"]:
    """Raise or lower the bands of each source with zero phase, and restore its RMS.

    All channels of a source get the same curve, which keeps the differences between them. The last
    band is at half the sample rate, each other an octave below the next. Gains are interpolated in
    decibels between bands and constant below the first.
    """
    num_samples, num_bands = waveforms.shape[-1], gains_db.shape[1]
    # On the spectrum of the whole window: the gains are real, so the phase stays as it is.
    spectra = np.fft.rfft(waveforms)
    bins = np.arange(spectra.shape[-1])
    # Position of each bin on the axis of bands: bin num_samples / 2 is the last band, at half the
    # sample rate. Bin 0 has no logarithm and takes the position of bin 1.
    positions = num_bands - 1 + np.log2(np.maximum(bins, 1) / (num_samples / 2))
    curves_db = np.stack([np.interp(positions, np.arange(num_bands), gains) for gains in gains_db])
    equalised = np.fft.irfft(spectra * 10 ** (curves_db[:, None] / 20), num_samples)
    before, after = (
        np.sqrt(np.square(sound, dtype=np.float64).mean(axis=(1, 2), keepdims=True))
        for sound in (waveforms, equalised)
    )
    # Silence has no level to restore, and stays silent.
    return (equalised * before / np.maximum(after, 1e-12)).astype(np.float32)


def mix(
    sounds: Float32[np.ndarray, "S *axes N"], rule: str
) -> tuple[Float32[np.ndarray, "*axes N"], Float32[np.ndarray, "S *axes N"]]:
    """Sum sources under a rule of `MixingSettings`; return the mixture and the scaled sources.

    Silent sources do not count in a mean. Departure: the papers write the plain sum; their codes
    divide, each in its own way (REFERENCE 2.1), which scores forgive and losses do not. The rule is
    therefore a named setting.
    """
    if rule == "sum":
        return sounds.sum(axis=0), sounds
    num_sounding = max(1, int(np.any(sounds != 0, axis=tuple(range(1, sounds.ndim))).sum()))
    divided = sounds / np.float32(num_sounding)
    return divided.sum(axis=0), sounds if rule == "mean-undivided" else divided


def mix_clip(clip: ClipFiles, front_end: FrontEndSettings) -> MixtureItem:
    """Sum the sources and offscreen sounds of a whole clip at their own levels.

    Raises:
        InputError: stems of different lengths.
    """
    rate_hz, channels = front_end.sample_rate_hz, front_end.num_channels
    paths = (*(source.path for source in clip.sources), *clip.offscreen)
    sounds = [read_sound(path, rate_hz, channels) for path in paths]
    if len({sound.shape[1] for sound in sounds}) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    stems = np.stack(sounds)  # sources first, then offscreen sounds
    categories = tuple(source.category for source in clip.sources)
    return MixtureItem(stems.sum(axis=0), stems[: len(clip.sources)], (clip.name,), categories)


def to_batch(items: Sequence[MixtureItem]) -> Batch:
    """Stack items of equal numbers of sources, channels and samples into a batch."""
    mixture = torch.from_numpy(np.stack([item.mixture for item in items]))  # B C N
    sources = torch.from_numpy(np.stack([item.sources for item in items]))  # B S C N
    return Batch(mixture, sources)
