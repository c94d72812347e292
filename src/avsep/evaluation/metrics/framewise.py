"""Compute framewise BSS Eval scores and their medians over time."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from torch import Tensor

from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.waveforms import Waveforms, as_tensors, check_shapes, check_values


@dataclass(frozen=True)
class FramewiseScores:
    """SDR, SIR, SAR of each source in each frame in dB; NaN in frames that have no score.

    Attributes:
        permutation: index of the estimate scored for each reference; -1 in frames without score.
        start_samples: start of each frame.
        window_samples: length of each frame; that of the whole sound if it is one frame.
    """

    sdr_db: Float64[np.ndarray, "*batch S frames"]
    sir_db: Float64[np.ndarray, "*batch S frames"]
    sar_db: Float64[np.ndarray, "*batch S frames"]
    permutation: Int64[np.ndarray, "*batch S frames"]
    start_samples: Int64[np.ndarray, " frames"]
    window_samples: int

    @property
    def table_db(self) -> Float64[np.ndarray, "*batch S frames 3"]:
        """SDR, SIR and SAR side by side."""
        return np.stack([self.sdr_db, self.sir_db, self.sar_db], axis=-1)

    @property
    def median_db(self) -> Float64[np.ndarray, "*batch S 3"]:
        """SDR, SIR and SAR of each source, medians over its frames that have a score."""
        return median_over_frames(self.table_db.swapaxes(-1, -2))

    @property
    def num_left_out(self) -> Int64[np.ndarray, "*batch"]:
        """Number of frames of each mixture without a score: a source or estimate is silent."""
        left_out = np.isnan(self.sdr_db).any(axis=-2)
        return np.asarray(left_out.sum(axis=-1), dtype=np.int64)


def bss_eval_framewise(
    references: Waveforms,
    estimates: Waveforms,
    window_samples: int = 30 * 44100,
    hop_samples: int = 15 * 44100,
    permute: bool = False,
    *,
    filter_taps: int = 512,
) -> FramewiseScores:
    """Return SDR, SIR, SAR of estimates [..., sources, samples] in each frame, in float64.

    The frames are those of mir_eval.separation.bss_eval_sources_framewise: one begins every
    `hop_samples`, none extends beyond the end, and the remainder there is not scored. If fewer than
    two frames fit, the whole sound is one frame. Of several frames, those in which a reference or
    an estimate is all zeros have no score: NaN for all sources.

    Departure: an estimate that is silent in the whole sound (mir_eval: an error) scores -inf in
    every frame in which the references sound, as in `bss_eval`, and the other sources keep their
    scores.

    With `permute` every frame has its own order, given by `permutation`.

    Raises:
        InputError: as `bss_eval`; a window too short for its filters, a hop below one sample.

    >>> noise = np.random.default_rng(0).standard_normal((2, 20000))
    >>> bss_eval_framewise(noise, noise + 0.1 * noise[::-1], 8000, 4000).sir_db.shape
    (2, 4)
    """
    truth, guess = as_tensors(references, estimates)
    check_shapes(truth, guess, "sources, samples", taps=1)
    check_values(truth, guess)
    for name, value in (("window_samples", window_samples), ("hop_samples", hop_samples)):
        if value < 1:
            raise InputError(f"{name} is {value}; it must be 1 or more")
    truth, guess = torch.broadcast_tensors(truth, guess)
    *batch, num_sources, num_samples = truth.shape
    # The count of mir_eval, which is floor((N - window + hop) / hop).
    num_frames = (num_samples - window_samples + hop_samples) // hop_samples
    if num_frames < 2:
        window_samples, hop_samples, num_frames = num_samples, num_samples, 1
    flat = (x.reshape(-1, num_sources, num_samples) for x in (truth, guess))
    frames = [_split_frames(x, window_samples, hop_samples) for x in flat]
    check_shapes(frames[0], frames[1], "sources, samples", filter_taps)
    # A single frame is the whole sound, in which silence is scored as by `bss_eval`.
    has_score = (
        _have_scores(*frames) if num_frames > 1 else torch.ones_like(frames[0][..., 0, 0]).bool()
    )
    # B frames S, three scores and the permutation: all frames with a score are one batch.
    table = np.full((*has_score.shape, num_sources, 4), np.nan)
    if has_score.any():
        scores = bss_eval(*(x[has_score] for x in frames), permute=permute, filter_taps=filter_taps)
        columns = [scores.table_db, scores.permutation[..., None]]
        table[has_score.cpu().numpy()] = np.concatenate(columns, axis=-1)
    table = np.moveaxis(table, 1, 2).reshape(*batch, num_sources, num_frames, 4)
    return FramewiseScores(
        sdr_db=table[..., 0],
        sir_db=table[..., 1],
        sar_db=table[..., 2],
        permutation=np.nan_to_num(table[..., 3], nan=-1.0).astype(np.int64),
        start_samples=hop_samples * np.arange(num_frames, dtype=np.int64),
        window_samples=window_samples,
    )


def median_over_frames(
    scores_db: Float64[np.ndarray, "*rest frames"],
) -> Float64[np.ndarray, "*rest"]:
    """Return the median over the last axis without NaN, as museval summarises a track.

    NaN where all are NaN.

    >>> median_over_frames(np.array([[1.0, np.nan, 4.0, 2.0], [np.nan] * 4]))
    array([ 2., nan])
    """
    with warnings.catch_warnings():
        # NumPy warns of a middle between infinities, and of rows with nothing but NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(scores_db, axis=-1))


def _split_frames(
    waveforms: Shaped[Tensor, "B S N"], window_samples: int, hop_samples: int
) -> Shaped[Tensor, "B frames S window"]:
    return waveforms.unfold(-1, window_samples, hop_samples).transpose(1, 2)


def _have_scores(
    references: Shaped[Tensor, "B frames S window"],
    estimates: Shaped[Tensor, "B frames S window"],
) -> Bool[Tensor, "B frames"]:
    """Mark frames in which all references sound, and all estimates that sound in any frame."""
    is_silent = (estimates == 0).all(-1)
    silent_here_only = is_silent & ~is_silent.all(dim=1, keepdim=True)
    return ~((references == 0).all(-1) | silent_here_only).any(-1)
