"""The level at which a network hears: whatever a mixture's own, all are brought to one."""

from jaxtyping import Float
from torch import Tensor

# Softer than this a mixture is raised no further: it is silence, or about to be.
_SOFTEST_RMS = 1e-5


def hearing_factor(
    mixture: Float[Tensor, "B C N"], level_rms: float | None
) -> Float[Tensor, "B 1"]:
    """The factor that brings each mixture, over all its channels, to an RMS; none: one."""
    if level_rms is None:
        return mixture.new_ones(len(mixture), 1)
    rms = mixture.square().mean((1, 2), keepdim=True)[:, 0].sqrt()
    return level_rms / rms.clamp_min(_SOFTEST_RMS)
