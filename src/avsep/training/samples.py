"""A few validation mixtures to listen to and to look at, the same at every validation."""

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from avsep.evaluation.baselines import waveforms
from avsep.records import Batch, Separation
from avsep.sound.front_end import FrontEnd
from avsep.training.journal import Journal

# Loudest to faintest shown, as a factor of magnitude: 70 dB.
_SPAN_DB = 70.0
_GAP_PIXELS = 3


def show_samples(
    journal: Journal, step: int, batch: Batch, answer: Separation, front_end: FrontEnd
) -> None:
    """Write a batch's mixtures, estimates and truths as sounds and as spectrograms."""
    assert batch.sources is not None, "validation knows the truth"
    rate_hz = front_end.settings.sample_rate_hz
    estimates = waveforms(answer, front_end, batch.mixture.shape[-1])
    for item in range(len(batch.mixture)):
        rows = {"0 mixture": batch.mixture[item, :1]}
        for source in range(batch.sources.shape[1]):
            rows[f"{source + 1} estimate"] = estimates[item, source, :1]
            rows[f"{source + 1} truth"] = batch.sources[item, source, :1]
        for name, sound in rows.items():
            journal.sound(f"sample {item}/{name}", _array(sound[0]), rate_hz, step)
        sounds = torch.cat(list(rows.values()))
        journal.picture(f"sample {item}", spectrograms(sounds, front_end), step)


def spectrograms(sounds: Float[Tensor, "S N"], front_end: FrontEnd) -> UInt8[np.ndarray, "H W 3"]:
    """Spectrograms on the logarithmic axis side by side, low tones below, all to one scale."""
    from matplotlib import colormaps

    rows = _array(front_end.to_rows(front_end.magnitude(sounds)))  # S R T
    levels_db = 20 * np.log10(np.maximum(rows, 1e-6))
    shares = np.clip(1 + (levels_db - levels_db.max()) / _SPAN_DB, 0, 1)
    gap = np.ones((rows.shape[1], _GAP_PIXELS))
    strip = np.concatenate([part for share in shares for part in (share[::-1], gap)], axis=1)
    return colormaps["magma"](strip[:, :-_GAP_PIXELS], bytes=True)[..., :3]


def _array(values: Tensor) -> Float32[np.ndarray, "..."]:
    return values.detach().float().cpu().numpy()
