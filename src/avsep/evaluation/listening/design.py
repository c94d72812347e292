"""Design a blind listening test of two methods: trials in random order and their key.

Source: DAVIS, section 4.3: listeners compare two results with the true sound and the frame, and
choose the closer one.
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

# Quoted from DAVIS, section 4.3.
QUESTION = (
    "Which separation result is closer to the ground truth audio and better matches the frame "
    "content?"
)
# RMS of every sound, in dB of full scale: the level of EBU R 128, which leaves room for most peaks.
# Lower for all sounds of a trial where one would clip.
LOUDNESS_DB = -23.0
_MAX_PEAK = 0.98  # below full scale, so that 16-bit rounding cannot clip
KEY_FORMAT = "avsep listening key 1"


class TrialKey(BaseModel):
    """The mixture, source and methods of one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: str = Field(min_length=1, max_length=64)
    mixture: str
    source: int = Field(ge=1, description="number in the mixture")
    category: str
    first: str = Field(description="the method that is A")
    second: str = Field(description="the method that is B")


class ListeningKey(BaseModel):
    """The key of a listening test: the methods behind A and B, for the organiser only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["avsep listening key 1"] = KEY_FORMAT
    test: str = Field(min_length=1, max_length=64)
    data: str
    seed: int = Field(ge=0)
    methods: tuple[str, str]
    trials: tuple[TrialKey, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _is_consistent(self) -> "ListeningKey":
        if len({trial.trial for trial in self.trials}) < len(self.trials):
            raise ValueError("two trials have the same id")
        for trial in self.trials:
            if sorted((trial.first, trial.second)) != sorted(self.methods):
                raise ValueError(f"trial {trial.trial} is not of the two methods")
        return self


@dataclass(frozen=True)
class Trial:
    """One question: the true sound and two anonymous estimates.

    Attributes:
        identifier: random id, which does not reveal the methods.
        picture: JPEG with the object marked; None if no frame can be decoded.
    """

    identifier: str
    truth: Float32[np.ndarray, "C N"]
    first: Float32[np.ndarray, "C N"]
    second: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    picture: bytes | None


@dataclass(frozen=True)
class ListeningTest:
    """A listening test: trials for the listeners, the key for the organiser."""

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
    """Make a trial for every source of `num_mixtures` mixtures of two or more sources.

    Mixtures, order of trials and assignment of A and B are drawn from the seed; each method is A
    in half of the trials. All sounds of a trial have the same root mean square. Sources that are
    silent, or of which both estimates are equal to the last bit, get no trial.

    Raises:
        InputError: not two methods; no source to compare.
    """
    if len(methods) != 2:
        names = ", ".join(method.name for method in methods) or "none"
        raise InputError(
            f"a listening test compares two methods, and this is {len(methods)} ({names}); "
            "give two names, or one model with --labels both"
        )
    generator = np.random.default_rng(seed)
    pool: list[tuple[Example, int]] = []
    num_used = 0
    for index in generator.permutation(len(reader.mixtures)).tolist():
        if len(reader.mixtures[index].parts) < 2:
            continue
        example = make_example(methods, reader, index, seed, device)
        places = [i for i in range(len(example.categories)) if _is_comparable(example, i)]
        pool += [(example, place) for place in places]
        num_used += bool(places)
        if num_used == num_mixtures:
            break
    if not pool:
        raise InputError(
            "there is nothing to compare: no mixture of these data has two sources that sound and "
            "that the two methods estimate differently; give other data or methods"
        )
    return _build_test(pool, data_name, seed, generator)


def _is_comparable(example: Example, place: int) -> bool:
    """Return True if a source sounds and the two estimates of it differ."""
    first, second = (estimate.waveforms[place] for estimate in example.estimates.values())
    return not is_silent(example.sources[place]).all() and not np.array_equal(first, second)


def _build_test(
    pool: Sequence[tuple[Example, int]],
    data_name: str,
    seed: int,
    generator: np.random.Generator,
) -> ListeningTest:
    """Draw the order of the trials and which method is A in each."""
    names = list(pool[0][0].estimates)
    pool = [pool[number] for number in generator.permutation(len(pool))]
    # A permutation of 0, 1, 0, 1, ... instead of coin tosses: each method is A in half of them.
    swapped = generator.permutation(np.arange(len(pool)) % 2).astype(bool)
    trials, keys = [], []
    for (example, place), is_swapped in zip(pool, swapped.tolist(), strict=True):
        first, second = reversed(names) if is_swapped else names
        # Drawn from the seed too: the same command gives the same page to the byte.
        identifier = generator.bytes(6).hex()
        estimates = [example.estimates[name].waveforms[place] for name in (first, second)]
        truth, sound_a, sound_b = match_loudness([example.sources[place], *estimates])
        rate_hz, picture = example.sample_rate_hz, example.pictures[place]
        trials.append(Trial(identifier, truth, sound_a, sound_b, rate_hz, picture))
        keys.append(
            TrialKey(
                trial=identifier, mixture=example.name, source=place + 1,
                category=example.categories[place], first=first, second=second,
            )
        )  # fmt: skip
    key = ListeningKey(
        test=_digest(trials), data=data_name, seed=seed, methods=(names[0], names[1]),
        trials=tuple(keys),
    )  # fmt: skip
    return ListeningTest(key, tuple(trials))


def match_loudness(
    sounds: Sequence[Float32[np.ndarray, "C N"]],
) -> list[Float32[np.ndarray, "C N"]]:
    """Scale sounds to one root mean square, -23 dB, or lower for all if one would clip.

    Silence stays silence.
    """
    target_rms = 10 ** (LOUDNESS_DB / 20)
    matched = []
    for sound in sounds:
        rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
        matched.append(sound if is_silent(sound).all() else sound * (target_rms / rms))
    peak = max(float(np.abs(sound).max(initial=0)) for sound in matched)
    gain = min(1.0, _MAX_PEAK / peak) if peak > 0 else 1.0
    return [(sound * gain).astype(np.float32) for sound in matched]


def _digest(trials: Sequence[Trial]) -> str:
    """Return the test's id, a digest of its sounds in their order."""
    digest = hashlib.sha256()
    for trial in trials:
        digest.update(trial.identifier.encode())
        for sound in (trial.truth, trial.first, trial.second):
            digest.update(sound.tobytes())
    return digest.hexdigest()[:16]
