"""Training callbacks: metrics, checkpoints, graceful stop, weight averaging and audio samples."""

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
from jaxtyping import Float32, UInt8
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import PARAM_LIST, AveragedModel
from torch.utils.tensorboard import SummaryWriter

from avsep.errors import InputError
from avsep.evaluation.baselines import waveforms
from avsep.media.atomic import atomic_file, write_atomic
from avsep.models.base import SeparationModel
from avsep.records import Batch, Separation
from avsep.sound.front_end import FrontEnd
from avsep.training.recipe import TrainingSettings
from avsep.training.task import SeparationTask, StepCallback

# Names of the two checkpoints of a run; a crash while one is replaced leaves the other.
LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
# Steps by which the decay of the weight average is delayed, as in TensorFlow's moving average.
_AVERAGE_DELAY_STEPS = 10
# A silent sample is not amplified beyond this peak, which would play its rounding noise.
_SMALLEST_PEAK = 1e-5


class ProgressCallback:
    """Hooks called during a training, all empty; subclasses display or record its progress."""

    def on_start(self, first_step: int, num_steps: int) -> None:
        """Start or resume after `first_step` of `num_steps` steps."""

    def on_step(self, step: int) -> None:
        """Finish a step."""

    def on_log(self, step: int, metrics: dict[str, float]) -> None:
        """Log mean losses, learning rates and speed since the last call."""

    def on_validation(self, step: int, metrics: dict[str, float], is_best: bool) -> None:
        """Finish a validation; `is_best`: its SDR is the highest so far."""


# Metrics of a run


class MetricsLogger:
    """Log metrics by step to metrics.csv and TensorBoard; rows after `first_step` are dropped.

    A resumed run repeats the steps after its checkpoint, so their rows would be there twice. The
    file is rewritten atomically each time: it can be read, or the run be killed, at any moment.
    """

    def __init__(self, folder: Path, first_step: int = 0) -> None:
        self._path = folder / "metrics.csv"
        self._rows: dict[int, dict[str, str]] = _rows_until(self._path, first_step)
        # TensorBoard hides the events from this step on that an earlier run wrote.
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=first_step + 1 if first_step else None
        )

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Add metrics to the row of a step."""
        row = self._rows.setdefault(step, {"step": str(step)})
        row |= {name: f"{value:.6g}" for name, value in metrics.items()}
        # Rows have different columns: losses every few steps, scores at validations.
        columns = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows[step] for step in sorted(self._rows))
        write_atomic(self._path, text.getvalue())
        for name, value in metrics.items():
            self._board.add_scalar(name, value, step)

    def write_audio(
        self, name: str, waveform: Float32[np.ndarray, " N"], sample_rate_hz: int, step: int
    ) -> None:
        """Add a waveform to TensorBoard, scaled to a peak of 1."""
        peak = max(_SMALLEST_PEAK, float(np.abs(waveform).max()))
        self._board.add_audio(name, waveform[None] / peak, step, sample_rate_hz)

    def write_picture(self, name: str, picture: UInt8[np.ndarray, "H W 3"], step: int) -> None:
        """Add a picture to TensorBoard."""
        self._board.add_image(name, picture, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the TensorBoard file."""
        self._board.close()


def _rows_until(path: Path, last_step: int) -> dict[int, dict[str, str]]:
    """Read the rows of a metrics.csv up to a step; empty cells are left out."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        table: list[dict[str, str]] = list(csv.DictReader(file))
    rows = {int(row["step"]): {k: v for k, v in row.items() if v != ""} for row in table}
    return {step: row for step, row in rows.items() if step <= last_step}


class StepTimer:
    """Measure the time spent on training steps, without that inside `paused`."""

    def __init__(self) -> None:
        self._start_seconds = time.monotonic()

    def lap_seconds(self) -> float:
        """Return the seconds since the last call, and start again."""
        now_seconds = time.monotonic()
        lap = now_seconds - self._start_seconds
        self._start_seconds = now_seconds
        return max(lap, 1e-9)  # a divisor: clocks may not advance between two calls

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out the time of the block, such as a validation."""
        pause_seconds = time.monotonic()
        yield
        self._start_seconds += time.monotonic() - pause_seconds


