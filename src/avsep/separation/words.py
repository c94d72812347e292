"""What a model is told of each object: a category beside its picture, or its word alone."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from avsep.data.dataset_categories import find_in
from avsep.errors import InputError, unknown_name
from avsep.records import VisibleObject
from avsep.separation.manifest import KnownBy
from avsep.separation.objects import EXAMPLE, with_categories
from avsep.separation.passage import SeparationModel
from avsep.vision.clip import embed_words


def tell(
    objects: Sequence[VisibleObject], model: SeparationModel, name: str
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """The objects with the category that the model is told of each, and a remark on words unknown.

    To a model that does not read the category, a label only names the stem.

    Args:
        objects: as they were given.
        model: which is told.
        name: of the model, for errors.

    Raises:
        InputError: an object is known by its word alone, and the model knows no words or not that.
    """
    known = model.settings.categories
    by_word = _by_word(model)
    found: list[VisibleObject] = []
    remarks: list[str] = []
    for visible in objects:
        (one,), unknown = with_categories([visible], known if _reads_category(model) else ())
        if visible.is_seen:
            remarks += unknown if _reads_category(model) else ()
        elif by_word is None:
            raise InputError(
                f"model '{name}' looks at every object and cannot go by the word "
                f"'{one.label or one.prompt}' alone: show it where, --object {EXAMPLE}, or "
                "choose a model that knows words with --model, see `avsep models`"
            )
        elif by_word == "stored word":
            one = one.model_copy(update={"category": _stored(one.prompt or "", known, name)})
        found.append(one)
    return tuple(found), tuple(dict.fromkeys(remarks))


def known_by(visible: VisibleObject, model: SeparationModel) -> KnownBy:
    """What tells the model of an object that `tell` let pass."""
    return "picture" if visible.is_seen else _by_word(model) or "picture"


def pictured(objects: Sequence[VisibleObject]) -> Bool[Tensor, " S"] | None:
    """Which objects are seen; none: all of them."""
    seen = [visible.is_seen for visible in objects]
    return None if all(seen) else torch.tensor(seen)


def embedding(
    objects: Sequence[VisibleObject], model: SeparationModel
) -> Float32[Tensor, "S D"] | None:
    """The words of those that nobody sees in the language of CLIP, for a model that sees by CLIP.

    Zeros stand for the others.
    """
    words = tuple(one.prompt or "" for one in objects if not one.is_seen)
    if not words or _by_word(model) != "text (CLIP)":
        return None
    vectors = iter(_embedded(words))
    nothing = torch.zeros_like(_embedded(words)[0])
    return torch.stack([nothing if one.is_seen else next(vectors) for one in objects])


def _reads_category(model: SeparationModel) -> bool:
    return "category" in model.needs


def _by_word(model: SeparationModel) -> KnownBy | None:
    """How a model knows an object by its word alone; none: it does not."""
    if _reads_category(model):
        return None
    if getattr(model.settings, "image_encoder", "") == "clip":
        return "text (CLIP)"
    return "stored word" if model.settings.categories else None


def _stored(word: str, known: Sequence[str], name: str) -> int:
    index = find_in(known, word)
    if index is None:
        raise InputError(
            f"{unknown_name('word', word, known)}; model '{name}' knows stored words and is not "
            "zero-shot"
        )
    return index


# Many videos are often asked for the same words.
@lru_cache(maxsize=8)
def _embedded(words: tuple[str, ...]) -> Float32[Tensor, "words D"]:
    return embed_words(words)
