"""How a training is shown: a bar with loss and speed on a terminal, lines elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from avsep.training.callbacks import ProgressCallback

# Without a terminal, into a log file, one line in so many seconds.
_QUIET_SECONDS = 30.0


class Display(ProgressCallback):
    """Shows steps, losses, speed and validations on stderr while it is entered."""

    def __init__(self) -> None:
        self._console = Console(markup=False, emoji=False, highlight=False, stderr=True)
        columns = (
            TextColumn("steps"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        quiet = not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, disable=quiet)
        self._bar = self._progress.add_task("", total=None)
        self._told_seconds = time.monotonic()
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
        """Set the bar to where training begins."""
        self._num_steps = num_steps
        self._progress.update(self._bar, completed=first_step, total=num_steps)

    def advanced(self, step: int) -> None:
        """Move the bar."""
        self._progress.update(self._bar, completed=step)

    def logged(self, step: int, figures: dict[str, float]) -> None:
        """Losses and speed beside the bar, or now and then as a line."""
        losses = ", ".join(
            f"{name.removeprefix('loss/')} {value:.4f}"
            for name, value in figures.items()
            if name.startswith("loss/")
        )
        text = f"{losses}, {figures['steps_per_second']:.2f} steps/s"
        self._progress.update(self._bar, description=text)
        now = time.monotonic()
        if self._progress.disable and now - self._told_seconds > _QUIET_SECONDS:
            self._told_seconds = now
            self._console.print(f"step {step} of {self._num_steps}: {text}", soft_wrap=True)

    def validated(self, step: int, figures: dict[str, float], is_best: bool) -> None:
        """A line for each validation."""
        text = f"step {step}: SDR {figures['validation/sdr_db']:.2f} dB"
        if "validation/sdr_from_picture_db" in figures:
            text += f" told, {figures['validation/sdr_from_picture_db']:.2f} dB from the picture"
        text += f", loss {figures['validation/loss_total']:.4f}{', best so far' if is_best else ''}"
        self._console.print(text, soft_wrap=True)