class LossLogger(StepCallback):
    """Log mean losses, learning rates and speed every `every_steps` steps, and at the end."""

    def __init__(
        self,
        logger: MetricsLogger,
        progress: ProgressCallback,
        timer: StepTimer,
        every_steps: int,
    ) -> None:
        self.logger = logger
        self.progress = progress
        self.timer = timer
        self.every_steps = every_steps
        self._sums: dict[str, Tensor] = {}
        self._num_steps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the timer."""
        self.timer.lap_seconds()
        self.progress.on_start(trainer.global_step, trainer.max_steps)

    def state_dict(self) -> dict[str, Any]:
        """Return the losses that are not logged yet, so that a resumed run logs the same means."""
        return {"sums": dict(self._sums), "num_steps": self._num_steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the losses that were not logged at a checkpoint."""
        self._sums, self._num_steps = state_dict["sums"], state_dict["num_steps"]

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Add the losses of a step, and log their means if it is time."""
        for name, value in losses.items():
            # Sums stay on the device: reading a value would make the GPU finish its queue.
            total = self._sums.get(name, torch.zeros(())).to(value.device)
            self._sums[name] = total + value.float()
        self._num_steps += 1
        step = trainer.global_step
        self.progress.on_step(step)
        if step % self.every_steps and step != trainer.max_steps:
            return
        metrics = {f"loss/{k}": float(v) / self._num_steps for k, v in self._sums.items()}
        for group in trainer.optimizers[0].param_groups:
            metrics[f"learning_rate/{group['name']}"] = group["lr"]
        metrics["steps_per_second"] = self._num_steps / self.timer.lap_seconds()
        self._sums, self._num_steps = {}, 0
        self.logger.write(step, metrics)
        self.progress.on_log(step, metrics)


# NaN and infinity, which end a training


class DivergenceCheck(StepCallback):
    """End a training whose losses or weights are NaN or infinite, before any of it is written.

    Losses are collected at every step and checked before metrics, scores or a checkpoint are
    written: reading a value at each step would make the GPU finish its queue. Infinite gradients
    of mixed precision are no fault, as the gradient scaler skips their step.
    """

    def __init__(self, folder: Path, settings: TrainingSettings) -> None:
        self.folder = folder
        self.settings = settings
        self._steps: list[int] = []
        self._losses: list[dict[str, Tensor]] = []

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Collect the losses of a step, and check all since the last check if it is time."""
        step, settings = trainer.global_step, self.settings
        self._steps.append(step)
        self._losses.append(losses)
        is_logged = step % settings.log_every_steps == 0
        if is_logged or step % settings.validate_every_steps == 0 or step == trainer.max_steps:
            self.check(task)

    def check(self, task: SeparationTask) -> None:
        """Check the losses since the last check and the weights as they are now.

        Raises:
            InputError: one is NaN or infinite; names the first such step and its parts.
        """
        if self._losses:
            values = torch.stack([torch.stack([*row.values()]).float() for row in self._losses])
            faulty = (~values.isfinite()).cpu()  # steps parts
            if faulty.any():
                row = int(faulty.any(dim=1).nonzero()[0])
                parts = ", ".join(
                    f"{name} is {float(value):g}"
                    for name, value in self._losses[row].items()
                    if not value.isfinite()
                )
                raise self._error(f"the loss of step {self._steps[row]} is not finite: {parts}")
        step = self._steps[-1] if self._steps else 0
        self._steps, self._losses = [], []
        named = dict(task.model.named_parameters())
        # One number is read for all of them, and names only where that is a fault.
        if not torch.stack([value.detach().isfinite().all() for value in named.values()]).all():
            name = next(name for name, value in named.items() if not value.isfinite().all())
            raise self._error(f"the weights after step {step} are not finite, such as '{name}'")

    def _error(self, fault: str) -> InputError:
        """Return the error of a fault, with what is left of the run."""
        left = "there is no checkpoint yet"
        if (self.folder / LAST).is_file():
            left = f"the last checkpoint, '{self.folder / LAST}', is of a step before: --resume "
            left += "continues from it once the cause is removed"
        return InputError(
            f"{fault}; the training was stopped. {left}. With other settings, such as a lower "
            "learning_rate or precision 32 (--set), begin a new --run"
        )


# Checkpoints to resume from, and the signals that end a training


