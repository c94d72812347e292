"""results.html: an evaluation on one self-contained page, to look at and to listen to."""

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import avsep
from avsep.data.clips import ClipFiles
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.methods import CPU
from avsep.evaluation.mixtures import Mixture
from avsep.evaluation.results.charts import (
    box_plots,
    category_chart,
    improvement_chart,
    methods_to_show,
    mixture_means_db,
)
from avsep.evaluation.results.examples import ExampleEstimate, Example, make_example
from avsep.evaluation.results.published import WARNING, published_tables
from avsep.evaluation.results.result_tables import make_tables
from avsep.evaluation.results.tables import decibels
from avsep.media.atomic import write_atomic
from avsep.pages.html_page import page, picture, player, table
from avsep.pages.spectrograms import rows_png

# What is listened to: few enough to be heard, and for the page to open at once.
MOST_MIXTURES, MOST_BYTES = 16, 40_000_000
_MOST_PAIRS_A_MODEL, _ALL_HEARD = 3, 3
PAGE_NAME = "results.html"
ABOUT = (
    "Under <i>strict</i> every mixture weighs the same and a silent estimate counts as -30 dB; "
    "<i>legacy</i> counts as the released codes of the field do, which leave such a mixture out."
)
STYLE = """
nav a { margin-right: 1rem; }
.wide { overflow-x: auto; } .wide td { white-space: nowrap; }
.wide th { vertical-align: bottom; }
h2 { font-size: 1.3rem; } h3 { font-size: 1.05rem; margin: 2rem 0 .2rem; }
.chart { height: auto; display: block; margin: .5rem 0; }
caption { text-align: left; padding: .3rem 0; font-weight: 600; }
.heard { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem;
  margin: .4rem 0; padding: .6rem; background: var(--soft); border-radius: .5rem; }
.heard figure { margin: 0; min-width: 0; max-width: 27rem; display: flex; flex-direction: column;
  justify-content: flex-end; } .heard .seen { justify-content: flex-start; }
.heard figcaption small { display: block; opacity: .75; overflow-wrap: anywhere; }
.heard img { width: 100%; border-radius: .3rem; } .heard audio { width: 100%; height: 2.2rem; }
.published { border: 2px dashed var(--line); border-radius: .5rem; padding: 0 1rem;
  margin: 3rem 0; }
.published table { margin-top: 0; } .published p { max-width: 50rem; }
"""


@dataclass(frozen=True)
class Pick:
    """A mixture to listen to.

    Attributes:
        index: its place among the clips.
        reasons: why it was picked, in words.
        names: the separators to be heard on it.
    """

    index: int
    reasons: tuple[str, ...]
    names: tuple[str, ...]


