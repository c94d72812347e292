"""Run a training: options, run folder, resume, and the Lightning trainer."""

import hashlib
import json
import logging
import os
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException

import avsep
from avsep.checkpoint import save_checkpoint
from avsep.data.clips import ClipFiles
from avsep.devices import find_device
from avsep.errors import InputError
from avsep.media.atomic import make_folder, write_atomic
from avsep.recipe import write_recipe
from avsep.records import Batch
from avsep.training.callbacks import (
    LAST,
    PREVIOUS,
    Checkpoints,
    Clock,
    MetricsLogger,
    ProgressCallback,
    Reports,
    RunningAverage,
    StopRequest,
)
from avsep.training.datamodule import (
    ClipLists,
    build,
    check_mixing,
    library_of,
    mixtures_of,
    read_lists,
    validation_of,
)
from avsep.training.initial_weights import LoadReport, make_model, resolved, take_checkpoint
from avsep.training.recipe import COMMAND, TrainRecipe, check_groups, load_training
from avsep.training.task import Length, Mixtures, SeparationTask, make_loader
from avsep.training.validation import Validation


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it makes.

    recipe.toml            every setting of the run
    taken-over.json        tensors that the checkpoint of --init gave, and those it did not
    metrics.csv            losses, rates and validation figures by step
    tensorboard/           the same, with sounds and spectrograms
    checkpoints/last.ckpt  all that is needed to go on; previous.ckpt is the one before
    model.safetensors      the best model by validation SDR;  last.safetensors the one at the end
    """

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe, written out in full."""
        return self.path / "recipe.toml"

    @property
    def load_report(self) -> Path:
        """Names of the tensors that came from the checkpoint it began with, and of the others."""
        return self.path / "taken-over.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints to go on from."""
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
        """Make the folder of a new run; one that holds anything is an InputError."""
        if self.recipe.exists():
            raise InputError(
                f"'{self.path}' holds a run already: add --resume to go on with it, or give "
                "another --run"
            )
        make_folder(self.path)
        if any(self.path.iterdir()):
            raise InputError(f"'{self.path}' is not empty: give a new folder as --run")
        make_folder(self.checkpoints)
        write_atomic(self.recipe, write_recipe(recipe, COMMAND))

    def stored_recipe(self) -> TrainRecipe:
        """The recipe of a run that is to go on."""
        if not self.recipe.is_file():
            raise InputError(f"'{self.path}' holds no run to go on with: leave --resume out")
        return load_training(self.recipe)

    def check_same(self, recipe: TrainRecipe) -> None:
        """See that a recipe is the one this run began with; the first difference is told.

        Paths may be written in another way.
        """
        begun = _flat(resolved(self.stored_recipe()).model_dump(mode="json"))
        asked = _flat(recipe.model_dump(mode="json"))
        for name in sorted(begun | asked):
            if begun.get(name) != asked.get(name):
                way_on = "give another --run"
                if name in ("training.max_steps", "training.epochs") and self.end.is_file():
                    way_on = f"to train on from its end, begin another with --init {self.end}"
                raise InputError(
                    f"'{self.path}' began with {name} = {begun.get(name)}, not "
                    f"{asked.get(name)}: a run goes on as it began; {way_on}"
                )

    def check_data(self, data: Sequence[str], clips: Sequence[ClipFiles]) -> None:
        """See that clips to train on, wherever they lie, are those this run began with."""
        stored = self.stored_recipe()
        if stored.data_sha256 != clips_digest(clips):
            raise InputError(
                f"{list(data)} are not the clips that '{self.path}' began with, {list(stored.data)}"
                ": give those as --data, wherever they lie now, or give another --run"
            )

    def last_checkpoint(self) -> tuple[Path, int] | None:
        """The newest checkpoint that can be read, and its step; none before the first.

        Raises:
            InputError: there are some, and all are damaged.
        """
        there = [self.checkpoints / name for name in (LAST, PREVIOUS)]
        there = [path for path in there if path.is_file()]
        reason = ""
        for path in there:
            try:
                state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
                return path, int(state["global_step"])
            except (RuntimeError, OSError, EOFError, ValueError, LookupError) as error:
                reason = str(error).splitlines()[0]
        if there:
            raise InputError(
                f"'{there[0]}' is damaged ({reason}); begin another run with --init {self.best}"
            )
        return None


