"""Make the tables of an evaluation, and format them as Markdown, LaTeX and CSV."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from avsep.evaluation.benchmark import Evaluation, MixtureScores
from avsep.evaluation.metrics.registry import METRICS
from avsep.evaluation.protocol import PROTOCOLS
from avsep.evaluation.results.tables import (
    Edges,
    Table,
    difference_table,
    score_cell,
    scores_json,
    sdr_table,
    summary_table,
    transposed,
)

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
