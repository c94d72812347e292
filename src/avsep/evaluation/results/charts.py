"""Scores as charts: their spread, by category, and each model against doing nothing."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes

from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.protocol import by_category
from avsep.evaluation.results.tables import PERFECT_DB
from avsep.pages.figures import COLOURS, GREY, INK, MARKERS, figure_style, inline_svg, new_figure

METRICS = ("SDR", "SIR", "SAR")
MIXTURE = "mixture"
_WIDTH_INCHES = 11.0
_PANELS_A_ROW = 4
_MOST_PANELS = 12
_ROW_SPREAD = 0.7
# More points than this are drawn as pixels: as shapes they would make the page slow.
_MOST_SHAPES = 1500


def models_of(evaluation: Evaluation) -> tuple[str, ...]:
    """The names of those who look at something; else of all but the mixture; else of all."""
    rows = evaluation.methods
    looking = tuple(one.name for one in rows if one.is_model)
    others = tuple(one.name for one in rows if one.name != MIXTURE)
    return looking or others or tuple(one.name for one in rows)


def pair_means_db(
    evaluation: Evaluation, name: str, protocol: str = "strict"
) -> Float64[np.ndarray, "clips 3"]:
    """SDR, SIR, SAR of each clip, mean over its sources, in the clips' order; NaN if left out."""
    return np.array(
        [
            clip.scores[name].mean_db(protocol) if name in clip.scores else np.full(3, np.nan)
            for clip in evaluation.clips
        ]
    ).reshape(-1, 3)


def box_plots(evaluation: Evaluation) -> str:
    """SVG: the spread of SDR, SIR and SAR over the mixtures, a box a separator, by `strict`."""
    names = [one.name for one in evaluation.methods]
    looks = _looks(evaluation)
    with figure_style(INK):
        figure = new_figure(_WIDTH_INCHES, 1.2 + 0.36 * len(names))
        panels = figure.subplots(1, 3, sharey=True)
        for column, (axes, metric) in enumerate(zip(panels, METRICS, strict=True)):
            axes.grid(axis="x")
            for row, name in enumerate(names):
                _box(axes, row, pair_means_db(evaluation, name)[:, column], looks[name][0])
            axes.set_title(f"{metric} (dB)", loc="left")
            axes.tick_params(axis="y", length=0)
            axes.margins(x=0.04)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        words = "box plots of SDR, SIR and SAR in dB, a row each for " + ", ".join(names)
        return inline_svg(figure, "spread", words)


def category_chart(evaluation: Evaluation) -> str:
    """SVG: mean SDR of the sources of each category, a mark a separator, by `strict`."""
    found = {
        one.name: {
            category: rows_db[:, 0]
            for category, (rows_db, _) in by_category(evaluation.pairs(one.name), "strict").items()
        }
        for one in evaluation.methods
    }
    counts = {category: len(rows) for marks in found.values() for category, rows in marks.items()}
    categories = sorted(counts)
    looks = _looks(evaluation)
    with figure_style(INK):
        row_inches = max(0.3, 0.07 * len(found))
        figure = new_figure(_WIDTH_INCHES, 1.4 + row_inches * max(1, len(categories)))
        axes = figure.subplots()
        axes.grid(axis="both")
        for place, (name, marks) in enumerate(found.items()):
            known = [row for row, category in enumerate(categories) if category in marks]
            means_db = [float(marks[categories[row]].mean()) for row in known]
            colour, marker = looks[name]
            # One below the other, so that equal figures do not hide one another.
            aside = _ROW_SPREAD * ((place + 0.5) / len(found) - 0.5)
            axes.plot(
                means_db, np.array(known) + aside, linestyle="none", marker=marker, color=colour,
                label=name, markersize=6, alpha=0.9,
            )  # fmt: skip
        labels = [f"{category} ({counts[category]})" for category in categories]
        axes.set_yticks(range(len(categories)), labels)
        axes.set_ylim(max(1, len(categories)) - 0.4, -0.6)
        axes.set_xlabel("SDR (dB), mean over the sources of the category (their number)")
        figure.legend(loc="outside upper left", ncols=4)
        words = f"mean SDR by category for {', '.join(found)}"
        return inline_svg(figure, "categories", words)


