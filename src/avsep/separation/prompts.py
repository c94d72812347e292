"""Resolve which objects to separate: prompts, labels and the cues a model needs."""

import difflib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float32
from pydantic import ValidationError
from torch import Tensor

from avsep.data.categories import find_in
from avsep.errors import InputError, unknown_name
from avsep.media.names import readable
from avsep.media.objects_file import read_objects
from avsep.models.base import SeparationModel
from avsep.records import TimedBox, VisibleObject
from avsep.separation.manifest import KnownBy
from avsep.vision.clip_encoder import embed_words

# What a caller may give: words as on the command line or objects, a list of them, or a file's path.
Objects = Sequence[str | VisibleObject] | str | VisibleObject | os.PathLike[str]
EXAMPLE = '"violin@0.1,0.2,0.5,0.9"'
_BESIDE = "objects.json"
_ENDING = ".json"


def find_objects(
    given: Objects | None,
    video: object,
    name: str,
    known: Sequence[VisibleObject] = (),
    text: Sequence[str] | str = (),
) -> tuple[VisibleObject, ...]:
    """The objects of a video, in the order given, then those that are known by words alone.

    What is given replaces all else, be it objects or words; then come those `known` of a clip, and
    objects.json in the folder that has the video's name without its ending.

    Raises:
        InputError: none are given and there is no file; the message says what to type.
    """
    by_word = tuple(parse_text(word) for word in ([text] if isinstance(text, str) else text))
    if isinstance(given, str | VisibleObject):
        given = [given]
    if given is None and by_word:
        given = []
    if given is None and not known and isinstance(video, str | os.PathLike):
        beside = Path(video).with_suffix("") / _BESIDE
        given = beside if beside.is_file() else None
    if isinstance(given, os.PathLike):
        found = read_objects(Path(given))
        if not found:
            raise InputError(f"'{os.fspath(given)}' holds no objects; add one, or name it: "
                             f"--object {EXAMPLE}")  # fmt: skip
        return (*found, *by_word)
    if given is not None:
        known = [parse_object(one) if isinstance(one, str) else one for one in given]
    known = (*known, *by_word)
    if not known:
        raise InputError(
            f"{name}: which objects? name each one with its box, x1,y1,x2,y2 from 0 to 1: "
            f"--object {EXAMPLE} (--object violin: the whole picture), or give --objects FILE.json"
        )
    return known


def parse_text(text: str) -> VisibleObject:
    """An object that is known by its word alone, no box and no picture.

    >>> parse_text("violin").is_visible
    False
    """
    word = text.strip()
    if not word:
        raise InputError(f"--text '{text}' holds no word; write one, such as --text violin")
    if "@" in word:
        raise InputError(f"--text '{text}': words alone have no box; write --object '{text}'")
    return VisibleObject(label=word, prompt=word)


def parse_object(text: str) -> VisibleObject:
    """An object in one word: `LABEL@x1,y1,x2,y2`, without a box the whole picture.

    Without a label (`@x1,y1,x2,y2`, or `@` alone) the picture decides what it is.

    >>> parse_object("violin@0.1,0.2,0.5,0.9").boxes[0].box
    (0.1, 0.2, 0.5, 0.9)
    >>> parse_object("@").label is None
    True
    """
    if text.strip().lower().endswith(_ENDING):
        raise InputError(
            f"--object '{text}' would be a label; for the file of that name write --objects "
            f"{text.strip()}, in Python pathlib.Path({text.strip()!r})"
        )
    label, at, box = text.rpartition("@")
    if not at:
        label, box = text, ""
    if not at and not label.strip():
        raise InputError(
            f"--object '{text}' names nothing; write a label, a box or both: {EXAMPLE}"
        )
    boxes: tuple[TimedBox, ...] = ()
    if box.strip():
        try:
            x1, y1, x2, y2 = (float(number) for number in box.split(","))
            boxes = (TimedBox(time_seconds=0, box=(x1, y1, x2, y2)),)
        except (ValidationError, ValueError) as error:
            raise InputError(
                f"--object '{text}': '{box}' is no box; write x1,y1,x2,y2 with 0 <= x1 < x2 <= 1 "
                f"and 0 <= y1 < y2 <= 1, such as {EXAMPLE}"
            ) from error
    return VisibleObject(label=label.strip() or None, boxes=boxes)


