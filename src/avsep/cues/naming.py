"""Name objects without a label by picture and sound, for models that read a category.

The namer tells from crops which words an object may have, and the sound classifier what is heard in
the mixture. Both are weighed by Bayes' rule: a drum kit that looks like a tambourine is drums.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from avsep.labels import normalise_label
from avsep.records import Cues
from avsep.sound.activity import SoundActivity, listen, sounds_of
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from avsep.vision.namer import load_namer

# Probability from which a category counts as sure, and one from which a thing is of another kind:
# that costs more where it is wrong, and photographs of instruments reach a half.
_SURE_FROM, _OTHER_FROM = 0.5, 0.7
# Share of the windows that the sound classifier was trained on in which one sound is heard: 1.8 of
# 72 in each. What it hears less often speaks against a thing.
_HEARD_SHARE = 0.025
# The sound makes a name at most this much likelier. In one window of the classifier's test it would
# be 160 times (model_cards/sound-classifier.md), but videos have many, and are recorded otherwise.
_MOST_EVIDENCE = 20.0
# And at least this: a visible thing may well be silent.
_LEAST_EVIDENCE = 0.25
# Of a detector's word against the namer's, which sees the object larger and at several times.
_DETECTOR_SHARE = 0.5


@dataclass(frozen=True)
class Naming:
    """The name of one object by picture and sound.

    Attributes:
        word: its name.
        category: index of the model's category that it is; none for a thing of another kind.
        is_sure: picture and sound together are sure of it.
        picture_word: its name by the picture alone, or by a detector.
    """

    word: str
    category: int | None
    is_sure: bool
    picture_word: str


@dataclass(frozen=True)
class _Picture:
    """Words that an object may have, with their probabilities, and its word by the picture."""

    shares: Mapping[str, float]
    word: str


def name_objects(
    crops: Sequence[UInt8[Tensor, "K 3 H W"] | None],
    labels: Sequence[str | None],
    categories: Sequence[str],
    activity: SoundActivity,
    *,
    is_category: bool = False,
) -> tuple[Naming | None, ...]:
    """Name the objects of one video by their crops and by what is heard.

    The probability of each word by the picture is multiplied by the evidence of the sound: the odds
    of hearing it, over those before anything is heard. A sound that another object explains speaks
    for no name.

    Args:
        crops: of each object; none of one whose label stands.
        labels: word of each object; of one with crops that of a detector, which may be wrong.
        categories: of the model.
        activity: sounds that are heard in the mixture.
        is_category: an object without a label is one of the categories.

    Returns:
        the name of each object; none for one without crops, and for one without a label where the
        namer has no word for one of the categories.
    """
    places = _category_of_words(categories, activity)
    pictures = {
        index: picture
        for index, (crop, label) in enumerate(zip(crops, labels, strict=True))
        if crop is not None
        and (picture := _by_picture(crop, label, places, is_category=is_category)) is not None
    }
    words = {index: label for index, label in enumerate(labels) if label is not None}
    words |= {index: picture.word for index, picture in pictures.items()}
    namings: dict[int, Naming] = {}
    # The surest first: what they are explains what is heard.
    for index in sorted(pictures, key=lambda place: -_share(pictures[place])):
        picture = pictures[index]
        explained = {
            sound for place, word in words.items() if place != index for sound in sounds_of(word)
        }
        weighed = weigh_by_sound(picture.shares, explained, activity)
        words[index] = word = _choose(weighed, places, only_categories=is_category)
        # Of a thing that is none of the categories, no name has to be sure.
        is_sure = word not in places or weighed[word] >= _SURE_FROM
        namings[index] = Naming(word, places.get(word), is_sure, picture.word)
    return tuple(namings.get(index) for index in range(len(crops)))


def unnamed_categories(categories: Sequence[str]) -> list[str]:
    """Return the categories that no word of the namer leads to; a model with some is not helped."""
    words = load_namer().words
    reached = {*words, *(sound for word in words for sound in sounds_of(word))}
    return [category for category in categories if normalise_label(category) not in reached]


def _category_of_words(categories: Sequence[str], activity: SoundActivity) -> dict[str, int]:
    """Return the category of each word of the namer that has one; empty if one has no word.

    A thing with several sounds, such as a person, is that category which is heard best.
    """
    if unnamed_categories(categories):
        return {}
    indices = {normalise_label(category): index for index, category in enumerate(categories)}
    namer_words = load_namer().words
    places = {word: indices[word] for word in namer_words if word in indices}
    others = indices.keys() - places.keys()
    for word in namer_words:
        sounds = [sound for sound in sounds_of(word) if sound in others]
        if word not in places and sounds:
            places[word] = indices[activity.loudest(sounds)]
    return places


def _by_picture(
    crops: UInt8[Tensor, "K 3 H W"],
    label: str | None,
    places: Mapping[str, int],
    *,
    is_category: bool,
) -> _Picture | None:
    """Name an object by its picture, or by the label of a detector."""
    if label is None and not places:
        return None
    shares = load_namer().probabilities(crops, load_efficientnet_lite())
    if label is not None:
        word = normalise_label(label)
        shares = {name: (1 - _DETECTOR_SHARE) * share for name, share in shares.items()}
        return _Picture(shares | {word: shares.get(word, 0.0) + _DETECTOR_SHARE}, word)
    if is_category:
        shares = {word: shares[word] for word in places}
    return _Picture(shares, _choose(shares, places, only_categories=is_category))


def _choose(
    shares: Mapping[str, float], places: Mapping[str, int], *, only_categories: bool
) -> str:
    """Return the likeliest word; one of the categories, unless it is surely of another kind."""
    of_categories = {word: share for word, share in shares.items() if word in places}
    is_other = not only_categories and 1 - sum(of_categories.values()) >= _OTHER_FROM
    chosen = shares if is_other or not of_categories else of_categories
    return max(chosen, key=lambda word: chosen[word])


def _share(picture: _Picture) -> float:
    return picture.shares.get(picture.word, 0.0)


def weigh_by_sound(
    shares: Mapping[str, float], explained: Set[str], activity: SoundActivity
) -> dict[str, float]:
    """Return the probability of each word by picture and sound; they sum to 1.

    Args:
        shares: by the picture.
        explained: sounds of the other objects.
        activity: sounds that are heard.
    """
    weighed = {}
    for word, share in shares.items():
        evidence = 1.0
        if (peak := activity.peak(word)) is not None:
            odds = peak / max(1 - peak, 1e-6) * (1 - _HEARD_SHARE) / _HEARD_SHARE
            # What is heard best may be another object.
            is_explained = activity.loudest(sounds_of(word)) in explained
            most = 1.0 if is_explained else _MOST_EVIDENCE
            evidence = float(np.clip(odds, _LEAST_EVIDENCE, most))
        weighed[word] = share * evidence
    total = sum(weighed.values())
    return {word: share / total for word, share in weighed.items()}


def name_sources(
    cues: Cues,
    categories: Sequence[str],
    mixtures: Float32[np.ndarray, "B C N"],
    sample_rate_hz: int,
) -> Cues:
    """Return the cues with the likeliest category for each visible source that has none.

    Args:
        cues: of mixtures; those without crops are returned as they are.
        categories: of the model.
        mixtures: their sound.
        sample_rate_hz: of the sound.
    """
    if cues.crops is None or not categories:
        return cues
    num_mixtures, num_sources = cues.crops.shape[:2]
    category = cues.category
    if category is None:
        category = torch.full((num_mixtures, num_sources), -1)
    category = category.clone()
    for mixture, sound in enumerate(mixtures):
        indices: list[int] = category[mixture].tolist()
        labels: list[str | None] = [categories[index] if index >= 0 else None for index in indices]
        crops = [
            cues.crops[mixture, source].cpu()
            if index < 0 and (cues.is_visible is None or bool(cues.is_visible[mixture, source]))
            else None
            for source, index in enumerate(indices)
        ]
        activity = listen([sound], sample_rate_hz)
        namings = name_objects(crops, labels, categories, activity, is_category=True)
        for source, naming in enumerate(namings):
            if naming is not None and naming.category is not None:
                category[mixture, source] = naming.category
    return replace(cues, category=category)