def choose_examples(evaluation: Evaluation) -> tuple[Pick, ...]:
    """The best and the worst mixtures of each model by SDR (`strict`), 16 mixtures at most.

    Of one or two models three of either kind, of more models fewer. On each mixture the models it
    was picked for are heard, and the first; all of them where there are no more than three.
    """
    models = methods_to_show(evaluation)
    if not models:
        return ()
    num_each = min(_MOST_PAIRS_A_MODEL, max(1, MOST_MIXTURES // (2 * len(models))))
    found: dict[int, list[tuple[str, str]]] = {}
    for name in models:
        sdr_db = mixture_means_db(evaluation, name)[:, 0]
        ranking = [int(n) for n in np.argsort(-sdr_db, kind="stable") if np.isfinite(sdr_db[n])]
        num_kinds = min(num_each, len(ranking) // 2) or len(ranking)
        best, worst = ranking[:num_kinds], ranking[num_kinds:][::-1][:num_kinds]
        for word, indices in (("best", best), ("worst", worst)):
            for index in indices:
                reason = f"among the {word} of {name}, SDR {decibels(float(sdr_db[index]))} dB"
                found.setdefault(index, []).append((name, reason))
    return tuple(
        Pick(index, tuple(reason for _, reason in why), _heard(models, [name for name, _ in why]))
        for index, why in list(found.items())[:MOST_MIXTURES]
    )


def write_results_page(
    evaluation: Evaluation,
    mixtures: Sequence[ClipFiles | Mixture],
    folder: Path,
    data_name: str,
    device: str | torch.device = CPU,
) -> Path:
    """Write results.html, for which the chosen mixtures are separated once more; its path.

    Args:
        evaluation: of contenders that can still be asked, by the seed that it was made with.
        mixtures: those evaluated, in order.
        folder: is there.
        data_name: for the headline.
        device: models are on it.
    """
    reader, place = ClipReader(mixtures), torch.device(device)
    asked = {one.name: one for one in evaluation.methods}

    def examples() -> Iterator[tuple[Pick, Example]]:
        for pick in choose_examples(evaluation):
            chosen = [asked[name] for name in pick.names]
            scored = evaluation.mixtures[pick.index]
            yield pick, make_example(chosen, reader, pick.index, evaluation.seed, place, scored)

    path = folder / PAGE_NAME
    write_atomic(path, results_html(evaluation, data_name, examples()))
    return path


def results_html(
    evaluation: Evaluation, data_name: str, examples: Iterable[tuple[Pick, Example]] = ()
) -> str:
    """The page: all tables, charts, mixtures to listen to, published figures apart.

    Examples are taken one at a time, until the page is as large as it may be (40 MB).
    """
    num_mixtures = len(evaluation.mixtures)
    sections = [
        ("scores", "Scores", list(_tables(evaluation, f"{num_mixtures} mixtures"))),
        ("spread", "Spread", _charts(evaluation)),
        ("listen", "To listen to", _examples(examples)),
        ("published", "What papers published", list(_published())),
    ]
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, parts in sections if parts)
    body = [
        f"<p>{num_mixtures} mixtures, {len(evaluation.methods)} separators, seed "
        f"{evaluation.seed}. SDR, SIR and SAR of BSS Eval v3 in dB, higher is better.</p>",
        *(f"<p>{html.escape(remark)}</p>" for remark in evaluation.warnings),
        f"<nav>{links}</nav>",
    ]
    for name, title, parts in sections:
        if parts:
            mark = ' class="published"' if name == "published" else ""
            body.append(f'<section id="{name}"{mark}><h2>{title}</h2>')
            body += [*parts, "</section>"]
    footer = f"avsep {avsep.__version__}; everything is inside this page, it loads nothing."
    return page(f"Separation of {data_name}", body, STYLE, footer)


def _heard(models: Sequence[str], picked: Sequence[str]) -> tuple[str, ...]:
    if len(models) <= _ALL_HEARD:
        return tuple(models)
    return tuple(dict.fromkeys((models[0], *(name for name in models if name in picked))))


def _tables(evaluation: Evaluation, what: str) -> Iterator[str]:
    yield f"<p>{ABOUT}</p>"
    for one in make_tables(evaluation, what):
        yield f'<div class="wide" tabindex="0">{table(one.head, one.rows, one.title)}</div>'
        words = "".join(f"<li>{html.escape(remark)}</li>" for remark in one.warnings)
        yield f"<ul>{words}</ul>" if words else ""


def _charts(evaluation: Evaluation) -> list[str]:
    if not any(clip.scores for clip in evaluation.mixtures):
        return []
    against = improvement_chart(evaluation)
    parts = [
        "<p>One mixture, one value (mean over its sources), by the strict protocol. Boxes: middle "
        "half and median; whiskers: 5 to 95 %; diamonds: mean.</p>",
        box_plots(evaluation),
        "<h3>By category</h3>",
        category_chart(evaluation),
    ]
    if against is not None:
        parts += [
            "<h3>Against doing nothing</h3>",
            "<p>A dot a source; on the dashed line separation changed nothing, below it did harm."
            "</p>",
            against,
        ]
    return parts


def _examples(examples: Iterable[tuple[Pick, Example]]) -> list[str]:
    parts, num_bytes, left_out = [], 0, 0
    for pick, example in examples:
        if num_bytes > MOST_BYTES:
            left_out += 1
            continue
        parts.append(_example(pick, example))
        num_bytes += len(parts[-1])
    if left_out:
        parts.append(f"<p>{left_out} more would have made this page too large.</p>")
    if parts:
        parts.insert(
            0,
            "<p>The best and the worst mixtures of each model. All spectrograms of a mixture share "
            "its scale, 70 dB.</p>",
        )
    return parts


def _example(pick: Pick, example: Example) -> str:
    """One mixture: its reasons, then a row a source with picture, truth and every estimate."""
    mixture_rows = example.magnitude_rows(example.mixture).mean(axis=0)
    reference = float(mixture_rows.max())

    def heard(
        source: str, title: str, waveform: np.ndarray, rows: np.ndarray, remark: str = ""
    ) -> str:
        what = f"{example.name}, {source} {title}"
        drawn = rows_png(rows, example.duration_seconds, reference, example.front_end)
        return (
            f"<figure><figcaption><b>{html.escape(title)}</b> "
            f"<small>{html.escape(remark)}</small></figcaption>"
            f"{picture('png', drawn, f'spectrogram of {what}')}"
            f"{player(what, waveform, example.sample_rate_hz)}</figure>"
        )

    reasons = "; ".join(pick.reasons)
    parts = [
        f"<h3>{html.escape(example.name)}: {html.escape(' and '.join(example.categories))}</h3>",
        f"<p>{html.escape(reasons)}</p>",
        f'<div class="heard">{heard("", "mixture", example.mixture, mixture_rows)}</div>',
    ]
    true_rows = example.magnitude_rows(example.sources).mean(axis=1)
    for place, category in enumerate(example.categories):
        name = f"{place + 1:02d} {category}"
        cells = [_shown(example.pictures[place], name)]
        cells.append(heard(name, "ground truth", example.sources[place], true_rows[place]))
        for model, answer in example.estimates.items():
            rows = answer.rows[place].mean(axis=0)
            scores = _scores(answer, place)
            cells.append(heard(name, model, answer.waveforms[place], rows, scores))
        parts.append(f'<div class="heard">{"".join(cells)}</div>')
    return "".join(parts)


def _shown(jpeg: bytes | None, name: str) -> str:
    inside = "<small>no picture can be read</small>"
    if jpeg is not None:
        inside = picture("jpeg", jpeg, f"frame with {name} marked")
    title = f"<figcaption><b>{html.escape(name)}</b></figcaption>"
    return f'<figure class="seen">{title}{inside}</figure>'


def _scores(answer: ExampleEstimate, place: int) -> str:
    figures = zip(("SDR", "SIR", "SAR"), answer.scores_db[place].tolist(), strict=True)
    return ", ".join(f"{metric} {decibels(value)}" for metric, value in figures) + " dB"


def _published() -> Iterator[str]:
    """Every paper's table by itself, under what its figures were measured with."""
    yield f"<p><b>{html.escape(WARNING)}</b></p>"
    for title, protocol, rows in published_tables():
        figures = {
            "SDR": [row.sdr_db for row in rows],
            "SIR": [row.sir_db for row in rows],
            "SAR": [row.sar_db for row in rows],
        }
        printed = {word: column for word, column in figures.items() if set(column) != {None}}
        cells = [
            [
                row.method,
                *(
                    "-" if column[place] is None else f"{column[place]:.2f}"
                    for column in printed.values()
                ),
                row.remark,
            ]
            for place, row in enumerate(rows)
        ]
        head = ["method", *printed, "where from"]
        yield f'<div class="wide" tabindex="0">{table(head, cells, title)}</div>'
        yield (
            f"<p><small>Mixtures: {html.escape(protocol.test_pairs)}. Length: "
            f"{html.escape(protocol.length)}. Scores: {html.escape(protocol.metric)}. Mixtures "
            f"with a silent estimate: {html.escape(protocol.silent_pairs)}.</small></p>"
        )
