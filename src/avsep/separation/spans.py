"""Silence stems outside of the spans in which their objects sound, block by block."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Float64

from avsep.records import Span, VisibleObject

# Length of a fade at each end of a span, inside of it: shorter ones click.
FADE_SECONDS = 0.02


class StemSpans:
    """The spans of all objects of a sound, on the grid of its samples.

    A gain depends on the sample's place in the whole alone: blocks of any length give the same.
    """

    def __init__(
        self, objects: Sequence[VisibleObject], start_seconds: float, sample_rate_hz: int
    ) -> None:
        """Prepare.

        Args:
            objects: objects of the stems.
            start_seconds: time of the first sample in the video.
            sample_rate_hz: of the stems.
        """
        self._objects = tuple(objects)
        self._start_seconds, self._sample_rate_hz = start_seconds, sample_rate_hz

    def apply(
        self, first: int, stems: Float32[np.ndarray, "S C n"]
    ) -> Float32[np.ndarray, "S C n"]:
        """Return a block of stems, silent outside of their spans.

        Args:
            first: place of the first sample of the block in the whole.
            stems: stems of all objects.
        """
        if not any(item.spans for item in self._objects):
            return stems
        places = first + np.arange(stems.shape[-1])
        times = self._start_seconds + places / self._sample_rate_hz
        gated = stems.copy()
        for stem, item in zip(gated, self._objects, strict=True):
            if item.spans:
                stem *= span_gain(item.spans, times)
        return gated

    def warnings(self, num_samples: int) -> tuple[str, ...]:
        """Return a warning for each object whose spans are all outside of the sound."""
        end_seconds = self._start_seconds + num_samples / self._sample_rate_hz
        return tuple(
            f"object {number} is silent: none of its spans, {describe_spans(item.spans)}, is in "
            f"the sound, {self._start_seconds:.4g}-{end_seconds:.4g} s"
            for number, item in enumerate(self._objects, 1)
            if item.spans
            and not any(
                start < end_seconds and end > self._start_seconds for start, end in item.spans
            )
        )


def span_gain(
    spans: Sequence[Span], times_seconds: Float64[np.ndarray, " n"]
) -> Float32[np.ndarray, " n"]:
    """Return the gain at some times: 1 within spans, 0 outside, a raised cosine at their ends.

    Args:
        spans: start and end of each in seconds; they do not overlap.
        times_seconds: times in seconds.
    """
    inside = np.zeros_like(times_seconds)
    for start, end in spans:
        seconds = np.minimum(times_seconds - start, end - times_seconds)
        inside += (seconds / FADE_SECONDS).clip(0, 1)
    return (0.5 - 0.5 * np.cos(np.pi * inside)).astype(np.float32)


def describe_spans(spans: Sequence[Span]) -> str:
    """Return spans in words.

    >>> describe_spans([(1, 2.5), (12, 15)])
    '1-2.5 s and 12-15 s'
    """
    return " and ".join(f"{start:g}-{end:g} s" for start, end in spans)
