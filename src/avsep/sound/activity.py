"""The sounds of a whole mixture over time, as the sound classifier hears them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avsep.labels import normalise_label
from avsep.sound.classifier import SoundClassifier, classify_windows, load_classifier
from avsep.sound.resampling import BlockResampler
from avsep.sound.windows import SampleBuffer

# Probabilities from which a sound is heard, and below which it is not heard at all. In clips of ten
# seconds 3 % of the instruments that play were below the second, and 84 % of those that do not
# (model_cards/sound-classifier.md).
PRESENT_FROM, ABSENT_BELOW = 0.5, 0.01
_STEP_SECONDS = 1.0
_WINDOWS_AT_ONCE = 16
# One window may be mistaken: a sound must be heard in this many, or in all of a short file.
_NUM_HEARD = 2
# Words for objects -> sounds that they make, where these have other words.
SOUNDS_OF_WORD: dict[str, tuple[str, ...]] = {
    "baby": ("baby cry", "laughter"),
    "bongo": ("drums", "percussion"),
    "bus": ("engine", "car horn"),
    "cabasa": ("percussion",),
    "car": ("engine", "car horn"),
    "castanets": ("percussion",),
    "clock": ("clock tick", "clock alarm"),
    "computer keyboard": ("keyboard typing", "mouse click"),
    "concertina": ("accordion",),
    "drums": ("drums", "percussion"),
    "guiro": ("percussion",),
    "gun": ("fireworks", "door knock"),
    "hammer": ("door knock",),
    "maracas": ("percussion",),
    "motorcycle": ("engine",),
    "person": ("speech", "laughter", "coughing", "sneezing", "baby cry", "clapping", "snoring",
               "footsteps", "drinking", "brushing teeth"),
    "police car": ("siren", "engine", "car horn"),
    "tambourine": ("percussion",),
    "tap": ("pouring water", "toilet flush"),
    "truck": ("engine", "car horn"),
    "bird": ("bird", "crow", "rooster", "hen"),
}  # fmt: skip


@dataclass(frozen=True)
class SoundActivity:
    """The sounds of a whole file, as the classifier hears them.

    Attributes:
        probabilities: of each of its sounds in each window.
        step_seconds: from one window to the next.
        labels: words of the sounds.
    """

    probabilities: Float32[np.ndarray, "W labels"]
    step_seconds: float
    labels: tuple[str, ...]

    def of_word(self, word: str) -> Float32[np.ndarray, " W"] | None:
        """Return the probability over time of the sounds of an object; none for unknown ones."""
        return self._of_sounds(sounds_of(word))

    def peak(self, word: str) -> float | None:
        """Return the probability that the sounds of an object reach in several windows.

        None for unknown sounds, and for a file without a window.
        """
        return self._peak(sounds_of(word))

    def audible_sounds(self, word: str) -> frozenset[str]:
        """Return those of an object's sounds that are surely heard."""
        peaks = {sound: self._peak([sound]) for sound in sounds_of(word)}
        return frozenset(
            sound for sound, peak in peaks.items() if peak is not None and peak >= PRESENT_FROM
        )

    def loudest(self, sounds: Sequence[str]) -> str:
        """Return that of some sounds which is heard best; of equal ones the first."""
        return max(sounds, key=lambda sound: self._peak([sound]) or 0.0)

    def _of_sounds(self, sounds: Sequence[str]) -> Float32[np.ndarray, " W"] | None:
        places = [self.labels.index(sound) for sound in sounds if sound in self.labels]
        return self.probabilities[:, places].max(axis=1) if places else None

    def _peak(self, sounds: Sequence[str]) -> float | None:
        curve = self._of_sounds(sounds)
        if curve is None or not len(curve):
            return None
        ordered = np.sort(curve)[::-1]
        return float(ordered[min(_NUM_HEARD, len(ordered)) - 1])


def sounds_of(word: str) -> tuple[str, ...]:
    """Return the sounds that an object makes: its own word where it has no others.

    >>> sounds_of("Drums"), sounds_of("violin")
    (('drums', 'percussion'), ('violin',))
    """
    name = normalise_label(word)
    return SOUNDS_OF_WORD.get(name, (name,))


def makes_sounds_of(word: str) -> bool:
    """True for a word that is a sound of the shipped classifier, or an object that makes some."""
    name = normalise_label(word)
    return name in SOUNDS_OF_WORD or name in load_classifier().settings.labels


def listen(
    blocks: Iterable[Float32[np.ndarray, "C _"]],
    sample_rate_hz: int,
    classifier: SoundClassifier | None = None,
) -> SoundActivity:
    """Classify a whole sound, which is read block by block.

    Args:
        blocks: samples, of which all channels are averaged.
        sample_rate_hz: of the blocks.
        classifier: none: the shipped one.
    """
    classifier = classifier or load_classifier()
    settings = classifier.settings
    parts = []
    waiting: list[np.ndarray] = []
    step = round(_STEP_SECONDS * settings.sample_rate_hz)
    for window in _windows(
        blocks, sample_rate_hz, settings.sample_rate_hz, settings.window_samples, step
    ):
        waiting.append(window)
        if len(waiting) == _WINDOWS_AT_ONCE:
            parts.append(classify_windows(classifier, waiting))
            waiting.clear()
    if waiting:
        parts.append(classify_windows(classifier, waiting))
    empty = np.zeros((0, len(settings.labels)), np.float32)
    return SoundActivity(np.concatenate([empty, *parts]), _STEP_SECONDS, settings.labels)


def _windows(
    blocks: Iterable[Float32[np.ndarray, "C _"]],
    from_hz: int,
    to_hz: int,
    length: int,
    step: int,
) -> Iterator[Float32[np.ndarray, "_"]]:
    """Yield windows of the resampled mean of all channels; the last ones are shorter."""
    resampler, buffer, start = BlockResampler(1, from_hz, to_hz), SampleBuffer(1), 0
    for block in blocks:
        buffer.append(resampler.push(block.mean(axis=0, keepdims=True, dtype=np.float32)))
        while buffer.end >= start + length:
            yield buffer.cut(start, length)[0]
            start += step
            buffer.drop_before(start)
    buffer.append(resampler.flush())
    while start < buffer.end and (start == 0 or buffer.end - start > length - step):
        yield buffer.cut(start, length)[0]
        start += step
