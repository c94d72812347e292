"""Draw charts of scores: box plots, means by category, and SDR against that of the mixture."""

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.protocol import scores_by_category
from avsep.evaluation.results.tables import PERFECT_DB

SCORE_NAMES = ("SDR", "SIR", "SAR")
MIXTURE = "mixture"
_WIDTH_INCHES = 11.0
_PANELS_PER_ROW = 4
_MAX_PANELS = 12
# The share of a row's height over which the marks of the methods are spread.
_ROW_SPREAD = 0.7
# More points than this are drawn as pixels: as vector shapes they would make the page slow.
_MAX_SHAPES = 1500
# Okabe and Ito's colours, which colour-blind readers can tell apart, without black and yellow,
# which vanish on a dark or a light page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8c8c8c"
# A placeholder that nothing else has; `inline_svg` replaces it by the page's text colour, so that
# charts follow the light or dark theme.
INK = "#0a0b0c"
_STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, on every machine
    "text.parse_math": False,  # dollars in names are dollars
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # embeds TrueType, so that text can be selected
    "svg.fonttype": "none",  # writes text as text, not as outlines
}


def methods_to_show(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the names of the models; without models all but the mixture; else all."""
    methods = evaluation.methods
    models = tuple(method.name for method in methods if method.is_model)
    others = tuple(method.name for method in methods if method.name != MIXTURE)
    return models or others or tuple(method.name for method in methods)


def mixture_means_db(
    evaluation: Evaluation, name: str, protocol: str = "strict"
) -> Float64[np.ndarray, "mixtures 3"]:
    """Return SDR, SIR, SAR of each mixture, mean over its sources; NaN if it is left out."""
    return np.array(
        [
            mixture.scores[name].mean_db(protocol) if name in mixture.scores else np.full(3, np.nan)
            for mixture in evaluation.mixtures
        ]
    ).reshape(-1, 3)


def box_plots(evaluation: Evaluation) -> str:
    """Return box plots of SDR, SIR and SAR over the mixtures by `strict`, as SVG."""
    names = [method.name for method in evaluation.methods]
    styles = _method_styles(evaluation)
    with figure_style(INK):
        figure = new_figure(_WIDTH_INCHES, 1.2 + 0.36 * len(names))
        panels = figure.subplots(1, 3, sharey=True)
        for column, (axes, score_name) in enumerate(zip(panels, SCORE_NAMES, strict=True)):
            axes.grid(axis="x")
            for row, name in enumerate(names):
                _box(axes, row, mixture_means_db(evaluation, name)[:, column], styles[name][0])
            axes.set_title(f"{score_name} (dB)", loc="left")
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.04)
        panels[0].set_yticks(range(len(names)), names)
        # From high to low: the first method is on top.
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        words = "box plots of SDR, SIR and SAR in dB, a row each for " + ", ".join(names)
        return inline_svg(figure, "spread", words)


def category_chart(evaluation: Evaluation) -> str:
    """Return a chart of the mean SDR of the sources of each category by `strict`, as SVG."""
    sdr_db = {
        method.name: {
            category: rows_db[:, 0]
            for category, (rows_db, _) in scores_by_category(
                evaluation.pairs(method.name), "strict"
            ).items()
        }
        for method in evaluation.methods
    }
    counts = {category: len(rows) for marks in sdr_db.values() for category, rows in marks.items()}
    categories = sorted(counts)
    styles = _method_styles(evaluation)
    with figure_style(INK):
        row_inches = max(0.3, 0.07 * len(sdr_db))
        figure = new_figure(_WIDTH_INCHES, 1.4 + row_inches * max(1, len(categories)))
        axes = figure.subplots()
        axes.grid(axis="both")
        for place, (name, marks) in enumerate(sdr_db.items()):
            rows = [row for row, category in enumerate(categories) if category in marks]
            means_db = [float(marks[categories[row]].mean()) for row in rows]
            colour, marker = styles[name]
            # One below the other, so that equal scores do not hide one another.
            offset = _ROW_SPREAD * ((place + 0.5) / len(sdr_db) - 0.5)
            axes.plot(
                means_db, np.array(rows) + offset, linestyle="none", marker=marker, color=colour,
                label=name, markersize=6, alpha=0.9,
            )  # fmt: skip
        labels = [f"{category} ({counts[category]})" for category in categories]
        axes.set_yticks(range(len(categories)), labels)
        axes.set_ylim(max(1, len(categories)) - 0.4, -0.6)
        axes.set_xlabel("SDR (dB), mean over the sources of the category (their number)")
        figure.legend(loc="outside upper left", ncols=4)
        words = f"mean SDR by category for {', '.join(sdr_db)}"
        return inline_svg(figure, "categories", words)


def improvement_chart(evaluation: Evaluation) -> str | None:
    """Return scatter plots of each source's SDR against its SDR in the mixture, as SVG.

    By `strict`, with a panel for each model, 12 at most. None if the mixture is not a method.
    """
    names = [name for name in methods_to_show(evaluation) if name != MIXTURE][:_MAX_PANELS]
    if not names or all(method.name != MIXTURE for method in evaluation.methods):
        return None
    before_db = _source_sdr_db(evaluation, MIXTURE)
    styles = _method_styles(evaluation)
    num_columns = min(_PANELS_PER_ROW, len(names))
    num_rows = -(-len(names) // num_columns)
    with figure_style(INK):
        figure = new_figure(0.5 + 2.6 * num_columns, 0.3 + 3.1 * num_rows)
        panels = figure.subplots(
            num_rows, num_columns, sharex=True, sharey=True, squeeze=False
        ).ravel()
        for axes, name in zip(panels, names, strict=False):
            caption = _scatter(axes, before_db, _source_sdr_db(evaluation, name), styles[name][0])
            axes.set_title(f"{name}\n{caption}", loc="left", fontsize=8)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("SDR in the mixture (dB)", fontsize=9)
        figure.supylabel("SDR after separation (dB)", fontsize=9)
        words = "SDR after separation over SDR in the mixture, a dot a source, for "
        words += ", ".join(names)
        return inline_svg(figure, "improvement", words)


def _box(axes: Axes, row: int, values_db: Float64[np.ndarray, " clips"], colour: str) -> None:
    """Draw quartiles, median, whiskers (5 and 95 %), outliers as dots, the mean as a diamond."""
    # Perfect scores, such as the SAR of the mixture, would squeeze all others: they are counted.
    is_perfect = values_db > PERFECT_DB
    shown_db = values_db[np.isfinite(values_db) & ~is_perfect]
    if is_perfect.any():
        text = f"{int(is_perfect.sum())} above {PERFECT_DB:.0f} dB"
        transform = axes.get_yaxis_transform()
        axes.text(0.98, row, text, transform=transform, ha="right", va="center", fontsize=8)
    if not len(shown_db):
        return
    axes.boxplot(
        [shown_db], positions=[row], orientation="horizontal", widths=0.6, whis=(5, 95),
        patch_artist=True, showmeans=True, manage_ticks=False,
        boxprops={"facecolor": f"{colour}55", "edgecolor": colour},
        whiskerprops={"color": colour}, capprops={"color": colour},
        medianprops={"color": INK, "linewidth": 1.6},
        meanprops={"marker": "D", "markerfacecolor": INK, "markeredgecolor": INK, "markersize": 4},
        flierprops={
            "marker": ".", "markersize": 4, "markerfacecolor": colour,
            "markeredgecolor": "none", "rasterized": len(shown_db) > _MAX_SHAPES,
        },
    )  # fmt: skip


def _scatter(
    axes: Axes,
    before_db: Float64[np.ndarray, " sources"],
    after_db: Float64[np.ndarray, " sources"],
    colour: str,
) -> str:
    """Draw a dot for each source and the line of no change; return the mean gain in words."""
    is_finite = np.isfinite(before_db) & np.isfinite(after_db)
    before_db, after_db = before_db[is_finite], after_db[is_finite]
    axes.grid()
    if not len(before_db):
        return "no source counts"
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.scatter(
        before_db, after_db, s=14, color=colour, alpha=0.8, linewidths=0,
        rasterized=len(before_db) > _MAX_SHAPES,
    )  # fmt: skip
    gain_db, share_better = after_db - before_db, float(np.mean(after_db > before_db))
    return f"{gain_db.mean():+.1f} dB; better in {100 * share_better:.0f} % of {len(gain_db)}"


def _source_sdr_db(evaluation: Evaluation, name: str) -> Float64[np.ndarray, " sources"]:
    """Return the SDR of each source of each mixture, in order; NaN if it does not count."""
    return np.concatenate(
        [
            mixture.scores[name].counted_db("strict")[:, 0]
            if name in mixture.scores
            else np.full(len(mixture.categories), np.nan)
            for mixture in evaluation.mixtures
        ]
    )


def _method_styles(evaluation: Evaluation) -> Mapping[str, tuple[str, str]]:
    """Return the colour and marker of each method: models in colours, baselines in grey."""
    styles: dict[str, tuple[str, str]] = {}
    coloured = methods_to_show(evaluation)
    grey = [method.name for method in evaluation.methods if method.name not in coloured]
    for index, name in enumerate(coloured):
        styles[name] = (COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)])
    for index, name in enumerate(grey):
        styles[name] = (GREY, "d*<p>"[index % 5])
    return styles


# Figures without a display


@contextmanager
def figure_style(ink: str = "black", size_points: float = 9) -> Iterator[None]:
    """Apply the common style to figures made within; `ink` colours text and ticks."""
    inks = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    style: dict[Any, Any] = {**_STYLE, **dict.fromkeys(inks, ink), "font.size": size_points}
    with mpl.rc_context(style), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes; in SVG the reader's own fonts have them.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def new_figure(
    width_inches: float, height_inches: float, *, automatic_layout: bool = True
) -> Figure:
    """Create an empty figure outside pyplot, which needs no display and is never closed.

    Args:
        automatic_layout: axes are arranged by matplotlib; else the caller places each.
    """
    layout = "constrained" if automatic_layout else None
    figure = Figure(figsize=(width_inches, height_inches), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def inline_svg(figure: Figure, name: str, alt_text: str) -> str:
    """Render a figure as inline SVG in the page's text colour; call within `figure_style(INK)`.

    Args:
        name: unique in the page, of letters.
        alt_text: description for screen readers.
    """
    buffer = io.BytesIO()
    # A fixed salt and no date: the same figure gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    # Identifiers are global in a page: prefixed, those of two charts do not collide.
    svg = re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)', f"{name}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    width = f"width:min(100%,{figure.get_figwidth():.1f}in)"
    start = f'<svg class="chart" style="{width}" role="img" aria-label="{html.escape(alt_text)}" '
    opening, body = svg.split(">", 1)
    # Without fixed width and height the chart scales with the page.
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    return start + opening.removeprefix("<svg ") + ">" + body
