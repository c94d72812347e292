"""Which cues can be made of a video, and which a model must not need."""

from pathlib import Path

from avsep.errors import InputError

# The cues that can be made of any video.
AVAILABLE = frozenset({"crops", "movement", "category", "boxes"})
# The cue that takes the weights of I3D.
MOTION = "motion"


def check_needs(needs: frozenset[str], name: str, i3d: Path | None = None) -> None:
    """Raise InputError when a model reads cues that are not made here.

    Motion features are made where there are weights of I3D to make them with, which a model that
    reads none must not be given.
    """
    missing = sorted(needs - AVAILABLE - {MOTION})
    if missing:
        raise InputError(
            f"model '{name}' reads {', '.join(missing)}, which is not computed from videos here; "
            "choose a model that reads crops and movement alone, see `avsep models`"
        )
    if MOTION in needs and i3d is None:
        raise InputError(
            f"model '{name}' reads motion features, which I3D computes: give the file of its "
            "weights with --i3d FILE (i3d= in Python)"
        )
    if MOTION not in needs and i3d is not None:
        raise InputError(
            f"model '{name}' reads no motion features, which '{i3d}' would be for: leave out --i3d "
            "(i3d= in Python), or choose a model that reads them with --model"
        )
