"""Test presence: words and their sounds, the judgement, and windows of a stream."""

import numpy as np
import pytest

from avsep.separation.presence import judge_presence
from avsep.sound.activity import (
    ABSENT_BELOW,
    PRESENT_FROM,
    SoundActivity,
    listen,
    makes_sounds_of,
)
from avsep.sound.classifier import load_classifier

LABELS = ("violin", "piano", "speech", "dog")


def activity(*rows: tuple[float, ...]) -> SoundActivity:
    return SoundActivity(np.array(rows, np.float32).reshape(-1, 4), 1.0, LABELS)


def test_an_object_is_heard_absent_or_uncertain() -> None:
    sounds = activity((0.9, 0.004, 0.0, 0.2), (0.8, 0.02, 0.0, 0.3), (0.1, 0.0, 0.0, 0.1))
    states = [item.state for item in judge_presence(["violin", "piano", "dog", "kazoo"], sounds)]
    assert states == ["present", "absent", "uncertain", "uncertain"]
    violin, piano, _, kazoo = judge_presence(["violin", "piano", "dog", "kazoo"], sounds)
    assert violin.confidence == pytest.approx(0.8) and piano.confidence == pytest.approx(0.004)
    assert violin.over_time == pytest.approx((0.9, 0.8, 0.1)) and kazoo.over_time == ()


def test_nothing_is_absent_where_nothing_is_heard() -> None:
    """The classifier may not know the recording; never all objects are silenced."""
    sounds = activity((0.02, 0.01, 0.0, 0.0), (0.03, 0.0, 0.0, 0.0))
    assert {item.state for item in judge_presence(["violin", "piano"], sounds)} == {"uncertain"}
    assert ABSENT_BELOW < PRESENT_FROM


def test_one_window_alone_is_no_proof() -> None:
    sounds = activity((0.9, 0.0, 0.0, 0.0), (0.3, 0.0, 0.0, 0.0), (0.2, 0.0, 0.0, 0.0))
    assert judge_presence(["violin"], sounds)[0].state == "uncertain"
    assert judge_presence(["violin"], activity((0.9, 0.0, 0.0, 0.0)))[0].state == "present"


def test_objects_make_sounds_of_other_words() -> None:
    sounds = activity((0.0, 0.0, 0.7, 0.0), (0.0, 0.0, 0.7, 0.0))
    person, dog, nobody = judge_presence(["Person", "dog", None], sounds)
    assert (person.state, dog.state, nobody.state) == ("present", "absent", "uncertain")
    assert makes_sounds_of("person") and makes_sounds_of("violin") and not makes_sounds_of("kazoo")


@pytest.mark.parametrize("num_samples", [1, 8000, 16_000, 40_000, 100_001])
def test_a_sound_is_heard_in_windows_whatever_its_blocks(num_samples: int) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, (2, num_samples)).astype(np.float32)
    cuts = [[sound], np.array_split(sound, 7, axis=1)]
    heard = [listen(blocks, 8000, load_classifier()) for blocks in cuts]
    seconds = num_samples / 8000
    assert len(heard[0].probabilities) == max(1, int(np.ceil(round(seconds - 1, 6))))
    np.testing.assert_allclose(*(item.probabilities for item in heard), atol=1e-4)
