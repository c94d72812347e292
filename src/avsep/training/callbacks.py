"""Training callbacks: metrics, samples, weight averaging, checkpoints and graceful stop."""

import csv
import io
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import PARAM_LIST, AveragedModel
from torch.utils.tensorboard import SummaryWriter

from avsep.evaluation.baselines import waveforms
from avsep.media.atomic import atomic_file, write_atomic
from avsep.models.base import SeparationModel
from avsep.records import Batch, Separation
from avsep.sound.front_end import FrontEnd
from avsep.training.recipe import TrainingSettings
from avsep.training.task import SeparationTask, StepCallback

# Who is told how a training goes: the command line shows it, a test writes it down


class ProgressCallback:
    """Hears of everything and does nothing; a base for those that do."""

    def began(self, first_step: int, num_steps: int) -> None:
        """Training begins, or goes on, after `first_step` of `num_steps`."""

    def advanced(self, step: int) -> None:
        """A step is done."""

    def logged(self, step: int, figures: dict[str, float]) -> None:
        """Losses, rates and speed since the last time."""

    def validated(self, step: int, figures: dict[str, float], is_best: bool) -> None:
        """A validation is done."""


# What a run writes down while it trains: metrics.csv and TensorBoard, whole across resumes


class MetricsLogger:
    """The figures of every step that was logged; what came after `first_step` is forgotten.

    A resumed run repeats the steps after its checkpoint, whose rows then stand here once. The file
    is written whole each time, so that it can be read, or the run be killed, at any moment.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._path = folder / "metrics.csv"
        self._rows: dict[int, dict[str, str]] = _rows_until(self._path, first_step)
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=first_step + 1 if first_step else None
        )

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Figures of one step, beside what was already written for it."""
        row = self._rows.setdefault(step, {"step": str(step)})
        row |= {name: f"{value:.6g}" for name, value in figures.items()}
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows[step] for step in sorted(self._rows))
        write_atomic(self._path, text.getvalue())
        for name, value in figures.items():
            self._board.add_scalar(name, value, step)

    def sound(
        self, name: str, waveform: Float32[np.ndarray, " N"], sample_rate_hz: int, step: int
    ) -> None:
        """A sound to listen to in TensorBoard, at full level."""
        loudest = max(1e-5, float(np.abs(waveform).max()))
        self._board.add_audio(name, waveform[None] / loudest, step, sample_rate_hz)

    def picture(self, name: str, picture: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """A picture to look at in TensorBoard."""
        self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what waits."""
        self._board.close()


def _rows_until(path: Path, last_step: int) -> dict[int, dict[str, str]]:
    """The rows of a metrics.csv up to a step."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    found = {int(row["step"]): {k: v for k, v in row.items() if v != ""} for row in rows}
    return {step: row for step, row in found.items() if step <= last_step}


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
        self, journal: MetricsLogger, listener: ProgressCallback, clock: Clock, every_steps: int
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
        with atomic_file(last) as part:
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


# A running average of the weights: what is validated and saved instead of the last step's


class RunningAverage(StepCallback):
    """Exponential moving average of parameters and buffers, kept in the checkpoint.

    The decay rises with the steps, min(decay, (1 + n) / (10 + n)), so that the random weights of
    the beginning are soon forgotten. With decay 0 there is no average: `model` is the one trained.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: AveragedModel | None = None
        self._trained: SeparationModel | None = None

    @property
    def model(self) -> SeparationModel:
        """The model to validate and to save."""
        assert self._trained is not None, "there is no model before the training begins"
        model = self._trained if self._average is None else self._average.module
        return cast("SeparationModel", model)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin with the weights as they are."""
        self._trained = cast("SeparationTask", pl_module).model
        if self.decay:
            self._average = AveragedModel(self._trained, multi_avg_fn=self._blend, use_buffers=True)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the model to its device."""
        if self._average is not None:
            self._average.to(pl_module.device)

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Take the weights of this step in."""
        if self._average is not None and self._trained is not None:
            self._average.update_parameters(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """The average, for the checkpoint."""
        return {} if self._average is None else dict(self._average.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The average of a checkpoint."""
        if self._average is not None and state_dict:
            self._average.load_state_dict(state_dict)

    @torch.no_grad()
    def _blend(self, average: PARAM_LIST, current: PARAM_LIST, num_averaged: Tensor | int) -> None:
        num_before = int(num_averaged)
        decay = min(self.decay, (1 + num_before) / (10 + num_before))
        for kept, seen in zip(average, current, strict=True):
            if kept.is_floating_point():
                kept.lerp_(seen, 1 - decay)
            else:  # counters of batches
                kept.copy_(seen)


# A few validation mixtures to listen to and to look at, the same at every validation


# Loudest to faintest shown, as a factor of magnitude: 70 dB.
_SPAN_DB = 70.0
_GAP_PIXELS = 3


def show_samples(
    journal: MetricsLogger, step: int, batch: Batch, answer: Separation, front_end: FrontEnd
) -> None:
    """Write a batch's mixtures, estimates and truths as sounds and as spectrograms."""
    assert batch.sources is not None, "validation knows the truth"
    rate_hz = front_end.settings.sample_rate_hz
    estimates = waveforms(answer, front_end, batch.mixture.shape[-1])
    for item in range(len(batch.mixture)):
        rows = {"0 mixture": batch.mixture[item, :1]}
        for source in range(batch.sources.shape[1]):
            rows[f"{source + 1} estimate"] = estimates[item, source, :1]
            rows[f"{source + 1} truth"] = batch.sources[item, source, :1]
        for name, sound in rows.items():
            journal.sound(f"sample {item}/{name}", _array(sound[0]), rate_hz, step)
        sounds = torch.cat(list(rows.values()))
        journal.picture(f"sample {item}", spectrograms(sounds, front_end), step)


def spectrograms(sounds: Float[Tensor, "S N"], front_end: FrontEnd) -> UInt8[np.ndarray, "H W 3"]:
    """Spectrograms on the logarithmic axis side by side, low tones below, all to one scale."""
    from matplotlib import colormaps

    rows = _array(front_end.to_rows(front_end.magnitude(sounds)))  # S R T
    levels_db = 20 * np.log10(np.maximum(rows, 1e-6))
    shares = np.clip(1 + (levels_db - levels_db.max()) / _SPAN_DB, 0, 1)
    gap = np.ones((rows.shape[1], _GAP_PIXELS))
    strip = np.concatenate([part for share in shares for part in (share[::-1], gap)], axis=1)
    return colormaps["magma"](strip[:, :-_GAP_PIXELS], bytes=True)[..., :3]


def _array(values: Tensor) -> Float32[np.ndarray, "..."]:
    return values.detach().float().cpu().numpy()
