"""The tables of an evaluation, and as the files that hold them: Markdown, LaTeX, CSV."""

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

_MARKDOWN = {sign: f"\\{sign}" for sign in "\\|*_`<["}
_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", ">": "$>$", "<": "$<$",
}  # fmt: skip
# Columns of words; all others hold figures.
_WORDS = ("separator", "reads", "category")


def make_tables(evaluation: Evaluation, what: str) -> Iterator[Table]:
    """All tables: by each protocol, compared pair by pair, by kind of mixture, by category.

    Args:
        evaluation: what was measured.
        what: mixtures of which data, for the titles.
    """
    rows = evaluation.methods
    for protocol in PROTOCOLS:
        found = ((row.name, row.inputs, evaluation.summary(row.name, protocol)) for row in rows)
        table = summary_table(protocol, f"{what} (dB), {protocol}", found)
        yield _told(_with_metrics(table, evaluation)) if protocol == "strict" else table
    reference = evaluation.reference
    others = [row.name for row in rows if row.name != reference]
    if reference is not None and others and evaluation.pairs(reference):
        changes = ((name, evaluation.difference(name, reference)) for name in others)
        yield difference_table(
            f"Difference from {reference}, mixture by mixture (dB), strict",
            ((name, c.num_mixtures, c.means_db, c.intervals_db) for name, c in changes),
        )
    names = [row.name for row in rows]
    if evaluation.groups:
        title = "SDR by kind of clip (dB), strict"
        yield sdr_table("groups", title, names, _by_group(evaluation, names))
    by_category = list(_by_category(evaluation, names))
    if by_category:
        title = "SDR by category of source (dB), strict"
        yield transposed(sdr_table("categories", title, names, by_category), "category")


def _told(table: Table) -> Table:
    """The table with a line that says what ± is, where there is any."""
    has_margins = any("±" in cell for row in table.rows for cell in row)
    margin = ("± is half a 95 % interval, from resampled videos",) if has_margins else ()
    return replace(table, warnings=(*table.warnings, *margin))


def _with_metrics(table: Table, evaluation: Evaluation) -> Table:
    """The table by strict with a column for each further metric, behind the SAR."""
    metrics = [METRICS[name] for name in evaluation.metrics]
    place = table.head.index("SAR") + 1
    rows, warnings = [], list(table.warnings)
    for row, method in zip(table.rows, evaluation.methods, strict=True):
        found = [evaluation.metric(method.name, metric.name) for metric in metrics]
        cells = [
            score_cell(one.mean, one.interval, is_score=metric.is_score)
            for metric, one in zip(metrics, found, strict=True)
        ]
        rows.append((*row[:place], *cells, *row[place:]))
        num_counted = evaluation.summary(method.name, "strict")
        num_counted = num_counted.num_mixtures - num_counted.num_left_out
        warnings += [
            f"{num_counted - one.num_mixtures} without {metric.label} ({method.name})"
            for metric, one in zip(metrics, found, strict=True)
            if one.num_mixtures < num_counted
        ]
    warnings += [f"{one.label}: lower is better" for one in metrics if not one.higher_is_better]
    units = [f" ({one.unit})" if one.unit not in ("", "dB") else "" for one in metrics]
    labels = [one.label + unit for one, unit in zip(metrics, units, strict=True)]
    head = (*table.head[:place], *labels, *table.head[place:])
    return replace(table, head=head, rows=tuple(rows), warnings=tuple(warnings))


Decomposition = Iterator[tuple[str, list[tuple[int, float, Edges]]]]


def _by_group(evaluation: Evaluation, names: list[str]) -> Decomposition:
    for group in evaluation.groups:
        summaries = [evaluation.summary(name, "strict", group) for name in names]
        yield (
            group,
            [(s.num_mixtures - s.num_left_out, s.sdr_db, s.intervals_db) for s in summaries],
        )


def _by_category(evaluation: Evaluation, names: list[str]) -> Decomposition:
    found = [evaluation.by_category(name, "strict") for name in names]
    # Those that count for all: with front ends of their own, windows may differ.
    for category in sorted(set(found[0]).intersection(*found[1:]) if found else ()):
        chosen = [one[category] for one in found]
        yield category, [(len(rows), float(rows[:, 0].mean()), edges) for rows, edges in chosen]


def as_markdown(tables: Iterable[Table]) -> str:
    """Tables one below the other, each under its title."""
    lines = []
    for table in tables:
        lines += [f"## {_escaped(table.title, _MARKDOWN)}", ""]
        sides = ["---" if name in _WORDS else "---:" for name in table.head]
        for cells in (table.head, sides, *table.rows):
            written = cells if cells is sides else [_escaped(cell, _MARKDOWN) for cell in cells]
            lines.append(f"| {' | '.join(written)} |")
        lines += ["", *(f"{_escaped(remark, _MARKDOWN)}  " for remark in table.warnings)]
        lines += [""] if table.warnings else []
    return "\n".join(lines)


def as_latex(tables: Iterable[Table]) -> str:
    r"""Tables for a paper that says \usepackage{booktabs}; labels are tab:avsep-NAME."""
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
    """A line for every mixture, contender and source; a figure that is not finite is empty."""
    text = io.StringIO()
    keys = [METRICS[name].key for name in evaluation.metrics]
    writer = csv.DictWriter(text, [*_CSV_HEAD, *keys], lineterminator="\n")
    writer.writeheader()
    reads = {row.name: row.inputs for row in evaluation.methods}
    for number, clip in enumerate(evaluation.mixtures, 1):
        writer.writerows(_csv_lines(number, clip, reads))
    return text.getvalue()


_CSV_HEAD = (
    "number", "mixture", "separator", "reads", "source", "category", "category_used",
    "sdr_db", "sir_db", "sar_db", "silent_reference", "silent_estimate",
    *(f"left_out_{protocol}" for protocol in PROTOCOLS),
)  # fmt: skip


def _csv_lines(
    number: int, clip: MixtureScores, reads: dict[str, str]
) -> Iterator[dict[str, object]]:
    for name, pair in clip.scores.items():
        used = clip.categories_used.get(name, [None] * len(clip.categories))
        for source, row_db in enumerate(pair.scores_db.tolist()):
            yield {
                "number": number,
                "mixture": clip.name,
                "separator": name,
                "reads": reads[name],
                "source": source + 1,
                "category": clip.categories[source],
                "category_used": used[source],
                **scores_json(row_db),
                "silent_reference": int(pair.silent_references[source]),
                "silent_estimate": int(pair.silent_estimates[source]),
                **{f"left_out_{one}": pair.left_out_reason(one) for one in PROTOCOLS},
                **{
                    METRICS[metric].key: None if np.isnan(figures[source]) else figures[source]
                    for metric, figures in clip.metrics.get(name, {}).items()
                },
            }


def _tex_row(cells: Iterable[str]) -> str:
    """A row of a table, in which a minus is one and no hyphen."""
    signed = (re.sub(r"^-(?=\d)", "$-$", _escaped(cell, _TEX)) for cell in cells)
    return " & ".join(signed) + r" \\"


def _escaped(text: str, signs: dict[str, str]) -> str:
    """A text in which signs that mean something stand for themselves, on one line."""
    return "".join(signs.get(sign, sign) for sign in " ".join(text.split()))
