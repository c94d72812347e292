"""Select the cues of windows from the crops of a whole video."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from avsep.cues.crops import Look
from avsep.records import Cues


def window_cues(
    looks: Sequence[Look],
    starts_seconds: Sequence[float],
    window_seconds: float,
    category: Int64[Tensor, " S"],
    needs: frozenset[str],
) -> Cues:
    """The cues of several windows, B of them, for as many crops as the model was trained with."""
    crops = movement = boxes = None
    num_crops = looks[0].settings.num_crops
    if "crops" in needs:
        per_window = [crops_of(looks, s, window_seconds, num_crops) for s in starts_seconds]
        crops = torch.stack(per_window)
    if "boxes" in needs:
        per_window = [boxes_of(looks, s, window_seconds, num_crops) for s in starts_seconds]
        boxes = torch.stack(per_window)
    if "movement" in needs:
        num_frames = round(window_seconds * looks[0].settings.movement_rate_hz)
        per_window = [
            torch.stack([look.movement_within(start, num_frames) for look in looks])
            for start in starts_seconds
        ]
        movement = torch.stack(per_window)
    told = category.repeat(len(starts_seconds), 1)
    return Cues(crops=crops, movement=movement, boxes=boxes, category=told)


def crops_of(
    looks: Sequence[Look], start_seconds: float, duration_seconds: float, num_crops: int
) -> UInt8[Tensor, "S K 3 H W"]:
    """Crops of each object spread evenly over a stretch of time; where there are few, repeated."""
    return torch.stack(
        [look.crops[_spread(look, start_seconds, duration_seconds, num_crops)] for look in looks]
    )


def boxes_of(
    looks: Sequence[Look], start_seconds: float, duration_seconds: float, num_crops: int
) -> Float[Tensor, "S K 4"]:
    """Where the same crops were cut out."""
    return torch.stack(
        [look.boxes[_spread(look, start_seconds, duration_seconds, num_crops)] for look in looks]
    )


def _spread(
    look: Look, start_seconds: float, duration_seconds: float, num_crops: int
) -> Int64[Tensor, " K"]:
    """Which crops are shown of a stretch of time."""
    there = look.crops_within(start_seconds, duration_seconds)
    spread = np.linspace(0, len(there) - 1, num_crops).round().astype(np.int64)
    return torch.from_numpy(there[spread])
