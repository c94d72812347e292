"""The command `avsep separate`: write one sound file for each visible object of a video."""

import inspect
from collections.abc import Callable
from contextlib import closing, nullcontext
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avsep.catalogue import read_catalogue
from avsep.cli.console import (
    ProgressBars,
    print_error,
    print_event,
    print_line,
    print_table,
    progress_bars,
    results_alone,
)
from avsep.cli.options import Text

if TYPE_CHECKING:
    from avsep.separation.many_files import (
        BatchSummary,
        FileRunner,
        Outcome,
        StageProgress,
        Started,
    )
    from avsep.separation.settings import SeparatorSettings


_SETTINGS = read_catalogue().separator_settings
_OUTPUT = read_catalogue().output_settings


# Settings that are options -> type, and the option's name and rules.
_SETTING_OPTIONS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "quality": (str, "--quality", {}),
    "rate": (str, "--rate", {}),
    "start_seconds": (float, "--start", {"metavar": "S"}),
    "end_seconds": (float | None, "--end", {"metavar": "S"}),
    "audio_track": (str | None, "--audio-track", {"metavar": "TRACK"}),
    "align": (str, "--align", {}),
    "on_damage": (str, "--on-damage", {}),
    "detector": (str, "--detector", {"metavar": "NAME"}),
    "frame_rate_hz": (float | None, "--frame-rate", {"metavar": "HZ"}),
    "keep_absent": (bool, "--keep-absent", {}),
    "seed": (int, "--seed", {"min": 0}),
    "device": (str, "--device", {}),
    "i3d": (Path | None, "--i3d", {"metavar": "FILE"}),
    "format": (str, "--format", {}),
    "name": (str, "--name", {"metavar": "TEMPLATE"}),
    "only": (list[str], "--only", {"metavar": "LABEL"}),
    "all_but": (list[str], "--except", {"metavar": "LABEL"}),
    "preview": (str, "--preview", {}),
    "project": (bool, "--project", {}),
}


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting, in place of its `**settings`."""
    options = []
    for name, (kind, option, rules) in _SETTING_OPTIONS.items():
        setting = _SETTINGS[name] if name in _SETTINGS else _OUTPUT[name]
        keywords: dict[str, Any] = rules.copy()
        if setting.choices:
            keywords["metavar"] = f"[{'|'.join(setting.choices)}]"
        annotation = Annotated[kind, typer.Option(option, help=setting.text, **keywords)]
        options.append(Parameter(name, Parameter.KEYWORD_ONLY, default=setting.default,
                                 annotation=annotation))  # fmt: skip
    signature = inspect.signature(command)
    *others, _ = signature.parameters.values()
    others = [item.replace(kind=Parameter.KEYWORD_ONLY) for item in others]
    parameters = [*others, *options]
    # Typer reads both.
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...",
        help="Video files to separate; folders, with all folders in them; patterns such as "
        '"clips/**/*.mp4"; @FILE: a text file with a path a line.',
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        help="Folder to write to; each video gets a folder in it. Videos of an input folder keep "
        "their place: IN/a/x.mp4 is written to OUT/a/x/.",
    ),
]
ObjectsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--object",
        help="LABEL@x1,y1,x2,y2 with the box in 0..1 from the top left: "
        '"violin@0.1,0.2,0.5,0.9". "violin": it is looked for. "@x1,y1,x2,y2": the label is '
        'predicted from the picture. "violin@": the whole picture. Repeat for each object.',
    ),
]
Points = Annotated[
    list[str] | None,
    typer.Option(
        "--point",
        metavar="[LABEL=]X,Y[@S]",
        help="The object under a point of the picture, 0..1 from the top left, at S seconds: "
        "0.3,0.5@12. Repeat for each object.",
    ),
]
Masks = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        metavar="[LABEL=]FILE",
        help="The object in the white of a picture, or of a video over time; its box is read. "
        "Repeat for each object.",
    ),
]
Excluded = Annotated[
    list[str] | None,
    typer.Option(
        "--not",
        metavar="WORD",
        help="An object that is separated and stays in the residual: one that is given with this "
        "label, else one more, by the word alone or as LABEL@x1,y1,x2,y2. Repeat for each.",
    ),
]
SpansOption = Annotated[
    list[str] | None,
    typer.Option(
        "--span",
        metavar="[LABEL=]START-END",
        help="When the objects of a label or number sound, in seconds of the video: "
        "violin=12-15.5; elsewhere they are silent, and their share is in the residual. Without a "
        "label: all objects. Repeat for each span.",
    ),
]
ObjectsFile = Annotated[
    Path | None,
    typer.Option(
        "--objects",
        metavar="FILE",
        help='Objects as JSON: [{"label": "violin", "box": [0.1, 0.2, 0.5, 0.9]}, ...]. '
        "Default: VIDEO/objects.json beside the video, else all objects that are found.",
    ),
]
Model = Annotated[str, typer.Option(help="A name from `avsep models`, or a checkpoint file.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Skip files whose result is complete and of the same file, model, settings and "
        "objects.",
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Separate N files at once, each in a process of its own: a file that crashes or hangs "
        "the decoder ends no other. With --cluster: N workers.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        min=1,
        metavar="S",
        help="With --jobs: a file without any progress for S seconds has failed, and its process "
        "is ended.",
    ),
]
Cluster = Annotated[
    bool,
    typer.Option(
        "--cluster",
        help="Separate on the machines of a Ray cluster, which share the paths of videos and OUT.",
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print events as JSON, one a line as they happen, and no tables."),
]


@with_settings
def separate(
    videos: Inputs,
    out: Out,
    objects: ObjectsOption = None,
    objects_file: ObjectsFile = None,
    text: Text = None,
    points: Points = None,
    masks: Masks = None,
    excluded: Excluded = None,
    spans: SpansOption = None,
    model: Model = read_catalogue().default_model,
    resume: Resume = False,
    jobs: Jobs = None,
    timeout: Timeout = 1800,
    cluster: Cluster = False,
    as_json: AsJson = False,
    **settings: object,
) -> None:
    """Extract the sound of each visible object of a video, and the residual.

    OUT/VIDEO/ gets 01-violin.wav, 02-piano.wav, ... in the order of the objects, at the video's
    rate, channels and length; residual.wav, so that all files add up to the video's sound;
    preview.mp4 with audio tracks for mixture, objects and residual; report.html to watch and
    listen; manifest.json with every setting. Without --object, --objects, --text, --point and
    --mask, the objects are read from VIDEO/objects.json, which toyband clips have, or found where
    there is no such file. If a video fails the others are still separated, and the exit code is 2.

    Example: `avsep separate duet.mp4 -o out`

    Example: `avsep separate duet.mp4 --object "violin@0.1,0.2,0.5,0.9" --object piano -o out`

    A video may be hours long; `--start 60 --end 90` separates half a minute. Sound without pictures
    is separated by words alone, by a model that takes them.

    Example: `avsep separate band.wav --text violin --model davis-mini --format flac -o out`

    Folders, patterns and lists are separated file by file, `--jobs 4` does four at once, and
    `--resume` goes on where it was interrupted.

    Example: `avsep separate clips "more/*.mkv" @list.txt --jobs 4 --resume -o out`
    """
    from avsep.recipe import check_settings
    from avsep.separation.many_files import BatchSummary, FileOptions, separate_files
    from avsep.separation.prompt_words import PromptWords
    from avsep.separation.settings import OutputSettings, SeparatorSettings

    files = {name: settings.pop(name) for name in _OUTPUT}
    checked = check_settings(settings, SeparatorSettings, "avsep separate")
    output = check_settings(files, OutputSettings, "avsep separate")
    words = PromptWords(text or (), points or (), masks or (), excluded or (), spans or ())
    runner = _choose_runner(model, checked, jobs, timeout, cluster=cluster)
    summary = BatchSummary()
    # Ray prints its messages to stdout.
    with progress_bars() as bars, results_alone() if cluster else nullcontext():
        printer = _Printer(bars, as_json=as_json)
        outcomes = separate_files(
            videos,
            objects or objects_file,
            out,
            runner,
            FileOptions(words, output, resume),
            watch=printer.watch,
        )
        # Closed at once on Ctrl-C, so that workers end before this process does.
        with closing(outcomes):
            for outcome in outcomes:
                printer.print_outcome(outcome)
                summary.add(outcome)
    if summary.num_files > 1:
        printer.print_summary(summary)
    if summary.num_failed:
        raise typer.Exit(2)


def _choose_runner(
    model: str, settings: "SeparatorSettings", jobs: int | None, timeout: float, *, cluster: bool
) -> "FileRunner":
    """Return the place where files are separated: this process, workers, or a cluster."""
    if cluster:
        from avsep.separation.cluster import RayCluster

        return RayCluster(model, settings, jobs)
    if jobs is not None:
        from avsep.separation.worker_processes import WorkerProcesses

        return WorkerProcesses(model, settings, jobs, timeout)
    from avsep.separation.many_files import ThisProcess
    from avsep.separation.separator import Separator

    return ThisProcess(Separator(model, settings))


class _Printer:
    """Print events: progress as bars, and JSON as they happen or tables in the order of files."""

    def __init__(self, bars: ProgressBars, *, as_json: bool) -> None:
        from avsep.separation.progress import Throttle

        self._bars, self._as_json, self._throttle = bars, as_json, Throttle()

    def watch(self, event: "Started | StageProgress | Outcome") -> None:
        """Show or print an event as it happens."""
        from avsep.separation.many_files import Outcome, StageProgress

        if isinstance(event, StageProgress):
            name, seconds = event.video.name, (event.done_seconds, event.all_seconds)
            self._bars.show(name, event.stage, *seconds)
            if self._as_json and self._throttle.is_due(f"{event.video} {event.stage}", *seconds):
                print_event(event.as_json())
            return
        if isinstance(event, Outcome):
            self._bars.clear(event.video.name)
            for warning in event.warnings if self._as_json else ():
                print_event({"event": "warning", "video": str(event.video), "message": warning})
        if self._as_json:
            print_event(event.as_json())

    def print_outcome(self, outcome: "Outcome") -> None:
        """Print the warnings of one file to stderr, then its error or the table of its files."""
        for warning in outcome.warnings:
            print_error(f"warning: '{outcome.video}': {warning}")
        if outcome.error:
            print_error(outcome.error)
        elif self._as_json:
            return
        elif outcome.was_complete:
            print_line(f"{outcome.folder}: complete, skipped")
        else:
            print_table(str(outcome.folder), *outcome.table())

    def print_summary(self, summary: "BatchSummary") -> None:
        """Print the summary of all files."""
        if self._as_json:
            print_event(summary.as_json())
        else:
            print_line(summary.line())
