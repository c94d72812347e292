"""Windows over a sound of any length, and the overlap-add that joins them again."""

from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float32


def window_starts(num_samples: int, window_samples: int, overlap: float = 0.5) -> tuple[int, ...]:
    """Where windows begin that cover a sound, in order.

    They lie one step apart, neighbours sharing the fraction `overlap`; the last is pulled back to
    end with the sound. A sound of up to one window has a single one that reaches beyond its end.

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
    """One window of a sound, with zeros where it reaches beyond the end."""
    assert start >= 0, f"a window starts at {start}, before the sound"
    piece = waveform[..., start : start + window_samples]
    beyond = [(0, 0)] * (piece.ndim - 1) + [(0, window_samples - piece.shape[-1])]
    return np.pad(piece, beyond)


def fade(window_samples: int) -> Float32[np.ndarray, " M"]:
    """The weight of each sample of a window: a raised cosine that touches no zero."""
    phase = (np.arange(window_samples) + 0.5) / window_samples
    return np.square(np.sin(np.pi * phase)).astype(np.float32)


def overlap_add(
    windows: Iterable[tuple[int, Float32[np.ndarray, "*axes M"]]], num_samples: int
) -> Iterator[Float32[np.ndarray, "*axes n"]]:
    """The sound of windows, given with their starts, in blocks: each as soon as it is final.

    Where windows overlap the sound is their mean, weighted by `fade`; windows cut from one sound
    therefore give that sound back. No more than one window is held. Starts must rise and leave
    nothing uncovered; what reaches beyond `num_samples` is left out.
    """
    begin = 0
    held = weight = None
    for start, window in windows:
        fading = fade(window.shape[-1])
        if held is None or weight is None:
            assert start == 0, f"the first window starts at {start}"
            held, weight = np.zeros_like(window), np.zeros_like(fading)
        assert begin <= start <= begin + len(weight), "starts rise, and windows leave no gap"
        num_final = start - begin
        if num_final:
            yield held[..., :num_final] / weight[:num_final]
        held = _moved_on(held, num_final, window.shape[-1])
        weight = _moved_on(weight, num_final, window.shape[-1])
        held += fading * window
        weight += fading
        begin = start
    assert held is not None and weight is not None, "there is at least one window"
    num_left = num_samples - begin
    assert num_left <= len(weight), f"windows end {num_left - len(weight)} samples too early"
    yield held[..., :num_left] / weight[:num_left]


def _moved_on(
    held: Float32[np.ndarray, "*axes N"], num_final: int, num_samples: int
) -> Float32[np.ndarray, "*axes M"]:
    """What is held without the part that is final, filled up with zeros."""
    rest = held[..., num_final:]
    return np.pad(rest, [(0, 0)] * (rest.ndim - 1) + [(0, num_samples - rest.shape[-1])])
