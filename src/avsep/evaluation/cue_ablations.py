"""Cue ablations: change a method's cues to measure which of them its scores depend on."""

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import conv2d, pad

from avsep.errors import InputError
from avsep.records import Cues

# The visual cues of an object; the other field of Cues, its category, is a word.
PICTURES = (
    "crops", "appearance", "crop_motion", "i3d_features", "i3d_padding", "is_visible",
    "boxes",
    "embedding",
)  # fmt: skip
BLUR_SHARE = 1 / 10  # of a crop's side: an instrument becomes a patch of colour
GREY = 128  # the middle of 0..255

# Arguments: the cues of a clip, and a function for the cues of the same number of objects of other
# categories from other clips, which costs reading those clips. Returns the changed cues.
CueAblation = Callable[[Cues, Callable[[], Cues]], Cues]


def without_labels(cues: Cues) -> Cues:
    """Return the cues without the category of visible sources.

    A source that is not visible keeps its category, which is its only cue.
    """
    if cues.category is None or cues.is_visible is None:
        return replace(cues, category=None)
    # -1 is "no category" to every model.
    return replace(cues, category=cues.category.masked_fill(cues.is_visible, -1))


def keep_all(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues unchanged."""
    return cues


def remove_motion(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues with crop motion and I3D features set to zero."""
    zeros = {
        name: torch.zeros_like(value)
        for name in ("crop_motion", "i3d_features")
        if (value := getattr(cues, name)) is not None
    }
    return replace(cues, **zeros)


def swap_objects(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues with each source given the next source's object, category included."""
    values = {field.name: getattr(cues, field.name) for field in fields(cues)}
    return Cues(**{k: None if v is None else v.roll(-1, dims=1) for k, v in values.items()})


def swap_boxes(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues with each source given the next source's boxes; its pictures stay."""
    if cues.boxes is None:
        raise InputError(
            "the cues 'swapped-boxes' change the boxes, and the method reads none: choose other "
            "cues"
        )
    return replace(cues, boxes=cues.boxes.roll(-1, dims=1))


def replace_pictures(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues with the pictures of objects of other categories, from other clips.

    The category stays: if it is given, it is right while the pictures are wrong.
    """
    others = other_cues()
    return replace(cues, **{name: getattr(others, name) for name in PICTURES})


def blur_crops(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues with a Gaussian blur on the crops, which keeps colours and no shapes."""
    crops = _require_crops(cues, "blurred")
    flat = blur(crops.flatten(0, 2), BLUR_SHARE * crops.shape[-1])  # B S K -> N
    # Cached features are those of the sharp crops: without them the model encodes the blurred ones.
    return replace(cues, crops=flat.unflatten(0, crops.shape[:3]), appearance=None)


def hide_crops(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the cues with all crops grey."""
    crops = torch.full_like(_require_crops(cues, "hidden"), GREY)
    return replace(cues, crops=crops, appearance=None)


def keep_word_only(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Return the category of each source as its only cue; no source is visible."""
    assert cues.category is not None, "the cues hold the category"
    pictures = dict.fromkeys(PICTURES)
    is_visible = torch.zeros_like(cues.category, dtype=torch.bool)
    return replace(cues, **pictures | {"is_visible": is_visible})


# The ablation for models with stored words.
WORD = "word"
# Name in `avsep evaluate --cues` -> ablation.
CUE_ABLATIONS: dict[str, CueAblation] = {
    "all": keep_all,
    "no-motion": remove_motion,
    "swapped": swap_objects,
    "swapped-boxes": swap_boxes,
    "wrong": replace_pictures,
    "blurred": blur_crops,
    "hidden": hide_crops,
    WORD: keep_word_only,
}


def blur(pictures: UInt8[Tensor, "N 3 H W"], sigma_pixels: float) -> UInt8[Tensor, "N 3 H W"]:
    """Return pictures convolved with a Gaussian, edges repeated."""
    reach = round(3 * sigma_pixels)  # 99.7 % of the Gaussian
    offsets = torch.arange(-reach, reach + 1, device=pictures.device) / sigma_pixels
    kernel = torch.exp(-(offsets**2) / 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = pad(pictures.float(), (reach, reach, reach, reach), mode="replicate")
    # A Gaussian is separable: columns, then rows.
    across: Float[Tensor, "N 3 H W"] = conv2d(padded, kernel, groups=3)
    return conv2d(across, kernel.mT, groups=3).round().to(torch.uint8)


def _require_crops(cues: Cues, ablation: str) -> UInt8[Tensor, "B S K 3 H W"]:
    if cues.crops is None:
        raise InputError(
            f"the cues '{ablation}' change the crops, and the method reads none: choose other cues"
        )
    return cues.crops
