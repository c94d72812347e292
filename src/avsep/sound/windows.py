"""Cut a waveform of any length into windows, and join windows by overlap-add."""

from functools import lru_cache
from threading import Lock

import numpy as np
from jaxtyping import Float32


def window_step(window_samples: int, overlap: float) -> int:
    """Compute the samples from one window's start to the next; neighbours share `overlap`."""
    assert 0 <= overlap < 1, f"overlap is {overlap}, it must be at least 0 and below 1"
    return max(1, round(window_samples * (1 - overlap)))


def window_starts(num_samples: int, window_samples: int, overlap: float = 0.5) -> tuple[int, ...]:
    """Compute the start sample of each window, in order.

    Neighbours share the fraction `overlap`; the last window is moved back to end with the
    waveform. A waveform of at most one window gets a single window, which exceeds its end.

    >>> window_starts(25, 10), window_starts(7, 10)
    ((0, 5, 10, 15), (0,))
    """
    last = max(0, num_samples - window_samples)
    return (*range(0, last, window_step(window_samples, overlap)), last)


def cut_window(
    waveform: Float32[np.ndarray, "*axes N"], start: int, window_samples: int
) -> Float32[np.ndarray, "*axes M"]:
    """Cut one window of a waveform, zero-padded beyond its end."""
    assert start >= 0, f"a window starts at {start}, before the waveform"
    piece = waveform[..., start : start + window_samples]
    padding = [(0, 0)] * (piece.ndim - 1) + [(0, window_samples - piece.shape[-1])]
    return np.pad(piece, padding)


# The windows of one separation have one length.
@lru_cache(maxsize=4)
def fade(window_samples: int) -> Float32[np.ndarray, " M"]:
    """Return the weights of a window's samples: a raised cosine (Hann) without zeros."""
    # From edge to edge: without the outer 2, 10 or 20 % of the windows the SDR of eight duets was
    # 0.01, 0.03 and 0.42 dB lower (dgfnet-mini; davis-mini and davis-flow-mini alike).
    # Half a sample off the usual Hann window: its first weight of 0 would be a division by zero
    # at the ends of the waveform, where a single window is divided by its own weight.
    phase = (np.arange(window_samples) + 0.5) / window_samples
    weights = np.square(np.sin(np.pi * phase)).astype(np.float32)
    weights.setflags(write=False)
    return weights


class OverlapAdd:
    """Join windows to one waveform, and return each block of samples once it is final.

    Overlapping windows are averaged with the weights of `fade`; windows cut from one waveform
    therefore reproduce it. Memory holds one window.

    Attributes:
        position: number of samples returned so far; the next block begins there.
    """

    def __init__(self) -> None:
        self.position = 0
        self._total: Float32[np.ndarray, "*axes M"] | None = None
        self._weight: Float32[np.ndarray, " M"] = np.zeros(0, np.float32)

    def add(
        self, start: int, window: Float32[np.ndarray, "*axes M"]
    ) -> Float32[np.ndarray, "*axes n"]:
        """Add a window; return the samples that are final, those before its start.

        Starts must increase from 0, and windows leave no gap.
        """
        if self._total is None:
            assert start == 0, f"the first window starts at {start}"
            self._total = np.zeros((*window.shape[:-1], 0), np.float32)
        in_order = self.position <= start <= self.position + len(self._weight)
        assert in_order, "starts rise, and windows leave no gap"
        # No later window starts before this one.
        num_final = start - self.position
        block = self._total[..., :num_final] / self._weight[:num_final]
        num_samples = window.shape[-1]
        weight = fade(num_samples)
        self._total = _advance(self._total, num_final, num_samples)
        self._weight = _advance(self._weight, num_final, num_samples)
        self._total += weight * window
        self._weight += weight
        self.position = start
        return block

    def finish(self, num_samples: int) -> Float32[np.ndarray, "*axes n"]:
        """Return the last block of a waveform of `num_samples`; what is beyond is dropped."""
        assert self._total is not None, "there is at least one window"
        num_left = num_samples - self.position
        too_early = num_left - len(self._weight)
        assert too_early <= 0, f"windows end {too_early} samples too early"
        self.position = num_samples
        return self._total[..., :num_left] / self._weight[:num_left]


def _advance(
    buffer: Float32[np.ndarray, "*axes N"], num_final: int, num_samples: int
) -> Float32[np.ndarray, "*axes M"]:
    """Drop the final samples of a buffer and zero-pad the rest."""
    rest = buffer[..., num_final:]
    return np.pad(rest, [(0, 0)] * (rest.ndim - 1) + [(0, num_samples - rest.shape[-1])])


class SampleBuffer:
    """The samples of a stream that are still needed, found by their place in the whole.

    One thread may append while another cuts.

    Attributes:
        start, end: the first sample that is held, and the number of samples appended so far.
    """

    def __init__(self, num_channels: int) -> None:
        self.start = 0
        self._lock = Lock()
        self._samples: Float32[np.ndarray, "C n"] = np.zeros((num_channels, 0), np.float32)

    @property
    def end(self) -> int:
        """Return the number of samples appended so far."""
        with self._lock:
            return self.start + self._samples.shape[1]

    def append(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Append the next samples."""
        with self._lock:
            self._samples = np.concatenate([self._samples, block], axis=1)

    def cut(self, start: int, num_samples: int) -> Float32[np.ndarray, "C M"]:
        """Cut samples from a place on, zero-padded beyond the end."""
        with self._lock:
            first, samples = self.start, self._samples
        assert start >= first, f"sample {start} was dropped, {first} is the first"
        return cut_window(samples, start - first, num_samples)

    def drop_before(self, start: int) -> None:
        """Forget the samples before a place."""
        with self._lock:
            num_dropped = min(max(0, start - self.start), self._samples.shape[1])
            # A copy: a view would keep the dropped samples in memory.
            self._samples = self._samples[:, num_dropped:].copy()
            self.start += num_dropped