@dataclass(frozen=True)
class Run:
    """All that a training needs.

    Attributes:
        model: with the weights it starts from.
        mixtures: to train on.
        validation: batches with their truth, the same each time.
        num_sources: in the training list; an epoch begins `repeats` mixtures with each.
        metadata: written into the models it saves.
    """

    recipe: TrainRecipe
    folder: RunFolder
    model: Any
    mixtures: Mixtures
    validation: Sequence[Batch]
    num_sources: int
    metadata: dict[str, Any]
    device: str = "auto"

    @property
    def length(self) -> Length:
        """Steps in all and in an epoch."""
        return length_of(self.recipe, self.num_sources)


def length_of(recipe: TrainRecipe, num_sources: int) -> Length:
    """How long a recipe trains on so many sources."""
    training = recipe.training
    steps_per_epoch = num_sources * recipe.mixing.repeats / training.batch_size
    num_steps = training.max_steps or max(1, round(training.epochs * steps_per_epoch))
    return Length(num_steps, steps_per_epoch)


def train(run: Run, listener: ProgressCallback) -> bool:
    """Train from the folder's newest checkpoint, or from the beginning, to the end.

    True when the end was reached, False when a signal ended it before; then a checkpoint of the
    last step is there to go on from.
    """
    settings = run.recipe.training
    checkpoint, first_step = run.folder.last_checkpoint() or (None, 0)
    if checkpoint is not None and checkpoint.name == PREVIOUS:
        # A damaged one must not take the place of the good one at the next saving.
        (run.folder.checkpoints / LAST).unlink(missing_ok=True)
    journal = MetricsLogger(run.folder.path, first_step)
    average = RunningAverage(settings.ema_decay)
    stop = StopRequest()
    clock = Clock()
    callbacks = [
        average,
        Validation(
            run.validation, average, journal, listener, clock, run.folder.best, run.metadata
        ),
        Reports(journal, listener, clock, settings.log_every_steps),
        Checkpoints(run.folder.checkpoints, settings, stop),
    ]
    model = run.model.train()
    if settings.channels_last:
        model = model.to(memory_format=torch.channels_last)
    task = SeparationTask(model, run.recipe, run.length)
    loader = make_loader(run.mixtures, settings.batch_size, first_step, settings.num_workers)
    try:
        with _quiet(), _tiny_numbers_as_zero(), stop.by_signals():
            trainer = _trainer(run, callbacks)
            trainer.fit(task, loader, ckpt_path=checkpoint, weights_only=True)
    except SIGTERMException:
        return False  # raised after the step whose checkpoint was written for it
    finally:
        journal.close()
    if trainer.global_step < run.length.num_steps:
        return False
    metadata = run.metadata | {"step": trainer.global_step}
    save_checkpoint(average.model, run.folder.end, model_name=run.recipe.model, metadata=metadata)
    return True


def origin(recipe: TrainRecipe, clips: Sequence[ClipFiles]) -> dict[str, Any]:
    """Where a model comes from: version, commit, recipe, and the clips it was trained on."""
    init = recipe.init and Path(recipe.init).name
    data = tuple(Path(name).name for name in recipe.data)
    weights = {part: Path(name).name for part, name in recipe.weights.items()}
    named = recipe.model_copy(update={"data": data, "init": init, "weights": weights})
    return {
        "avsep": avsep.__version__,
        "commit": _commit(),
        "recipe": write_recipe(named, COMMAND),
        "init": init and {"name": init, "sha256": recipe.init_sha256},
        "num_clips": len(clips),
        "data_sha256": clips_digest(clips),
    }


