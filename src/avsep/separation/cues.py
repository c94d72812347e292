"""What each window of a video shows of its objects, in the form that models read."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from avsep.errors import InputError
from avsep.records import Cues
from avsep.vision.looks import Look

# The cues that can be made of any video.
AVAILABLE = frozenset({"crops", "movement", "category"})


def check_needs(needs: frozenset[str], name: str) -> None:
    """Raise InputError when a model reads cues that are not made here."""
    missing = sorted(needs - AVAILABLE)
    if missing:
        raise InputError(
            f"model '{name}' reads {', '.join(missing)}, which is not computed from videos here; "
            "choose a model that reads crops and movement alone, see `avsep models`"
        )


def window_cues(
    looks: Sequence[Look],
    starts_seconds: Sequence[float],
    window_seconds: float,
    category: Int64[Tensor, " S"],
    needs: frozenset[str],
) -> Cues:
    """The cues of several windows, B of them, for as many crops as the model was trained with."""
    crops = movement = None
    if "crops" in needs:
        num_crops = looks[0].settings.num_crops
        per_window = [crops_of(looks, s, window_seconds, num_crops) for s in starts_seconds]
        crops = torch.stack(per_window)
    if "movement" in needs:
        num_frames = round(window_seconds * looks[0].settings.movement_rate_hz)
        per_window = [
            torch.stack([look.movement_within(start, num_frames) for look in looks])
            for start in starts_seconds
        ]
        movement = torch.stack(per_window)
    told = category.repeat(len(starts_seconds), 1)
    return Cues(crops=crops, movement=movement, category=told)


def crops_of(
    looks: Sequence[Look], start_seconds: float, duration_seconds: float, num_crops: int
) -> UInt8[Tensor, "S K 3 H W"]:
    """Crops of each object spread evenly over a stretch of time; where there are few, repeated."""
    chosen = []
    for look in looks:
        there = look.crops_within(start_seconds, duration_seconds)
        spread = np.linspace(0, len(there) - 1, num_crops).round().astype(np.int64)
        chosen.append(look.crops[torch.from_numpy(there[spread])])
    return torch.stack(chosen)


def to_device(cues: Cues, device: torch.device) -> Cues:
    """The same cues on a device."""
    values = {name: value for name, value in vars(cues).items() if value is not None}
    return Cues(**{name: value.to(device) for name, value in values.items()})
