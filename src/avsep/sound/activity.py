"""The sounds of a whole mixture over time, and the sounds that things of a picture make."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avsep.labels import normalise_label
from avsep.sound.classifier import SoundClassifier, classify_windows, load_classifier
from avsep.sound.resampling import BlockResampler
from avsep.sound.windows import SampleBuffer

_STEP_SECONDS = 1.0
_WINDOWS_AT_ONCE = 16
# One window may be mistaken: an object must be heard in this many, or in all of a short sound.
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
        name = normalise_label(word)
        sounds = SOUNDS_OF_WORD.get(name, (name,))
        places = [self.labels.index(sound) for sound in sounds if sound in self.labels]
        return self.probabilities[:, places].max(axis=1) if places else None


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


def peak_probability(curve: Float32[np.ndarray, " W"]) -> float:
    """Return the probability that is reached in several windows."""
    ordered = np.sort(curve)[::-1]
    return float(ordered[min(_NUM_HEARD, len(ordered)) - 1])