def clips_digest(clips: Sequence[ClipFiles]) -> str:
    """A digest of what clips are: names, categories, names and sizes of files; not of places."""
    names = "\n".join(
        f"{clip.name} {source.category} {source.path.name} {source.path.stat().st_size}"
        for clip in clips
        for source in clip.sources
    )
    return hashlib.sha256(names.encode()).hexdigest()


def _trainer(run: Run, callbacks: list[Any]) -> Trainer:
    settings = run.recipe.training
    accelerator, devices = _in_words_of_lightning(run.device)
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip,
        max_steps=run.length.num_steps,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=run.folder.path,
    )


def _in_words_of_lightning(name: str) -> tuple[str, list[int] | int]:
    if name == "auto":
        return "auto", 1
    device = find_device(name)
    if device.type in ("cpu", "mps"):
        return device.type, 1
    return "gpu", [device.index or 0]


@contextmanager
def _tiny_numbers_as_zero() -> Iterator[None]:
    """Denormal numbers, such as Adam's squares of tiny gradients, slow a processor down."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice, which is not for the user of a command, left out."""
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
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{group}{name}.") if isinstance(value, dict) else {group + name: value}
        )
    return flat


def _commit() -> str | None:
    """The commit of the checkout this runs from, or none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


# What `avsep train` does between its options and its steps: recipe, lists, library, run


@dataclass(frozen=True)
class Options:
    """What the command line says.

    Attributes:
        recipe: name or path; none only with `resume`, whose run has one.
        data: folders, and init: a checkpoint to begin with, instead of the recipe's.
        overrides: settings to change.
        folder: of the run; none: runs/ and the recipe's name.
        num_workers: processes that mix, instead of the recipe's, and that prepare clips.
        cache: folder of prepared clips; none: below the user's cache.
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


