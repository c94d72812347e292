"""`avsep score`: how good separated files are, against the true ones."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsep.cli.console import print_error, print_json, print_table, track

if TYPE_CHECKING:
    from avsep.evaluation.stems.score_tables import Table

# Of many songs; --json has them all.
_MOST_REMARKS = 8


References = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...|DIR",
        help="The true sources, a sound or video file each; or a folder of them, or of songs.",
    ),
]
Separated = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE...|DIR...",
        help="The separated files, in the order of the sources; or a folder a tool.",
    ),
]
Mixture = Annotated[
    Path | None,
    typer.Option(metavar="FILE|DIR", help="What was separated: adds SDRi and SI-SDRi."),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME...",
        help="More columns: si-sdr, si-sir, si-sar, sdri, si-sdri, sa-sdr, "
        "sdr-left, sir-left, sdr-right, sir-right, ild-error, itd-error, "
        "spectral, pesq, clap; fad for folders.",
    ),
]
Frames = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="SDR, SIR, SAR as medians over frames of so long."),
]
Hop = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="From one frame to the next. Default: as --frames."),
]
Permute = Annotated[
    bool, typer.Option("--permute", help="Find the order of the estimates by best mean SIR.")
]
Image = Annotated[
    bool, typer.Option("--image", help="BSS Eval of images: all channels together, with ISR.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FILE", help="Write the scores to this .json or .csv."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON; a figure that is infinite is null.")
]


def score(
    reference: References = None,
    estimate: Separated = None,
    permute: Permute = False,
    mixture: Mixture = None,
    metric: Metrics = None,
    frames: Frames = None,
    hop: Hop = None,
    image: Image = False,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Score separated files against the true ones: SDR, SIR and SAR in dB, higher is better.

    The figures are those of BSS Eval v3 (filters of 512 taps), as in the papers of the field. SDR
    is the source against all else in its estimate, SIR against the other sources, SAR all sources
    against what comes from none of them.

    All files need one sampling rate and one number of channels. Longer ones are cut to the
    shortest, and a line says so. Each channel of stereo files is scored by itself, then their mean
    is taken.

    Of folders the files of one name belong together (`violin.flac` and `01-violin.wav`); what else
    is in a folder of estimates is not scored. Several folders of estimates are compared. Where the
    folders hold a folder a song, mean and median over the songs are printed.

    Example: `avsep score --reference violin.wav piano.wav --estimate 01-violin.wav 02-piano.wav`

    Example: `avsep score --reference truth --estimate out/duet other-tool/duet --metric si-sdr`
    """
    from avsep.evaluation.stems import score_tables
    from avsep.evaluation.stems.file_scores import FileScoreSettings, score_files
    from avsep.evaluation.stems.folder_scores import score_songs
    from avsep.evaluation.stems.stem_folders import are_folders, match_folders

    settings = FileScoreSettings(permute, tuple(metric or ()), frames, hop, image, mixture)
    if out is not None:
        score_tables.check_output(out)
    references, estimates = reference or [], estimate or []
    if are_folders(references, estimates):
        songs = match_folders(references, estimates, mixture)
        scored = score_songs(songs, settings)
        done = tuple(track(scored, total=len(songs), what="songs scored"))
        answer, rows = score_tables.folder_json(done), score_tables.folder_rows(done)
        tables, warnings = score_tables.folder_tables(done), score_tables.folder_warnings(done)
    else:
        scores = score_files(references, estimates, settings)
        answer, rows = score_tables.file_json(scores), score_tables.file_rows(scores)
        tables, warnings = [score_tables.file_table(scores)], list(scores.warnings)
    if out is not None:
        score_tables.write_scores(out, answer, rows)
    if as_json:
        print_json(answer)
        return
    _show(tables, warnings)


def _show(tables: Iterable["Table"], warnings: Sequence[str]) -> None:
    """Remarks on stderr, the tables on stdout."""
    for remark in warnings[:_MOST_REMARKS]:
        print_error(remark)
    if len(warnings) > _MOST_REMARKS:
        print_error(
            f"and {len(warnings) - _MOST_REMARKS} more remarks of this kind; --json has all"
        )
    for title, head, rows in tables:
        print_table(title, head, rows)
