"""Write results.html: tables, charts and audible examples on one self-contained page."""

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import avsep
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.methods import CPU
from avsep.evaluation.results.charts import (
    SCORE_NAMES,
    box_plots,
    category_chart,
    improvement_chart,
    methods_to_show,
    mixture_means_db,
)
from avsep.evaluation.results.examples import Example, ExampleEstimate, make_examples
from avsep.evaluation.results.published import WARNING, published_tables
from avsep.evaluation.results.tables import decibels, make_tables
from avsep.media.atomic import write_atomic
from avsep.pages.html_page import page, picture, player, table
from avsep.pages.spectrograms import rows_png

# Limits that keep the page quick to open.
MAX_MIXTURES, MAX_BYTES = 16, 40_000_000
# The best and the worst mixtures of each model.
_MAX_MIXTURES_PER_MODEL = 3
# Up to this number of models, each mixture has the estimates of all.
_MAX_MODELS_PER_MIXTURE = 3
PAGE_NAME = "results.html"
ABOUT = (
    "Under <i>strict</i> every mixture weighs the same and a silent estimate counts as -30 dB; "
    "<i>legacy</i> is the protocol of the field's released codes, which leave such a mixture out."
)
STYLE = """
nav a { margin-right: 1rem; }
.wide { overflow-x: auto; } .wide td { white-space: nowrap; }
.wide th { vertical-align: bottom; }
h2 { font-size: 1.3rem; } h3 { font-size: 1.05rem; margin: 2rem 0 .2rem; }
.chart { height: auto; display: block; margin: .5rem 0; }
caption { text-align: left; padding: .3rem 0; font-weight: 600; }
.sounds { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem;
  margin: .4rem 0; padding: .6rem; background: var(--soft); border-radius: .5rem; }
.sounds figure { margin: 0; min-width: 0; max-width: 27rem; display: flex; flex-direction: column;
  justify-content: flex-end; } .sounds .frame { justify-content: flex-start; }
.sounds figcaption small { display: block; opacity: .75; overflow-wrap: anywhere; }
.sounds img { width: 100%; border-radius: .3rem; } .sounds audio { width: 100%; height: 2.2rem; }
.published { border: 2px dashed var(--line); border-radius: .5rem; padding: 0 1rem;
  margin: 3rem 0; }
.published table { margin-top: 0; } .published p { max-width: 50rem; }
"""


@dataclass(frozen=True)
class ChosenMixture:
    """A mixture chosen for the page.

    Attributes:
        index: of the mixture in the evaluation.
        reasons: of the choice, in words.
        names: the methods whose estimates are on the page.
    """

    index: int
    reasons: tuple[str, ...]
    names: tuple[str, ...]


