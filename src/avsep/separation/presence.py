"""Judge which objects are heard at all: the sound classifier on the whole mixture.

A violin and a piano are in the picture, and the violin plays: a separator gives the piano a share
too. An object whose sound the classifier knows and does not hear anywhere is absent, if another
object of the picture is heard: where no object is, the classifier may not know this kind of
recording, and all of them are uncertain.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from avsep.labels import normalise_label
from avsep.sound.classifier import SoundClassifier, classify_windows, load_classifier
from avsep.sound.resampling import BlockResampler
from avsep.sound.windows import SampleBuffer

PresenceState = Literal["present", "uncertain", "absent"]
# The way to a stem: by the model; an equal share of what the model's objects leave; silence.
SeparatedAs = Literal["model", "rest", "silence"]
# Probabilities of the classifier. In clips of ten seconds 3 % of the instruments that play were
# below the second, and 84 % of those that do not (model_cards/sound-classifier.md).
PRESENT_FROM, ABSENT_BELOW = 0.5, 0.01
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


@dataclass(frozen=True)
class ObjectPresence:
    """The judgement for one object.

    Attributes:
        state: whether it is heard.
        confidence: probability of the windows in which it is heard best; 0 where the classifier
            does not know its sound.
        over_time: probability of each second; empty where the classifier does not know its sound.
    """

    state: PresenceState
    confidence: float = 0.0
    over_time: tuple[float, ...] = ()


NOT_JUDGED = ObjectPresence("uncertain")


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


def judge_presence(
    words: Sequence[str | None], activity: SoundActivity
) -> tuple[ObjectPresence, ...]:
    """Judge which objects are heard.

    Args:
        words: word for each object; none for an object without one.
        activity: sounds of the whole file.
    """
    curves = [None if word is None else activity.of_word(word) for word in words]
    peaks = [None if curve is None or not len(curve) else _peak(curve) for curve in curves]
    is_any_heard = any(peak is not None and peak >= PRESENT_FROM for peak in peaks)
    judged = []
    for curve, peak in zip(curves, peaks, strict=True):
        if curve is None or peak is None:
            judged.append(ObjectPresence("uncertain"))
            continue
        state: PresenceState = "uncertain"
        if peak >= PRESENT_FROM:
            state = "present"
        elif peak < ABSENT_BELOW and is_any_heard:
            state = "absent"
        over_time = tuple(round(float(value), 2) for value in curve)
        judged.append(ObjectPresence(state, round(peak, 3), over_time))
    return tuple(judged)


def _peak(curve: Float32[np.ndarray, " W"]) -> float:
    """Return the probability that is reached in several windows."""
    ordered = np.sort(curve)[::-1]
    return float(ordered[min(_NUM_HEARD, len(ordered)) - 1])
