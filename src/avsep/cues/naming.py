"""Name objects without a label by their crops, for models that read a category."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from avsep.labels import normalise_label
from avsep.records import Cues
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from avsep.vision.namer import load_namer

# Probability from which a category counts as sure, and one from which a thing is of another kind:
# that costs more where it is wrong, and photographs of instruments reach a half.
_SURE_FROM, _OTHER_FROM = 0.5, 0.7


@dataclass(frozen=True)
class Naming:
    """The name of one object among the categories of a model.

    Attributes:
        index: of the likeliest category.
        runner_up: of the second likeliest category.
        is_sure: the namer is sure of the likeliest category.
        is_other: it is sure that the thing is of another kind.
        word: the likeliest of all words that the namer has.
    """

    index: int
    runner_up: int
    is_sure: bool
    is_other: bool
    word: str


def name_object(crops: UInt8[Tensor, "K 3 H W"], categories: Sequence[str]) -> Naming | None:
    """Name one object among a model's categories; none where the namer lacks one of them."""
    places = {normalise_label(category): index for index, category in enumerate(categories)}
    if not places.keys() <= set(load_namer().settings.labels):
        return None
    shares = load_namer().probabilities(crops, load_efficientnet_lite())
    best, *others = sorted(places, key=lambda word: -shares[word])
    runner_up = places[others[0]] if others else -1
    other = 1 - sum(shares[word] for word in places)
    return Naming(
        places[best],
        runner_up,
        is_sure=shares[best] >= _SURE_FROM,
        is_other=other >= _OTHER_FROM,
        word=max(shares, key=lambda word: shares[word]),
    )


def name_sources(cues: Cues, categories: Sequence[str]) -> Cues:
    """Return the cues with the likeliest category for each visible source that has none."""
    if cues.crops is None or not categories:
        return cues
    num_mixtures, num_sources = cues.crops.shape[:2]
    category = cues.category
    if category is None:
        category = torch.full((num_mixtures, num_sources), -1)
    category = category.clone()
    for mixture in range(num_mixtures):
        for source in range(num_sources):
            is_visible = cues.is_visible is None or bool(cues.is_visible[mixture, source])
            if category[mixture, source] >= 0 or not is_visible:
                continue
            naming = name_object(cues.crops[mixture, source].cpu(), categories)
            if naming is not None:
                category[mixture, source] = naming.index
    return replace(cues, category=category)
