"""Change of sampling rate, by soxr at its very high quality."""

import numpy as np
import soxr
from jaxtyping import Float32


def resample(
    waveform: Float32[np.ndarray, "C N"], from_rate_hz: int, to_rate_hz: int
) -> Float32[np.ndarray, "C M"]:
    """The same sound at another rate; a sound already at that rate comes back as it is."""
    if from_rate_hz == to_rate_hz or waveform.shape[1] == 0:
        return waveform
    return soxr.resample(waveform.T, from_rate_hz, to_rate_hz, quality="VHQ").T.astype(
        np.float32, copy=False
    )
