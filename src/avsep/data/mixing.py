"""Mix-and-separate: sample sources of different clips and sum them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.data.clips import ClipFiles, SourceFile, read_sound
from avsep.errors import InputError
from avsep.records import Batch
from avsep.sound.front_end import FrontEndSettings

# A mixture is drawn anew this often before a list is given up.
MAXIMUM_DRAWS = 20
# Partners are drawn blindly this often before all that may join are listed, which takes longer.
_BLIND_DRAWS = 30


class MixingSettings(BaseModel):
    """How sources are drawn, and at what level they are added."""

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
        description="share of mixtures in which two sources are of one category all the same",
    )
    same_clip_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures whose sources are of one clip, as they sound together: the "
        "same window, their own levels under a common factor, their own categories",
    )
    offscreen_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of mixtures that hold one more sound, of another clip, which is neither "
        "seen nor a target",
    )
    rule: Literal["mean", "sum", "mean-undivided"] = Field(
        default="mean",
        description="mean: every source divided by their number, targets alike (Sound of Pixels, "
        "iQuery, LAVSS); sum: nothing divided (iQuery on AVE); mean-undivided: the mixture is the "
        "mean, targets keep their level (DAVIS)",
    )
    gain_range: tuple[float, float] = Field(
        default=(0.5, 1.5), description="each source is scaled by a factor drawn from here"
    )
    equaliser_db: float = Field(
        default=0.0,
        ge=0,
        description="ours: each sound goes through an equaliser drawn anew, its octaves raised or "
        "lowered by this much (standard deviation); 0: none",
    )
    mirror_probability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="ours: share of clips that are mixed as a mirror shows them, ears, boxes and "
        "pictures alike; more than none needs a model that reads no motion features",
    )
    silent_probability: float = Field(
        default=0.0, ge=0, lt=1, description="that a source, all but one, is silent though seen"
    )
    position: Literal["random", "middle"] = Field(
        default="random",
        description="where in its file a source is cut and which crops are shown; middle, and "
        "crops evenly spread, for testing",
    )
    broken: Literal["error", "skip"] = Field(
        default="error", description="a file that cannot be read stops, or is redrawn and counted"
    )
    repeats: int = Field(default=1, ge=1, description="mixtures a source begins in one epoch")

    @model_validator(mode="after")
    def _in_bounds(self) -> "MixingSettings":
        if not 0 < self.gain_range[0] <= self.gain_range[1]:
            raise ValueError(f"gain_range {self.gain_range} must hold 0 < lowest <= highest")
        if self.same_clip_probability + self.same_category_probability > 1:
            raise ValueError(
                "own_clip_probability and same_category_probability are shares of all mixtures: "
                "together they must not exceed 1"
            )
        return self


@dataclass(frozen=True)
class SampledMixture:
    """What one mixture is made of, as places in the list of sources.

    Attributes:
        targets: the targets.
        offscreen: what is heard beside them, or none.
        is_one_clip: the targets are of one clip.
    """

    targets: tuple[int, ...]
    offscreen: int | None = None
    is_one_clip: bool = False

    @property
    def heard(self) -> tuple[int, ...]:
        """All sources in the mixture, the targets first."""
        return self.targets if self.offscreen is None else (*self.targets, self.offscreen)


class MixtureSampler:
    """Draws from a list of sources, each given as the clip it is of and its category."""

    def __init__(
        self, clips: Sequence[str], categories: Sequence[str], settings: MixingSettings
    ) -> None:
        self.clips = tuple(clips)
        self.categories = tuple(categories)
        self.settings = settings
        self._of_clip: dict[str, list[int]] = defaultdict(list)
        self._of_category: dict[str, list[int]] = defaultdict(list)
        for place, (clip, category) in enumerate(zip(clips, categories, strict=True)):
            self._of_clip[clip].append(place)
            self._of_category[category].append(place)
        self._everything = range(len(self.clips))
        self._large_clips = [
            places for places in self._of_clip.values() if len(places) >= settings.num_sources
        ]
        self._check_enough()

    def draw(self, first: int, generator: np.random.Generator) -> SampledMixture:
        """A mixture that begins with this source, or with another where it finds no partners."""
        settings = self.settings
        kind = generator.random()
        is_one_clip = kind < settings.same_clip_probability
        if is_one_clip:
            targets = self._of_one_clip(first, generator)
        else:
            is_alike = kind < settings.same_clip_probability + settings.same_category_probability
            targets = self._of_other_clips(first, is_alike, generator)
        offscreen = None
        if generator.random() < settings.offscreen_probability:
            offscreen = self._partner(targets, self._everything, generator)
        return SampledMixture(tuple(targets), offscreen, is_one_clip)

    def _of_one_clip(self, first: int, generator: np.random.Generator) -> list[int]:
        """Sources of the first one's clip; where that holds too few, of any that does not."""
        places = self._of_clip[self.clips[first]]
        targets = [first]
        if len(places) < self.settings.num_sources:
            places = self._large_clips[generator.integers(len(self._large_clips))]
            targets = [places[generator.integers(len(places))]]
        others = [place for place in places if place != targets[0]]
        order = generator.permutation(len(others))[: self.settings.num_sources - 1]
        return targets + [others[place] for place in order]

    def _of_other_clips(
        self, first: int, is_alike: bool, generator: np.random.Generator
    ) -> list[int]:
        """Sources of clips, and where asked for of categories, that differ."""
        for _ in range(MAXIMUM_DRAWS):
            targets = [first]
            if is_alike:
                alike = self._of_category[self.categories[first]]
                partner = self._partner(targets, alike, generator, any_category=True)
                targets += [] if partner is None else [partner]
            while len(targets) < self.settings.num_sources:
                partner = self._partner(targets, self._everything, generator)
                if partner is None:
                    break
                targets.append(partner)
            else:
                return targets
            # This first source leaves too few partners: another one begins instead.
            first = int(generator.integers(len(self.clips)))
        raise InputError(
            f"found no {self.settings.num_sources} sources of different clips"
            f"{' and categories' if self.settings.distinct_categories else ''} in a list of "
            f"{len(self.clips)}: add clips, or ask for fewer sources"
        )

    def _partner(
        self,
        targets: Sequence[int],
        candidates: Sequence[int],
        generator: np.random.Generator,
        *,
        any_category: bool = False,
    ) -> int | None:
        """One of the candidates that may join, all being equally likely; none where none may."""
        clips = {self.clips[place] for place in targets}
        is_free = any_category or not self.settings.distinct_categories
        categories = set() if is_free else {self.categories[place] for place in targets}

        def may_join(place: int) -> bool:
            return self.clips[place] not in clips and self.categories[place] not in categories

        for _ in range(_BLIND_DRAWS):
            place = candidates[int(generator.integers(len(candidates)))]
            if may_join(place):
                return place
        partners = [place for place in candidates if may_join(place)]
        return partners[generator.integers(len(partners))] if partners else None

    def _check_enough(self) -> None:
        settings = self.settings
        needed = settings.num_sources + (settings.offscreen_probability > 0)
        if settings.same_clip_probability > 0 and not self._large_clips:
            raise InputError(
                f"own_clip_probability needs clips of {settings.num_sources} sources at least, and "
                "the list holds none: set it to 0"
            )
        if settings.same_clip_probability == 1:
            needed = 1 + (settings.offscreen_probability > 0)
        if len(self._of_clip) < needed:
            raise InputError(
                f"mixtures of {needed} sources need as many clips, and the list holds "
                f"{len(self._of_clip)}"
            )
        if settings.distinct_categories and len(self._of_category) < needed:
            raise InputError(
                f"mixtures of {needed} distinct categories cannot be made of "
                f"{len(self._of_category)}; set distinct_categories = false to mix sources of one "
                "category"
            )


