"""Cut a waveform of any length into windows, and join windows by overlap-add."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32


def window_starts(num_samples: int, window_samples: int, overlap: float = 0.5) -> tuple[int, ...]:
    """Compute the start sample of each window, in order.

    Neighbours share the fraction `overlap`; the last window is moved back to end with the
    waveform. A waveform of at most one window gets a single window, which exceeds its end.

    >>> window_starts(25, 10), window_starts(7, 10)
    ((0, 5, 10, 15), (0,))
    """
    assert 0 <= overlap < 1, f"overlap is {overlap}, it must be at least 0 and below 1"
    step = max(1, round(window_samples * (1 - overlap)))
    last = max(0, num_samples - window_samples)
    return (*range(0, last, step), last)


def cut_window(
    waveform: Float32[np.ndarray, "*axes N"], start: int, window_samples: int
) -> Float32[np.ndarray, "*axes M"]:
    """Cut one window of a waveform, zero-padded beyond its end."""
    assert start >= 0, f"a window starts at {start}, before the waveform"
    piece = waveform[..., start : start + window_samples]
    padding = [(0, 0)] * (piece.ndim - 1) + [(0, window_samples - piece.shape[-1])]
    return np.pad(piece, padding)


def fade(window_samples: int) -> Float32[np.ndarray, " M"]:
    """Return the weights of a window's samples: a raised cosine (Hann) without zeros."""
    # Half a sample off the usual Hann window: its first weight of 0 would be a division by zero
    # at the ends of the waveform, where a single window is divided by its own weight.
    phase = (np.arange(window_samples) + 0.5) / window_samples
    return np.square(np.sin(np.pi * phase)).astype(np.float32)


def overlap_add(
    windows: Iterable[tuple[int, Float32[np.ndarray, "*axes M"]]], num_samples: int
) -> Iterator[Float32[np.ndarray, "*axes n"]]:
    """Join windows, given with their starts, and return each block of samples once it is final.

    Overlapping windows are averaged with the weights of `fade`; windows cut from one waveform
    therefore reproduce it. Memory holds one window. Starts must increase and windows must cover
    every sample; samples beyond `num_samples` are dropped.
    """
    begin = 0
    total = weight = None
    for start, window in windows:
        window_weight = fade(window.shape[-1])
        if total is None or weight is None:
            assert start == 0, f"the first window starts at {start}"
            total, weight = np.zeros_like(window), np.zeros_like(window_weight)
        assert begin <= start <= begin + len(weight), "starts rise, and windows leave no gap"
        # No later window starts before this one, so that samples up to its start are final.
        num_final = start - begin
        if num_final:
            yield total[..., :num_final] / weight[:num_final]
        total = _advance(total, num_final, window.shape[-1])
        weight = _advance(weight, num_final, window.shape[-1])
        total += window_weight * window
        weight += window_weight
        begin = start
    assert total is not None and weight is not None, "there is at least one window"
    num_left = num_samples - begin
    assert num_left <= len(weight), f"windows end {num_left - len(weight)} samples too early"
    yield total[..., :num_left] / weight[:num_left]


def _advance(
    buffer: Float32[np.ndarray, "*axes N"], num_final: int, num_samples: int
) -> Float32[np.ndarray, "*axes M"]:
    """Drop the final samples of a buffer and zero-pad the rest."""
    rest = buffer[..., num_final:]
    return np.pad(rest, [(0, 0)] * (rest.ndim - 1) + [(0, num_samples - rest.shape[-1])])
