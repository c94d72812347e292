"""Build the cues of windows, the same way for training, evaluation and separation.

A new cue is a field of `Cues`, a line in `CUE_KINDS`, its extraction in crops.py, and the model
that reads it; caching, padding, batching and mirroring follow from its kind.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor
from torch.nn.functional import pad

from avsep.cues.crops import SourceCues
from avsep.data.categories import find_in
from avsep.records import Cues


def mirror_boxes(boxes: Float[Tensor, "*axes 4"]) -> Float[Tensor, "*axes 4"]:
    """Mirror boxes x1 y1 x2 y2 left to right."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([1 - x2, y1, 1 - x1, y2], dim=-1)


def cut_crops(cues: Cues, num_pixels: int, generator: np.random.Generator) -> Cues:
    """Cut a random square out of the crops of each source, the same out of all its crops.

    Boxes stay those of the objects.

    Args:
        cues: with crops of at least `num_pixels` a side.
        num_pixels: side of the square.
        generator: draws a row and a column for each source.
    """
    if cues.crops is None:
        return cues
    batch, sources = cues.crops.shape[:2]
    most = [side - num_pixels for side in cues.crops.shape[-2:]]
    corners = generator.integers(0, most, size=(batch * sources, 2), endpoint=True)
    pieces = [
        crops[..., row : row + num_pixels, column : column + num_pixels]
        for crops, (row, column) in zip(cues.crops.flatten(0, 1), corners.tolist(), strict=True)
    ]
    return replace(cues, crops=torch.stack(pieces).unflatten(0, (batch, sources)))


def _flip(pictures: Shaped[Tensor, "*axes w"]) -> Shaped[Tensor, "*axes w"]:
    return pictures.flip(-1)


def _keep(features: Shaped[Tensor, "*axes"]) -> Shaped[Tensor, "*axes"]:
    return features


@dataclass(frozen=True)
class CueKind:
    """The time axis of a cue, and its mirror image.

    Attributes:
        rows: crop: one row a crop; motion: one row a grey picture; clip: the same for every window
            of the clip, its last axis padded to the longest of a batch.
        mirror: cue -> the cue of mirrored pictures.
    """

    rows: Literal["crop", "motion", "clip"]
    mirror: Callable[[Tensor], Tensor]


# Name in `Cues` -> kind, of the cues that are read from pictures.
CUE_KINDS: dict[str, CueKind] = {
    "crops": CueKind("crop", _flip),
    # Mirrored maps of an image encoder are nearly the maps of the mirrored picture.
    "appearance": CueKind("crop", _flip),
    "boxes": CueKind("crop", mirror_boxes),
    "crop_motion": CueKind("motion", _flip),
    # Pooled over all places. iQuery mirrors pictures and keeps these as they are.
    "i3d_features": CueKind("clip", _keep),
}

# Indices of the crops inside a window, and a number of crops -> as many indices.
CropSelection = Callable[[Int64[np.ndarray, " crops"], int], Int64[np.ndarray, " K"]]


@dataclass(frozen=True)
class SourceWindow:
    """One source in one window of its clip.

    Attributes:
        cues: of the whole clip.
        start_seconds: of the window, in the clip's sound.
        is_repeated: the clip is shorter than the window and repeated to fill it.
    """

    cues: SourceCues
    start_seconds: float
    is_repeated: bool = False


def spread_evenly(crops: Int64[np.ndarray, " crops"], num: int) -> Int64[np.ndarray, " K"]:
    """Select crops evenly spread over a window; few are repeated."""
    return crops[np.linspace(0, len(crops) - 1, num).round().astype(np.int64)]


def select_lowest(
    crops: Int64[np.ndarray, " crops"], drawn: Float64[np.ndarray, " crops"], num: int
) -> Int64[np.ndarray, " K"]:
    """Select the crops with the lowest numbers drawn, in order of time; few are repeated."""
    return np.sort(np.resize(crops[drawn.argsort()], num))