def improvement_chart(evaluation: Evaluation) -> str | None:
    """SVG: the SDR of every source separated against that it has in the mixture, by `strict`.

    A panel a model, the first dozen. None where the mixture is not among the contenders.
    """
    names = [name for name in models_of(evaluation) if name != MIXTURE][:_MOST_PANELS]
    if not names or all(one.name != MIXTURE for one in evaluation.methods):
        return None
    before_db = _sources_db(evaluation, MIXTURE)
    looks = _looks(evaluation)
    num_columns = min(_PANELS_A_ROW, len(names))
    num_rows = -(-len(names) // num_columns)
    with figure_style(INK):
        figure = new_figure(0.5 + 2.6 * num_columns, 0.3 + 3.1 * num_rows)
        panels = figure.subplots(
            num_rows, num_columns, sharex=True, sharey=True, squeeze=False
        ).ravel()
        for axes, name in zip(panels, names, strict=False):
            found = _scatter(axes, before_db, _sources_db(evaluation, name), looks[name][0])
            axes.set_title(f"{name}\n{found}", loc="left", fontsize=8)
        for axes in panels[len(names) :]:
            axes.set_visible(False)
        figure.supxlabel("SDR in the mixture (dB)", fontsize=9)
        figure.supylabel("SDR after separation (dB)", fontsize=9)
        words = "SDR after separation over SDR in the mixture, a dot a source, for "
        words += ", ".join(names)
        return inline_svg(figure, "improvement", words)


def _box(axes: Axes, row: int, values_db: Float64[np.ndarray, " clips"], colour: str) -> None:
    """Quartiles and median, whiskers to 5 and 95 %, the rest as dots, the mean as a diamond."""
    perfect = values_db > PERFECT_DB
    shown = values_db[np.isfinite(values_db) & ~perfect]
    if perfect.any():
        text = f"{int(perfect.sum())} above {PERFECT_DB:.0f} dB"
        at = axes.get_yaxis_transform()
        axes.text(0.98, row, text, transform=at, ha="right", va="center", fontsize=8)
    if not len(shown):
        return
    axes.boxplot(
        [shown], positions=[row], orientation="horizontal", widths=0.6, whis=(5, 95),
        patch_artist=True, showmeans=True, manage_ticks=False,
        boxprops={"facecolor": f"{colour}55", "edgecolor": colour},
        whiskerprops={"color": colour}, capprops={"color": colour},
        medianprops={"color": INK, "linewidth": 1.6},
        meanprops={"marker": "D", "markerfacecolor": INK, "markeredgecolor": INK, "markersize": 4},
        flierprops={
            "marker": ".", "markersize": 4, "markerfacecolor": colour,
            "markeredgecolor": "none", "rasterized": len(shown) > _MOST_SHAPES,
        },
    )  # fmt: skip


def _scatter(
    axes: Axes,
    before_db: Float64[np.ndarray, " sources"],
    after_db: Float64[np.ndarray, " sources"],
    colour: str,
) -> str:
    """The dots and the line of doing nothing; what they say comes out in words."""
    known = np.isfinite(before_db) & np.isfinite(after_db)
    before_db, after_db = before_db[known], after_db[known]
    axes.grid()
    if not len(before_db):
        return "no source counts"
    axes.axline((0, 0), slope=1, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.scatter(
        before_db, after_db, s=14, color=colour, alpha=0.8, linewidths=0,
        rasterized=len(before_db) > _MOST_SHAPES,
    )  # fmt: skip
    gain_db, better = after_db - before_db, float(np.mean(after_db > before_db))
    return f"{gain_db.mean():+.1f} dB; better in {100 * better:.0f} % of {len(gain_db)}"


def _sources_db(evaluation: Evaluation, name: str) -> Float64[np.ndarray, " sources"]:
    """The SDR of every source of every clip, in order; NaN where it does not count."""
    return np.concatenate(
        [
            clip.scores[name].counted_db("strict")[:, 0]
            if name in clip.scores
            else np.full(len(clip.categories), np.nan)
            for clip in evaluation.clips
        ]
    )


def _looks(evaluation: Evaluation) -> Mapping[str, tuple[str, str]]:
    """Colour and mark of every separator: models in colours, floor and ceilings grey."""
    found: dict[str, tuple[str, str]] = {}
    coloured = models_of(evaluation)
    grey: Sequence[str] = [one.name for one in evaluation.methods if one.name not in coloured]
    for place, name in enumerate(coloured):
        found[name] = (COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)])
    for place, name in enumerate(grey):
        found[name] = (GREY, "d*<p>"[place % 5])
    return found
