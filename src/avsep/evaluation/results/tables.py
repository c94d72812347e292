"""Format scores as tables: cells, summaries, differences; as Markdown, LaTeX and CSV."""

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from avsep.evaluation.benchmark import Evaluation, MixtureScores
from avsep.evaluation.metrics.registry import METRICS
from avsep.evaluation.protocol import PROTOCOLS, Summary

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


# Special characters -> their escapes.
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\|*_`<["}
_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", ">": "$>$", "<": "$<$",
}  # fmt: skip
# Columns of words, aligned left; all others hold numbers.
_WORDS = ("method", "inputs", "category")
# From the name of a part of the data to (number that count, SDR, intervals) of each method.
Parts = Iterator[tuple[str, list[tuple[int, float, Edges]]]]


def make_tables(evaluation: Evaluation, data: str) -> Iterator[Table]:
    """Yield all tables: by protocol, differences, by group of mixtures, by category.

    Args:
        evaluation: its scores.
        data: number of mixtures and name of the data, for the titles.
    """
    methods = evaluation.methods
    for protocol in PROTOCOLS:
        summaries = (
            (method.name, method.inputs, evaluation.summary(method.name, protocol))
            for method in methods
        )
        table = summary_table(protocol, f"{data} (dB), {protocol}", summaries)
        if protocol == "strict":
            table = _with_margin_note(_with_metrics(table, evaluation))
        yield table
    reference = evaluation.reference
    others = [method.name for method in methods if method.name != reference]
    if reference is not None and others and evaluation.pairs(reference):
        differences = ((name, evaluation.difference(name, reference)) for name in others)
        yield difference_table(
            f"Difference from {reference}, mixture by mixture (dB), strict",
            ((name, d.num_mixtures, d.means_db, d.intervals_db) for name, d in differences),
        )
    names = [method.name for method in methods]
    if evaluation.groups:
        title = "SDR by group of mixtures (dB), strict"
        yield sdr_table("groups", title, names, _sdr_by_group(evaluation, names))
    by_category = list(_sdr_by_category(evaluation, names))
    if by_category:
        title = "SDR by category of source (dB), strict"
        # More categories than methods: a row each.
        yield transposed(sdr_table("categories", title, names, by_category), "category")


def _with_margin_note(table: Table) -> Table:
    """Return the table with a line that explains ±, if any cell has it."""
    has_margins = any("±" in cell for row in table.rows for cell in row)
    note = ("± is half a 95 % interval, from resampled videos",) if has_margins else ()
    return replace(table, warnings=(*table.warnings, *note))


def _with_metrics(table: Table, evaluation: Evaluation) -> Table:
    """Return the table of `strict` with a column for each further metric after the SAR."""
    metrics = [METRICS[name] for name in evaluation.metrics]
    place = table.head.index("SAR") + 1
    rows, warnings = [], list(table.warnings)
    for row, method in zip(table.rows, evaluation.methods, strict=True):
        values = [evaluation.metric(method.name, metric.name) for metric in metrics]
        cells = [
            score_cell(value.mean, value.interval, is_score=metric.is_score)
            for metric, value in zip(metrics, values, strict=True)
        ]
        rows.append((*row[:place], *cells, *row[place:]))
        summary = evaluation.summary(method.name, "strict")
        num_counted = summary.num_mixtures - summary.num_left_out
        warnings += [
            f"{num_counted - value.num_mixtures} without {metric.label} ({method.name})"
            for metric, value in zip(metrics, values, strict=True)
            if value.num_mixtures < num_counted
        ]
    warnings += [
        f"{metric.label}: lower is better" for metric in metrics if not metric.higher_is_better
    ]
    # The title of the table already says dB.
    units = [f" ({metric.unit})" if metric.unit not in ("", "dB") else "" for metric in metrics]
    labels = [metric.label + unit for metric, unit in zip(metrics, units, strict=True)]
    head = (*table.head[:place], *labels, *table.head[place:])
    return replace(table, head=head, rows=tuple(rows), warnings=tuple(warnings))


def _sdr_by_group(evaluation: Evaluation, names: list[str]) -> Parts:
    for group in evaluation.groups:
        summaries = [evaluation.summary(name, "strict", group) for name in names]
        yield (
            group,
            [(s.num_mixtures - s.num_left_out, s.sdr_db, s.intervals_db) for s in summaries],
        )


def _sdr_by_category(evaluation: Evaluation, names: list[str]) -> Parts:
    by_method = [evaluation.by_category(name, "strict") for name in names]
    # Categories that count for all methods: with front ends of their own, windows may differ.
    categories = set(by_method[0]).intersection(*by_method[1:]) if by_method else set()
    for category in sorted(categories):
        values = [by_category[category] for by_category in by_method]
        yield category, [(len(rows), float(rows[:, 0].mean()), edges) for rows, edges in values]


# Formats


def as_markdown(tables: Iterable[Table]) -> str:
    """Return tables as Markdown, one below the other, each under its title."""
    lines = []
    for table in tables:
        lines += [f"## {_escaped(table.title, _MARKDOWN)}", ""]
        sides = ["---" if name in _WORDS else "---:" for name in table.head]
        for cells in (table.head, sides, *table.rows):
            texts = cells if cells is sides else [_escaped(cell, _MARKDOWN) for cell in cells]
            lines.append(f"| {' | '.join(texts)} |")
        # Two blanks at the end are Markdown's line break.
        lines += ["", *(f"{_escaped(warning, _MARKDOWN)}  " for warning in table.warnings)]
        lines += [""] if table.warnings else []
    return "\n".join(lines)


def as_latex(tables: Iterable[Table]) -> str:
    r"""Return tables as LaTeX that needs \usepackage{booktabs}; labels are tab:avsep-NAME."""
    lines = [r"% needs \usepackage{booktabs}"]
    for table in tables:
        sides = "".join("l" if name in _WORDS else "r" for name in table.head)
        caption = ". ".join([table.title, *table.warnings])
        lines += ["", r"\begin{table}", r"\centering"]
        lines += [rf"\caption{{{_escaped(caption, _TEX)}.}}", rf"\label{{tab:avsep-{table.name}}}"]
        lines += [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", _tex_row(table.head), r"\midrule"]
        lines += [_tex_row(row) for row in table.rows]
        lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def as_csv(evaluation: Evaluation) -> str:
    """Return CSV with a line for each mixture, method and source; not finite values are empty."""
    text = io.StringIO()
    keys = [METRICS[name].key for name in evaluation.metrics]
    writer = csv.DictWriter(text, [*_CSV_HEAD, *keys], lineterminator="\n")
    writer.writeheader()
    inputs = {method.name: method.inputs for method in evaluation.methods}
    for number, mixture in enumerate(evaluation.mixtures, 1):
        writer.writerows(_csv_rows(number, mixture, inputs))
    return text.getvalue()


_CSV_HEAD = (
    "number", "mixture", "method", "inputs", "source", "category", "category_used",
    "sdr_db", "sir_db", "sar_db", "silent_reference", "silent_estimate",
    *(f"left_out_{protocol}" for protocol in PROTOCOLS),
)  # fmt: skip


def _csv_rows(
    number: int, mixture: MixtureScores, inputs: dict[str, str]
) -> Iterator[dict[str, object]]:
    for name, pair in mixture.scores.items():
        categories_used = mixture.categories_used.get(name, [None] * len(mixture.categories))
        for source, row_db in enumerate(pair.scores_db.tolist()):
            yield {
                "number": number,
                "mixture": mixture.name,
                "method": name,
                "inputs": inputs[name],
                "source": source + 1,
                "category": mixture.categories[source],
                "category_used": categories_used[source],
                **scores_json(row_db),
                "silent_reference": int(pair.silent_references[source]),
                "silent_estimate": int(pair.silent_estimates[source]),
                **{
                    f"left_out_{protocol}": pair.left_out_reason(protocol) for protocol in PROTOCOLS
                },
                **{
                    METRICS[metric].key: None if np.isnan(values[source]) else values[source]
                    for metric, values in mixture.metrics.get(name, {}).items()
                },
            }


def _tex_row(cells: Iterable[str]) -> str:
    """Return a LaTeX row; a hyphen in front of a number becomes a minus sign."""
    signed = (re.sub(r"^-(?=\d)", "$-$", _escaped(cell, _TEX)) for cell in cells)
    return " & ".join(signed) + r" \\"


def _escaped(text: str, signs: dict[str, str]) -> str:
    """Return a text on one line with the special characters of a format escaped."""
    return "".join(signs.get(sign, sign) for sign in " ".join(text.split()))
