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
from avsep.evaluation.results.tables import as_csv, as_latex, as_markdown, make_tables, scores_json
from avsep.media.atomic import make_folder, write_atomic

RESULTS_NAME = "results.json"
SCORE_KEYS = ("sdr_db", "sir_db", "sar_db")


def write_results(evaluation: Evaluation, folder: Path, data_name: str) -> None:
    """Write all results into a folder; equal evaluations give equal bytes."""
    make_folder(folder)
    results = as_json(evaluation, data_name)
    write_atomic(folder / RESULTS_NAME, json.dumps(results, indent=1, allow_nan=False) + "\n")
    write_atomic(folder / "results.csv", as_csv(evaluation))
    tables = list(make_tables(evaluation, f"{len(evaluation.mixtures)} mixtures of {data_name}"))
    write_atomic(folder / "tables.md", as_markdown(tables))
    write_atomic(folder / "tables.tex", as_latex(tables))


def as_json(evaluation: Evaluation, data_name: str) -> dict[str, object]:
    """Return all results, each mixture included; a value that is not finite is null."""
    methods = {method.name: _method_json(evaluation, method) for method in evaluation.methods}
    return {
        "avsep": avsep.__version__,
        "data": data_name,
        "seed": evaluation.seed,
        "warnings": list(evaluation.warnings),
        "metrics": list(evaluation.metrics),
        "legacy_batch": LEGACY_BATCH,
        "reference": evaluation.reference,
        "methods": methods,
        "mixtures": [mixture_json(mixture) for mixture in evaluation.mixtures],
    }


# One mixture, written and read back


def mixture_json(mixture: MixtureScores) -> dict[str, Any]:
    """Return the scores of one mixture, complete enough for `parse_mixture`."""
    return {
        "name": mixture.name,
        "videos": list(mixture.videos),
        "categories": list(mixture.categories),
        "groups": list(mixture.groups),
        "left_out": mixture.left_out,
        "scores": {
            name: _pair_json(pair, mixture.categories_used.get(name), mixture.metrics.get(name))
            for name, pair in mixture.scores.items()
        },
    }


def parse_mixture(entry: Mapping[str, Any]) -> MixtureScores:
    """Return the scores that `mixture_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: the entry is anything else, such as a damaged line.
    """
    categories = _parse_words(entry["categories"])
    name, scores = str(entry["name"]), dict(entry["scores"])
    return MixtureScores(
        name=name,
        categories=categories,
        scores={method: _parse_pair(name, categories, pair) for method, pair in scores.items()},
        groups=_parse_words(entry["groups"]),
        categories_used={
            method: _parse_words(pair["categories_used"])
            for method, pair in scores.items()
            if "categories_used" in pair
        },
        left_out=None if entry["left_out"] is None else str(entry["left_out"]),
        videos=_parse_words(entry["videos"]),
        metrics={
            method: {
                metric: _parse_values(values, len(categories)) for metric, values in metrics.items()
            }
            for method, pair in scores.items()
            if (metrics := pair.get("metrics"))
        },
    )


def _pair_json(
    pair: PairScores,
    categories_used: tuple[str, ...] | None,
    metrics: dict[str, Float64[np.ndarray, " S"]] | None,
) -> dict[str, Any]:
    values = {name: _finite_or_null(value.tolist()) for name, value in (metrics or {}).items()}
    return {
        "sources": [scores_json(row) for row in pair.scores_db.tolist()],
        "silent_references": pair.silent_references.tolist(),
        "silent_estimates": pair.silent_estimates.tolist(),
        "left_out": {protocol: pair.left_out_reason(protocol) for protocol in PROTOCOLS},
        **({} if categories_used is None else {"categories_used": list(categories_used)}),
        **({"metrics": values} if values else {}),
    }


