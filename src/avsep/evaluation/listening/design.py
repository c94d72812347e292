"""A listening test of two separators: trials in a drawn order, and the key that names them.

Source: DAVIS, section 4.3: listeners hear the true sound and see the frame, and say which of two
results is closer.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.errors import InputError
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.methods import CPU, Method
from avsep.evaluation.protocol import is_silent
from avsep.evaluation.results.examples import Example, make_example

# The paper's own words.
QUESTION = (
    "Which separation result is closer to the ground truth audio and better matches the frame "
    "content?"
)
LOUDNESS_DB = -23.0  # of every sound's root mean square, full scale 0; less where it would clip
_HIGHEST_PEAK = 0.98
KEY_FORMAT = "avsep listening key 1"


class TrialKey(BaseModel):
    """What stands behind one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str = Field(min_length=1, max_length=64)
    mixture: str
    source: int = Field(ge=1, description="number in the mixture")
    category: str
    first: str = Field(description="the separator that is A")
    second: str = Field(description="the separator that is B")


class ListeningKey(BaseModel):
    """Which separator is which, for the organiser alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["avsep listening key 1"] = KEY_FORMAT
    test: str = Field(min_length=1, max_length=64)
    data: str
    seed: int = Field(ge=0)
    separators: tuple[str, str]
    trials: tuple[TrialKey, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ListeningKey":
        if len({trial.trial for trial in self.trials}) < len(self.trials):
            raise ValueError("two trials have the same id")
        for trial in self.trials:
            if sorted((trial.first, trial.second)) != sorted(self.separators):
                raise ValueError(f"trial {trial.trial} is not of the two separators")
        return self


@dataclass(frozen=True)
class Trial:
    """One question: the truth, and two estimates of which nothing says whose they are.

    Attributes:
        picture: JPEG with the object marked; none where none can be read.
    """

    identifier: str
    truth: Float32[np.ndarray, "C N"]
    first: Float32[np.ndarray, "C N"]
    second: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    picture: bytes | None


@dataclass(frozen=True)
class ListeningTest:
    """Trials for the listeners, the key for the organiser."""

    key: ListeningKey
    trials: tuple[Trial, ...]


def make_listening_test(
    methods: Sequence[Method],
    reader: ClipReader,
    data_name: str,
    num_mixtures: int,
    seed: int = 0,
    device: torch.device = CPU,
) -> ListeningTest:
    """A trial for every source of so many mixtures, drawn from those with two sources and more.

    Mixtures, order of trials and which separator is A are drawn from the seed; each is A in half
    of the trials. All sounds of a trial have the same root mean square. No trial is made of a
    source that is silent, or that both answer alike to the last bit.

    Raises:
        InputError: not two contenders; nothing to compare.
    """
    if len(methods) != 2:
        names = ", ".join(one.name for one in methods) or "none"
        raise InputError(
            f"a listening test compares two separators, and this is {len(methods)} ({names}); "
            "give two names, or one model with --labels both"
        )
    generator = np.random.default_rng(seed)
    asked: list[tuple[Example, int]] = []
    num_asked = 0
    for index in generator.permutation(len(reader.mixtures)).tolist():
        if len(reader.mixtures[index].parts) < 2:
            continue
        example = make_example(methods, reader, index, seed, device)
        found = [place for place in range(len(example.categories)) if _can_be_told(example, place)]
        asked += [(example, place) for place in found]
        num_asked += bool(found)
        if num_asked == num_mixtures:
            break
    if not asked:
        raise InputError(
            "there is nothing to compare: no mixture of these data has two sources that sound and "
            "that the two separators answer differently; give other data or separators"
        )
    return _as_test(asked, data_name, seed, generator)


def _can_be_told(example: Example, place: int) -> bool:
    """Whether there is a truth to hear, and a difference between the two answers."""
    one, other = (answer.waveforms[place] for answer in example.estimates.values())
    return not is_silent(example.sources[place]).all() and not np.array_equal(one, other)


def _as_test(
    asked: Sequence[tuple[Example, int]],
    data_name: str,
    seed: int,
    generator: np.random.Generator,
) -> ListeningTest:
    names = list(asked[0][0].estimates)
    asked = [asked[number] for number in generator.permutation(len(asked))]
    swapped = generator.permutation(np.arange(len(asked)) % 2).astype(bool)
    trials, keys = [], []
    for (example, place), is_swapped in zip(asked, swapped.tolist(), strict=True):
        first, second = reversed(names) if is_swapped else names
        identifier = generator.bytes(6).hex()
        estimates = [example.estimates[name].waveforms[place] for name in (first, second)]
        truth, sound_a, sound_b = equally_loud([example.sources[place], *estimates])
        rate_hz, picture = example.sample_rate_hz, example.pictures[place]
        trials.append(Trial(identifier, truth, sound_a, sound_b, rate_hz, picture))
        keys.append(
            TrialKey(
                trial=identifier, mixture=example.name, source=place + 1,
                category=example.categories[place], first=first, second=second,
            )
        )  # fmt: skip
    key = ListeningKey(
        test=_digest(trials), data=data_name, seed=seed, separators=(names[0], names[1]),
        trials=tuple(keys),
    )  # fmt: skip
    return ListeningTest(key, tuple(trials))


def equally_loud(
    sounds: Sequence[Float32[np.ndarray, "C N"]],
) -> list[Float32[np.ndarray, "C N"]]:
    """The sounds at one root mean square, -23 dB, or lower for all where one would clip.

    Silence stays silence.
    """
    wanted = 10 ** (LOUDNESS_DB / 20)
    matched = []
    for sound in sounds:
        effective = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
        matched.append(sound if is_silent(sound).all() else sound * (wanted / effective))
    peak = max(float(np.abs(sound).max(initial=0)) for sound in matched)
    gain = min(1.0, _HIGHEST_PEAK / peak) if peak > 0 else 1.0
    return [(sound * gain).astype(np.float32) for sound in matched]


def _digest(trials: Sequence[Trial]) -> str:
    """The test's name: the same sounds in the same order are the same test."""
    digest = hashlib.sha256()
    for trial in trials:
        digest.update(trial.identifier.encode())
        for sound in (trial.truth, trial.first, trial.second):
            digest.update(sound.tobytes())
    return digest.hexdigest()[:16]
