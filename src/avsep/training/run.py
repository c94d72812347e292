"""Run a training: options, run folder, resume, and the Lightning trainer."""

import hashlib
import json
import logging
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

import avsep
from avsep.checkpoint import save_checkpoint
from avsep.data.clips import ClipFiles, missing_boxes
from avsep.devices import find_device, own_settings, same_random_state
from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.models.base import SeparationModel
from avsep.recipe import write_recipe
from avsep.training.callbacks import (
    LAST,
    PREVIOUS,
    CheckpointSaver,
    DivergenceCheck,
    LossLogger,
    MetricsLogger,
    ProgressCallback,
    RunningAverage,
    StepTimer,
    StopRequest,
)
from avsep.training.datamodule import DataModule
from avsep.training.initial_weights import LoadReport, load_checkpoint, make_model, resolved
from avsep.training.recipe import COMMAND, TrainRecipe, check_groups, load_training
from avsep.training.task import Length, SeparationTask
from avsep.training.validation import Validation


@dataclass(frozen=True)
class TrainingOptions:
    """The options of `avsep train`.

    Attributes:
        recipe: name or path; none only with `resume`, whose run has one.
        data: folders of clips, instead of the recipe's.
        overrides: settings to change.
        folder: of the run; none: runs/ and the recipe's name.
        init: checkpoint to start from, instead of the recipe's.
        num_workers: processes that mix, instead of the recipe's, and that cache clips.
        cache: folder of cached sources; none: below the user's cache.
    """

    recipe: str | None = None
    data: Sequence[str] = ()
    overrides: Sequence[str] = ()
    folder: Path | None = None
    resume: bool = False
    init: str | None = None
    device: str = "auto"
    num_workers: int | None = None
    cache: Path | None = None


