"""What `avsep train` does between its options and its steps: recipe, lists, library, run."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from avsep.devices import find_device
from avsep.errors import InputError
from avsep.media.whole_file import write_whole
from avsep.recipe import write_recipe
from avsep.records import Batch
from avsep.training.listener import Listener
from avsep.training.material import (
    ClipLists,
    build,
    check_mixing,
    library_of,
    mixtures_of,
    read_lists,
    validation_of,
)
from avsep.training.recipe import COMMAND, TrainRecipe, check_groups, load_training
from avsep.training.run import (
    Run,
    RunFolder,
    clips_digest,
    length_of,
    origin,
    train,
)
from avsep.training.start import TakenOver, make_model, pinned, take_checkpoint
from avsep.training.task import Mixtures


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
        elif self.recipe.data != pinned(self.folder.stored_recipe()).data:
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
            taken_over = self.taken_over
            self.folder.begin(self.recipe)
            if taken_over is not None:
                names = json.dumps(taken_over.as_json(), indent=1)
                write_whole(self.folder.taken_over, names + "\n")

    @property
    def num_clips(self) -> int:
        """Clips to prepare."""
        return len(self.lists.training) + len(self.lists.validation)

    def prepare(self) -> Iterator[str]:
        """Prepare the clips that are not yet in the cache, naming each as it is done."""
        for library in self.libraries:
            yield from build(library, self.recipe, self.model, self.options.num_workers)

    @property
    def skipped(self) -> list[str]:
        """Why clips were left out, a line each, once all are prepared."""
        return [reason for library in self.libraries for reason in library.skipped]

    def train(self, listener: Listener) -> bool:
        """Train to the end; False when a signal ended it before."""
        training, validation = self.libraries
        mixtures = mixtures_of(training, self.recipe, self.model)
        batches = validation_of(validation, self.recipe, self.model)
        return train(self._run(mixtures, batches), listener)

    @property
    def model(self) -> Any:
        """The model with the weights it starts from."""
        return self._made[0]

    @property
    def taken_over(self) -> TakenOver | None:
        """What it took of the checkpoint it begins with, if there is one."""
        return self._made[1]

    @cached_property
    def libraries(self) -> tuple[Any, Any]:
        """The prepared sources of both lists."""
        folder = self.options.cache or default_cache()
        return (
            library_of(self.lists.training, self.model, folder),
            library_of(self.lists.validation, self.model, folder),
        )

    def _begun_with(self) -> list[str]:
        """What of the checkpoint it begins with the model took, in a line."""
        if self.taken_over is None:
            return []
        where = self.folder.taken_over
        return [f"begins with '{self.recipe.init}': {self.taken_over.summary()} (names: {where})"]

    @cached_property
    def _made(self) -> tuple[Any, TakenOver | None]:
        found = self.folder.last_checkpoint() if self.options.resume else None
        taken: list[TakenOver] = []
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
            return pinned(recipe)
        if recipe.init is None:
            begun = {"init": stored.init, "init_sha256": stored.init_sha256}
            recipe = recipe.model_copy(update=begun)
        recipe = pinned(recipe)
        stored = pinned(stored)
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
        training, _ = self.libraries
        facts = origin(self.recipe, training.clips)
        return Run(
            recipe=recipe,
            folder=self.folder,
            model=self.model,
            mixtures=mixtures,
            validation=validation,
            num_sources=len(training),
            facts=facts,
            device=self.options.device,
        )


def default_cache() -> Path:
    """Where prepared clips lie unless told: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "avsep" / "library"
