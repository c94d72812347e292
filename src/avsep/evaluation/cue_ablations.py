"""Cues changed on purpose: how the scores answer tells what a separator goes by."""

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import conv2d, pad

from avsep.errors import InputError
from avsep.records import Cues

# What an object is shown by; the rest of Cues is said of it in words.
PICTURES = (
    "crops", "appearance", "crop_motion", "i3d_features", "i3d_padding", "is_visible",
    "boxes",
    "embedding",
)  # fmt: skip
BLUR_SHARE = 1 / 10  # of a crop's side: an instrument becomes a patch of colour
GREY = 128

# A trial: the cues of one clip, and a way to those of objects of another kind from another clip,
# as many; the changed cues come out.
CueAblation = Callable[[Cues, Callable[[], Cues]], Cues]


def without_labels(cues: Cues) -> Cues:
    """The cues without the category of what is seen: the picture alone decides.

    What nobody sees keeps its word, which is all that tells of it.
    """
    if cues.category is None or cues.is_visible is None:
        return replace(cues, category=None)
    return replace(cues, category=cues.category.masked_fill(cues.is_visible, -1))


def all_cues(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """The cues as they are."""
    return cues


def without_motion(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Every object stands still: movement and motion features are zeros."""
    still = {
        name: torch.zeros_like(value)
        for name in ("crop_motion", "i3d_features")
        if (value := getattr(cues, name)) is not None
    }
    return replace(cues, **still)


def swapped(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Each source is given the next source's object, pictures and category alike."""
    given = {field.name: getattr(cues, field.name) for field in fields(cues)}
    return Cues(**{k: None if v is None else v.roll(-1, dims=1) for k, v in given.items()})


def swapped_boxes(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Each source is said to stand where the next one does; its pictures stay."""
    if cues.boxes is None:
        raise InputError("this trial changes the boxes, and the separator was given none")
    return replace(cues, boxes=cues.boxes.roll(-1, dims=1))


def wrong(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Each source is given pictures of an instrument that the clip does not hold.

    A category that was told stays: then the words are right and the pictures are not.
    """
    others = other_cues()
    return replace(cues, **{name: getattr(others, name) for name in PICTURES})


def blurred(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """The crops under a Gaussian blur that leaves colours and no shapes."""
    crops = _crops(cues)
    flat = blur(crops.flatten(0, 2), BLUR_SHARE * crops.shape[-1])
    return replace(cues, crops=flat.unflatten(0, crops.shape[:3]), appearance=None)


def hidden(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """The crops all grey."""
    return replace(cues, crops=torch.full_like(_crops(cues), GREY), appearance=None)


def word_alone(cues: Cues, other_cues: Callable[[], Cues]) -> Cues:
    """Nobody sees a source: its word alone tells."""
    assert cues.category is not None, "words are told"
    nothing = dict.fromkeys(PICTURES)
    return replace(
        cues, **nothing | {"is_visible": torch.zeros_like(cues.category, dtype=torch.bool)}
    )


# The trial for models that know words.
WORD = "word"
# Name -> trial, as `avsep evaluate --cues` takes it.
CUE_ABLATIONS: dict[str, CueAblation] = {
    "all": all_cues,
    "no-motion": without_motion,
    "swapped": swapped,
    "swapped-boxes": swapped_boxes,
    "wrong": wrong,
    "blurred": blurred,
    "hidden": hidden,
    WORD: word_alone,
}


def blur(pictures: UInt8[Tensor, "N 3 H W"], sigma_pixels: float) -> UInt8[Tensor, "N 3 H W"]:
    """Pictures under a Gaussian, edges repeated."""
    reach = round(3 * sigma_pixels)
    offsets = torch.arange(-reach, reach + 1, device=pictures.device) / sigma_pixels
    kernel = torch.exp(-(offsets**2) / 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, 1, -1)
    padded = pad(pictures.float(), (reach, reach, reach, reach), mode="replicate")
    across: Float[Tensor, "N 3 H W"] = conv2d(padded, kernel, groups=3)
    return conv2d(across, kernel.mT, groups=3).round().to(torch.uint8)


def _crops(cues: Cues) -> UInt8[Tensor, "B S K 3 H W"]:
    if cues.crops is None:
        raise InputError("this trial changes the crops, and the separator was given none")
    return cues.crops
