"""Resolve which objects to separate: prompts, labels and the cues a model requires."""

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
from avsep.separation.result import PromptKind
from avsep.vision.clip_encoder import embed_words

# As on the command line ("violin@0.1,0.2,0.5,0.9"), as objects, or the path of an objects.json.
ObjectPrompts = Sequence[str | VisibleObject] | str | VisibleObject | os.PathLike[str]

_EXAMPLE = '"violin@0.1,0.2,0.5,0.9"'
# Cues that can be computed from every video; I3D features also take the weights of I3D.
_VIDEO_CUES = frozenset({"crops", "crop_motion", "category", "boxes"})
_I3D_CUE = "i3d_features"
# Kind of a text prompt, by `SeparationModel.text_prompts`.
_TEXT_KINDS: dict[str, PromptKind] = {
    "category": "text category",
    "embedding": "text embedding",
}


# Objects of a video, from the caller or from a file


def resolve_prompts(
    prompts: ObjectPrompts | None,
    video: object,
    name: str,
    clip_objects: Sequence[VisibleObject] = (),
    text: Sequence[str] | str = (),
) -> tuple[VisibleObject, ...]:
    """Return the objects to separate, in the order given, objects with a text prompt last.

    Prompts and text of the caller replace the objects of a clip, and those replace objects.json in
    the folder that is named as the video without its ending.

    Args:
        prompts: objects of the caller; none: those of the clip or the file.
        video: path, bytes, file object or clip.
        name: name of the video in errors.
        clip_objects: objects of a clip given as arrays.
        text: text prompts: objects without a box.

    Raises:
        InputError: a prompt that cannot be read, or no objects at all.
    """
    text_objects = tuple(map(parse_text, [text] if isinstance(text, str) else text))
    if isinstance(prompts, str | VisibleObject):
        prompts = [prompts]
    if prompts is None and text_objects:
        prompts = []
    if prompts is None and not clip_objects:
        prompts = _objects_file(video)
    if prompts is None:
        objects = tuple(clip_objects)
    elif isinstance(prompts, os.PathLike):
        objects = read_objects(Path(prompts))
        if not objects:
            raise InputError(
                f"'{os.fspath(prompts)}' contains no objects; add one, or give it with --object "
                f"{_EXAMPLE}"
            )
    else:
        objects = tuple(parse_object(p) if isinstance(p, str) else p for p in prompts)
    objects += text_objects
    if not objects:
        raise InputError(
            f"{name}: no objects are given; give each one with its box, x1,y1,x2,y2 from 0 to 1: "
            f"--object {_EXAMPLE} (--object violin: the whole picture), or give --objects FILE.json"
        )
    return objects


def parse_text(text: str) -> VisibleObject:
    """Parse a text prompt: an object without box and picture.

    >>> parse_text("violin").is_visible
    False
    """
    word = text.strip()
    if not word:
        raise InputError(f"--text '{text}' is empty; write a word, such as --text violin")
    if "@" in word:
        raise InputError(f"--text '{text}': a text prompt has no box; write --object '{text}'")
    return VisibleObject(label=word, prompt=word)


def parse_object(text: str) -> VisibleObject:
    """Parse `LABEL@x1,y1,x2,y2`; without a box the object is the whole picture.

    Without a label (`@x1,y1,x2,y2`, or `@` alone) the category is predicted from the picture.

    >>> parse_object("violin@0.1,0.2,0.5,0.9").boxes[0].box
    (0.1, 0.2, 0.5, 0.9)
    >>> parse_object("@").label is None
    True
    """
    # --object FILE.json for --objects FILE.json is an easy slip, and would be a silent label.
    if text.strip().lower().endswith(".json"):
        raise InputError(
            f"--object '{text}' is read as a label; to read the file of that name write --objects "
            f"{text.strip()}, in Python pathlib.Path({text.strip()!r})"
        )
    # The last @ separates label and box, so that labels may contain one.
    label, at, box = text.rpartition("@")
    if not at:
        label, box = text, ""
    if not at and not label.strip():
        raise InputError(
            f"--object '{text}' has neither label nor box; write one or both: {_EXAMPLE}"
        )
    boxes: tuple[TimedBox, ...] = ()
    if box.strip():
        try:
            x1, y1, x2, y2 = (float(number) for number in box.split(","))
            boxes = (TimedBox(time_seconds=0, box=(x1, y1, x2, y2)),)
        except (ValidationError, ValueError) as error:
            raise InputError(
                f"--object '{text}': '{box}' is not a box; write x1,y1,x2,y2 with 0 <= x1 < x2 <= "
                f"1 and 0 <= y1 < y2 <= 1, such as {_EXAMPLE}"
            ) from error
    return VisibleObject(label=label.strip() or None, boxes=boxes)


def _objects_file(video: object) -> Path | None:
    """Return the path of objects.json beside a video, where toyband writes it; else none."""
    if not isinstance(video, str | os.PathLike):
        return None
    path = Path(video).with_suffix("") / "objects.json"
    return path if path.is_file() else None


# Categories and text prompts of a model


