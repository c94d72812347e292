"""Format scores of files and folders as tables, JSON and CSV."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from avsep.errors import InputError
from avsep.evaluation.results.tables import decibels, plain
from avsep.evaluation.stems.file_scores import Column, FileScores
from avsep.evaluation.stems.folder_scores import SongScores, SourceSummary, summarise
from avsep.media.atomic import write_atomic

# Title, column heads, rows.
Table = tuple[str, list[str], list[list[str]]]
_FORMATS = (".json", ".csv")


def file_table(scores: FileScores) -> Table:
    """Return a table with a row per file, then their mean."""
    pairs = zip(scores.estimates, scores.references, strict=True)
    labels = [*(f"{guess} against {truth}" for guess, truth in pairs), "mean"]
    values = [*scores.values.tolist(), scores.mean.tolist()]
    rows = [
        [label, *format_row(row, scores.columns)] for label, row in zip(labels, values, strict=True)
    ]
    head = ["estimate against reference", *column_heads(scores.columns)]
    return table_title("Scores", scores.columns), head, rows


def folder_tables(songs: Sequence[SongScores]) -> list[Table]:
    """Return tables with a row per tool and source: means and medians if there are many songs."""
    columns, summaries = summarise(songs)
    head = ["estimates", "source", *column_heads(columns)]
    num_songs = len({scored.song.name for scored in songs})
    if num_songs == 1:
        rows = [
            [row.tool, row.source or "mean", *format_row(row.mean.tolist(), columns)]
            for row in summaries
        ]
        return [(table_title("Scores", columns), head, rows)]
    head.insert(2, "songs")
    return [
        (
            table_title(f"{name} over {num_songs} songs", columns),
            head,
            [
                [
                    row.tool,
                    row.source or "all",
                    str(row.num_songs),
                    *format_row(getattr(row, name.lower()).tolist(), columns),
                ]
                for row in summaries
            ],
        )
        for name in ("Mean", "Median")
    ]


def file_json(scores: FileScores) -> dict[str, object]:
    """Return scores and warnings as JSON values."""
    pairs = zip(scores.references, scores.estimates, scores.values.tolist(), strict=True)
    return {
        "sources": [
            {"reference": str(truth), "estimate": str(guess)} | values_by_key(row, scores.columns)
            for truth, guess, row in pairs
        ],
        "mean": values_by_key(scores.mean.tolist(), scores.columns),
        "sample_rate_hz": scores.sample_rate_hz,
        "num_channels": scores.num_channels,
        "num_samples": scores.num_samples,
        "warnings": list(scores.warnings),
    }


def folder_json(songs: Sequence[SongScores]) -> dict[str, object]:
    """Return each tool's songs as JSON values, then the summaries of its sources."""
    columns, summaries = summarise(songs)
    tools = []
    for tool in dict.fromkeys(scored.song.tool for scored in songs):
        entries = []
        for scored in songs:
            if scored.song.tool != tool:
                continue
            entry = file_json(scored.scores)
            rows = zip(scored.song.sources, _list(entry["sources"]), strict=True)
            sources = [{"source": name} | source for name, source in rows]
            # Warnings about the folder come first, about unused files for example.
            changes = {"sources": sources, "warnings": list(scored.warnings)}
            entries.append({"song": scored.song.name} | entry | changes)
        over_songs = [_summary_json(row, columns) for row in summaries if row.tool == tool]
        tools.append({"estimates": tool, "songs": entries, "over_songs": over_songs})
    return {"tools": tools}


def file_rows(scores: FileScores) -> list[dict[str, object]]:
    """Return a row per file, for CSV."""
    return _list(file_json(scores)["sources"])


def folder_rows(songs: Sequence[SongScores]) -> list[dict[str, object]]:
    """Return a row per tool, song and source, for CSV."""
    return [
        {"estimates": scored.song.tool, "song": scored.song.name, "source": name} | row
        for scored in songs
        for name, row in zip(scored.song.sources, file_rows(scored.scores), strict=True)
    ]


def folder_warnings(songs: Sequence[SongScores]) -> list[str]:
    """Return the warnings of all songs, each once."""
    return list(dict.fromkeys(warning for scored in songs for warning in scored.warnings))


def check_output(path: Path) -> None:
    """Raise an InputError if scores cannot be written to this file, before any is computed."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(
            f"'{path}': scores are written as {' or '.join(_FORMATS)}; change the ending"
        )
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; give the name of a file to write")
    if not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: make the folder '{path.parent}' first")


def write_scores(path: Path, whole: dict[str, object], rows: Sequence[dict[str, object]]) -> None:
    """Write `whole` as .json, or the rows as .csv, atomically.

    Raises:
        InputError: another ending, or a file that cannot be written.
    """
    check_output(path)
    if path.suffix.lower() == ".json":
        # NaN is no JSON: other programs could not read the file.
        write_atomic(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


# Titles, heads and cells


def table_title(text: str, columns: Iterable[Column]) -> str:
    """Return a table's title, which names the unit if all columns have the same."""
    return f"{text} in dB" if all(column.unit == "dB" for column in columns) else text


def column_heads(columns: Sequence[Column]) -> list[str]:
    """Return the heads of columns, with their units if these differ."""
    if all(column.unit == "dB" for column in columns):
        return [column.label for column in columns]
    return [f"{c.label} ({c.unit})" if c.unit else c.label for c in columns]


def format_row(row: Sequence[float], columns: Sequence[Column]) -> list[str]:
    """Format values as cells of a table.

    >>> error = Column("itd_error_us", "ITD error", "µs", higher_is_better=False)
    >>> format_row([7.891, 200.0, math.nan], [error] * 3)
    ['7.89', '200.00', '-']
    """
    return [
        decibels(value) if column.unit == "dB" and column.higher_is_better else plain(value)
        for value, column in zip(row, columns, strict=True)
    ]


def values_by_key(row: Sequence[float], columns: Sequence[Column]) -> dict[str, float | None]:
    """Return values by the keys of their columns; None for NaN and infinity, which JSON lacks."""
    pairs = zip(columns, row, strict=True)
    return {column.key: value if math.isfinite(value) else None for column, value in pairs}


def _summary_json(row: SourceSummary, columns: Sequence[Column]) -> dict[str, object]:
    return {
        "source": row.source or None,
        "num_songs": row.num_songs,
        "mean": values_by_key(row.mean.tolist(), columns),
        "median": values_by_key(row.median.tolist(), columns),
    }


def _list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list), "sources are a list"
    return value