def choose_examples(evaluation: Evaluation) -> tuple[ChosenMixture, ...]:
    """Choose the best and the worst mixtures of each model by SDR (`strict`), 16 at most.

    With one or two models three of each, with more models fewer. A mixture has the estimates of the
    first model and of the models it was chosen for; with up to three models those of all.
    """
    models = methods_to_show(evaluation)
    if not models:
        return ()
    num_each = min(_MAX_MIXTURES_PER_MODEL, max(1, MAX_MIXTURES // (2 * len(models))))
    reasons: dict[int, list[tuple[str, str]]] = {}
    for name in models:
        sdr_db = mixture_means_db(evaluation, name)[:, 0]
        ranking = [int(n) for n in np.argsort(-sdr_db, kind="stable") if np.isfinite(sdr_db[n])]
        # With few mixtures none is both among the best and among the worst.
        num_best = min(num_each, len(ranking) // 2) or len(ranking)
        best, worst = ranking[:num_best], ranking[num_best:][::-1][:num_best]
        for word, indices in (("best", best), ("worst", worst)):
            for index in indices:
                reason = f"among the {word} of {name}, SDR {decibels(float(sdr_db[index]))} dB"
                reasons.setdefault(index, []).append((name, reason))
    return tuple(
        ChosenMixture(
            index,
            tuple(reason for _, reason in pairs),
            _methods_on_page(models, [name for name, _ in pairs]),
        )
        for index, pairs in list(reasons.items())[:MAX_MIXTURES]
    )


def write_results_page(
    evaluation: Evaluation,
    reader: ClipReader,
    folder: Path,
    data_name: str,
    device: str | torch.device = CPU,
) -> Path:
    """Write results.html, running the methods again on the chosen mixtures; return its path.

    Args:
        evaluation: its methods can be run, with the seed of the evaluation.
        reader: of the mixtures evaluated, in order.
        folder: must exist.
        data_name: for the title.
        device: of the models.
    """
    choices = choose_examples(evaluation)
    places = [(choice.index, choice.names) for choice in choices]
    with make_examples(evaluation, reader, places, torch.device(device)) as examples:
        html_page = results_html(evaluation, data_name, zip(choices, examples, strict=True))
    path = folder / PAGE_NAME
    write_atomic(path, html_page)
    return path


def results_html(
    evaluation: Evaluation,
    data_name: str,
    examples: Iterable[tuple[ChosenMixture, Example]] = (),
) -> str:
    """Return the page: tables, charts, audible examples and, apart from them, published scores.

    Examples are made one at a time, until the page reaches its greatest size (40 MB).
    """
    num_mixtures = len(evaluation.mixtures)
    sections = [
        ("scores", "Scores", list(_tables_html(evaluation, f"{num_mixtures} mixtures"))),
        ("spread", "Spread", _charts_html(evaluation)),
        ("listen", "Examples", _examples_html(examples)),
        ("published", "Published scores", list(_published_html())),
    ]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, parts in sections if parts)
    body = [
        f"<p>{num_mixtures} mixtures, {len(evaluation.methods)} methods, seed "
        f"{evaluation.seed}. SDR, SIR and SAR of BSS Eval v3 in dB, higher is better.</p>",
        *(f"<p>{html.escape(warning)}</p>" for warning in evaluation.warnings),
        f"<nav>{links}</nav>",
    ]
    for name, title, parts in sections:
        if parts:
            mark = ' class="published"' if name == "published" else ""
            body.append(f'<section id="{name}"{mark}><h2>{title}</h2>')
            body += [*parts, "</section>"]
    footer = f"avsep {avsep.__version__}; self-contained: this page loads nothing."
    return page(f"Separation of {data_name}", body, STYLE, footer)


def _methods_on_page(models: Sequence[str], chosen_for: Sequence[str]) -> tuple[str, ...]:
    if len(models) <= _MAX_MODELS_PER_MIXTURE:
        return tuple(models)
    return tuple(dict.fromkeys((models[0], *(name for name in models if name in chosen_for))))


def _tables_html(evaluation: Evaluation, data: str) -> Iterator[str]:
    yield f"<p>{ABOUT}</p>"
    for part in make_tables(evaluation, data):
        # tabindex: a table that scrolls must be reachable by keyboard.
        yield f'<div class="wide" tabindex="0">{table(part.head, part.rows, part.title)}</div>'
        items = "".join(f"<li>{html.escape(warning)}</li>" for warning in part.warnings)
        yield f"<ul>{items}</ul>" if items else ""


def _charts_html(evaluation: Evaluation) -> list[str]:
    if not any(mixture.scores for mixture in evaluation.mixtures):
        return []
    parts = [
        "<p>One value for each mixture (mean over its sources), by the strict protocol. Boxes: "
        "middle half and median; whiskers: 5 to 95 %; diamonds: mean.</p>",
        box_plots(evaluation),
        "<h3>By category</h3>",
        category_chart(evaluation),
    ]
    improvement = improvement_chart(evaluation)
    if improvement is not None:
        parts += [
            "<h3>Against the mixture</h3>",
            "<p>A dot for each source; on the dashed line separation changed nothing, below it the "
            "estimate is worse than the mixture.</p>",
            improvement,
        ]
    return parts


def _examples_html(examples: Iterable[tuple[ChosenMixture, Example]]) -> list[str]:
    parts, num_bytes, num_left_out = [], 0, 0
    for choice, example in examples:
        if num_bytes > MAX_BYTES:
            num_left_out += 1
            continue
        parts.append(_example_html(choice, example))
        num_bytes += len(parts[-1])
    if num_left_out:
        parts.append(f"<p>{num_left_out} more would have made this page too large.</p>")
    if parts:
        parts.insert(
            0,
            "<p>The best and the worst mixtures of each model. All spectrograms of a mixture share "
            "its scale, 70 dB.</p>",
        )
    return parts


def _example_html(choice: ChosenMixture, example: Example) -> str:
    """Return one mixture: its reasons, then a row for each source with picture and sounds."""
    mixture_rows = example.magnitude_rows(example.mixture).mean(axis=0)
    # One scale for all: spectrograms are in dB below the mixture's peak.
    reference = float(mixture_rows.max())

    def sound_html(
        source: str, title: str, waveform: np.ndarray, rows: np.ndarray, note: str = ""
    ) -> str:
        label = f"{example.name}, {source} {title}"
        png = rows_png(rows, example.duration_seconds, reference, example.front_end)
        return (
            f"<figure><figcaption><b>{html.escape(title)}</b> "
            f"<small>{html.escape(note)}</small></figcaption>"
            f"{picture('png', png, f'spectrogram of {label}')}"
            f"{player(label, waveform, example.sample_rate_hz)}</figure>"
        )

    reasons = "; ".join(choice.reasons)
    parts = [
        f"<h3>{html.escape(example.name)}: {html.escape(' and '.join(example.categories))}</h3>",
        f"<p>{html.escape(reasons)}</p>",
        f'<div class="sounds">{sound_html("", "mixture", example.mixture, mixture_rows)}</div>',
    ]
    true_rows = example.magnitude_rows(example.sources).mean(axis=1)
    for index, category in enumerate(example.categories):
        name = f"{index + 1:02d} {category}"
        cells = [_frame_html(example.pictures[index], name)]
        cells.append(sound_html(name, "ground truth", example.sources[index], true_rows[index]))
        for method, estimate in example.estimates.items():
            rows = estimate.rows[index].mean(axis=0)
            scores = _scores_text(estimate, index)
            cells.append(sound_html(name, method, estimate.waveforms[index], rows, scores))
        parts.append(f'<div class="sounds">{"".join(cells)}</div>')
    return "".join(parts)


def _frame_html(jpeg: bytes | None, name: str) -> str:
    content = "<small>no picture can be read</small>"
    if jpeg is not None:
        content = picture("jpeg", jpeg, f"frame with {name} marked")
    title = f"<figcaption><b>{html.escape(name)}</b></figcaption>"
    return f'<figure class="frame">{title}{content}</figure>'


def _scores_text(estimate: ExampleEstimate, index: int) -> str:
    scores = zip(SCORE_NAMES, estimate.scores_db[index].tolist(), strict=True)
    return ", ".join(f"{name} {decibels(value)}" for name, value in scores) + " dB"


def _published_html() -> Iterator[str]:
    """Yield each paper's table by itself, with the protocol of its scores."""
    yield f"<p><b>{html.escape(WARNING)}</b></p>"
    for title, protocol, rows in published_tables():
        columns = {
            "SDR": [row.sdr_db for row in rows],
            "SIR": [row.sir_db for row in rows],
            "SAR": [row.sar_db for row in rows],
        }
        printed = {name: column for name, column in columns.items() if set(column) != {None}}
        cells = [
            [
                row.method,
                *(
                    "-" if column[index] is None else f"{column[index]:.2f}"
                    for column in printed.values()
                ),
                row.note,
            ]
            for index, row in enumerate(rows)
        ]
        head = ["method", *printed, "origin"]
        yield f'<div class="wide" tabindex="0">{table(head, cells, title)}</div>'
        yield (
            f"<p><small>Mixtures: {html.escape(protocol.test_pairs)}. Length: "
            f"{html.escape(protocol.length)}. Scores: {html.escape(protocol.metric)}. Mixtures "
            f"with a silent estimate: {html.escape(protocol.silent_pairs)}.</small></p>"
        )
