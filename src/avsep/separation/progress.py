"""Report the progress of a separation, and measure its stages, its speed and its memory."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

# Called again and again with a stage in words, its seconds of sound done, and all of them; none: a
# length that is not known. An exception that it raises cancels the separation.
Progress = Callable[[str, float, float | None], None]

_REPORT_SECONDS = 0.2


class RunRecord(BaseModel):
    """Time and memory of a separation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: dict[str, float] = Field(
        description="by stage: decoding (sound) and vision (frames and crops) beside network, "
        "masks (at the rate of the stems) and writing; then presentation (preview beside report)"
    )
    total_seconds: float = Field(description="from the opening of the video")
    real_time_factor: float = Field(description="total seconds over those of the sound")
    peak_megabytes: float | None = Field(
        description="largest memory of the process so far; none where the system does not tell"
    )

    def with_stage(self, stage: str, seconds: float) -> "RunRecord":
        """Return the record with a stage that followed."""
        duration_seconds = self.total_seconds / self.real_time_factor
        total = self.total_seconds + seconds
        return RunRecord(
            seconds=self.seconds | {stage: round(seconds, 3)},
            total_seconds=total,
            real_time_factor=total / duration_seconds,
            peak_megabytes=peak_megabytes(),
        )


class Throttle:
    """Choose which reports of progress are passed on: of each stage five a second, and the last."""

    def __init__(self) -> None:
        self._next_times: dict[str, float] = {}

    def is_due(self, stage: str, done_seconds: float, all_seconds: float | None) -> bool:
        """Return True if a report is to be passed on."""
        now = time.monotonic()
        is_last = all_seconds is not None and done_seconds >= all_seconds
        if now < self._next_times.get(stage, 0.0) and not is_last:
            return False
        self._next_times[stage] = now + _REPORT_SECONDS
        return True


class StageClock:
    """Sum up the wall time of stages."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time spent within to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begin
            self._seconds[stage] = self._seconds.get(stage, 0.0) + spent

    def record(self, duration_seconds: float) -> RunRecord:
        """Return the record of a separation of this much sound."""
        total = time.perf_counter() - self._begin
        return RunRecord(
            seconds={stage: round(spent, 3) for stage, spent in self._seconds.items()},
            # Not rounded, as `with_stage` takes the length of the sound from it.
            total_seconds=total,
            real_time_factor=total / duration_seconds,
            peak_megabytes=peak_megabytes(),
        )


def no_progress(stage: str, done_seconds: float, all_seconds: float | None) -> None:
    """Report nothing."""


def peak_megabytes() -> float | None:
    """Return the largest resident memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `getrusage`, which on Linux counts the process that this one was started from too.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        kilobytes = [line.split()[1] for line in lines if line.startswith("VmHWM")]
        return round(int(kilobytes[0]) / 1024, 1) if kilobytes else None
    if sys.platform == "win32":
        return None
    import resource

    maximum = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(maximum / (2**20 if sys.platform == "darwin" else 2**10), 1)
