"""A video as its mirror shows it: ears, boxes, directions and pictures change sides, all or none.

Departure: LAVSS's code mirrors pictures at random and leaves ears and positions as they are, which
teaches that left and right do not matter.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from avsep.errors import InputError
from avsep.records import Batch, Cues


def mirrored(batch: Batch) -> Batch:
    """A batch whose ears and cues have changed sides; twice gives the same again.

    Maps of an image encoder are mirrored in place of the pictures, which is nearly the same.
    Raises InputError for motion features, which nobody can mirror.
    """
    sources = None if batch.sources is None else batch.sources.flip(2)
    return replace(
        batch, mixture=batch.mixture.flip(1), sources=sources, cues=mirrored_cues(batch.cues)
    )


def mirrored_cues(cues: Cues) -> Cues:
    """What vision tells of the mirrored pictures."""
    if cues.i3d_features is not None:
        raise InputError("motion features cannot be mirrored: compute them of mirrored pictures")
    pictures = {
        name: value.flip(-1)
        for name in ("crops", "appearance", "frames", "crop_motion")
        if (value := getattr(cues, name)) is not None
    }
    boxes = None if cues.boxes is None else _mirrored_boxes(cues.boxes)
    return replace(cues, boxes=boxes, **pictures)


def mirrored_ears(waveform: Float32[np.ndarray, "*axes C N"]) -> Float32[np.ndarray, "*axes C N"]:
    """Sound whose left and right have changed; one channel stays as it is."""
    return waveform[..., ::-1, :]


def _mirrored_boxes(boxes: Float[Tensor, "*axes 4"]) -> Float[Tensor, "*axes 4"]:
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([1 - x2, y1, 1 - x1, y2], dim=-1)
