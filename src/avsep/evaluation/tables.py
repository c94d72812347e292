"""Figures as people read them: decibels and tables, written one way wherever scores are shown."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from avsep.evaluation.protocol import Summary

# Above this a score is rounding and says no more than "perfect" (docs/scores.md).
PERFECT_DB = 100.0
SUMMARY_HEAD = ["separator", "reads", "SDR", "SIR", "SAR", "pairs", "left out"]


def summary_table(
    summaries: Iterable[tuple[str, str, Summary]],
) -> tuple[list[str], list[list[str]], list[str]]:
    """Head and rows of a table by one protocol, and a line for each reason pairs were left out.

    Args:
        summaries: each after the separator's name and what it reads.
    """
    rows: list[list[str]] = []
    left_out: dict[tuple[str, int], list[str]] = defaultdict(list)
    for name, reads, found in summaries:
        figures = [decibels(value) for value in (found.sdr_db, found.sir_db, found.sar_db)]
        counts = [str(found.num_pairs - found.num_left_out), str(found.num_left_out)]
        rows.append([name, reads, *figures, *counts])
        for reason, count in found.reasons.items():
            left_out[reason, count].append(name)
    remarks = [
        f"{count} left out: {reason}" + (f" ({', '.join(who)})" if len(who) < len(rows) else "")
        for (reason, count), who in left_out.items()
    ]
    return SUMMARY_HEAD, rows, remarks


def group_table(
    names: Sequence[str], groups: Iterable[tuple[str, Sequence[Summary]]]
) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the SDR of each group: a column a group, with its pairs, a row a separator.

    Args:
        groups: each with its summaries, in the order of the names.
    """
    head, rows = ["separator"], [[name] for name in names]
    for group, found in groups:
        counts = {summary.num_pairs - summary.num_left_out for summary in found}
        pairs = str(counts.pop()) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
        head.append(f"{group} ({pairs})")
        for row, summary in zip(rows, found, strict=True):
            row.append(decibels(summary.sdr_db))
    return head, rows


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
