"""Mix-and-separate: sounds of different clips added up, so that the truth of a mixture is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32

from avsep.data.clips import ClipFiles, SourceFile, read_sound
from avsep.data.draws import MAXIMUM_DRAWS, Draw, Draws, MixingSettings
from avsep.errors import InputError
from avsep.records import Batch
from avsep.sound.equaliser import NUM_BANDS, equalise
from avsep.sound.front_end import FrontEndSettings


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
class MixedItem:
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
        self.draws = Draws(
            [source.clip for source in self.sources],
            [source.category for source in self.sources],
            self.settings,
        )

    def __len__(self) -> int:
        return len(self.sources) * self.settings.repeats

    def __getitem__(self, index: int) -> MixedItem:
        """The mixture of this index in the current epoch."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of {len(self)}")
        generator = np.random.default_rng([self.seed, self.epoch, index])
        skipped: list[str] = []
        first = index % len(self.sources)
        for _ in range(MAXIMUM_DRAWS):
            draw = self.draws.draw(first, generator)
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
        self, draw: Draw, generator: np.random.Generator, skipped: tuple[str, ...]
    ) -> MixedItem:
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


def mixture_of(clip: ClipFiles, front_end: FrontEndSettings, *, whole: bool = False) -> MixedItem:
    """A clip as it is: its own sources at their own level, and what is heard unseen.

    The window in its middle, or all of it. The item has one name, the clip's.
    """
    rate_hz, channels = front_end.sample_rate_hz, front_end.num_channels
    paths = (*(source.path for source in clip.sources), *clip.unseen)
    sounds = [read_sound(path, rate_hz, channels) for path in paths]
    if len({sound.shape[1] for sound in sounds}) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    if not whole:
        middle, num_samples = sounds[0].shape[1] // 2, front_end.window_samples
        sounds = [crop(Waveform(sound), middle, num_samples) for sound in sounds]
    stems = np.stack(sounds)  # sources, then what is unseen
    categories = tuple(source.category for source in clip.sources)
    return MixedItem(stems.sum(axis=0), stems[: len(clip.sources)], (clip.name,), categories)


def centres_of(
    draw: Draw,
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
        num_shown = len(draw.shown)
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
    draw: Draw,
    windows: Float32[np.ndarray, "heard C N"],
    sources: Sequence[SourceFile],
    settings: MixingSettings,
    generator: np.random.Generator,
) -> MixedItem:
    """The mixture and its targets: windows of `draw.heard`, coloured and at levels drawn here.

    All channels of a sound have one gain and one colour. Departure: LAVSS's code draws a gain for
    each ear, which destroys the level difference that tells where the sound is.
    """
    num_shown = len(draw.shown)
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
    shown = [sources[place] for place in draw.shown]
    names, categories = ([s.clip for s in shown], [s.category for s in shown])
    return MixedItem(mixture, levelled[:num_shown], tuple(names), tuple(categories))


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


def to_batch(items: Sequence[MixedItem]) -> Batch:
    """Items as one batch; they must have the same number of sources, channels and samples."""
    mixture = torch.from_numpy(np.stack([item.mixture for item in items]))  # B C N
    sources = torch.from_numpy(np.stack([item.sources for item in items]))  # B S C N
    return Batch(mixture, sources)
