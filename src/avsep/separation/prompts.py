"""Resolve how objects are given to a model: labels, text prompts and the cues it requires."""

import difflib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float32
from torch import Tensor

from avsep.checkpoint import load_model, shipped_names
from avsep.data.categories import find_in
from avsep.errors import InputError, unknown_name
from avsep.media.names import readable
from avsep.models.base import SeparationModel
from avsep.records import VisibleObject
from avsep.separation.prompt_words import BOX_EXAMPLE
from avsep.separation.result import PromptKind
from avsep.vision.clip_encoder import embed_words

# Cues that can be computed from every video; I3D features also take the weights of I3D.
_VIDEO_CUES = frozenset({"crops", "crop_motion", "category", "boxes"})
_I3D_CUE = "i3d_features"
# Kind of a text prompt, by `SeparationModel.text_prompts`.
_TEXT_KINDS: dict[str, PromptKind] = {
    "category": "text category",
    "embedding": "text embedding",
}


# Categories and text prompts of a model


def resolve_labels(
    objects: Sequence[VisibleObject], model: SeparationModel, model_name: str
) -> tuple[VisibleObject, ...]:
    """Return the objects with the category index of each label or text.

    For a model that reads no category, a label only names the stem. An object that is excluded by a
    word alone is the whole picture to a model without text prompts.

    Raises:
        InputError: a text prompt for a model that takes none, or that is none of its categories; a
            label that is none, or no label, for a model that predicts no category.
    """
    reads_category = "category" in model.required_cues
    categories = model.settings.categories
    resolved: list[VisibleObject] = []
    for visible in objects:
        if visible.is_excluded and model.text_prompts is None:
            visible = visible.model_copy(update={"prompt": None})
        (item,), _ = match_categories([visible], categories if reads_category else ())
        if visible.is_visible:
            if reads_category and item.category is None and not model.predicts_category:
                label = f"'{item.label}'" if item.label else "an object without a label"
                raise InputError(
                    f"model '{model_name}' predicts no category and has none for {label}: label "
                    f"each object as one of {', '.join(categories)}"
                )
        elif model.text_prompts is None:
            raise InputError(
                f"model '{model_name}' takes no text prompts, such as "
                f"'{item.label or item.prompt}': give the object with its box, --object "
                f"{BOX_EXAMPLE}, or choose a model with text prompts with --model, see `avsep "
                "models`"
            )
        elif model.text_prompts == "category":
            category = _category_of_text(item.prompt or "", categories, model_name)
            item = item.model_copy(update={"category": category})
        resolved.append(item)
    return tuple(resolved)


def match_categories(
    objects: Sequence[VisibleObject], categories: Sequence[str]
) -> tuple[tuple[VisibleObject, ...], tuple[str, ...]]:
    """Return the objects with the category index of their labels, and a warning for each unmatched.

    An object without a label keeps the index that it has. Labels and prompts are made readable too:
    what UTF-8 cannot encode becomes a question mark.

    Raises:
        InputError: an object without a label has an index that is none of the categories.
    """
    matched, warnings = [], []
    for visible in objects:
        label = readable(visible.label).strip() if visible.label else ""
        index = find_in(categories, label) if label else _category_index(visible, categories)
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


def _category_index(visible: VisibleObject, categories: Sequence[str]) -> int | None:
    if visible.category is None or not categories:
        return None
    if not 0 <= visible.category < len(categories):
        raise InputError(
            f"category {visible.category} of an object is none of this model's, 0 to "
            f"{len(categories) - 1}; give a label instead: {', '.join(categories)}"
        )
    return visible.category


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
                f"distinguished; give each a box of its own, such as {BOX_EXAMPLE}"
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


def check_needs_no_pictures(
    objects: Sequence[VisibleObject], model: SeparationModel, model_name: str, name: str
) -> None:
    """Check that objects of a sound without pictures can be separated: by text alone.

    Args:
        objects: objects to separate.
        model: model to separate them with.
        model_name: its name.
        name: name of the sound in errors.

    Raises:
        InputError: an object with a box or crop, or a model that reads motion of the whole video.
    """
    if all(not item.is_visible for item in objects) and _I3D_CUE not in model.required_cues:
        return
    if model.text_prompts is not None and _I3D_CUE not in model.required_cues:
        raise InputError(
            f"{name} has no pictures, so that objects have no box: give each one by text, --text "
            "violin"
        )
    # Shipped models are small, and this is the end of the command.
    shipped = [item for item in shipped_names() if load_model(item).text_prompts is not None]
    raise InputError(
        f"{name} has no pictures, which model '{model_name}' needs; without them: --text violin "
        f"--model {' or '.join(shipped)}"
    )
