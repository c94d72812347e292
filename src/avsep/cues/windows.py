"""Select the cues of windows from the crops of a whole video."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from avsep.cues.crops import ObjectCrops
from avsep.records import Cues


def window_cues(
    object_crops: Sequence[ObjectCrops],
    starts_seconds: Sequence[float],
    window_seconds: float,
    category: Int64[Tensor, " S"],
    required_cues: frozenset[str],
) -> Cues:
    """The cues of several windows, B of them, for as many crops as the model was trained with."""
    crops = crop_motion = boxes = None
    num_crops = object_crops[0].settings.num_crops
    if "crops" in required_cues:
        per_window = [crops_of(object_crops, s, window_seconds, num_crops) for s in starts_seconds]
        crops = torch.stack(per_window)
    if "boxes" in required_cues:
        per_window = [boxes_of(object_crops, s, window_seconds, num_crops) for s in starts_seconds]
        boxes = torch.stack(per_window)
    if "crop_motion" in required_cues:
        num_frames = round(window_seconds * object_crops[0].settings.motion_rate_hz)
        per_window = [
            torch.stack(
                [object_crop.motion_within(start, num_frames) for object_crop in object_crops]
            )
            for start in starts_seconds
        ]
        crop_motion = torch.stack(per_window)
    told = category.repeat(len(starts_seconds), 1)
    return Cues(crops=crops, crop_motion=crop_motion, boxes=boxes, category=told)


def crops_of(
    object_crops: Sequence[ObjectCrops],
    start_seconds: float,
    duration_seconds: float,
    num_crops: int,
) -> UInt8[Tensor, "S K 3 H W"]:
    """Crops of each object spread evenly over a stretch of time; where there are few, repeated."""
    return torch.stack(
        [
            object_crop.crops[_spread(object_crop, start_seconds, duration_seconds, num_crops)]
            for object_crop in object_crops
        ]
    )


def boxes_of(
    object_crops: Sequence[ObjectCrops],
    start_seconds: float,
    duration_seconds: float,
    num_crops: int,
) -> Float[Tensor, "S K 4"]:
    """Where the same crops were cut out."""
    return torch.stack(
        [
            object_crop.boxes[_spread(object_crop, start_seconds, duration_seconds, num_crops)]
            for object_crop in object_crops
        ]
    )


def _spread(
    object_crop: ObjectCrops, start_seconds: float, duration_seconds: float, num_crops: int
) -> Int64[Tensor, " K"]:
    """Which crops are shown of a stretch of time."""
    there = object_crop.crops_within(start_seconds, duration_seconds)
    spread = np.linspace(0, len(there) - 1, num_crops).round().astype(np.int64)
    return torch.from_numpy(there[spread])
