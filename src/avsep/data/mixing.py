"""Mix-and-separate: sounds of different clips added up, so that the truth of a mixture is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.data.clips import ClipFiles, SourceFile, read_sound
from avsep.errors import InputError
from avsep.records import Batch
from avsep.sound.front_end import FrontEndSettings

# A pair is drawn anew this often before a list of broken clips is given up.
MAXIMUM_DRAWS = 20


class MixingSettings(BaseModel):
    """How sources are drawn, and at what level they are added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_sources: int = Field(default=2, ge=2, le=4, description="sources in a mixture")
    distinct_categories: bool = Field(
        default=True,
        description="no two sources of one category (iQuery, DAVIS); clips always differ",
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
    silent_probability: float = Field(
        default=0.0, ge=0, lt=1, description="that a source, all but one, is silent though seen"
    )
    position: Literal["random", "middle"] = Field(
        default="random", description="where in its file a source is cut; middle for testing"
    )
    broken: Literal["error", "skip"] = Field(
        default="error", description="a file that cannot be read stops, or is redrawn and counted"
    )
    repeats: int = Field(default=1, ge=1, description="mixtures a source begins in one epoch")

    @model_validator(mode="after")
    def _gains_in_order(self) -> "MixingSettings":
        if not 0 < self.gain_range[0] <= self.gain_range[1]:
            raise ValueError(f"gain_range {self.gain_range} must hold 0 < lowest <= highest")
        return self


@dataclass(frozen=True)
class MixedItem:
    """One mixture and its truth.

    Attributes:
        names: clip of each source. categories: of each source.
        skipped: files that could not be read while this item was drawn, each with the reason.
    """

    mixture: Float32[np.ndarray, " N"]
    sources: Float32[np.ndarray, "S N"]
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
        self._check_enough()

    def __len__(self) -> int:
        return len(self.sources) * self.settings.repeats

    def __getitem__(self, index: int) -> MixedItem:
        """The mixture of this index in the current epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        generator = np.random.default_rng([self.seed, self.epoch, index])
        skipped: list[str] = []
        first = self.sources[index % len(self.sources)]
        for _ in range(MAXIMUM_DRAWS):
            chosen = self._draw(first, generator)
            try:
                return self._mix(chosen, generator, tuple(skipped))
            except InputError as error:
                if self.settings.broken == "error":
                    raise
                skipped.append(str(error))
                first = self.sources[generator.integers(len(self.sources))]
        raise InputError(
            f"{MAXIMUM_DRAWS} draws in a row met files that cannot be read; the last: {skipped[-1]}"
        )

    def _draw(self, first: SourceFile, generator: np.random.Generator) -> list[SourceFile]:
        """The sources of one mixture: of clips, and where asked for of categories, that differ."""
        for _ in range(MAXIMUM_DRAWS):
            chosen = [first]
            while len(chosen) < self.settings.num_sources:
                partners = [source for source in self.sources if self._may_join(source, chosen)]
                if not partners:
                    break
                chosen.append(partners[generator.integers(len(partners))])
            else:
                return chosen
            # This first source leaves too few partners: another one begins instead.
            first = self.sources[generator.integers(len(self.sources))]
        raise InputError(
            f"found no {self.settings.num_sources} sources of different clips"
            f"{' and categories' if self.settings.distinct_categories else ''} in a list of "
            f"{len(self.sources)}: add clips, or ask for fewer sources"
        )

    def _may_join(self, source: SourceFile, chosen: Sequence[SourceFile]) -> bool:
        same_category = any(other.category == source.category for other in chosen)
        return all(other.clip != source.clip for other in chosen) and not (
            self.settings.distinct_categories and same_category
        )

    def _mix(
        self,
        chosen: Sequence[SourceFile],
        generator: np.random.Generator,
        skipped: tuple[str, ...],
    ) -> MixedItem:
        sounds = np.stack([self._read(source, generator) for source in chosen])  # S N
        gains = generator.uniform(*self.settings.gain_range, size=(len(chosen), 1))
        sounds = np.clip(sounds * gains.astype(np.float32), -1, 1)
        silent = generator.random(len(chosen)) < self.settings.silent_probability
        silent[generator.integers(len(chosen))] = False
        sounds[silent] = 0
        mixture, sources = mix(sounds, self.settings.rule)
        names = tuple(source.clip for source in chosen)
        return MixedItem(mixture, sources, names, tuple(s.category for s in chosen), skipped)

    def _read(
        self, source: SourceFile, generator: np.random.Generator
    ) -> Float32[np.ndarray, " N"]:
        rate_hz, window_samples = self.front_end.sample_rate_hz, self.front_end.window_samples
        waveform = read_sound(source.path, rate_hz)
        if len(waveform) < window_samples:  # short files are repeated, as all codes of the field do
            waveform = np.tile(waveform, -(-window_samples // len(waveform)))
        if self.settings.position == "middle":
            centre = len(waveform) // 2
        else:
            half = window_samples // 2
            centre = int(generator.integers(half, len(waveform) - half, endpoint=True))
        return crop(waveform, centre, window_samples)

    def _check_enough(self) -> None:
        num_clips = len({source.clip for source in self.sources})
        num_categories = len({source.category for source in self.sources})
        needed = self.settings.num_sources
        if num_clips < needed:
            raise InputError(
                f"mixtures of {needed} sources need as many clips, and the list holds {num_clips}"
            )
        if self.settings.distinct_categories and num_categories < needed:
            raise InputError(
                f"mixtures of {needed} distinct categories cannot be made of {num_categories}; "
                "set distinct_categories = false to mix sources of one category"
            )


def mixture_of(clip: ClipFiles, front_end: FrontEndSettings, *, whole: bool = False) -> MixedItem:
    """A clip as it is: its own sources at their own level, and what is heard unseen.

    The window in its middle, or all of it. The item has one name, the clip's.
    """
    rate_hz = front_end.sample_rate_hz
    sounds = [read_sound(path, rate_hz) for path in (*(s.path for s in clip.sources), *clip.unseen)]
    if len({len(sound) for sound in sounds}) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    if not whole:
        sounds = [crop(sound, len(sound) // 2, front_end.window_samples) for sound in sounds]
    stems = np.stack(sounds)  # sources, then what is unseen
    categories = tuple(source.category for source in clip.sources)
    return MixedItem(stems.sum(axis=0), stems[: len(clip.sources)], (clip.name,), categories)


def mix(
    sounds: Float32[np.ndarray, "S N"], rule: str
) -> tuple[Float32[np.ndarray, " N"], Float32[np.ndarray, "S N"]]:
    """The mixture and its targets under a rule of `MixingSettings`; silent rows do not count.

    Departure: the papers write the plain sum; their codes divide, each in its own way (REFERENCE
    2.1), which scores forgive and losses do not. The rule is therefore a named setting.
    """
    if rule == "sum":
        return sounds.sum(axis=0), sounds
    num_sounding = max(1, int(np.any(sounds != 0, axis=1).sum()))
    divided = sounds / np.float32(num_sounding)
    return divided.sum(axis=0), sounds if rule == "mean-undivided" else divided


def crop(
    waveform: Float32[np.ndarray, " N"], centre: int, window_samples: int
) -> Float32[np.ndarray, " M"]:
    """A window around a sample, zeros beyond both ends.

    An odd window is filled up to its last sample, which stays zero: 65,534 of 65,535, as all codes
    of the field cut it.
    """
    half = window_samples // 2
    window = np.zeros(window_samples, dtype=np.float32)
    start, stop = max(0, centre - half), min(len(waveform), centre + half)
    if start < stop:
        offset = start - (centre - half)
        window[offset : offset + stop - start] = waveform[start:stop]
    return window


def to_batch(items: Sequence[MixedItem]) -> Batch:
    """Items as one batch of one channel; they must have the same number of sources and samples."""
    mixture = torch.from_numpy(np.stack([item.mixture for item in items]))[:, None]  # B 1 N
    sources = torch.from_numpy(np.stack([item.sources for item in items]))[:, :, None]  # B S 1 N
    return Batch(mixture, sources)