def with_categories(
    objects: Sequence[VisibleObject], categories: Sequence[str]
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """The objects with the index of their label's category, and a remark on each word unknown."""
    found, warnings = [], []
    for visible in objects:
        label = readable(visible.label).strip() if visible.label else ""
        index = find_in(categories, label) if label else None
        prompt = visible.prompt and readable(visible.prompt)
        changes = {"label": label or None, "category": index, "prompt": prompt}
        found.append(visible.model_copy(update=changes))
        if label and index is None:
            near = difflib.get_close_matches(label.lower(), categories, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            warnings.append(
                f"'{label}' is no category of this model, so the picture decides; {hint}"
                f"known: {', '.join(categories)}"
            )
    return tuple(found), tuple(dict.fromkeys(warnings))


def alike(objects: Sequence[VisibleObject], categories: Sequence[str | None]) -> tuple[str, ...]:
    """A remark on objects that nothing tells apart: one category in one place, or one word.

    `categories` are those the model goes by, told or seen; none where it goes by the picture alone.
    """
    groups: dict[object, list[int]] = {}
    for index, (visible, category) in enumerate(zip(objects, categories, strict=True)):
        groups.setdefault((category, *_place(visible, category)), []).append(index)
    warnings = []
    for group in groups.values():
        if len(group) > 1:
            numbers = " and ".join(str(index + 1) for index in group)
            word = categories[group[0]] or objects[group[0]].label or "object"
            known = "in one place" if objects[group[0]].is_visible else "by its word"
            warnings.append(
                f"objects {numbers} are the same to the model, {word} {known}, and cannot be told "
                f"apart; give each a box of its own, such as {EXAMPLE}"
            )
    return tuple(warnings)


def _place(visible: VisibleObject, category: str | None) -> tuple[object, ...]:
    """Where an object is; of one that nobody sees, the word, unless its category says it all."""
    if not visible.is_visible:
        return "word", category or (visible.prompt or "").casefold()
    return "place", visible.boxes if len(visible.boxes) > 1 else visible.box_at(0)


# What a model is told of each object: a category beside its picture, or its word alone


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
    warnings: list[str] = []
    for visible in objects:
        (one,), unknown = with_categories([visible], known if _reads_category(model) else ())
        if visible.is_visible:
            warnings += unknown if _reads_category(model) else ()
        elif by_word is None:
            raise InputError(
                f"model '{name}' looks at every object and cannot go by the word "
                f"'{one.label or one.prompt}' alone: show it where, --object {EXAMPLE}, or "
                "choose a model that knows words with --model, see `avsep models`"
            )
        elif by_word == "stored word":
            one = one.model_copy(update={"category": _stored(one.prompt or "", known, name)})
        found.append(one)
    return tuple(found), tuple(dict.fromkeys(warnings))


def known_by(visible: VisibleObject, model: SeparationModel) -> KnownBy:
    """What tells the model of an object that `tell` let pass."""
    return "picture" if visible.is_visible else _by_word(model) or "picture"


def embedding(
    objects: Sequence[VisibleObject], model: SeparationModel
) -> Float32[Tensor, "S D"] | None:
    """The words of those that nobody sees in the language of CLIP, for a model that sees by CLIP.

    Zeros stand for the others.
    """
    words = tuple(one.prompt or "" for one in objects if not one.is_visible)
    if not words or _by_word(model) != "text (CLIP)":
        return None
    vectors = iter(_embedded(words))
    nothing = torch.zeros_like(_embedded(words)[0])
    return torch.stack([nothing if one.is_visible else next(vectors) for one in objects])


def _reads_category(model: SeparationModel) -> bool:
    return "category" in model.required_cues


def _by_word(model: SeparationModel) -> KnownBy | None:
    """Return how a model knows an object by text alone; none: it does not."""
    kinds: dict[str | None, KnownBy] = {"embedding": "text (CLIP)", "category": "stored word"}
    return kinds.get(model.text_prompts)


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


# Which cues can be made of a video, and which a model must not need


# The cues that can be made of any video.
AVAILABLE = frozenset({"crops", "crop_motion", "category", "boxes"})
# The cue that takes the weights of I3D.
MOTION = "i3d_features"


def check_needs(required_cues: frozenset[str], name: str, i3d: Path | None = None) -> None:
    """Raise InputError when a model reads cues that are not made here.

    Motion features are made where there are weights of I3D to make them with, which a model that
    reads none must not be given.
    """
    missing = sorted(required_cues - AVAILABLE - {MOTION})
    if missing:
        raise InputError(
            f"model '{name}' reads {', '.join(missing)}, which is not computed from videos here; "
            "choose a model that reads crops and movement alone, see `avsep models`"
        )
    if MOTION in required_cues and i3d is None:
        raise InputError(
            f"model '{name}' reads motion features, which I3D computes: give the file of its "
            "weights with --i3d FILE (i3d= in Python)"
        )
    if MOTION not in required_cues and i3d is not None:
        raise InputError(
            f"model '{name}' reads no motion features, which '{i3d}' would be for: leave out --i3d "
            "(i3d= in Python), or choose a model that reads them with --model"
        )
