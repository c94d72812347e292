"""Write results.json, results.csv, tables.md and tables.tex, and read results.json."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

import avsep
from avsep.evaluation.benchmark import Difference, Evaluation, MetricSummary, MixtureScores
from avsep.evaluation.methods import Method
from avsep.evaluation.protocol import LEGACY_BATCH, PROTOCOLS, PairScores, Summary
from avsep.evaluation.results.result_tables import as_csv, as_latex, as_markdown, tables_of
from avsep.evaluation.results.tables import figures_json
from avsep.media.atomic import make_folder, write_atomic

FIGURES = ("sdr_db", "sir_db", "sar_db")


def as_json(evaluation: Evaluation, data_name: str) -> dict[str, object]:
    """Everything measured, each mixture included; a figure that is not finite is null."""
    methods = {row.name: _method_json(evaluation, row) for row in evaluation.methods}
    return {
        "avsep": avsep.__version__,
        "data": data_name,
        "seed": evaluation.seed,
        "warnings": list(evaluation.warnings),
        "metrics": list(evaluation.metrics),
        "legacy_batch": LEGACY_BATCH,
        "reference": evaluation.reference,
        "separators": methods,
        "clips": [clip_json(clip) for clip in evaluation.clips],
    }


def clip_json(clip: MixtureScores) -> dict[str, Any]:
    """One mixture, whole enough to be read back."""
    return {
        "name": clip.name,
        "videos": list(clip.videos),
        "categories": list(clip.categories),
        "groups": list(clip.groups),
        "left_out": clip.left_out,
        "scores": {
            name: _pair_json(pair, clip.categories_used.get(name), clip.metrics.get(name))
            for name, pair in clip.scores.items()
        },
    }


def clip_of(found: Mapping[str, Any]) -> MixtureScores:
    """The mixture that `clip_json` wrote; ValueError, KeyError or TypeError for anything else."""
    categories = _words(found["categories"])
    name, scores = str(found["name"]), dict(found["scores"])
    return MixtureScores(
        name=name,
        categories=categories,
        scores={row: _pair_of(name, categories, pair) for row, pair in scores.items()},
        groups=_words(found["groups"]),
        categories_used={
            row: _words(pair["categories_used"])
            for row, pair in scores.items()
            if "categories_used" in pair
        },
        left_out=None if found["left_out"] is None else str(found["left_out"]),
        videos=_words(found["videos"]),
        metrics={
            row: {metric: _figures(values, len(categories)) for metric, values in some.items()}
            for row, pair in scores.items()
            if (some := pair.get("metrics"))
        },
    )


def _pair_json(
    pair: PairScores,
    used: tuple[str, ...] | None,
    metrics: dict[str, Float64[np.ndarray, " S"]] | None,
) -> dict[str, Any]:
    figures = {name: _finite(values.tolist()) for name, values in (metrics or {}).items()}
    return {
        "sources": [figures_json(row) for row in pair.scores_db.tolist()],
        "silent_references": pair.silent_references.tolist(),
        "silent_estimates": pair.silent_estimates.tolist(),
        "left_out": {protocol: pair.left_out_reason(protocol) for protocol in PROTOCOLS},
        **({} if used is None else {"categories_used": list(used)}),
        **({"metrics": figures} if figures else {}),
    }


def _pair_of(name: str, categories: tuple[str, ...], found: Mapping[str, Any]) -> PairScores:
    """Scores with what null stands for: NaN, -inf or inf, as silence tells."""
    references, estimates = (
        np.array([bool(one) for one in found[key]])
        for key in ("silent_references", "silent_estimates")
    )
    rows = np.array(
        [
            [math.nan if row[key] is None else float(row[key]) for key in FIGURES]
            for row in found["sources"]
        ],
        np.float64,
    )
    if not rows.shape == (len(categories), 3) or not len(references) == len(estimates) == len(rows):
        raise ValueError("as many rows as sources are needed")
    if not references.any():
        beyond = np.where(estimates, -np.inf, np.inf)[:, None]
        rows = np.where(np.isnan(rows), beyond, rows)
    return PairScores(name, categories, rows, references, estimates)


def _figures(found: Sequence[Any], num_sources: int) -> Float64[np.ndarray, " S"]:
    """A metric's figures of one mixture, NaN for null."""
    values = np.array([math.nan if one is None else float(one) for one in found])
    if len(values) != num_sources:
        raise ValueError("as many figures as sources are needed")
    return values


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _words(found: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(found, str):
        raise TypeError("a list of words is needed")
    return tuple(str(word) for word in found)


def _method_json(evaluation: Evaluation, method: Method) -> dict[str, object]:
    """All about one contender: what it reads, its figures overall, by group and by category."""
    name, reference = method.name, evaluation.reference
    assert reference is not None, "there is a contender, so there is one to compare with"
    return {
        "reads": method.reads,
        "is_model": method.is_model,
        "front_end": method.front_end.settings.model_dump(mode="json"),
        **_summaries_json(evaluation, name),
        "difference": _difference_json(evaluation.difference(name, reference)),
        "metrics": {one: _metric_json(evaluation.metric(name, one)) for one in evaluation.metrics},
        "category_accuracy": evaluation.category_accuracy(name),
        "groups": {group: _summaries_json(evaluation, name, group) for group in evaluation.groups},
        "categories": {
            protocol: _categories_json(evaluation, name, protocol) for protocol in PROTOCOLS
        },
    }


def _categories_json(evaluation: Evaluation, name: str, protocol: str) -> dict[str, object]:
    """Means over the sources of each category, not over mixtures."""
    return {
        category: {
            **figures_json(rows_db.mean(axis=0).tolist()),
            "num_sources": len(rows_db),
            "intervals_db": _intervals_json(intervals_db),
        }
        for category, (rows_db, intervals_db) in evaluation.by_category(name, protocol).items()
    }


def _summaries_json(
    evaluation: Evaluation, name: str, group: str | None = None
) -> dict[str, object]:
    """A contender's figures by every protocol."""
    return {
        protocol: _summary_json(evaluation.summary(name, protocol, group)) for protocol in PROTOCOLS
    }


def _summary_json(summary: Summary) -> dict[str, object]:
    found: dict[str, object] = {
        **figures_json([summary.sdr_db, summary.sir_db, summary.sar_db]),
        "num_pairs": summary.num_pairs,
        "num_left_out": summary.num_left_out,
        "reasons": summary.reasons,
    }
    if summary.protocol == "strict":
        found["intervals_db"] = _intervals_json(summary.intervals_db)
    else:
        found["num_empty_batches"] = summary.num_empty_batches
    return found


def _metric_json(summary: MetricSummary) -> dict[str, object]:
    (mean,) = _finite([summary.mean])
    interval = None if summary.interval is None else summary.interval.tolist()
    return {"mean": mean, "interval": interval, "num_pairs": summary.num_pairs}


def _difference_json(difference: Difference) -> dict[str, object]:
    return {
        **figures_json(difference.means_db.tolist()),
        "num_pairs": difference.num_pairs,
        "intervals_db": _intervals_json(difference.intervals_db),
    }


def _intervals_json(
    intervals_db: Float64[np.ndarray, "3 2"] | None,
) -> dict[str, list[float] | None] | None:
    """Lowest and highest of each figure; none for one that is not finite."""
    if intervals_db is None:
        return None
    return {
        figure: edges.tolist() if np.isfinite(edges).all() else None
        for figure, edges in zip(FIGURES, intervals_db, strict=True)
    }


# The files of an evaluation: results.json, results.csv, tables.md, tables.tex


RESULTS_NAME = "results.json"


def write_results(evaluation: Evaluation, folder: Path, data_name: str) -> None:
    """Write everything measured into a folder; the same evaluation is the same bytes."""
    make_folder(folder)
    found = as_json(evaluation, data_name)
    write_atomic(folder / RESULTS_NAME, json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_atomic(folder / "results.csv", as_csv(evaluation))
    tables = list(tables_of(evaluation, f"{len(evaluation.clips)} mixtures of {data_name}"))
    write_atomic(folder / "tables.md", as_markdown(tables))
    write_atomic(folder / "tables.tex", as_latex(tables))