class Session:
    """One training from its options to its end; each step is made when it is first needed."""

    def __init__(self, options: Options) -> None:
        self.options = options
        if options.recipe is None and not (options.resume and options.folder):
            raise InputError("give a RECIPE to train, or --run DIR --resume to go on with a run")
        name = Path(options.recipe).stem if options.recipe else ""
        self.folder = RunFolder(options.folder or Path("runs") / name)
        self.recipe = self._recipe()
        self.lists: ClipLists = read_lists(self.recipe)
        check_mixing(self.lists, self.recipe)
        if not options.resume:
            digest = clips_digest(self.lists.training)
            self.recipe = self.recipe.model_copy(update={"data_sha256": digest})
        elif self.recipe.data != resolved(self.folder.stored_recipe()).data:
            self.folder.check_data(self.recipe.data, self.lists.training)

    def summary(self) -> list[str]:
        """How much there is to train on, what is trained, and for how long, in lines."""
        training, validation = self.lists.training, self.lists.validation
        groups = self.model.parameter_groups()
        counts = {name: sum(p.numel() for p in found) for name, found in groups.items()}
        parameters = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        num_steps = length_of(self.recipe, self.lists.num_sources).num_steps
        return [
            f"{len(training)} clips to train on ({self.lists.num_sources} sources), "
            f"{len(validation)} to validate with",
            f"{self.recipe.model}: {sum(counts.values()):,} parameters ({parameters}), "
            f"{num_steps} steps of {self.recipe.training.batch_size} mixtures",
            *self._begun_with(),
        ]

    def recipe_text(self) -> str:
        """The whole recipe as TOML."""
        return write_recipe(self.recipe, COMMAND)

    def begin(self) -> None:
        """Make the folder of a new run; a device that is not there is told before."""
        find_device(self.options.device)
        if not self.options.resume:
            load_report = self.load_report
            self.folder.begin(self.recipe)
            if load_report is not None:
                names = json.dumps(load_report.as_json(), indent=1)
                write_atomic(self.folder.load_report, names + "\n")

    @property
    def num_clips(self) -> int:
        """Clips to prepare."""
        return len(self.lists.training) + len(self.lists.validation)

    def prepare(self) -> Iterator[str]:
        """Prepare the clips that are not yet in the cache, naming each as it is done."""
        for cache in self.caches:
            yield from build(cache, self.recipe, self.model, self.options.num_workers)

    @property
    def skipped(self) -> list[str]:
        """Why clips were left out, a line each, once all are prepared."""
        return [reason for cache in self.caches for reason in cache.skipped]

    def train(self, listener: ProgressCallback) -> bool:
        """Train to the end; False when a signal ended it before."""
        training, validation = self.caches
        mixtures = mixtures_of(training, self.recipe, self.model)
        batches = validation_of(validation, self.recipe, self.model)
        return train(self._run(mixtures, batches), listener)

    @property
    def model(self) -> Any:
        """The model with the weights it starts from."""
        return self._made[0]

    @property
    def load_report(self) -> LoadReport | None:
        """What it took of the checkpoint it begins with, if there is one."""
        return self._made[1]

    @cached_property
    def caches(self) -> tuple[Any, Any]:
        """The prepared sources of both lists."""
        folder = self.options.cache or default_cache()
        return (
            library_of(self.lists.training, self.model, folder),
            library_of(self.lists.validation, self.model, folder),
        )

    def _begun_with(self) -> list[str]:
        """What of the checkpoint it begins with the model took, in a line."""
        if self.load_report is None:
            return []
        where = self.folder.load_report
        return [f"begins with '{self.recipe.init}': {self.load_report.summary()} (names: {where})"]

    @cached_property
    def _made(self) -> tuple[Any, LoadReport | None]:
        found = self.folder.last_checkpoint() if self.options.resume else None
        taken: list[LoadReport] = []
        if found is not None:
            # All weights are in it; the files that the run began with may be gone by now.
            model = make_model(self.recipe.model_copy(update={"init": None, "weights": {}}))
            take_checkpoint(model, found[0])
        else:
            model = make_model(self.recipe, taken.append)
        check_groups(self.recipe, list(model.parameter_groups()))
        return model, taken[0] if taken else None

    def _recipe(self) -> TrainRecipe:
        """The recipe of the options; of a run that goes on its own, which must be the same."""
        options = self.options
        stored = self.folder.stored_recipe() if options.resume else None
        source = options.recipe or self.folder.recipe
        recipe = load_training(source, options.overrides)
        if options.data:
            recipe = recipe.model_copy(update={"data": tuple(options.data)})
        if options.init:
            recipe = recipe.model_copy(update={"init": options.init, "init_sha256": None})
        if stored is None:
            return resolved(recipe)
        if recipe.init is None:
            begun = {"init": stored.init, "init_sha256": stored.init_sha256}
            recipe = recipe.model_copy(update=begun)
        recipe = resolved(recipe)
        stored = resolved(stored)
        # The same files, wherever they lie; of the clips that is seen when they are read.
        same = {"data": stored.data, "data_sha256": stored.data_sha256}
        if recipe.init_sha256 == stored.init_sha256:
            same["init"] = stored.init
        self.folder.check_same(recipe.model_copy(update=same))
        return recipe.model_copy(update=same | {"data": recipe.data or stored.data})

    def _run(self, mixtures: Mixtures, validation: Sequence[Batch]) -> Run:
        recipe = self.recipe
        if self.options.num_workers is not None:
            workers = {"num_workers": self.options.num_workers}
            settings = recipe.training.model_copy(update=workers)
            recipe = recipe.model_copy(update={"training": settings})
        training, _ = self.caches
        metadata = origin(self.recipe, training.clips)
        return Run(
            recipe=recipe,
            folder=self.folder,
            model=self.model,
            mixtures=mixtures,
            validation=validation,
            num_sources=len(training),
            metadata=metadata,
            device=self.options.device,
        )


def default_cache() -> Path:
    """Where prepared clips lie unless told: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "avsep" / "library"
