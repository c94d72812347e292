"""Judge which objects are heard at all: the sound classifier on the whole mixture.

A violin and a piano are in the picture, and the violin plays: a separator gives the piano a share
too. An object whose sound the classifier knows and does not hear anywhere is absent, if another
object of the picture is heard: where no object is, the classifier may not know this kind of
recording, and all of them are uncertain.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from avsep.sound.activity import ABSENT_BELOW, PRESENT_FROM, SoundActivity

PresenceState = Literal["present", "uncertain", "absent"]
# The way to a stem: by the model; an equal share of what the model's objects leave; silence.
SeparatedAs = Literal["model", "rest", "silence"]


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


def judge_presence(
    words: Sequence[str | None], activity: SoundActivity
) -> tuple[ObjectPresence, ...]:
    """Judge which objects are heard.

    Args:
        words: word for each object; none for an object without one.
        activity: sounds of the whole file.
    """
    curves = [None if word is None else activity.of_word(word) for word in words]
    peaks = [None if word is None else activity.peak(word) for word in words]
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
