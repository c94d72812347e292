"""What is separated: a clip's own sources as they sound together, or sources of several clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avsep.data.clips import ClipFiles, SourceFile, read_sound
from avsep.data.mixing import MixedItem, Waveform, crop, mix, windows_of
from avsep.errors import InputError
from avsep.sound.front_end import FrontEndSettings


@dataclass(frozen=True)
class Part:
    """One source of a mixture: the clip it is of, and its place in that clip."""

    clip: ClipFiles
    place: int = 0

    @property
    def source(self) -> SourceFile:
        """Its sound, category and object."""
        return self.clip.sources[self.place]


@dataclass(frozen=True)
class Mixture:
    """One mixture of a benchmark.

    Attributes:
        name: of the clip, or of all clips.
        parts: its sources, in the order in which they are scored.
        rule: how sounds of several clips are added up (`MixingSettings.rule`); none: the parts are
            one clip's, which sounds as it is, with what is unseen in it.
    """

    name: str
    parts: tuple[Part, ...]
    rule: str | None = None

    @property
    def categories(self) -> tuple[str, ...]:
        """Of each source."""
        return tuple(part.source.category for part in self.parts)

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the clips it is made of, each once."""
        return tuple(dict.fromkeys(part.clip.name for part in self.parts))


def own_mixture(clip: ClipFiles) -> Mixture:
    """A clip as the mixture of its own sources."""
    return Mixture(clip.name, tuple(Part(clip, place) for place in range(len(clip.sources))))


def as_mixtures(given: Sequence[ClipFiles | Mixture]) -> tuple[Mixture, ...]:
    """Mixtures, among which a clip stands for that of its own sources."""
    return tuple(one if isinstance(one, Mixture) else own_mixture(one) for one in given)


@dataclass(frozen=True)
class ClipWindow:
    """The window in the middle of a clip's sounds.

    Attributes:
        sounds: its sources, then what is unseen.
        start_seconds: of the window; before the clip begins where that is shorter.
        repeated_seconds: length of a clip that is shorter and sounds again and again; none: it
            does not.
    """

    sounds: Float32[np.ndarray, "heard C N"]
    start_seconds: float
    repeated_seconds: float | None = None


def middle_of(clip: ClipFiles, front_end: FrontEndSettings, *, repeat: bool) -> ClipWindow:
    """The window in the middle of a clip; InputError for stems of unequal length.

    A clip that is shorter stands between zeros or, with `repeat`, is repeated, as all codes of the
    field do with the solos they mix.
    """
    rate_hz, num_samples = front_end.sample_rate_hz, front_end.window_samples
    paths = (*(source.path for source in clip.sources), *clip.unseen)
    sounds = [Waveform(read_sound(path, rate_hz, front_end.num_channels)) for path in paths]
    lengths = {sound.num_samples for sound in sounds}
    if len(lengths) > 1:
        raise InputError(f"the stems of clip '{clip.name}' differ in length: make the clip again")
    length = lengths.pop()
    is_repeated = repeat and length < num_samples
    centre = (length * -(-num_samples // length) if is_repeated else length) // 2
    if is_repeated:
        windows = windows_of(sounds, [centre] * len(sounds), num_samples)
    else:
        windows = np.stack([crop(sound, centre, num_samples) for sound in sounds])
    start_seconds = (centre - num_samples // 2) / rate_hz
    return ClipWindow(windows, start_seconds, length / rate_hz if is_repeated else None)


def mix_windows(mixture: Mixture, windows: Sequence[ClipWindow]) -> MixedItem:
    """The sound of a mixture and its truth.

    Args:
        mixture: what is mixed.
        windows: of each part's clip, in the order of the parts.
    """
    if mixture.rule is None:
        stems = windows[0].sounds
        chosen = stems[[part.place for part in mixture.parts]]
        return MixedItem(stems.sum(axis=0), chosen, mixture.videos, mixture.categories)
    sounds = np.stack(
        [window.sounds[part.place] for part, window in zip(mixture.parts, windows, strict=True)]
    )
    mixed, levelled = mix(sounds, mixture.rule)
    names = tuple(part.clip.name for part in mixture.parts)
    return MixedItem(mixed, levelled, names, mixture.categories)