def resolve_labels(
    objects: Sequence[VisibleObject], model: SeparationModel, model_name: str
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """Return the objects with the category index of each label or text, and warnings.

    For a model that reads no category, a label only names the stem.

    Raises:
        InputError: a text prompt for a model that takes none, or that is none of its categories; a
            label that is none, or no label, for a model that predicts no category.
    """
    reads_category = "category" in model.required_cues
    categories = model.settings.categories
    resolved: list[VisibleObject] = []
    warnings: list[str] = []
    for visible in objects:
        (item,), unmatched = match_categories([visible], categories if reads_category else ())
        if visible.is_visible:
            if reads_category and item.category is None and not model.predicts_category:
                label = f"'{item.label}'" if item.label else "an object without a label"
                raise InputError(
                    f"model '{model_name}' predicts no category and has none for {label}: label "
                    f"each object as one of {', '.join(categories)}"
                )
            warnings += unmatched if reads_category else ()
        elif model.text_prompts is None:
            raise InputError(
                f"model '{model_name}' takes no text prompts, such as "
                f"'{item.label or item.prompt}': give the object with its box, --object "
                f"{_EXAMPLE}, or choose a model with text prompts with --model, see `avsep models`"
            )
        elif model.text_prompts == "category":
            category = _category_of_text(item.prompt or "", categories, model_name)
            item = item.model_copy(update={"category": category})
        resolved.append(item)
    return tuple(resolved), tuple(dict.fromkeys(warnings))


def match_categories(
    objects: Sequence[VisibleObject], categories: Sequence[str]
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """Return the objects with the category index of their labels, and a warning for each unmatched.

    Labels and prompts are made readable too: what UTF-8 cannot encode becomes a question mark.
    """
    matched, warnings = [], []
    for visible in objects:
        label = readable(visible.label).strip() if visible.label else ""
        index = find_in(categories, label) if label else None
        prompt = visible.prompt and readable(visible.prompt)
        changes = {"label": label or None, "category": index, "prompt": prompt}
        matched.append(visible.model_copy(update=changes))
        if label and index is None:
            near = difflib.get_close_matches(label.lower(), categories, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            warnings.append(
                f"'{label}' is not a category of this model, so the category is predicted from the "
                f"picture; {hint}known: {', '.join(categories)}"
            )
    return tuple(matched), tuple(dict.fromkeys(warnings))


def _category_of_text(text: str, categories: Sequence[str], model_name: str) -> int:
    index = find_in(categories, text)
    if index is None:
        raise InputError(
            f"{unknown_name('text prompt', text, categories)}; model '{model_name}' has learned "
            "these categories only and is not zero-shot"
        )
    return index


def prompt_kind(visible: VisibleObject, model: SeparationModel) -> PromptKind:
    """Return how an object that `resolve_labels` accepted is given to the model."""
    if visible.is_visible or model.text_prompts is None:
        return "visual"
    return _TEXT_KINDS[model.text_prompts]


def embed_prompts(
    objects: Sequence[VisibleObject], model: SeparationModel
) -> Float32[Tensor, "S D"] | None:
    """Return CLIP embeddings of the text prompts, for a model that reads them; else none.

    Visible objects have zeros.
    """
    if model.text_prompts != "embedding":
        return None
    words = tuple(item.prompt or "" for item in objects if not item.is_visible)
    if not words:
        return None
    embeddings = iter(_embed_cached(words))
    zeros = torch.zeros_like(_embed_cached(words)[0])
    return torch.stack([zeros if item.is_visible else next(embeddings) for item in objects])


# Loading CLIP takes seconds, and the videos of one command share their prompts.
@lru_cache(maxsize=8)
def _embed_cached(words: tuple[str, ...]) -> Float32[Tensor, "words D"]:
    return embed_words(words)


def warn_indistinguishable(
    objects: Sequence[VisibleObject], categories: Sequence[str | None]
) -> tuple[str, ...]:
    """Return a warning for each group of objects whose inputs to the model are equal.

    Equal are the same category in the same box, and the same text prompt.

    Args:
        objects: objects to separate.
        categories: category of each, given or predicted; none where the model uses none.
    """
    groups: dict[object, list[int]] = {}
    for index, (visible, category) in enumerate(zip(objects, categories, strict=True)):
        groups.setdefault((category, *_model_input(visible, category)), []).append(index)
    warnings = []
    for group in groups.values():
        if len(group) > 1:
            numbers = " and ".join(str(index + 1) for index in group)
            word = categories[group[0]] or objects[group[0]].label or "object"
            shared = "same box" if objects[group[0]].is_visible else "same text"
            warnings.append(
                f"objects {numbers} are the same to the model ({word}, {shared}) and cannot be "
                f"distinguished; give each a box of its own, such as {_EXAMPLE}"
            )
    return tuple(warnings)


def _model_input(visible: VisibleObject, category: str | None) -> tuple[object, ...]:
    """Return what the model reads of an object beside its category: text or boxes."""
    if not visible.is_visible:
        # Synonyms of one category are one prompt; CLIP embeds them differently.
        return "text", category or (visible.prompt or "").casefold()
    # One box holds at all times, whichever time it is given for.
    return "box", visible.boxes if len(visible.boxes) > 1 else visible.box_at(0)


# Cues that a model requires


def check_required_cues(
    required_cues: frozenset[str], model_name: str, i3d: Path | None = None
) -> None:
    """Check that a model's cues can be computed from a video.

    Raises:
        InputError: other cues are required, I3D features without weights of I3D, or weights are
            given to a model that reads no I3D features.
    """
    missing = sorted(required_cues - _VIDEO_CUES - {_I3D_CUE})
    if missing:
        raise InputError(
            f"model '{model_name}' requires {', '.join(missing)}, which cannot be computed from a "
            "video; choose a model that requires only crops and crop motion, see `avsep models`"
        )
    if _I3D_CUE in required_cues and i3d is None:
        raise InputError(
            f"model '{model_name}' requires I3D features; give the file of I3D weights with --i3d "
            "FILE (i3d= in Python)"
        )
    # Weights that are ignored in silence would pass for features that were used.
    if _I3D_CUE not in required_cues and i3d is not None:
        raise InputError(
            f"model '{model_name}' reads no I3D features, and '{i3d}' is given; leave out --i3d "
            "(i3d= in Python), or choose a model that reads them with --model"
        )
