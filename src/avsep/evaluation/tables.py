"""Figures as people read them: decibels and tables, written one way wherever scores are shown."""

import math
from collections.abc import Iterable

from avsep.evaluation.protocol import Summary

# Above this a score is rounding and says no more than "perfect" (docs/scores.md).
PERFECT_DB = 100.0
SUMMARY_HEAD = ["separator (protocol)", "SDR", "SIR", "SAR", "pairs", "left out"]


def summary_table(
    summaries: Iterable[tuple[str, Summary]],
) -> tuple[list[str], list[list[str]], list[str]]:
    """Head and rows of a table of separators, and a line for each reason pairs were left out."""
    rows, remarks = [], set()
    for name, found in summaries:
        figures = [decibels(value) for value in (found.sdr_db, found.sir_db, found.sar_db)]
        counts = [str(found.num_pairs - found.num_left_out), str(found.num_left_out)]
        rows.append([f"{name} ({found.protocol})", *figures, *counts])
        for reason, count in found.reasons.items():
            remarks.add(f"{name} ({found.protocol}): {count} left out: {reason}")
    return SUMMARY_HEAD, rows, sorted(remarks)


def decibels(value: float) -> str:
    """A score for a table: two decimals; `>100` where only rounding is left; `-` where none is.

    >>> decibels(9.876), decibels(134.2), decibels(math.inf), decibels(math.nan)
    ('9.88', '>100', '>100', '-')
    """
    if math.isnan(value):
        return "-"
    return f">{PERFECT_DB:.0f}" if value > PERFECT_DB else f"{value:.2f}"