class StopRequest:
    """A request to end the training after the current step, made by a signal."""

    def __init__(self) -> None:
        self.is_requested = False

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Request a stop on Ctrl-C or SIGTERM inside the block; a second Ctrl-C interrupts."""
        if current_thread() is not main_thread():  # Python sets signal handlers there only
            yield
            return
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for number in handlers:
                signal.signal(number, self._request)
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _request(self, number: int, frame: object) -> None:
        if self.is_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.is_requested = True


class CheckpointSaver(StepCallback):
    """Save the state to resume from: `last.ckpt`, and the one before as `previous.ckpt`.

    Saved every few minutes, every few steps if the recipe has a number, at the end, and on a stop
    request, which then ends the training.
    """

    def __init__(
        self,
        folder: Path,
        settings: TrainingSettings,
        stop: StopRequest,
        divergence: DivergenceCheck,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.stop = stop
        self.divergence = divergence
        self._saved_seconds = time.monotonic()

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Save a checkpoint if it is time."""
        step, every = trainer.global_step, self.settings.checkpoint_every_steps
        age_seconds = time.monotonic() - self._saved_seconds
        is_due = age_seconds >= 60 * self.settings.checkpoint_every_minutes
        is_due |= every is not None and step % every == 0
        if is_due or self.stop.is_requested or step == trainer.max_steps:
            self.divergence.check(task)
            self._save(trainer)
        if self.stop.is_requested:
            trainer.should_stop = True

    def _save(self, trainer: Trainer) -> None:
        last = self.folder / LAST
        with atomic_file(last) as part:
            trainer.save_checkpoint(part)
            # The new one is complete by now: at every moment one of the two files is.
            if last.exists():
                last.replace(self.folder / PREVIOUS)
        self._saved_seconds = time.monotonic()


# Weight averaging


class RunningAverage(StepCallback):
    """Exponential moving average of parameters and buffers, stored in the checkpoint.

    The decay rises with the number of steps n, min(decay, (1 + n) / (10 + n)), so that the random
    initial weights are soon forgotten. With decay 0 there is no average: `model` is the trained
    one.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: AveragedModel | None = None
        self._trained: SeparationModel | None = None

    @property
    def model(self) -> SeparationModel:
        """The model to validate and to save."""
        assert self._trained is not None, "the model is set when the training starts"
        model = self._trained if self._average is None else self._average.module
        return cast("SeparationModel", model)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start the average with the initial weights."""
        self._trained = cast("SeparationTask", pl_module).model
        if self.decay:
            self._average = AveragedModel(self._trained, multi_avg_fn=self._blend, use_buffers=True)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Move the average to the device of the model."""
        if self._average is not None:
            self._average.to(pl_module.device)

    def after_step(self, trainer: Trainer, task: SeparationTask, losses: dict[str, Tensor]) -> None:
        """Update the average with the weights of a step."""
        if self._average is not None and self._trained is not None:
            self._average.update_parameters(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """Return the average for a checkpoint."""
        return {} if self._average is None else dict(self._average.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the average of a checkpoint."""
        if self._average is not None and state_dict:
            self._average.load_state_dict(state_dict)

    @torch.no_grad()
    def _blend(self, average: PARAM_LIST, current: PARAM_LIST, num_averaged: Tensor | int) -> None:
        # At least 1: PyTorch copies the weights of the first update without calling this.
        num_before = int(num_averaged)
        decay = min(self.decay, (1 + num_before) / (_AVERAGE_DELAY_STEPS + num_before))
        for averaged, trained in zip(average, current, strict=True):
            if averaged.is_floating_point():
                averaged.lerp_(trained, 1 - decay)
            else:  # the batch norms' integer counts of batches have no mean
                averaged.copy_(trained)


# Samples of a validation in TensorBoard


def show_samples(
    logger: MetricsLogger, step: int, batch: Batch, separation: Separation, front_end: FrontEnd
) -> None:
    """Write a batch's mixtures, estimates and references as audio and as spectrograms."""
    # Imported here: matplotlib is slow to load, and a dry run or a worker draws nothing.
    from avsep.pages.spectrograms import spectrogram_rgb

    assert batch.sources is not None, "validation batches have references"
    rate_hz = front_end.settings.sample_rate_hz
    estimates = waveforms(separation, front_end, batch.mixture.shape[-1])
    for item in range(len(batch.mixture)):
        # First channel alone; TensorBoard sorts the tags, hence the numbers.
        sounds = {"0 mixture": batch.mixture[item, :1]}
        for source in range(batch.sources.shape[1]):
            sounds[f"{source + 1} estimate"] = estimates[item, source, :1]
            sounds[f"{source + 1} reference"] = batch.sources[item, source, :1]
        for name, sound in sounds.items():
            logger.write_audio(f"sample {item}/{name}", _to_array(sound[0]), rate_hz, step)
        magnitudes = front_end.magnitude(torch.cat(list(sounds.values())))
        picture = spectrogram_rgb(_to_array(front_end.to_rows(magnitudes)))
        logger.write_picture(f"sample {item}", picture, step)


def _to_array(values: Tensor) -> Float32[np.ndarray, "..."]:
    return values.detach().float().cpu().numpy()
