"""Figures as people read them: decibels and tables, written one way wherever scores are shown."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from avsep.evaluation.protocol import Summary

# Above this a score is rounding and says no more than "perfect" (docs/evaluation.md).
PERFECT_DB = 100.0
SUMMARY_HEAD = ("separator", "reads", "SDR", "SIR", "SAR", "pairs", "left out")
Edges = Float64[np.ndarray, "3 2"] | None


@dataclass(frozen=True)
class Table:
    """One table, ready for any writer.

    Attributes:
        name: short, of letters and hyphens, for a label.
        warnings: lines below it.
    """

    name: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...] = ()


def summary_table(name: str, title: str, summaries: Iterable[tuple[str, str, Summary]]) -> Table:
    """A table by one protocol, and a line for each reason mixtures were left out.

    Args:
        name: of the table.
        title: above it.
        summaries: each after the separator's name and what it reads.
    """
    rows: list[tuple[str, ...]] = []
    told: dict[str, list[str]] = defaultdict(list)
    for separator, reads, found in summaries:
        counts = str(found.num_mixtures - found.num_left_out), str(found.num_left_out)
        figures = cells([found.sdr_db, found.sir_db, found.sar_db], found.intervals_db)
        rows.append((separator, reads, *figures, *counts))
        for reason, count in found.reasons.items():
            told[f"{count} left out: {reason}"].append(separator)
        if found.num_empty_batches:
            empty = (
                f"{found.num_empty_batches} batches in which nothing counts are 0 dB in the mean"
            )
            told[empty].append(separator)
    warnings = [
        line + (f" ({', '.join(who)})" if len(who) < len(rows) else "")
        for line, who in told.items()
    ]
    return Table(name, title, SUMMARY_HEAD, tuple(rows), tuple(warnings))


def difference_table(
    title: str,
    differences: Iterable[tuple[str, int, Float64[np.ndarray, "3"], Edges]],
) -> Table:
    """How much better each separator is than one of them.

    Args:
        title: above it.
        differences: of each its name, the mixtures that count for both, means and intervals.
    """
    rows = [
        (name, *cells(means_db.tolist(), edges_db, signed=True), str(num_mixtures))
        for name, num_mixtures, means_db, edges_db in differences
    ]
    return Table("differences", title, ("separator", "SDR", "SIR", "SAR", "pairs"), tuple(rows))


def sdr_table(
    name: str,
    title: str,
    separators: Sequence[str],
    parts: Iterable[tuple[str, Sequence[tuple[int, float, Edges]]]],
) -> Table:
    """The SDR of parts of the data: a column a part, with how many are in it, a row a separator.

    Args:
        name: of the table.
        title: above it.
        separators: a row each.
        parts: of each its name, and for every separator how many count, their SDR and intervals.
    """
    columns = [("separator", *separators)]
    for part, found in parts:
        counts = {count for count, _, _ in found}
        many = str(counts.pop()) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        figures = [cells([sdr_db], edges_db)[0] for _, sdr_db, edges_db in found]
        columns.append((f"{part} ({many})", *figures))
    head, *rows = zip(*columns, strict=True)
    return Table(name, title, head, tuple(rows))


def transposed(table: Table, corner: str) -> Table:
    """The same table with rows for columns, and another word in its corner."""
    (_, *names), *rows = zip(table.head, *table.rows, strict=True)
    return replace(table, head=(corner, *names), rows=tuple(rows))


def cells(values_db: Sequence[float], edges_db: Edges, *, signed: bool = False) -> list[str]:
    """Scores with half the width of their intervals behind them, where there are any.

    >>> cells([9.876, -1.0], np.array([[9.5, 10.5], [-1.25, -0.75], [0, 0]]), signed=True)
    ['+9.88 ± 0.50', '-1.00 ± 0.25']
    """
    edges = [None] * len(values_db) if edges_db is None else edges_db
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
    """One figure with half the width of its interval behind it, where there is one.

    A score is in dB, higher is better; what is none is written out, however large.

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
    """SDR, SIR and SAR by name; null for what JSON has no number for.

    >>> scores_json([9.5, math.inf, math.nan])
    {'sdr_db': 9.5, 'sir_db': None, 'sar_db': None}
    """
    finite = [float(value) if math.isfinite(value) else None for value in row_db]
    return dict(zip(("sdr_db", "sir_db", "sar_db"), finite, strict=True))


def decibels(value: float) -> str:
    """A score for a table: two decimals; `>100` where only rounding is left; `-` where none is.

    >>> decibels(9.876), decibels(-1e-9), decibels(134.2), decibels(math.inf), decibels(math.nan)
    ('9.88', '0.00', '>100', '>100', '-')
    """
    if math.isnan(value):
        return "-"
    return f">{PERFECT_DB:.0f}" if value > PERFECT_DB else f"{value:z.2f}"


def plain(value: float) -> str:
    """A figure for a table that is no score: two decimals; `-` where none is.

    >>> plain(7.891), plain(200), plain(math.inf), plain(math.nan)
    ('7.89', '200.00', 'inf', '-')
    """
    return "-" if math.isnan(value) else f"{value:z.2f}"
