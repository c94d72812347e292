"""Name objects without a label, for models that read a category: by their crops and by the sound.

A thing that is likely by its picture and heard comes before one that is likelier and not heard: a
drum kit from above may look like a tambourine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from avsep.labels import normalise_label
from avsep.records import Cues
from avsep.sound.activity import SOUNDS_OF_WORD, SoundActivity, listen, peak_probability
from avsep.sound.classifier import load_classifier
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from avsep.vision.namer import load_namer

# Probability from which a category counts as sure, and one from which a thing is of another kind:
# that costs more where it is wrong, and photographs of instruments reach a half.
_SURE_FROM, _OTHER_FROM = 0.5, 0.7
# Share of the windows that the sound classifier was trained on in which each of its sounds is
# heard: 1.8 of 72 sounds in each. What it hears less often speaks against a thing.
_HEARD_SHARE = 0.025
# The sound makes a name no more than this many times likelier, or less likely: the classifier is
# mistaken in about one window of twenty (model_cards/sound-classifier.md).
_MOST_EVIDENCE = 20.0


@dataclass(frozen=True)
class Naming:
    """The name of one object among the categories of a model.

    Attributes:
        index: of the likeliest category.
        is_sure: that category is sure.
        is_other: the thing is surely of another kind.
        word: the likeliest of all words that the namer has.
        picture_word: the likeliest by the picture alone.
    """

    index: int
    is_sure: bool
    is_other: bool
    word: str
    picture_word: str


def name_objects(
    crops: Sequence[UInt8[Tensor, "K 3 H W"]],
    categories: Sequence[str],
    activity: SoundActivity | None = None,
) -> tuple[Naming, ...] | None:
    """Name the objects of one mixture among a model's categories.

    Args:
        crops: of each object.
        categories: of the model.
        activity: sounds that are heard in the mixture; none: the pictures alone.

    Returns:
        A name for each object; none where a category is neither a word of the namer nor a sound of
        the classifier, as the object may be that.
    """
    if not can_name(categories):
        return None
    namer, encoder = load_namer(), load_efficientnet_lite()
    by_picture = [namer.probabilities(item, encoder) for item in crops]
    surely = [
        {word for word, share in shares.items() if share >= _SURE_FROM} for shares in by_picture
    ]
    namings = []
    for index, shares in enumerate(by_picture):
        # What another object surely is explains its sound.
        explained = set[str]().union(*surely[:index], *surely[index + 1 :]) - surely[index]
        weighed = shares if activity is None else weigh_by_sound(shares, activity, explained)
        namings.append(_choose(shares, weighed, categories, activity))
    return tuple(namings)


def can_name(categories: Sequence[str]) -> bool:
    """True for categories of which each is a word of the namer or a sound of the classifier."""
    words = {*load_namer().words, *load_classifier().settings.labels}
    return bool(categories) and all(normalise_label(item) in words for item in categories)


def weigh_by_sound(
    shares: Mapping[str, float], activity: SoundActivity, explained: set[str]
) -> dict[str, float]:
    """Return the probability of each word by picture and sound, which sum to 1.

    Bayes' rule, with the picture and the sound taken as independent: the odds of the sound, as the
    classifier hears it, over those before it has heard anything.

    Args:
        shares: by the picture.
        activity: of the mixture.
        explained: words whose sound another object makes, so that it does not speak for this one.
    """
    weighed = {}
    for word, share in shares.items():
        curve = activity.of_word(word)
        evidence = 1.0
        if curve is not None and len(curve):
            probability = min(peak_probability(curve), 1 - 1e-6)
            odds = probability / (1 - probability) * (1 - _HEARD_SHARE) / _HEARD_SHARE
            evidence = float(np.clip(odds, 1 / _MOST_EVIDENCE, _MOST_EVIDENCE))
        weighed[word] = share * (min(evidence, 1.0) if word in explained else evidence)
    total = sum(weighed.values())
    return {word: share / total for word, share in weighed.items()}


def best_heard(sounds: Sequence[int], categories: Sequence[str], activity: SoundActivity) -> int:
    """Return that of some categories which is heard best in a mixture."""

    def loudest(index: int) -> float:
        curve = activity.of_word(categories[index])
        return 0.0 if curve is None or not len(curve) else peak_probability(curve)

    return max(sounds, key=loudest)


def categories_of_word(word: str, categories: Sequence[str]) -> tuple[int, ...]:
    """Return the index of the category that a word is; else of those of the sounds it makes.

    >>> categories_of_word("person", ["dog", "speech", "laughter"])
    (1, 2)
    """
    names = [normalise_label(item) for item in categories]
    if word in names:
        return (names.index(word),)
    return tuple(names.index(sound) for sound in SOUNDS_OF_WORD.get(word, ()) if sound in names)


def _choose(
    shares: Mapping[str, float],
    weighed: Mapping[str, float],
    categories: Sequence[str],
    activity: SoundActivity | None,
) -> Naming:
    totals = np.zeros(len(categories))
    for word, share in weighed.items():
        sounds = categories_of_word(word, categories)
        if sounds:
            place = sounds[0] if activity is None else best_heard(sounds, categories, activity)
            totals[place] += share
    index = int(totals.argmax())
    return Naming(
        index,
        is_sure=bool(totals[index] >= _SURE_FROM),
        is_other=bool(1 - totals.sum() >= _OTHER_FROM),
        word=max(weighed, key=lambda word: weighed[word]),
        picture_word=max(shares, key=lambda word: shares[word]),
    )


def name_sources(
    cues: Cues,
    categories: Sequence[str],
    mixture: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
) -> Cues:
    """Return the cues with the likeliest category for each visible source that has none.

    Args:
        cues: of one mixture, a batch of one.
        categories: of the model.
        mixture: its sound.
        sample_rate_hz: of the sound.
    """
    if cues.crops is None or not can_name(categories):
        return cues
    assert len(cues.crops) == 1, "cues of one mixture"
    category = torch.full((1, cues.crops.shape[1]), -1)
    category = category if cues.category is None else cues.category.clone()
    is_visible = torch.ones_like(category, dtype=torch.bool)
    is_visible = is_visible if cues.is_visible is None else cues.is_visible
    unnamed = torch.nonzero((category[0] < 0) & is_visible[0]).flatten().tolist()
    activity = listen([mixture], sample_rate_hz)
    namings = name_objects([cues.crops[0, place].cpu() for place in unnamed], categories, activity)
    for place, naming in zip(unnamed, namings or (), strict=True):
        category[0, place] = naming.index
    return replace(cues, category=category)