def _parse_pair(name: str, categories: tuple[str, ...], pair: Mapping[str, Any]) -> PairScores:
    """Return one method's scores, with null replaced by the NaN or infinity it was written for."""
    references, estimates = (
        np.array([bool(value) for value in pair[key]])
        for key in ("silent_references", "silent_estimates")
    )
    rows = np.array(
        [
            [math.nan if row[key] is None else float(row[key]) for key in SCORE_KEYS]
            for row in pair["sources"]
        ],
        np.float64,
    )
    if not rows.shape == (len(categories), 3) or not len(references) == len(estimates) == len(rows):
        raise ValueError("as many rows as sources are needed")
    # JSON has no infinity. With a silent reference null is NaN; without one it is -inf for a silent
    # estimate and inf for a perfect one.
    if not references.any():
        infinity = np.where(estimates, -np.inf, np.inf)[:, None]
        rows = np.where(np.isnan(rows), infinity, rows)
    return PairScores(name, categories, rows, references, estimates)


def _parse_values(values: Sequence[Any], num_sources: int) -> Float64[np.ndarray, " S"]:
    """Return the values of a metric for each source, NaN for null."""
    parsed = np.array([math.nan if value is None else float(value) for value in values])
    if len(parsed) != num_sources:
        raise ValueError("as many values as sources are needed")
    return parsed


def _finite_or_null(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _parse_words(words: Sequence[Any]) -> tuple[str, ...]:
    # A string is a sequence too: without this check it would become its letters.
    if isinstance(words, str):
        raise TypeError("a list of words is needed")
    return tuple(str(word) for word in words)


# One method


def _method_json(evaluation: Evaluation, method: Method) -> dict[str, object]:
    """Return a method's inputs and its scores overall, by group and by category."""
    name, reference = method.name, evaluation.reference
    assert reference is not None, "with a method there is one to compare with"
    return {
        "inputs": method.inputs,
        "is_model": method.is_model,
        "front_end": method.front_end.settings.model_dump(mode="json"),
        **_summaries_json(evaluation, name),
        "difference": _difference_json(evaluation.difference(name, reference)),
        "metrics": {
            metric: _metric_json(evaluation.metric(name, metric)) for metric in evaluation.metrics
        },
        "category_accuracy": evaluation.category_accuracy(name),
        "groups": {group: _summaries_json(evaluation, name, group) for group in evaluation.groups},
        "categories": {
            protocol: _categories_json(evaluation, name, protocol) for protocol in PROTOCOLS
        },
    }


def _categories_json(evaluation: Evaluation, name: str, protocol: str) -> dict[str, object]:
    """Return means over the sources of each category, not over mixtures."""
    return {
        category: {
            **scores_json(rows_db.mean(axis=0).tolist()),
            "num_sources": len(rows_db),
            "intervals_db": _intervals_json(intervals_db),
        }
        for category, (rows_db, intervals_db) in evaluation.by_category(name, protocol).items()
    }


def _summaries_json(
    evaluation: Evaluation, name: str, group: str | None = None
) -> dict[str, object]:
    """Return a method's mean scores by each protocol."""
    return {
        protocol: _summary_json(evaluation.summary(name, protocol, group)) for protocol in PROTOCOLS
    }


def _summary_json(summary: Summary) -> dict[str, object]:
    scores: dict[str, object] = {
        **scores_json([summary.sdr_db, summary.sir_db, summary.sar_db]),
        "num_mixtures": summary.num_mixtures,
        "num_left_out": summary.num_left_out,
        "reasons": summary.reasons,
    }
    if summary.protocol == "strict":
        scores["intervals_db"] = _intervals_json(summary.intervals_db)
    else:
        scores["num_empty_batches"] = summary.num_empty_batches
    return scores


def _metric_json(summary: MetricSummary) -> dict[str, object]:
    (mean,) = _finite_or_null([summary.mean])
    interval = None if summary.interval is None else summary.interval.tolist()
    return {"mean": mean, "interval": interval, "num_mixtures": summary.num_mixtures}


def _difference_json(difference: Difference) -> dict[str, object]:
    return {
        **scores_json(difference.means_db.tolist()),
        "num_mixtures": difference.num_mixtures,
        "intervals_db": _intervals_json(difference.intervals_db),
    }


def _intervals_json(
    intervals_db: Float64[np.ndarray, "3 2"] | None,
) -> dict[str, list[float] | None] | None:
    """Return both ends of each interval; null for an interval that is not finite."""
    if intervals_db is None:
        return None
    return {
        key: edges.tolist() if np.isfinite(edges).all() else None
        for key, edges in zip(SCORE_KEYS, intervals_db, strict=True)
    }
