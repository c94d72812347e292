"""Figures as people read them: one way to write decibels wherever scores are shown."""

import math

# Above this a score is rounding and says no more than "perfect" (docs/scores.md).
PERFECT_DB = 100.0


def decibels(value: float) -> str:
    """A score for a table: two decimals; `>100` where only rounding is left; `-` where none is.

    >>> decibels(9.876), decibels(134.2), decibels(math.inf), decibels(math.nan)
    ('9.88', '>100', '>100', '-')
    """
    if math.isnan(value):
        return "-"
    return f">{PERFECT_DB:.0f}" if value > PERFECT_DB else f"{value:.2f}"