# An equaliser with a band at each octave: how rooms, microphones and makers colour a sound


NUM_BANDS = 8


def equalise(
    waveforms: Float32[np.ndarray, "S C N"], gains_db: Float[np.ndarray, "S bands"]
) -> Float32[np.ndarray, "S C N"]:
    """Each sound with its bands raised or lowered, at the RMS that it had, in the same phase.

    All its channels alike, so that their differences stay.

    The last band stands at half the sampling rate, each other an octave below the next. Between
    them gains are interpolated in decibels; below the first they stay.
    """
    num_samples, num_bands = waveforms.shape[-1], gains_db.shape[1]
    spectra = np.fft.rfft(waveforms)
    bins = np.arange(spectra.shape[-1])
    # At half the sampling rate the bin is half the samples and the place the last band's.
    places = num_bands - 1 + np.log2(np.maximum(bins, 1) / (num_samples / 2))
    curves_db = np.stack([np.interp(places, np.arange(num_bands), own) for own in gains_db])
    coloured = np.fft.irfft(spectra * 10 ** (curves_db[:, None] / 20), num_samples)
    before, after = (
        np.sqrt(np.square(sound, dtype=np.float64).mean(axis=(1, 2), keepdims=True))
        for sound in (waveforms, coloured)
    )
    return (coloured * before / np.maximum(after, 1e-12)).astype(np.float32)


