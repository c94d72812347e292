"""The progress of a training: a bar with losses and speed on a terminal, lines in a log file."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from avsep.training.callbacks import ProgressCallback

# Without a terminal a line is printed this often: a day of training gives some 3,000 lines.
_LOG_INTERVAL_SECONDS = 30.0


class Display(ProgressCallback):
    """Shows steps, losses, speed and validations on stderr; used as a context manager."""

    def __init__(self) -> None:
        self._console = Console(markup=False, emoji=False, highlight=False, stderr=True)
        columns = (
            TextColumn("steps"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        self._has_bar = self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, disable=not self._has_bar)
        self._bar = self._progress.add_task("", total=None)
        self._last_line_seconds = time.monotonic()
        self._num_steps = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def began(self, first_step: int, num_steps: int) -> None:
        """Set the bar to the first step."""
        self._num_steps = num_steps
        self._progress.update(self._bar, completed=first_step, total=num_steps)

    def advanced(self, step: int) -> None:
        """Move the bar to a step."""
        self._progress.update(self._bar, completed=step)

    def logged(self, step: int, figures: dict[str, float]) -> None:
        """Show losses and speed beside the bar, or every 30 seconds as a line."""
        losses = ", ".join(
            f"{name.removeprefix('loss/')} {value:.4f}"
            for name, value in figures.items()
            if name.startswith("loss/")
        )
        text = f"{losses}, {figures['steps_per_second']:.2f} steps/s"
        self._progress.update(self._bar, description=text)
        now_seconds = time.monotonic()
        is_due = now_seconds - self._last_line_seconds > _LOG_INTERVAL_SECONDS
        if not self._has_bar and is_due:
            self._last_line_seconds = now_seconds
            self._console.print(f"step {step} of {self._num_steps}: {text}", soft_wrap=True)

    def validated(self, step: int, figures: dict[str, float], is_best: bool) -> None:
        """Print a line with the scores of a validation."""
        text = f"step {step}: SDR {figures['validation/sdr_db']:.2f} dB"
        # Only models that read a label are validated a second time, with it predicted.
        if "validation/sdr_from_picture_db" in figures:
            text += (
                f" label given, {figures['validation/sdr_from_picture_db']:.2f} dB label predicted"
            )
        text += f", loss {figures['validation/loss_total']:.4f}{', best so far' if is_best else ''}"
        self._console.print(text, soft_wrap=True)
