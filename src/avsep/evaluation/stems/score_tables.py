"""Scores of files and folders as people and programs read them: tables, JSON, CSV."""

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

# Title, heads of columns, rows.
Table = tuple[str, list[str], list[list[str]]]
_FORMATS = (".json", ".csv")


def file_table(scores: FileScores) -> Table:
    """A row a file, then their mean."""
    pairs = zip(scores.estimates, scores.references, strict=True)
    labels = [*(f"{guess} against {truth}" for guess, truth in pairs), "mean"]
    figures = [*scores.figures.tolist(), scores.mean.tolist()]
    rows = [
        [label, *cells(row, scores.columns)] for label, row in zip(labels, figures, strict=True)
    ]
    head = ["estimate against reference", *heads(scores.columns)]
    return title("Scores", scores.columns), head, rows


def folder_tables(done: Sequence[SongScores]) -> list[Table]:
    """A row a tool and source: one table, or mean and median where there are several songs."""
    columns, summaries = summarise(done)
    head = ["estimates", "source", *heads(columns)]
    num_songs = len({each.song.name for each in done})
    if num_songs == 1:
        rows = [
            [row.tool, row.source or "mean", *cells(row.mean.tolist(), columns)]
            for row in summaries
        ]
        return [(title("Scores", columns), head, rows)]
    head.insert(2, "songs")
    return [
        (
            title(f"{name} over {num_songs} songs", columns),
            head,
            [
                [
                    row.tool,
                    row.source or "all",
                    str(row.num_songs),
                    *cells(getattr(row, name.lower()).tolist(), columns),
                ]
                for row in summaries
            ],
        )
        for name in ("Mean", "Median")
    ]


def file_json(scores: FileScores) -> dict[str, object]:
    """All there is to know, for a program."""
    pairs = zip(scores.references, scores.estimates, scores.figures.tolist(), strict=True)
    return {
        "sources": [
            {"reference": str(truth), "estimate": str(guess)} | by_key(row, scores.columns)
            for truth, guess, row in pairs
        ],
        "mean": by_key(scores.mean.tolist(), scores.columns),
        "sample_rate_hz": scores.sample_rate_hz,
        "num_channels": scores.num_channels,
        "num_samples": scores.num_samples,
        "warnings": list(scores.warnings),
    }


def folder_json(done: Sequence[SongScores]) -> dict[str, object]:
    """All there is to know, for a program: tool by tool its songs, then each source over them."""
    columns, summaries = summarise(done)
    tools = []
    for tool in dict.fromkeys(each.song.tool for each in done):
        songs = []
        for each in (one for one in done if one.song.tool == tool):
            plain = file_json(each.scores)
            named = zip(each.song.sources, _list(plain["sources"]), strict=True)
            sources = [{"source": name} | source for name, source in named]
            changes = {"sources": sources, "warnings": list(each.warnings)}
            songs.append({"song": each.song.name} | plain | changes)
        over_songs = [_summary_json(row, columns) for row in summaries if row.tool == tool]
        tools.append({"estimates": tool, "songs": songs, "over_songs": over_songs})
    return {"tools": tools}


def file_rows(scores: FileScores) -> list[dict[str, object]]:
    """A row a file, for CSV."""
    return _list(file_json(scores)["sources"])


def folder_rows(done: Sequence[SongScores]) -> list[dict[str, object]]:
    """A row a tool, song and source, for CSV."""
    return [
        {"estimates": each.song.tool, "song": each.song.name, "source": name} | row
        for each in done
        for name, row in zip(each.song.sources, file_rows(each.scores), strict=True)
    ]


def folder_remarks(done: Sequence[SongScores]) -> list[str]:
    """The remarks of all songs, each once."""
    return list(dict.fromkeys(remark for each in done for remark in each.warnings))


def check_output(path: Path) -> None:
    """Raise an InputError for a file that scores are not written to, before they are made."""
    if path.suffix.lower() not in _FORMATS:
        raise InputError(
            f"'{path}': scores are written as {' or '.join(_FORMATS)}; change the ending"
        )
    if path.is_dir():
        raise InputError(f"'{path}' is a folder; give the name of a file to write")
    if not path.parent.is_dir():
        raise InputError(f"'{path}' cannot be written: make the folder '{path.parent}' first")


def write_scores(path: Path, whole: dict[str, object], rows: Sequence[dict[str, object]]) -> None:
    """All of it as .json, or the rows as .csv, whole or not at all.

    Raises:
        InputError: another ending, no place to write.
    """
    check_output(path)
    if path.suffix.lower() == ".json":
        write_atomic(path, json.dumps(whole, indent=1, allow_nan=False) + "\n")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


# Cells.


def title(words: str, columns: Iterable[Column]) -> str:
    """A table's title; it names the unit where there is one for all."""
    return f"{words} in dB" if all(column.unit == "dB" for column in columns) else words


def heads(columns: Sequence[Column]) -> list[str]:
    """What stands above the columns, with their units where they differ."""
    if all(column.unit == "dB" for column in columns):
        return [column.label for column in columns]
    return [f"{c.label} ({c.unit})" if c.unit else c.label for c in columns]


def cells(row: Sequence[float], columns: Sequence[Column]) -> list[str]:
    """Figures for a table.

    >>> error = Column("itd_error_us", "ITD error", "µs", higher_is_better=False)
    >>> cells([7.891, 200.0, math.nan], [error] * 3)
    ['7.89', '200.00', '-']
    """
    return [
        decibels(value) if column.unit == "dB" and column.higher_is_better else plain(value)
        for value, column in zip(row, columns, strict=True)
    ]


def by_key(row: Sequence[float], columns: Sequence[Column]) -> dict[str, float | None]:
    """Figures by the keys of their columns; null for what JSON has no number for."""
    pairs = zip(columns, row, strict=True)
    return {column.key: value if math.isfinite(value) else None for column, value in pairs}


def _summary_json(row: SourceSummary, columns: Sequence[Column]) -> dict[str, object]:
    return {
        "source": row.source or None,
        "num_songs": row.num_songs,
        "mean": by_key(row.mean.tolist(), columns),
        "median": by_key(row.median.tolist(), columns),
    }


def _list(value: object) -> list[dict[str, object]]:
    assert isinstance(value, list), "sources are a list"
    return value
