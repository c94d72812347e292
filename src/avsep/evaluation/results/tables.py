"""Format scores and make tables of them, in one way for every output."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from avsep.evaluation.protocol import Summary

# Above this a score is decided by rounding and only means "perfect" (docs/evaluation.md).
PERFECT_DB = 100.0
SUMMARY_HEAD = ("method", "inputs", "SDR", "SIR", "SAR", "mixtures", "left out")
# Both ends of the intervals of SDR, SIR and SAR.
Edges = Float64[np.ndarray, "3 2"] | None


@dataclass(frozen=True)
class Table:
    """One table of strings, for any output format.

    Attributes:
        name: short, of letters and hyphens, for a LaTeX label.
        warnings: lines below the table.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...] = ()


def summary_table(name: str, title: str, summaries: Iterable[tuple[str, str, Summary]]) -> Table:
    """Return the table of a protocol, with a line for each reason mixtures were left out.

    Args:
        name: of the table.
        title: above the table.
        summaries: (method, inputs, summary) of each row.
    """
    rows: list[tuple[str, ...]] = []
    methods_by_line: dict[str, list[str]] = defaultdict(list)
    for method, inputs, summary in summaries:
        num_left_out = summary.num_left_out
        counts = str(summary.num_mixtures - num_left_out), str(num_left_out)
        scores = cells([summary.sdr_db, summary.sir_db, summary.sar_db], summary.intervals_db)
        rows.append((method, inputs, *scores, *counts))
        for reason, count in summary.reasons.items():
            methods_by_line[f"{count} left out: {reason}"].append(method)
        if summary.num_empty_batches:
            line = (
                f"{summary.num_empty_batches} batches in which no mixture counts are 0 dB in the "
                "mean"
            )
            methods_by_line[line].append(method)
    # A line that holds for all rows names none of them.
    warnings = [
        line + (f" ({', '.join(methods)})" if len(methods) < len(rows) else "")
        for line, methods in methods_by_line.items()
    ]
    return Table(name, title, SUMMARY_HEAD, tuple(rows), tuple(warnings))


def difference_table(
    title: str,
    differences: Iterable[tuple[str, int, Float64[np.ndarray, "3"], Edges]],
) -> Table:
    """Return the table of differences between each method and a reference method.

    Args:
        title: above the table.
        differences: (method, number of mixtures that count for both, means, intervals) of each row.
    """
    rows = [
        (name, *cells(means_db.tolist(), edges_db, signed=True), str(num_mixtures))
        for name, num_mixtures, means_db, edges_db in differences
    ]
    return Table("differences", title, ("method", "SDR", "SIR", "SAR", "mixtures"), tuple(rows))


def sdr_table(
    name: str,
    title: str,
    methods: Sequence[str],
    parts: Iterable[tuple[str, Sequence[tuple[int, float, Edges]]]],
) -> Table:
    """Return a table of SDR with a column for each part of the data and a row for each method.

    Args:
        name: of the table.
        title: above the table.
        methods: names of the rows.
        parts: (name, [(number that count, SDR, intervals) of each method]) of each column.
    """
    columns = [("method", *methods)]
    for part, values in parts:
        # Front ends with windows of their own may leave out other mixtures: a range of counts.
        counts = {count for count, _, _ in values}
        number = str(counts.pop()) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        scores = [cells([sdr_db], edges_db)[0] for _, sdr_db, edges_db in values]
        columns.append((f"{part} ({number})", *scores))
    head, *rows = zip(*columns, strict=True)
    return Table(name, title, head, tuple(rows))


def transposed(table: Table, corner: str) -> Table:
    """Return the table with rows and columns exchanged, and another word in its corner."""
    (_, *names), *rows = zip(table.head, *table.rows, strict=True)
    return replace(table, head=(corner, *names), rows=tuple(rows))


def cells(values_db: Sequence[float], edges_db: Edges, *, signed: bool = False) -> list[str]:
    """Return scores as text, each followed by half the width of its interval, if there is one.

    >>> cells([9.876, -1.0], np.array([[9.5, 10.5], [-1.25, -0.75], [0, 0]]), signed=True)
    ['+9.88 ± 0.50', '-1.00 ± 0.25']
    """
    edges = [None] * len(values_db) if edges_db is None else edges_db
    # Not strict: the first of three intervals belongs to a lone SDR.
    return [
        score_cell(value, pair, signed=signed)
        for value, pair in zip(values_db, edges, strict=False)
    ]


def score_cell(
    value: float,
    edges: Float64[np.ndarray, "2"] | None,
    *,
    signed: bool = False,
    is_score: bool = True,
) -> str:
    """Return a value as text, followed by half the width of its interval, if there is one.

    Scores are in dB and become `>100` above that; with `is_score` false any value is written out.

    >>> score_cell(134.2, None), score_cell(134.2, np.array([130.0, 139.0]), is_score=False)
    ('>100', '134.20 ± 4.50')
    """
    text = decibels(value) if is_score else plain(value)
    if math.isnan(value) or (is_score and value > PERFECT_DB):
        return text
    if signed and value > 0 and text != "0.00":
        text = f"+{text}"
    if edges is not None and np.isfinite(edges).all():
        text += f" ± {(edges[1] - edges[0]) / 2:.2f}"
    return text


def scores_json(row_db: Sequence[float]) -> dict[str, float | None]:
    """Return SDR, SIR and SAR by key; none for NaN and infinity, which JSON does not have.

    >>> scores_json([9.5, math.inf, math.nan])
    {'sdr_db': 9.5, 'sir_db': None, 'sar_db': None}
    """
    finite = [float(value) if math.isfinite(value) else None for value in row_db]
    return dict(zip(("sdr_db", "sir_db", "sar_db"), finite, strict=True))


def decibels(value: float) -> str:
    """Return a score as text: two decimals, `>100` for a perfect one, `-` for NaN.

    >>> decibels(9.876), decibels(-1e-9), decibels(134.2), decibels(math.inf), decibels(math.nan)
    ('9.88', '0.00', '>100', '>100', '-')
    """
    if math.isnan(value):
        return "-"
    # "z" writes a rounded negative zero as 0.00.
    return f">{PERFECT_DB:.0f}" if value > PERFECT_DB else f"{value:z.2f}"


def plain(value: float) -> str:
    """Return a value other than a score as text: two decimals, `-` for NaN.

    >>> plain(7.891), plain(200), plain(math.inf), plain(math.nan)
    ('7.89', '200.00', 'inf', '-')
    """
    return "-" if math.isnan(value) else f"{value:z.2f}"
