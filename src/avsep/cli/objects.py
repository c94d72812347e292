"""The command `avsep objects`: find the objects of videos, to look at and to pass on."""

from pathlib import Path
from typing import Annotated

import typer

from avsep.cli.console import print_error, print_json, print_table, progress_bars
from avsep.cli.options import Device

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="VIDEO...",
        help="Video files; folders, with all folders in them; patterns such as "
        '"clips/**/*.mp4"; @FILE: a text file with a path a line.',
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder to write to; each video gets a folder in it."),
]
Words = Annotated[
    list[str] | None,
    typer.Option(
        "--find",
        metavar="WORD",
        help="Look for this object alone. Repeat for each; twice the same word: the two surest. "
        "Default: all that the detector has labels for.",
    ),
]
DetectorName = Annotated[
    str,
    typer.Option(
        "--detector", metavar="NAME", help="The detector that looks for objects in pictures."
    ),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="SCORE",
        help="Least score of an object. Default: the detector's.",
    ),
]
Most = Annotated[
    int, typer.Option(min=1, max=100, metavar="N", help="Most objects without --find, the surest.")
]
SampleRate = Annotated[
    float,
    typer.Option(
        "--rate",
        min=0.01,
        max=60,
        metavar="HZ",
        help="Pictures a second in which objects are looked for; at most 120 a video.",
    ),
]
Every = Annotated[
    float | None,
    typer.Option(
        min=0.01, metavar="S", help="Draw strip.png too: a picture with its boxes each S seconds."
    ),
]
Start = Annotated[
    float, typer.Option(min=0, metavar="S", help="Look from this time of the video on.")
]
End = Annotated[float | None, typer.Option(min=0, metavar="S", help="Look until this time.")]
FrameRate = Annotated[
    float | None,
    typer.Option(
        "--frame-rate",
        metavar="HZ",
        help="Frames a second that a file of detections counts, an .npy or COCO's JSON.",
    ),
]
AudioTrack = Annotated[
    str | None,
    typer.Option(
        metavar="TRACK",
        help="Audio track from whose start times count, as of avsep separate: a number from 1, a "
        "language (eng), mix or pair. Default: the default track.",
    ),
]
AlignOption = Annotated[
    str,
    typer.Option(
        "--align",
        metavar="[sound|picture]",
        help="Times count from the start of the picture, or of the sound, as of avsep separate.",
    ),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Detect again, and store no detections for later.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print objects, files and warnings as JSON.")]


def objects(
    videos: Inputs,
    out: Out,
    words: Words = None,
    detector: DetectorName = "avsep-detector",
    threshold: Threshold = None,
    most: Most = 8,
    rate: SampleRate = 1.0,
    every: Every = None,
    start: Start = 0.0,
    end: End = None,
    frame_rate: FrameRate = None,
    audio_track: AudioTrack = None,
    align: AlignOption = "picture",
    no_cache: NoCache = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Find the visible objects of a video: a picture of them, and a file to edit and pass back.

    OUT/VIDEO/ gets objects.json, with label, confidence and boxes over time of each object, which
    `avsep separate VIDEO --objects OUT/VIDEO/objects.json` reads, and objects.png, a picture with
    their boxes and numbers. Detections are stored, so that the same command is quick the next time.
    If a video fails the others are still read, and the exit code is 2.

    Example: `avsep objects duet.mp4 -o out`

    Example: `avsep objects duet.mp4 --find violin --find piano --every 2 -o out`
    """
    from avsep.recipe import check_settings
    from avsep.separation.object_files import FindOptions, find_in_files
    from avsep.vision.finding import FindSettings, load_finder

    values = {
        "detector": detector,
        "sample_rate_hz": rate,
        "least_score": threshold,
        "most_objects": most,
        "frame_rate_hz": frame_rate,
        "audio_track": audio_track,
        "align": align,
        "uses_cache": not no_cache,
    }
    settings = check_settings(values, FindSettings, "avsep objects")
    options = FindOptions(tuple(words or ()), settings, start, end, every)
    outcomes = []
    with progress_bars() as bars:
        loaded = load_finder(settings, device)
        for outcome in find_in_files(videos, out, loaded, options, bars.show):
            bars.clear(outcome.video.name)
            outcomes.append(outcome)
            for warning in outcome.warnings:
                print_error(f"warning: '{outcome.video}': {warning}")
            if outcome.error:
                print_error(outcome.error)
            elif not as_json:
                print_table(str(outcome.folder), *outcome.table())
    if as_json:
        print_json([outcome.as_json() for outcome in outcomes])
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(2)