class TrainingRun:
    """One training, new or resumed: its recipe, folder, data and model.

    Order of use: `from_options`, `begin`, `prepare`, `train`. Nothing is written before `begin`,
    so a training that cannot start leaves nothing behind.
    """

    def __init__(
        self,
        recipe: TrainRecipe,
        folder: "RunFolder",
        data: DataModule,
        *,
        device: str = "auto",
        resume: bool = False,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.data = data
        self.device = device
        self.resume = resume

    @classmethod
    def from_options(cls, options: TrainingOptions) -> Self:
        """Read the recipe and the clips of a training.

        Raises:
            InputError: no recipe, an unknown setting, clips that cannot be mixed, or a recipe or
                clips other than those of the run to resume.
        """
        if options.recipe is None and not (options.resume and options.folder):
            raise InputError("give a RECIPE to train, or --run DIR --resume to continue a run")
        name = Path(options.recipe).stem if options.recipe else ""
        folder = RunFolder(options.folder or Path("runs") / name)
        recipe = _recipe_of(options, folder)
        data = DataModule(recipe, options.cache, options.num_workers)
        # A resumed run may have its clips in another folder, but they must be the same.
        if not options.resume:
            digest = clips_digest(data.lists.training)
            recipe = recipe.model_copy(update={"data_sha256": digest})
        elif recipe.data != resolved(folder.stored_recipe()).data:
            folder.check_data(recipe.data, data.lists.training)
        return cls(recipe, folder, data, device=options.device, resume=options.resume)

    @cached_property
    def model(self) -> SeparationModel:
        """The model with the weights it starts from."""
        model, self._load_report = self._make_model()
        check_groups(self.recipe, list(model.parameter_groups()))
        return model

    @property
    def length(self) -> Length:
        """Number of steps in all and in an epoch."""
        return length_of(self.recipe, self.data.num_sources)

    def summary(self) -> list[str]:
        """Describe data, model, length and initial weights, a line each."""
        training, validation = self.data.lists.training, self.data.lists.validation
        groups = self.model.parameter_groups()
        counts = {name: sum(p.numel() for p in group) for name, group in groups.items()}
        parameters = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        lines = [
            f"{len(training)} clips to train on ({self.data.num_sources} sources), "
            f"{len(validation)} to validate with",
            f"{self.recipe.model}: {sum(counts.values()):,} parameters ({parameters}), "
            f"{self.length.num_steps} steps of {self.recipe.training.batch_size} mixtures",
            *(f"warning: {line}" for line in missing_boxes([*training, *validation])),
        ]
        if (report := self.load_report) is not None:
            path = self.folder.load_report
            lines.append(f"starts from '{self.recipe.init}': {report.summary()} (names: {path})")
            lines += [
                f"'{part}' is loaded from it too, not from '{source}'"
                for part, source in self.recipe.weights.items()
                if report.has_loaded(part)
            ]
        return lines

    @property
    def load_report(self) -> LoadReport | None:
        """Tensors loaded from the checkpoint it starts from; none without one."""
        assert self.model is not None, "making the model loads them"
        return self._load_report

    def recipe_text(self) -> str:
        """Return the whole recipe as TOML."""
        return write_recipe(self.recipe, COMMAND)

    def begin(self) -> None:
        """Make the folder of a new run, once the device is known to exist."""
        find_device(self.device)
        if self.resume:
            return
        report = self.load_report
        self.folder.begin(self.recipe)
        if report is not None:
            write_atomic(self.folder.load_report, json.dumps(report.as_json(), indent=1) + "\n")

    def prepare(self) -> Iterator[str]:
        """Cache the clips that are not cached yet, and yield the name of each."""
        yield from self.data.build_caches(self.model)

    def train(self, progress: ProgressCallback) -> bool:
        """Train from the folder's newest checkpoint, or from the beginning, to the end.

        Returns:
            True at the end; False after a signal, with a checkpoint of the last step to resume
            from.

        Raises:
            InputError: a loss or a weight is NaN or infinite; nothing of that step is written.
        """
        settings, folder = self.recipe.training, self.folder
        checkpoint, self.data.first_step = folder.last_checkpoint() or (None, 0)
        if checkpoint is not None and checkpoint.name == PREVIOUS:
            # The next save would rename the damaged last.ckpt over the good previous.ckpt.
            (folder.checkpoints / LAST).unlink(missing_ok=True)
        logger = MetricsLogger(folder.path, self.data.first_step)
        average, stop, timer = RunningAverage(settings.ema_decay), StopRequest(), StepTimer()
        metadata = self._metadata()
        divergence = DivergenceCheck(folder.checkpoints, settings)
        # Called in this order: faults are found before anything is written, the average is updated
        # before it is validated, and the checkpoint, saved last, has the state of all others after
        # the same step.
        callbacks = [
            divergence,
            average,
            Validation(
                self.data.validation, average, logger, progress, timer, folder.best, metadata
            ),
            LossLogger(logger, progress, timer, settings.log_every_steps),
            CheckpointSaver(folder.checkpoints, settings, stop, divergence),
        ]
        # The running average copies the model when the trainer sets up, so after this.
        model = self.model.train()
        if settings.channels_last:
            model = model.to(memory_format=torch.channels_last)
        task = SeparationTask(model, self.recipe, self.length)
        try:
            # Every step seeds PyTorch's generator: that of the calling program is restored.
            with (
                own_settings(),
                same_random_state(),
                _quiet(),
                _denormals_flushed(),
                stop.on_signals(),
            ):
                trainer = self._trainer(callbacks)
                trainer.fit(task, datamodule=self.data, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException:
            # Lightning raises it after the step, when CheckpointSaver has saved that step.
            return False
        finally:
            logger.close()
        if trainer.global_step < self.length.num_steps:
            return False
        metadata = metadata | {"step": trainer.global_step}
        save_checkpoint(average.model, folder.end, model_name=self.recipe.model, metadata=metadata)
        return True

    def _make_model(self) -> tuple[SeparationModel, LoadReport | None]:
        checkpoint = self.folder.last_checkpoint() if self.resume else None
        if checkpoint is None:
            reports: list[LoadReport] = []
            model = make_model(self.recipe, reports.append)
            return model, reports[0] if reports else None
        # The checkpoint has all weights; the files that the run started from may be gone by now.
        model = make_model(self.recipe.model_copy(update={"init": None, "weights": {}}))
        load_checkpoint(model, checkpoint[0])
        return model, None

    def _metadata(self) -> dict[str, Any]:
        """Return the origin of a model: version, commit, recipe, and the clips it is trained on."""
        recipe, clips = self.recipe, self.data.lists.training
        init = recipe.init and Path(recipe.init).name
        # Published with the model: names of files and folders, not the paths of this machine.
        names = {
            "data": tuple(Path(name).name for name in recipe.data),
            "init": init,
            "weights": {part: Path(name).name for part, name in recipe.weights.items()},
        }
        return {
            "avsep": avsep.__version__,
            "commit": _commit(),
            "recipe": write_recipe(recipe.model_copy(update=names), COMMAND),
            "init": init and {"name": init, "sha256": recipe.init_sha256},
            "num_clips": len(clips),
            "data_sha256": clips_digest(clips),
        }

    def _trainer(self, callbacks: list[Any]) -> Trainer:
        settings = self.recipe.training
        accelerator, devices = _lightning_device(self.device)
        return Trainer(
            accelerator=accelerator,
            devices=devices,
            precision=settings.precision,
            gradient_clip_val=settings.gradient_clip,
            max_steps=self.length.num_steps,
            callbacks=callbacks,
            # Metrics, checkpoints and progress are those of our callbacks.
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=self.folder.path,
        )


@dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    recipe.toml            every setting of the run
    load-report.json       tensors loaded from the checkpoint of --init, and those not
    metrics.csv            losses, learning rates and validation scores by step
    tensorboard/           the same, with sounds and spectrograms
    checkpoints/last.ckpt  state to resume from; previous.ckpt is the one before
    model.safetensors      the best model by validation SDR;  last.safetensors the one at the end
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe, with every setting."""
        return self.path / "recipe.toml"

    @property
    def load_report(self) -> Path:
        """Names of the tensors loaded from the checkpoint of --init, and of the others."""
        return self.path / "load-report.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints to resume from."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The model with the best validation SDR so far."""
        return self.path / "model.safetensors"

    @property
    def end(self) -> Path:
        """The model of the last step."""
        return self.path / "last.safetensors"

    def begin(self, recipe: TrainRecipe) -> None:
        """Make the folder of a new run; InputError for a folder that is not empty."""
        if self.recipe.exists():
            raise InputError(
                f"'{self.path}' holds a run already: add --resume to continue it, or give "
                "another --run"
            )
        make_folder(self.path)
        if any(self.path.iterdir()):
            raise InputError(f"'{self.path}' is not empty: give a new folder as --run")
        make_folder(self.checkpoints)
        write_atomic(self.recipe, write_recipe(recipe, COMMAND))

    def stored_recipe(self) -> TrainRecipe:
        """Read the recipe of a run to resume."""
        if not self.recipe.is_file():
            raise InputError(f"'{self.path}' holds no run to resume: leave --resume out")
        return load_training(self.recipe)

    def check_same(self, recipe: TrainRecipe) -> None:
        """Check that a recipe is the one this run began with; its paths are compared resolved.

        Raises:
            InputError: it is another one; the message has the first difference.
        """
        stored = _flat(resolved(self.stored_recipe()).model_dump(mode="json"))
        requested = _flat(recipe.model_dump(mode="json"))
        for name in sorted(stored | requested):
            if stored.get(name) != requested.get(name):
                advice = "give another --run"
                if name in ("training.max_steps", "training.epochs") and self.end.is_file():
                    advice = f"to train on from its end, begin another with --init {self.end}"
                raise InputError(
                    f"'{self.path}' began with {name} = {stored.get(name)}, not "
                    f"{requested.get(name)}: a run resumes with the recipe it began with; {advice}"
                )

    def check_data(self, data: Sequence[str], clips: Sequence[ClipFiles]) -> None:
        """Check that the clips to train on are those this run began with, by `clips_digest`.

        Raises:
            InputError: they are not.
        """
        stored = self.stored_recipe()
        if stored.data_sha256 != clips_digest(clips):
            raise InputError(
                f"{list(data)} are not the clips that '{self.path}' began with, {list(stored.data)}"
                ": give those as --data, from the folder they are in now, or give another --run"
            )

    def last_checkpoint(self) -> tuple[Path, int] | None:
        """Return the newest checkpoint that can be read, and its step; none before the first.

        Raises:
            InputError: all checkpoints are damaged.
        """
        paths = [self.checkpoints / name for name in (LAST, PREVIOUS)]
        paths = [path for path in paths if path.is_file()]
        reason = ""
        # A truncated file raises one of several errors, depending on where it ends.
        for path in paths:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                return path, int(state["global_step"])
            except (RuntimeError, OSError, EOFError, ValueError, LookupError) as error:
                reason = str(error).splitlines()[0]
        if paths:
            raise InputError(
                f"'{paths[0]}' is damaged ({reason}); begin another run with --init {self.best}"
            )
        return None


def length_of(recipe: TrainRecipe, num_sources: int) -> Length:
    """Compute the length of a training on a number of sources."""
    training = recipe.training
    # An epoch begins `repeats` mixtures with each source; it need not be a whole number of steps.
    steps_per_epoch = num_sources * recipe.mixing.repeats / training.batch_size
    num_steps = training.max_steps or max(1, round(training.epochs * steps_per_epoch))
    return Length(num_steps, steps_per_epoch)


def clips_digest(clips: Sequence[ClipFiles]) -> str:
    """Digest clips: names, categories, names and sizes of files, but not their folders."""
    # Sizes instead of contents: hours of sound are not read for a check at every start.
    names = "\n".join(
        f"{clip.name} {source.category} {source.path.name} {source.path.stat().st_size}"
        for clip in clips
        for source in clip.sources
    )
    return hashlib.sha256(names.encode()).hexdigest()


def _recipe_of(options: TrainingOptions, folder: RunFolder) -> TrainRecipe:
    """Return the recipe of the options; a resumed run must have the one it began with."""
    stored = folder.stored_recipe() if options.resume else None
    recipe = load_training(options.recipe or folder.recipe, options.overrides)
    if options.data:
        recipe = recipe.model_copy(update={"data": tuple(options.data)})
    if options.init:
        recipe = recipe.model_copy(update={"init": options.init, "init_sha256": None})
    if stored is None:
        return resolved(recipe)
    # --resume without --init: the checkpoint that the run started from.
    if recipe.init is None:
        init = {"init": stored.init, "init_sha256": stored.init_sha256}
        recipe = recipe.model_copy(update=init)
    recipe, stored = resolved(recipe), resolved(stored)
    # Paths may differ where the files are the same; clips are compared once they are read.
    paths = {"data": stored.data, "data_sha256": stored.data_sha256}
    if recipe.init_sha256 == stored.init_sha256:
        paths["init"] = stored.init
    folder.check_same(recipe.model_copy(update=paths))
    return recipe.model_copy(update=paths | {"data": recipe.data or stored.data})


def _lightning_device(name: str) -> tuple[str, list[int] | int]:
    """Return Lightning's accelerator and devices for a device of PyTorch."""
    if name == "auto":
        # Lightning's own choice, one device: batches are not split.
        return "auto", 1
    device = find_device(name)
    if device.type in ("cpu", "mps"):
        return device.type, 1
    return "gpu", [device.index or 0]


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Treat denormal numbers as zero: in Adam's squared gradients they are slow on CPUs."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Lightning's log and advice, which are for those who program with it."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for advice in (".*many workers.*", ".*in eval mode at the start.*", ".*LeafSpec.*"):
                warnings.filterwarnings("ignore", advice)
            yield
    finally:
        logger.setLevel(level)


def _flat(values: dict[str, Any], group: str = "") -> dict[str, Any]:
    """Flatten nested settings to dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{group}{name}.") if isinstance(value, dict) else {group + name: value}
        )
    return flat


def _commit() -> str | None:
    """Return the commit of the checkout this runs from; none outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
