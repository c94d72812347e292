"""The command `avsep score`: score separated files against their references."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from avsep.catalogue import read_catalogue
from avsep.cli.console import print_error, print_json, print_table, track

if TYPE_CHECKING:
    from avsep.evaluation.stems.score_tables import Table

# A folder of songs can give a warning for each; more than this would hide the table.
_MAX_WARNINGS = 8
_NAMES = read_catalogue()
OnDamage = Literal["skip", "error"]


References = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...|DIR",
        help="True sources: one sound or video file each, a folder of them, or a folder of songs.",
    ),
]
Estimates = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...|DIR...",
        help="Separated files in the order of the references, or one folder for each tool.",
    ),
]
Mixture = Annotated[
    Path | None,
    typer.Option(metavar="FILE|DIR", help="The mixture that was separated: adds SDRi and SI-SDRi."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME...",
        help="Metrics beside SDR, SIR and SAR, a column each: `--metric si-sdr pesq`. Names: "
        f"{', '.join(_NAMES.metrics)}; for folders also {', '.join(_NAMES.set_metrics)}.",
    ),
]
Frames = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Score frames of this length and print medians: `--frames 1`. Default: whole files.",
    ),
]
Hop = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Time between frame starts. Default: that of --frames."),
]
Permute = Annotated[
    bool,
    typer.Option("--permute", help="Find the order of the estimates with the best mean SIR."),
]
Image = Annotated[
    bool,
    typer.Option("--image", help="BSS Eval for source images: channels jointly, with ISR."),
]
Align = Annotated[
    bool,
    typer.Option("--align", help="Take off constant offsets between estimates and references."),
]
AudioTrack = Annotated[
    str | None,
    typer.Option(
        metavar="TRACK",
        help="Audio track of files with several: a number from 1, a language (`eng`), `mix` for "
        "the sum of all, or `pair` for two of one channel as stereo. Default: the file's default.",
    ),
]
Damaged = Annotated[
    OnDamage,
    typer.Option(
        "--on-damage",
        help="Files that are damaged or cut off: score what can be read, with a warning, or refuse "
        "them.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Write the scores to this .json or .csv."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the scores as JSON; infinite ones are null.")
]


def score(
    reference: References = None,
    estimate: Estimates = None,
    permute: Permute = False,
    mixture: Mixture = None,
    metric: Metrics = None,
    frames: Frames = None,
    hop: Hop = None,
    image: Image = False,
    align: Align = False,
    audio_track: AudioTrack = None,
    on_damage: Damaged = "skip",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Score separated files against their references: SDR, SIR, SAR in dB (higher is better).

    The scores are those of BSS Eval v3 (filters of 512 taps), as in the papers of the field. SDR
    compares the source with all errors of its estimate, SIR with the other sources in it, and SAR
    compares all sources with the rest, the artifacts.

    All files must have one sampling rate and one number of channels. Longer files are cut to the
    shortest, with a warning; a constant offset between an estimate and its reference is a warning
    too. The channels of stereo files are scored separately and averaged.

    In folders, files are matched by name (`violin.flac` and `01-violin.wav`); other files in a
    folder of estimates are ignored. Several folders of estimates are compared. If the folders hold
    one folder per song, mean and median over songs are printed.

    Example: `avsep score --reference violin.wav piano.wav --estimate 01-violin.wav 02-piano.wav`

    Example: `avsep score --reference truth --estimate out/duet other-tool/duet --metric si-sdr`
    """
    from avsep.evaluation.stems import score_tables
    from avsep.evaluation.stems.file_scores import FileScoreSettings, score_files
    from avsep.evaluation.stems.folder_scores import score_songs
    from avsep.evaluation.stems.stem_folders import are_folders, match_folders

    settings = FileScoreSettings(
        permute=permute,
        metrics=tuple(metric or ()),
        frames_seconds=frames,
        hop_seconds=hop,
        image=image,
        mixture=mixture,
        align=align,
        track=audio_track,
        on_damage=on_damage,
    )
    # A wrong suffix or folder is an error before minutes of scoring.
    if out is not None:
        score_tables.check_output(out)
    references, estimates = reference or [], estimate or []
    if are_folders(references, estimates):
        songs = match_folders(references, estimates, mixture)
        scores_by_song = score_songs(songs, settings)
        results = tuple(track(scores_by_song, len(songs), "songs scored"))
        values, rows = score_tables.folder_json(results), score_tables.folder_rows(results)
        tables, warnings = (
            score_tables.folder_tables(results),
            score_tables.folder_warnings(results),
        )
    else:
        scores = score_files(references, estimates, settings)
        values, rows = score_tables.file_json(scores), score_tables.file_rows(scores)
        tables, warnings = [score_tables.file_table(scores)], list(scores.warnings)
    if out is not None:
        score_tables.write_scores(out, values, rows)
    if as_json:
        print_json(values)
        return
    _print_tables(tables, warnings)


def _print_tables(tables: Iterable["Table"], warnings: Sequence[str]) -> None:
    """Print the warnings to stderr and the tables to stdout."""
    for warning in warnings[:_MAX_WARNINGS]:
        print_error(warning)
    if len(warnings) > _MAX_WARNINGS:
        print_error(f"and {len(warnings) - _MAX_WARNINGS} more warnings of this kind; see --json")
    for title, head, rows in tables:
        print_table(title, head, rows)