def window_cues(
    windows: Sequence[Sequence[SourceWindow]],
    window_seconds: float,
    *,
    names: Iterable[str] = CUE_KINDS,
    num_crops: int | None = None,
    select: CropSelection = spread_evenly,
) -> Cues:
    """Build the cues of B windows of S sources each.

    A cue that any source lacks is left out. Categories and embeddings are not made here.

    Args:
        windows: [B][S] sources and the starts of their windows.
        window_seconds: length of every window.
        names: names of the cues to build; default: every cue that all sources have.
        num_crops: crops of each source, among those inside the window; none: number and selection
            are those of the sources' settings.
        select: choice of crops among those inside the window, where they are not consecutive.
    """
    kinds = {name: CUE_KINDS[name] for name in names if name in CUE_KINDS}
    sources = [window for row in windows for window in row]
    rows = [_source_cues(source, window_seconds, kinds, num_crops, select) for source in sources]
    shape = (len(windows), len(windows[0]))
    values: dict[str, Tensor | None] = {}
    for name, kind in kinds.items():
        tensors = [row[name] for row in rows if name in row]
        if len(tensors) < len(rows):
            continue
        if kind.rows == "clip":
            lengths = torch.tensor([tensor.shape[-1] for tensor in tensors])
            longest = int(lengths.max())
            tensors = [pad(tensor, (0, longest - tensor.shape[-1])) for tensor in tensors]
            is_padding = torch.arange(longest) >= lengths[:, None]
            values["i3d_padding"] = is_padding.unflatten(0, shape)
        values[name] = torch.stack(tensors).unflatten(0, shape)
    # Left out where all are visible, so that models skip the replacement of cues.
    is_visible = torch.tensor([source.cues.is_visible for source in sources])
    if not bool(is_visible.all()):
        values["is_visible"] = is_visible.unflatten(0, shape)
    return Cues(**values)


def _source_cues(
    window: SourceWindow,
    window_seconds: float,
    kinds: dict[str, CueKind],
    num_crops: int | None,
    select: CropSelection,
) -> dict[str, Tensor]:
    source, start_seconds = window.cues, window.start_seconds
    # Crops and their boxes share one selection, or a box would be of another time.
    if source.settings.selection == "consecutive" and num_crops is None:
        crops = source.consecutive_indices(start_seconds, window_seconds)
    else:
        crops = source.crop_indices(start_seconds, window_seconds)
        crops = select(crops, num_crops or source.settings.num_crops)
    values: dict[str, Tensor] = {}
    for name, kind in kinds.items():
        if not source.num_rows(name):
            continue
        if kind.rows == "clip":
            values[name] = source.whole(name)
        elif kind.rows == "crop":
            values[name] = source.rows(name, crops)
        else:
            motion = source.motion_indices(
                start_seconds, window_seconds, is_repeated=window.is_repeated
            )
            values[name] = source.rows(name, motion)
    return values


def category_cue(labels: Sequence[str], categories: Sequence[str]) -> Int64[Tensor, " S"]:
    """Return the index of each label among categories; -1 for a label that is none of them."""
    indices = [find_in(categories, label) for label in labels]
    return torch.tensor([-1 if index is None else index for index in indices])


def join_cues(batches: Sequence[Cues], *, along: Literal["batch", "sources"] = "batch") -> Cues:
    """Concatenate cues along the batch or the sources; a cue that one of them lacks is left out.

    Cues of whole clips are padded to the longest. Where a batch has no `is_visible`, all of its
    sources are visible.
    """
    if any(cues.is_visible is not None for cues in batches):
        batches = [replace(cues, is_visible=_visibility(cues)) for cues in batches]
    joined: dict[str, Tensor] = {}
    for name in (field.name for field in fields(Cues)):
        values = [value for cues in batches if (value := getattr(cues, name)) is not None]
        if len(values) < len(batches):
            continue
        if name == "i3d_padding" or (name in CUE_KINDS and CUE_KINDS[name].rows == "clip"):
            longest = max(value.shape[-1] for value in values)
            # Features are padded with zeros, their padding mask with True.
            filling = name == "i3d_padding"
            values = [pad(value, (0, longest - value.shape[-1]), value=filling) for value in values]
        joined[name] = torch.cat(values, dim=0 if along == "batch" else 1)
    return Cues(**joined)


def _visibility(cues: Cues) -> Bool[Tensor, "B S"]:
    if cues.is_visible is not None:
        return cues.is_visible
    values = (getattr(cues, field.name) for field in fields(Cues))
    first = next(value for value in values if value is not None)
    return torch.ones(first.shape[:2], dtype=torch.bool, device=first.device)
