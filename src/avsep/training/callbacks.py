"""What happens beside a training's steps: figures written down, checkpoints kept, a gentle stop."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from avsep.media.whole_file import whole_file
from avsep.training.journal import Journal
from avsep.training.listener import Listener
from avsep.training.recipe import TrainingSettings
from avsep.training.task import SeparationTask, StepCallback

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"


class Clock:
    """Seconds spent on steps: what `paused` is around does not count."""

    def __init__(self) -> None:
        self._since_seconds = time.monotonic()

    def lap_seconds(self) -> float:
        """Seconds since the last lap."""
        now = time.monotonic()
        lap, self._since_seconds = now - self._since_seconds, now
        return max(lap, 1e-9)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens meanwhile."""
        began = time.monotonic()
        yield
        self._since_seconds += time.monotonic() - began


class Reports(StepCallback):
    """Mean losses, learning rates and speed, every few steps, to the journal and the listener."""

    def __init__(
        self, journal: Journal, listener: Listener, clock: Clock, every_steps: int
    ) -> None:
        self.journal = journal
        self.listener = listener
        self.clock = clock
        self.every_steps = every_steps
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.clock.lap_seconds()
        self.listener.began(trainer.global_step, trainer.max_steps)

    def state_dict(self) -> dict[str, Any]:
        """Losses not yet told, for the checkpoint."""
        return {"sums": dict(self._sums), "num_steps": self._num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Losses not yet told at a checkpoint."""
        self._sums, self._num_steps = state_dict["sums"], state_dict["num_steps"]

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Add this step's losses; every few steps tell their means."""
        for name, value in losses.items():
            before = self._sums.get(name, torch.zeros(())).to(value.device)
            self._sums[name] = before + value.float()
        self._num_steps += 1
        step = trainer.global_step
        self.listener.advanced(step)
        if step % self.every_steps and step != trainer.max_steps:
            return
        figures = {f"loss/{k}": float(v) / self._num_steps for k, v in self._sums.items()}
        for group in trainer.optimizers[0].param_groups:
            figures[f"learning_rate/{group['name']}"] = group["lr"]
        figures["steps_per_second"] = self._num_steps / self.clock.lap_seconds()
        self._sums, self._num_steps = {}, 0
        self.journal.write(step, figures)
        self.listener.logged(step, figures)


class Checkpoints(StepCallback):
    """All that is needed to go on, written whole: `last.ckpt`, and the one before it.

    They come by the clock, every so many steps where asked for, at the end, and when `stop` was
    asked for, which then ends the training.
    """

    def __init__(self, folder: Path, settings: TrainingSettings, stop: "StopRequest") -> None:
        self.folder = folder
        self.settings = settings
        self.stop = stop
        self._saved_seconds = time.monotonic()

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Save when it is time."""
        step, every = trainer.global_step, self.settings.checkpoint_every_steps
        age_seconds = time.monotonic() - self._saved_seconds
        is_due = age_seconds >= 60 * self.settings.checkpoint_every_minutes
        is_due |= every is not None and step % every == 0
        if is_due or self.stop.is_asked or step == trainer.max_steps:
            self._save(trainer)
        if self.stop.is_asked:
            trainer.should_stop = True

    def _save(self, trainer: Trainer) -> None:
        last = self.folder / LAST
        with whole_file(last) as part:
            trainer.save_checkpoint(part)
            if last.exists():
                last.replace(self.folder / PREVIOUS)
        self._saved_seconds = time.monotonic()


class StopRequest:
    """Whether somebody asked the training to end after the step under way."""

    def __init__(self) -> None:
        self.is_asked = False

    @contextmanager
    def by_signals(self) -> Iterator[None]:
        """While this lasts Ctrl-C and SIGTERM ask; the second Ctrl-C interrupts at once."""
        if current_thread() is not main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in before:
                signal.signal(number, self._ask)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.is_asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_asked = True
