"""Separate files on a cluster: the same function as here, run by actors of Ray Data."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from avsep.checkpoint import find_checkpoint
from avsep.devices import limit_threads
from avsep.errors import InputError
from avsep.separation.many_files import (
    FileTask,
    Outcome,
    Outcomes,
    Watch,
    ignore_events,
    separate_file,
)
from avsep.separation.result import Manifest
from avsep.separation.resume import ResumeCheck
from avsep.separation.separator import Separator
from avsep.separation.settings import SeparatorSettings

# A file whose worker is killed is done again this often; a file that crashes the decoder would
# otherwise be tried for ever.
_MAX_RETRIES = 2


class RayCluster:
    """Separate files by actors on the machines of a Ray cluster, each of which loads the model.

    All machines must see videos, checkpoint and output folder at the same paths. Without a cluster
    (`RAY_ADDRESS`, or one that runs on this machine) Ray starts one on this machine. Events are
    outcomes only: Ray has no way back for the progress of a file.

    Args:
        model: a name listed by `avsep models`, or the path of a checkpoint.
        settings: settings of the separation.
        num_workers: actors, among which the cores are shared out; none: one for each accelerator,
            or for each machine where there are none.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        settings: SeparatorSettings,
        num_workers: int | None = None,
    ) -> None:
        self._model, self._settings, self._num_workers = model, settings, num_workers

    def resume_check(self) -> ResumeCheck:
        """Return the check for results of the same model and settings."""
        return ResumeCheck.of_model(self._model, self._settings)

    def run(self, tasks: Iterator[FileTask], watch: Watch) -> Outcomes:
        """Separate files; yield the index and the outcome of each, in the order of their ends.

        Raises:
            InputError: Ray is not installed, or the model is not there.
        """
        # An unknown model is told here, in one line, and not by every actor.
        checkpoint = find_checkpoint(_as_name(self._model)).absolute()
        ray = _import_ray()
        todo = {task.index: task for task in tasks}
        if not todo:
            return
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="ERROR")
        for row in self._dataset(ray, list(todo.values()), checkpoint).iter_rows():
            task = todo.pop(int(row["index"]))
            yield task.index, _outcome_from_json(task, row["outcome"])
        for task in todo.values():
            error = (
                f"'{task.video}': its worker ended {_MAX_RETRIES + 1} times; the decoder may have "
                "crashed, or memory ran out: try this file alone, without --cluster"
            )
            yield task.index, Outcome(task.video, task.folder, error=error)

    def _dataset(self, ray: Any, tasks: Sequence[FileTask], checkpoint: Path) -> Any:
        """Return the outcomes of the tasks as a Ray data set, which is computed when it is read."""
        data = import_module("ray.data")
        context = data.DataContext.get_current()
        # A file that fails after its retries leaves its row out, and ends no other.
        context.max_errored_blocks = -1
        context.enable_progress_bars = False
        resources = ray.cluster_resources()
        num_gpus = int(resources.get("GPU", 0)) if self._settings.device != "cpu" else 0
        num_machines = sum(node["Alive"] for node in ray.nodes())
        num_workers = min(self._num_workers or num_gpus or num_machines, len(tasks))
        num_cores = max(1, int(resources.get("CPU", 1)) // num_workers)
        rows = data.from_items(
            [{"index": task.index} for task in tasks], override_num_blocks=len(tasks)
        )
        absolute = {
            task.index: replace(task, video=task.video.absolute(), folder=task.folder.absolute())
            for task in tasks
        }
        arguments = str(checkpoint), str(self._model), self._settings, absolute, num_cores
        return rows.map_batches(
            _FileActor,
            fn_constructor_args=arguments,
            batch_size=1,
            # One task at a time: those that wait at an actor that is killed count as tried.
            compute=data.ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=1),
            num_cpus=num_cores,
            num_gpus=min(1.0, num_gpus / num_workers),
            max_restarts=-1,
            max_task_retries=_MAX_RETRIES,
        )


class _FileActor:
    """Actor that loads the model once and separates one file a batch."""

    def __init__(
        self,
        checkpoint: str,
        name: str,
        settings: SeparatorSettings,
        tasks: dict[int, FileTask],
        num_threads: int,
    ) -> None:
        limit_threads(num_threads)
        self._separator = Separator(Path(checkpoint), settings)
        # Named as the user did: the path may be that of a shipped model in this machine's package.
        self._separator.record = self._separator.record.model_copy(update={"name": name})
        self._tasks = tasks

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Separate the files of a batch; return rows of index and outcome as JSON."""
        outcomes = [
            separate_file(self._separator, self._tasks[int(index)], ignore_events)
            for index in batch["index"]
        ]
        return {"index": batch["index"], "outcome": [_outcome_to_json(item) for item in outcomes]}


def _outcome_to_json(outcome: Outcome) -> str:
    manifest = outcome.manifest and outcome.manifest.model_dump(mode="json")
    return json.dumps({"manifest": manifest, "error": outcome.error, "seconds": outcome.seconds})


def _outcome_from_json(task: FileTask, text: str) -> Outcome:
    """Return an outcome with the paths as the user typed them."""
    fields = json.loads(text)
    manifest = fields["manifest"] and Manifest.model_validate(fields["manifest"])
    return Outcome(task.video, task.folder, manifest, fields["error"], seconds=fields["seconds"])


def _as_name(model: str | os.PathLike[str]) -> str | Path:
    return model if isinstance(model, str) else Path(model)


def _import_ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise InputError(
            "--cluster needs Ray, which is not installed; type: pip install 'avsep[cluster]', or "
            "leave out --cluster and give --jobs N for processes on this machine"
        ) from error
