"""Name objects without a label by picture and sound, for models that read a category.

The namer tells from crops which words an object may have, and the sound classifier what is heard in
the mixture. Where the picture leaves it open, or its name is not heard at all, the sound decides.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from avsep.labels import normalise_label
from avsep.records import Cues
from avsep.sound.activity import ABSENT_BELOW, SoundActivity, listen, sounds_of
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from avsep.vision.namer import OTHER, load_namer

# Probability from which a category counts as sure, and one from which a thing is of another kind:
# that costs more where it is wrong, and photographs of instruments reach a half.
_SURE_FROM, _OTHER_FROM = 0.5, 0.7
# Of a name to which one that is not heard gives way. An even guess among the namer's words is
# 0.018: with no more than that the picture says nothing for a name.
_LIKELY_FROM = 0.05


@dataclass(frozen=True)
class Naming:
    """The name of one object by picture and sound.

    Attributes:
        word: its name.
        category: index of the model's category that it is; none for a thing of another kind.
        is_sure: the picture is sure of the name, or the sound decided.
        picture_word: its name by the picture alone, or by a detector.
    """

    word: str
    category: int | None
    is_sure: bool
    picture_word: str


@dataclass(frozen=True)
class _Picture:
    """Words that an object may have, with their probabilities, and the one of its picture alone."""

    shares: Mapping[str, float]
    word: str
    is_sure: bool


def name_objects(
    crops: Sequence[UInt8[Tensor, "K 3 H W"] | None],
    labels: Sequence[str | None],
    categories: Sequence[str],
    activity: SoundActivity,
    *,
    is_category: bool = False,
) -> tuple[Naming | None, ...]:
    """Name the objects of one video by their crops and by what is heard.

    The likeliest name of the picture stands, but for two cases, in which a name is taken that is
    surely heard and that no other object explains. Where the picture is not sure, it is the better
    heard of its two likeliest names. A name that is not heard at all gives way to the likeliest of
    all.

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
        and (picture := _name_by_picture(crop, label, places, is_category=is_category)) is not None
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
        by_sound = _listen_for(picture, explained, activity)
        words[index] = word = by_sound or picture.word
        is_sure = picture.is_sure or by_sound is not None
        namings[index] = Naming(word, places.get(word), is_sure, picture.word)
    return tuple(namings.get(index) for index in range(len(crops)))


def _category_of_words(categories: Sequence[str], activity: SoundActivity) -> dict[str, int]:
    """Return the category of each word of the namer that has one; empty if one has no word.

    A thing with several sounds, such as a person, is that category which is heard best.
    """
    indices = {normalise_label(category): index for index, category in enumerate(categories)}
    namer_words = load_namer().words
    places = {word: indices[word] for word in namer_words if word in indices}
    others = indices.keys() - places.keys()
    for word in namer_words:
        sounds = [sound for sound in sounds_of(word) if sound in others]
        if word not in places and sounds:
            places[word] = indices[activity.loudest(sounds)]
    reached = {*places, *(sound for word in places for sound in sounds_of(word))}
    return places if indices.keys() <= reached else {}


def _name_by_picture(
    crops: UInt8[Tensor, "K 3 H W"],
    label: str | None,
    places: Mapping[str, int],
    *,
    is_category: bool,
) -> _Picture | None:
    """Name an object by its picture, or by the label of a detector."""
    if label is None and not places:
        return None
    all_shares = load_namer().probabilities(crops, load_efficientnet_lite())
    shares = {word: share for word, share in all_shares.items() if word != OTHER}
    if label is not None:
        return _Picture(shares, normalise_label(label), is_sure=True)
    of_categories = {word: shares[word] for word in places}
    if not is_category and 1 - sum(of_categories.values()) >= _OTHER_FROM:
        word = max(all_shares, key=lambda item: all_shares[item])
        return _Picture(shares, word, is_sure=True)
    best = max(of_categories, key=lambda item: of_categories[item])
    return _Picture(of_categories, best, is_sure=of_categories[best] >= _SURE_FROM)


def _share(picture: _Picture) -> float:
    return picture.shares.get(picture.word, 0.0)


def _listen_for(picture: _Picture, explained: Set[str], activity: SoundActivity) -> str | None:
    """Return the name that the sound decides on; none where it leaves that of the picture.

    Args:
        picture: names of the object.
        explained: sounds of the other objects.
        activity: sounds that are heard.
    """
    unexplained = [word for word in picture.shares if activity.audible_sounds(word) - explained]
    if not picture.is_sure:
        two = sorted(picture.shares, key=lambda word: -picture.shares[word])[:2]
        candidates = [word for word in two if word in unexplained]
        if candidates:
            return max(candidates, key=lambda word: activity.peak(word) or 0.0)
        if activity.audible_sounds(picture.word):
            return picture.word  # as another object that makes this sound, too
    peak = activity.peak(picture.word)
    if peak is None or peak >= ABSENT_BELOW:
        return None
    likely = [word for word in unexplained if picture.shares[word] >= _LIKELY_FROM]
    return max(likely, key=lambda word: picture.shares[word], default=None)


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
        labels = [categories[index] if index >= 0 else None for index in indices]
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
