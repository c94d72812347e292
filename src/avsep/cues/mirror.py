"""Mirror a clip left to right: channels, boxes and pictures change sides together.

Departure: LAVSS's code mirrors pictures at random and leaves ears and positions as they are, which
teaches that left and right do not matter.
"""

from dataclasses import fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from avsep.cues.windows import CUE_KINDS
from avsep.records import Batch, Cues


def mirror_batch(batch: Batch) -> Batch:
    """Mirror channels and cues of a batch; twice gives the same batch again."""
    sources = None if batch.sources is None else batch.sources.flip(2)
    return replace(
        batch, mixture=batch.mixture.flip(1), sources=sources, cues=mirror_cues(batch.cues)
    )


def mirror_cues(cues: Cues) -> Cues:
    """Mirror all cues that are read from pictures."""
    mirrored: dict[str, Tensor] = {}
    for name, kind in CUE_KINDS.items():
        value = getattr(cues, name)
        if value is not None:
            mirrored[name] = kind.mirror(value)
    return replace(cues, **mirrored)


def mirror_sources(cues: Cues, is_mirrored: Bool[np.ndarray, " S"]) -> Cues:
    """Mirror the cues of some sources of a batch of one."""
    mirrored, chosen = mirror_cues(cues), torch.from_numpy(is_mirrored)
    mixed = {}
    for name in (field.name for field in fields(Cues)):
        value = getattr(cues, name)
        if value is not None:
            place = chosen.view(1, -1, *[1] * (value.dim() - 2))
            mixed[name] = torch.where(place, getattr(mirrored, name), value)
    return Cues(**mixed)


def mirror_channels(waveform: Float32[np.ndarray, "*axes C N"]) -> Float32[np.ndarray, "*axes C N"]:
    """Swap left and right; mono stays as it is."""
    return waveform[..., ::-1, :]
