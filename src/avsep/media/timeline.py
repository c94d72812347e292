"""Place decoded sound by its time stamps: gaps, overlaps and drift of a stream."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
from jaxtyping import Float32

# Sound is moved where all stamps of this many seconds agree, so that single wrong stamps and
# packets that were stamped in bursts move nothing.
_AGREEMENT_SECONDS = 1.0
# Smaller deviations are left alone: above the rounding of stamps to milliseconds, below a packet.
_TOLERANCE_SECONDS = 0.005
# Longer overlaps are clocks that were set back, and nothing is taken off.
_LONGEST_OVERLAP_SECONDS = 1.0
# An overlap is taken off only if stamps of this many seconds agree on it: sound would be lost.
_OVERLAP_EVIDENCE_SECONDS = 0.5
# Drift of a clock is reported from here on, and beyond what chance makes of jittered stamps.
_SMALLEST_DRIFT = 0.0003
_STANDARD_ERRORS = 4


@dataclass
class _Piece:
    """Decoded samples, and how much later they are stamped than the sound before them ends."""

    samples: Float32[np.ndarray, "C n"]
    deviation_seconds: float | None
    follows_damage: bool


@dataclass
class _Moves:
    """Corrections of one kind: number, total and first place, in seconds of the output."""

    number: int = 0
    seconds: float = 0.0
    first_seconds: float = 0.0

    def add(self, place_seconds: float, seconds: float) -> None:
        """Count a correction."""
        if self.number == 0:
            self.first_seconds = place_seconds
        self.number += 1
        self.seconds += seconds

    def __str__(self) -> str:
        places = f"{self.number} places, the first" if self.number > 1 else "one place,"
        return f"{self.seconds:.3f} s in {places} after {self.first_seconds:.2f} s"


@dataclass
class _Drift:
    """Least-squares slope of the deviations over time, in constant memory."""

    num: int = 0
    time: float = 0.0
    deviation: float = 0.0
    time_squared: float = 0.0
    product: float = 0.0
    deviation_squared: float = 0.0

    def add(self, time: float, deviation: float) -> None:
        """Add a deviation at a time, both in seconds."""
        self.num += 1
        self.time += time
        self.deviation += deviation
        self.time_squared += time * time
        self.product += time * deviation
        self.deviation_squared += deviation * deviation

    @property
    def slope(self) -> float:
        """Seconds of deviation per second; 0 where chance could make it."""
        spread = self.num * self.time_squared - self.time**2
        if self.num < 3 or spread <= 0:
            return 0.0
        covariance = self.num * self.product - self.time * self.deviation
        slope = covariance / spread
        variance = self.num * self.deviation_squared - self.deviation**2
        residual = max(0.0, variance - slope * covariance) / (self.num * (self.num - 2))
        return slope if abs(slope) > _STANDARD_ERRORS * sqrt(residual * self.num / spread) else 0.0


@dataclass
class Timeline:
    """Place pieces of sound one after another, moved to their time stamps where these insist.

    A gap is filled with silence and an overlap taken off where all stamps of the next second agree
    on it. Where stamps drift, a few milliseconds at a time are repeated or left out. Jitter moves
    nothing. Clocks that jump by more than the file lasts, or back by more than a second, are
    followed from there on. Each correction is relative to the first stamp, so that errors do not
    add up.

    Attributes:
        start_seconds: stamp of the first sample; times of warnings count from the first sample.
        longest_gap_seconds: longer gaps are taken as a clock that jumped.
    """

    sample_rate_hz: int
    num_channels: int
    start_seconds: float
    longest_gap_seconds: float
    position: int = 0  # samples returned so far
    padding_samples: int = 0  # taken off the end by `finish`
    _queue: deque[_Piece] = field(default_factory=deque)
    _num_queued: int = 0
    _last_end_seconds: float | None = None  # end of the last piece by its own stamp
    _last_deviation: float = 0.0
    _drift_seconds: float = 0.0
    _drift: _Drift = field(default_factory=_Drift)
    _gaps: _Moves = field(default_factory=_Moves)
    _overlaps: _Moves = field(default_factory=_Moves)
    _drifted: _Moves = field(default_factory=_Moves)
    _jumps: _Moves = field(default_factory=_Moves)

    @property
    def num_placed(self) -> int:
        """Samples returned and waiting."""
        return self.position + self._num_queued

    def place(
        self,
        samples: Float32[np.ndarray, "C n"],
        seconds: float | None,
        *,
        follows_damage: bool = False,
    ) -> Iterator[Float32[np.ndarray, "C _"]]:
        """Add a piece with its time stamp; return what is certain, a second later.

        Args:
            samples: decoded samples.
            seconds: their time stamp; none: they follow the piece before.
            follows_damage: packets before it were damaged, so that a gap needs no warning.
        """
        deviation = None
        if seconds is not None:
            expected = self.start_seconds + self.num_placed / self.sample_rate_hz
            deviation = seconds - expected
            self._last_end_seconds = seconds + samples.shape[1] / self.sample_rate_hz
        elif self._last_end_seconds is not None:
            self._last_end_seconds += samples.shape[1] / self.sample_rate_hz
        self._queue.append(_Piece(samples, deviation, follows_damage))
        self._num_queued += samples.shape[1]
        window_samples = _AGREEMENT_SECONDS * self.sample_rate_hz
        while self._num_queued - self._queue[0].samples.shape[1] >= window_samples:
            yield from self._place_first()

    def finish(self, end_seconds: float | None = None) -> Iterator[Float32[np.ndarray, "C _"]]:
        """Return the rest, up to the end that the container states within the last piece."""
        self.padding_samples = self._cut_padding(end_seconds)
        while self._queue:
            yield from self._place_first()

    def warnings(self) -> list[str]:
        """Describe the corrections, each kind in a sentence without its subject."""
        described = []
        if self._gaps.number:
            described.append(f"gaps between its time stamps are filled with silence: {self._gaps}")
        if self._overlaps.number:
            described.append(f"parts with overlapping time stamps are left out: {self._overlaps}")
        if self._jumps.number:
            described.append(
                f"its clock jumps, and what follows is joined without a gap: {self._jumps}"
            )
        slope = self._drift.slope
        total = slope * self.position / self.sample_rate_hz
        is_large = abs(slope) >= _SMALLEST_DRIFT and abs(total) >= _TOLERANCE_SECONDS
        if self._drifted.number or is_large:
            rate = f"{abs(slope) * 100:.2g} % {'longer' if slope > 0 else 'shorter'}"
            if slope == 0:
                rate = "other lengths"
            done = "nothing is moved"
            if self._drifted.number:
                kind = "repeated" if slope > 0 else "left out"
                done = f"sound is {kind}, cross-faded, to follow them: {self._drifted}"
            described.append(f"its time stamps drift, they state {rate} than its samples; {done}")
        return described

    def _place_first(self) -> Iterator[Float32[np.ndarray, "C _"]]:
        """Return the first piece of the queue, after silence or less an overlap."""
        shift = self._agreed_shift()
        piece = self._queue[0]
        if shift and self._is_drift(shift) and self._can_stretch(shift):
            self._stretch(shift)
        elif shift > 0:
            yield from self._fill(shift)
        elif shift < 0:
            self._take_off(-shift)
            if not self._queue or self._queue[0] is not piece:
                return
        self._queue.popleft()
        self._num_queued -= piece.samples.shape[1]
        if piece.deviation_seconds is not None:
            self._last_deviation = piece.deviation_seconds
            seconds = self.position / self.sample_rate_hz
            self._drift.add(seconds, piece.deviation_seconds + self._drift_seconds)
        self.position += piece.samples.shape[1]
        if piece.samples.shape[1]:
            yield piece.samples

    def _agreed_shift(self) -> float:
        """Return the seconds by which all queued stamps are at least later (negative: earlier)."""
        first = self._queue[0].deviation_seconds
        if first is None or abs(first) <= _TOLERANCE_SECONDS:
            return 0.0
        stamps = [p.deviation_seconds for p in self._queue if p.deviation_seconds is not None]
        if first > 0:
            shift = min(stamps)
            return shift if shift > _TOLERANCE_SECONDS else 0.0
        shift = max(stamps)
        has_evidence = self._num_queued >= _OVERLAP_EVIDENCE_SECONDS * self.sample_rate_hz
        return shift if shift < -_TOLERANCE_SECONDS and has_evidence else 0.0

    def _fill(self, seconds: float) -> Iterator[Float32[np.ndarray, "C _"]]:
        """Return silence, or follow a clock that jumped ahead by more than the file lasts."""
        if seconds > self.longest_gap_seconds:
            self._follow_jump(seconds)
            return
        num_samples = round(seconds * self.sample_rate_hz)
        if not self._queue[0].follows_damage:
            self._gaps.add(self.position / self.sample_rate_hz, seconds)
        self._advance(num_samples / self.sample_rate_hz)
        # In pieces of a second, so that long gaps need no more memory than sound.
        for done in range(0, num_samples, self.sample_rate_hz):
            num = min(self.sample_rate_hz, num_samples - done)
            self.position += num
            yield np.zeros((self.num_channels, num), np.float32)

    def _take_off(self, seconds: float) -> None:
        """Take an overlap off the queue, or follow a clock that was set back."""
        if seconds > _LONGEST_OVERLAP_SECONDS:
            self._follow_jump(-seconds)
            return
        num_samples = round(seconds * self.sample_rate_hz)
        self._overlaps.add(self.position / self.sample_rate_hz, seconds)
        while num_samples and self._queue:
            piece = self._queue[0]
            num = min(num_samples, piece.samples.shape[1])
            piece.samples = piece.samples[:, num:]
            num_samples -= num
            self._num_queued -= num
            # What is left of the piece is stamped later than the whole.
            if piece.deviation_seconds is not None:
                piece.deviation_seconds += num / self.sample_rate_hz
            for other in list(self._queue)[1:]:
                if other.deviation_seconds is not None:
                    other.deviation_seconds += num / self.sample_rate_hz
            if piece.samples.shape[1] == 0:
                self._queue.popleft()

    def _is_drift(self, shift: float) -> bool:
        """Return whether a shift has come slowly, by less than half of it at once."""
        first = self._queue[0].deviation_seconds
        assert first is not None, "a shift has a stamp"
        return abs(first - self._last_deviation) < abs(shift) / 2

    def _can_stretch(self, shift: float) -> bool:
        return self._queue[0].samples.shape[1] >= 2 * round(abs(shift) * self.sample_rate_hz)

    def _stretch(self, shift: float) -> None:
        """Repeat or leave out the first milliseconds of the first piece, cross-faded."""
        piece, num = self._queue[0], round(abs(shift) * self.sample_rate_hz)
        first, second = piece.samples[:, :num], piece.samples[:, num : 2 * num]
        fade = np.linspace(0, 1, num, dtype=np.float32)
        if shift > 0:
            back = (1 - fade) * second + fade * first
            parts = [first, back, piece.samples[:, num:]]
        else:
            parts = [(1 - fade) * first + fade * second, piece.samples[:, 2 * num :]]
        self._drifted.add(self.position / self.sample_rate_hz, abs(shift))
        self._drift_seconds += shift
        self._num_queued -= piece.samples.shape[1]
        piece.samples = np.concatenate(parts, axis=1)
        self._num_queued += piece.samples.shape[1]
        self._advance(num / self.sample_rate_hz * (1 if shift > 0 else -1))

    def _follow_jump(self, seconds: float) -> None:
        self._jumps.add(self.position / self.sample_rate_hz, abs(seconds))
        self.start_seconds += seconds
        self._advance(seconds)

    def _advance(self, seconds: float) -> None:
        """Account for time inserted before the queue in the deviations of its pieces."""
        for piece in self._queue:
            if piece.deviation_seconds is not None:
                piece.deviation_seconds -= seconds

    def _cut_padding(self, end_seconds: float | None) -> int:
        """Cut what the last piece has beyond the stated end; a longer surplus is a wrong end."""
        if end_seconds is None or self._last_end_seconds is None or not self._queue:
            return 0
        last = self._queue[-1]
        surplus = round((self._last_end_seconds - end_seconds) * self.sample_rate_hz)
        if not 0 < surplus < last.samples.shape[1]:
            return 0
        last.samples = last.samples[:, :-surplus]
        self._num_queued -= surplus
        return surplus