# Mix-and-separate: sounds of different clips added up, so that the truth of a mixture is known


@runtime_checkable
class Sound(Protocol):
    """Sound that is read in slices: an array, or a prepared source in its file."""

    @property
    def num_samples(self) -> int:
        """How long it is."""
        ...

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """A stretch of it."""
        ...


@dataclass(frozen=True)
class Waveform:
    """Sound that is held whole."""

    samples: Float32[np.ndarray, "C N"]

    @property
    def num_samples(self) -> int:
        """How long it is."""
        return self.samples.shape[1]

    def piece(self, start: int, stop: int) -> Float32[np.ndarray, "C n"]:
        """A stretch of it."""
        return self.samples[:, start:stop]


@dataclass(frozen=True)
class MixtureItem:
    """One mixture and its truth.

    Attributes:
        names: clip of each source. categories: of each source.
        skipped: files that could not be read while this item was drawn, each with the reason.
    """

    mixture: Float32[np.ndarray, "C N"]
    sources: Float32[np.ndarray, "S C N"]
    names: tuple[str, ...]
    categories: tuple[str, ...]
    skipped: tuple[str, ...] = ()


class MixAndSeparate:
    """A list of mixtures, one for every source and repeat; any index can be made at any time.

    Item `index` of epoch `epoch` depends on (seed, epoch, index) alone, so that workers, machines
    and resumed runs draw the same. It is a map-style data set for `torch.utils.data.DataLoader`.
    """

    def __init__(
        self,
        sources: Sequence[SourceFile],
        settings: MixingSettings | None = None,
        front_end: FrontEndSettings | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self.sources = tuple(sources)
        self.settings = settings or MixingSettings()
        self.front_end = front_end or FrontEndSettings()
        self.seed = seed
        self.epoch = 0
        self.sampler = MixtureSampler(
            [source.clip for source in self.sources],
            [source.category for source in self.sources],
            self.settings,
        )

    def __len__(self) -> int:
        return len(self.sources) * self.settings.repeats

    def __getitem__(self, index: int) -> MixtureItem:
        """The mixture of this index in the current epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        generator = np.random.default_rng([self.seed, self.epoch, index])
        skipped: list[str] = []
        first = index % len(self.sources)
        for _ in range(MAXIMUM_DRAWS):
            draw = self.sampler.draw(first, generator)
            try:
                return self._mix(draw, generator, tuple(skipped))
            except InputError as error:
                if self.settings.broken == "error":
                    raise
                skipped.append(str(error))
                first = int(generator.integers(len(self.sources)))
        raise InputError(
            f"{MAXIMUM_DRAWS} draws in a row met files that cannot be read; the last: {skipped[-1]}"
        )

    def _mix(
        self, draw: SampledMixture, generator: np.random.Generator, skipped: tuple[str, ...]
    ) -> MixtureItem:
        rate_hz, window_samples = self.front_end.sample_rate_hz, self.front_end.window_samples
        channels = self.front_end.num_channels
        sounds = [
            Waveform(read_sound(self.sources[place].path, rate_hz, channels))
            for place in draw.heard
        ]
        lengths = [sound.num_samples for sound in sounds]
        centres = centres_of(draw, lengths, window_samples, self.settings, generator)
        windows = windows_of(sounds, centres, window_samples)
        item = mix_drawn(draw, windows, self.sources, self.settings, generator)
        return replace(item, skipped=skipped)


def mixture_of(clip: ClipFiles, front_end: FrontEndSettings, *, whole: bool = False) -> MixtureItem:
    """A clip as it is: its own sources at their own level, and what is heard unseen.

    The window in its middle, or all of it. The item has one name, the clip's.
    """
    rate_hz, channels = front_end.sample_rate_hz, front_end.num_channels
    paths = (*(source.path for source in clip.sources), *clip.offscreen)
    sounds = [read_sound(path, rate_hz, channels) for path in paths]
    if len({sound.shape[1] for sound in sounds}) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    if not whole:
        middle, num_samples = sounds[0].shape[1] // 2, front_end.window_samples
        sounds = [crop(Waveform(sound), middle, num_samples) for sound in sounds]
    stems = np.stack(sounds)  # sources, then what is unseen
    categories = tuple(source.category for source in clip.sources)
    return MixtureItem(stems.sum(axis=0), stems[: len(clip.sources)], (clip.name,), categories)


def centres_of(
    draw: SampledMixture,
    lengths: Sequence[int],
    window_samples: int,
    settings: MixingSettings,
    generator: np.random.Generator,
) -> list[int]:
    """The sample in the middle of each sound's window; targets of one clip have one in common.

    Lengths are in samples. Short sounds are taken to be repeated, as `windows_of` has them.
    """
    centres = []
    for num_samples in lengths:
        repeated = num_samples * max(1, -(-window_samples // num_samples))
        half = window_samples // 2
        drawn = int(generator.integers(half, repeated - half, endpoint=True))
        centres.append(drawn if settings.position == "random" else repeated // 2)
    if draw.is_one_clip:
        num_shown = len(draw.targets)
        centres[:num_shown] = [centres[0]] * num_shown
    return centres


def windows_of(
    sounds: Sequence[Sound], centres: Sequence[int], window_samples: int
) -> Float32[np.ndarray, "heard C N"]:
    """A window around a sample of each sound; only what is needed is read.

    A sound that is shorter is repeated, as all codes of the field do.
    """
    windows = []
    for sound, centre in zip(sounds, centres, strict=True):
        length = sound.num_samples
        if length < window_samples:
            sound = Waveform(np.tile(sound.piece(0, length), -(-window_samples // length)))
        windows.append(crop(sound, centre, window_samples))
    return np.stack(windows)


def mix_drawn(
    draw: SampledMixture,
    windows: Float32[np.ndarray, "heard C N"],
    sources: Sequence[SourceFile],
    settings: MixingSettings,
    generator: np.random.Generator,
) -> MixtureItem:
    """The mixture and its targets: windows of `draw.heard`, coloured and at levels drawn here.

    All channels of a sound have one gain and one colour. Departure: LAVSS's code draws a gain for
    each ear, which destroys the level difference that tells where the sound is.
    """
    num_shown = len(draw.targets)
    if settings.equaliser_db > 0:
        bands_db = generator.normal(0, settings.equaliser_db, (len(windows), NUM_BANDS))
        windows = equalise(windows, bands_db)
    gains = generator.uniform(*settings.gain_range, size=(len(windows), 1, 1))
    if draw.is_one_clip:
        gains[:num_shown] = gains[0]
    sounds = np.clip(windows * gains.astype(np.float32), -1, 1)
    silent = generator.random(num_shown) < settings.silent_probability
    silent[generator.integers(num_shown)] = False
    sounds[:num_shown][silent] = 0
    mixture, levelled = mix(sounds, settings.rule)
    targets = [sources[place] for place in draw.targets]
    names, categories = ([s.clip for s in targets], [s.category for s in targets])
    return MixtureItem(mixture, levelled[:num_shown], tuple(names), tuple(categories))


def mix(
    sounds: Float32[np.ndarray, "S *axes N"], rule: str
) -> tuple[Float32[np.ndarray, "*axes N"], Float32[np.ndarray, "S *axes N"]]:
    """The mixture and its targets under a rule of `MixingSettings`; silent rows do not count.

    Departure: the papers write the plain sum; their codes divide, each in its own way (REFERENCE
    2.1), which scores forgive and losses do not. The rule is therefore a named setting.
    """
    if rule == "sum":
        return sounds.sum(axis=0), sounds
    num_sounding = max(1, int(np.any(sounds != 0, axis=tuple(range(1, sounds.ndim))).sum()))
    divided = sounds / np.float32(num_sounding)
    return divided.sum(axis=0), sounds if rule == "mean-undivided" else divided


def crop(sound: Sound, centre: int, window_samples: int) -> Float32[np.ndarray, "C M"]:
    """A window around a sample, zeros beyond both ends.

    An odd window is filled up to its last sample, which stays zero: 65,534 of 65,535, as all codes
    of the field cut it.
    """
    half = window_samples // 2
    start, stop = max(0, centre - half), min(sound.num_samples, centre + half)
    found = sound.piece(min(start, stop), max(stop, 0))
    window = np.zeros((found.shape[0], window_samples), dtype=np.float32)
    offset = start - (centre - half)
    window[:, offset : offset + found.shape[1]] = found
    return window


def to_batch(items: Sequence[MixtureItem]) -> Batch:
    """Items as one batch; they must have the same number of sources, channels and samples."""
    mixture = torch.from_numpy(np.stack([item.mixture for item in items]))  # B C N
    sources = torch.from_numpy(np.stack([item.sources for item in items]))  # B S C N
    return Batch(mixture, sources)
