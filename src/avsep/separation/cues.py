"""Which cues can be made of any video, and cues on a device."""

import torch

from avsep.errors import InputError
from avsep.records import Cues

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


def to_device(cues: Cues, device: torch.device) -> Cues:
    """The same cues on a device."""
    values = {name: value for name, value in vars(cues).items() if value is not None}
    return Cues(**{name: value.to(device) for name, value in values.items()})
