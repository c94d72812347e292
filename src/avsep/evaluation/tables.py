"""Figures as people read them: decibels and tables, written one way wherever scores are shown."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from avsep.evaluation.protocol import Summary

# Above this a score is rounding and says no more than "perfect" (docs/scores.md).
PERFECT_DB = 100.0
SUMMARY_HEAD = ["separator (protocol)", "SDR", "SIR", "SAR", "pairs", "left out"]


def summary_table(
    summaries: Iterable[tuple[str, Summary]],
) -> tuple[list[str], list[list[str]], list[str]]:
    """Head and rows of a table of separators, and a line for each reason pairs were left out."""
    rows: list[list[str]] = []
    left_out: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, found in summaries:
        label = f"{name} ({found.protocol})"
        figures = [decibels(value) for value in (found.sdr_db, found.sir_db, found.sar_db)]
        counts = [str(found.num_pairs - found.num_left_out), str(found.num_left_out)]
        rows.append([label, *figures, *counts])
        for reason, count in found.reasons.items():
            left_out[reason, count].append(label)
    remarks = [
        f"{count} left out: {reason}" + (f" ({', '.join(who)})" if len(who) < len(rows) else "")
        for (reason, count), who in left_out.items()
    ]
    return SUMMARY_HEAD, rows, remarks


def figures_json(row_db: Sequence[float]) -> dict[str, float | None]:
    """SDR, SIR and SAR by name; null for what JSON has no number for.

    >>> figures_json([9.5, math.inf, math.nan])
    {'sdr_db': 9.5, 'sir_db': None, 'sar_db': None}
    """
    finite = [float(value) if math.isfinite(value) else None for value in row_db]
    return dict(zip(("sdr_db", "sir_db", "sar_db"), finite, strict=True))


def decibels(value: float) -> str:
    """A score for a table: two decimals; `>100` where only rounding is left; `-` where none is.

    >>> decibels(9.876), decibels(134.2), decibels(math.inf), decibels(math.nan)
    ('9.88', '>100', '>100', '-')
    """
    if math.isnan(value):
        return "-"
    return f">{PERFECT_DB:.0f}" if value > PERFECT_DB else f"{value:.2f}"
