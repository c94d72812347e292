"""Draw qualitative figures as in the papers: pictures, mixture, references and estimates.

Each row is a source, each block of rows a mixture: DGFNet, Figure 5 (masks and spectrograms),
DAVIS, Figures 1, 4, 5, 6 (picture, mixture, references, models), LAVSS, Figures 4 to 6 (channels).
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import wrap
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from PIL import Image

from avsep.data.clips import ClipFiles
from avsep.errors import InputError, unknown_name
from avsep.evaluation.batches import ClipReader
from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.methods import CPU
from avsep.evaluation.mixtures import Mixture, as_mixtures
from avsep.evaluation.results.charts import (
    figure_style,
    methods_to_show,
    mixture_means_db,
    new_figure,
)
from avsep.evaluation.results.examples import Example, make_examples, source_mask
from avsep.evaluation.results.tables import decibels
from avsep.media.atomic import atomic_file, make_folder
from avsep.pages.spectrograms import RANGE_DB, frequency_ticks, to_decibels

Kind = Literal["spectrograms", "masks"]
KINDS: tuple[Kind, ...] = ("spectrograms", "masks")
EARS = ("left", "right")
MIXTURE, TRUTH = "mixture", "ground truth"
# Panels below one another that fit on a page; each channel is a panel.
_MAX_PANELS_DOWN = 8
_SIZE_POINTS, _LETTERS_PER_INCH = 7.0, 16
_DOTS_PER_INCH = 300
# Without date and program, so that the same figure is the same file.
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}

# Sizes and margins of the layout in inches. Two columns of a printed page are 7 wide; a panel of
# less than 1 shows no notes.
PAGE, SMALLEST_PANEL, PANEL_HEIGHT, EAR_HEIGHT = 7.0, 1.0, 0.85, 0.62
LEFT, RIGHT, TITLE_LINE, BOTTOM = 0.05, 0.6, 0.13, 0.32
GAP, SCALE_GAP, ROW_GAP, EXAMPLE_GAP, EAR_GAP = 0.06, 0.46, 0.2, 0.2, 0.03

# Left, bottom, width, height, as shares of the figure: what matplotlib's add_axes takes.
Rectangle = tuple[float, float, float, float]


# Choice of the mixtures


@dataclass(frozen=True)
class FigureChoice:
    """The choice of mixtures to draw.

    Attributes:
        named: indices of mixtures chosen by name.
        num_spread: number of further mixtures, spread over the first model's ranking.
    """

    named: tuple[int, ...] = ()
    num_spread: int = 0

    def indices(self, evaluation: Evaluation) -> list[int]:
        """Return the indices, each once: the named ones, then from the best to the worst.

        The others are evenly spaced in the first model's ranking by SDR (`strict`), both ends
        included, so that no figure is picked by its looks.
        """
        sdr_db = mixture_means_db(evaluation, methods_to_show(evaluation)[0])[:, 0]
        ranking = [int(n) for n in np.argsort(-sdr_db, kind="stable") if np.isfinite(sdr_db[n])]
        num_spread = min(self.num_spread, len(ranking))
        spread = np.linspace(0, len(ranking) - 1, num_spread).round().astype(int)
        return list(dict.fromkeys([*self.named, *(ranking[place] for place in spread)]))


def choose_figures(
    mixtures: Sequence[ClipFiles | Mixture],
    num_spread: int,
    names: Sequence[str],
    folder: Path | None,
) -> FigureChoice:
    """Return the choice of a number of mixtures and of named ones; checked before any scoring.

    Raises:
        InputError: an unknown name, or the name of a mixture of one source; no folder.
    """
    if folder is None and (num_spread or names):
        raise InputError("figures are written into a folder: add -o DIR")
    all_mixtures = as_mixtures(mixtures)
    # Backwards, so that a name that occurs twice is the first of its mixtures.
    indices = {mixture.name: index for index, mixture in reversed(list(enumerate(all_mixtures)))}
    for name in names:
        if name not in indices:
            raise unknown_name("mixture", name, indices)
        if len(all_mixtures[indices[name]].parts) < 2:
            raise InputError(
                f"mixture '{name}' has one source, no figure is drawn of it: name another"
            )
    return FigureChoice(tuple(indices[name] for name in names), num_spread)


# Figures


def write_qualitative_figures(
    evaluation: Evaluation,
    reader: ClipReader,
    choice: FigureChoice,
    folder: Path,
    device: str | torch.device = CPU,
) -> tuple[Path, ...]:
    """Run all models again on the chosen mixtures, write their figures and return the paths.

    Args:
        evaluation: its methods can be run, with the seed of the evaluation.
        reader: of the mixtures evaluated, in order.
        choice: of mixtures; if it is empty nothing is written.
        folder: is created if missing.
        device: of the models.
    """
    models = tuple(methods_to_show(evaluation))
    places = [(index, models) for index in choice.indices(evaluation)]
    with make_examples(evaluation, reader, places, torch.device(device)) as in_order:
        examples = list(in_order)
    return write_figures(examples, folder) if examples else ()


def write_figures(examples: Sequence[Example], folder: Path) -> tuple[Path, ...]:
    """Write spectrograms and masks of examples as PNG (300 dpi) and PDF, and return the paths.

    One figure for each page: spectrograms-1.pdf, spectrograms-2.pdf, ...
    """
    make_folder(folder)
    paths = []
    for number, group in enumerate(_pages(examples), 1):
        for kind in KINDS:
            with figure_style(size_points=_SIZE_POINTS):
                figure = draw_figure(group, kind)
                for suffix, metadata in _METADATA.items():
                    path = folder / f"{kind}-{number}.{suffix}"
                    with atomic_file(path) as file:
                        figure.savefig(file, format=suffix, dpi=_DOTS_PER_INCH, metadata=metadata)
                    paths.append(path)
    return tuple(paths)


def draw_figure(examples: Sequence[Example], kind: Kind) -> Figure:
    """Draw a figure of examples of the same methods, front end and number of channels."""
    titles = [*([MIXTURE] if kind == "spectrograms" else []), TRUTH, *examples[0].estimates]
    num_sources = [len(example.categories) for example in examples]
    layout = FigureLayout(len(titles), len(examples[0].mixture), num_sources)
    titles = [_wrapped(title, layout.panel_width) for title in titles]
    layout = replace(layout, num_title_lines=max(title.count("\n") + 1 for title in titles))
    figure = new_figure(*layout.size, automatic_layout=False)
    images = [
        _draw_example(figure, layout, number, example, kind)
        for number, example in enumerate(examples)
    ]
    for column, title in enumerate(titles):
        left, bottom, width, height = layout.panel(0, 0, column, 0)
        x, y = left + width / 2, bottom + height + 0.03 / layout.size[1]
        figure.text(x, y, title, ha="center", va="bottom")
    # All panels have one colour scale, so that any image serves the colour bar.
    label = "dB below the mixture's peak" if kind == "spectrograms" else "share of the mixture"
    bar = figure.colorbar(images[0], cax=figure.add_axes(layout.colour_bar()))
    bar.set_label(label, labelpad=2)
    bar.outline.set_visible(False)
    return figure


def _draw_example(
    figure: Figure, layout: "FigureLayout", number: int, example: Example, kind: Kind
) -> AxesImage:
    """Draw a row for each source, the mixture centred beside them; return one of the images."""
    num_sources = len(example.categories)
    images = []
    for column, (name, sounds) in enumerate(_panel_values(example, kind).items()):
        for index, values in enumerate(sounds):
            row = (num_sources - 1) / 2 if name == MIXTURE else index
            is_last = (number, index) == (len(layout.num_sources) - 1, num_sources - 1)
            caption = _score_caption(example, name, index)
            # One axis label for the whole figure; references have no score to print in its place.
            if name == TRUTH and is_last:
                caption = "time (s)"
            for ear in range(layout.num_channels):
                axes = figure.add_axes(layout.panel(number, row, column, ear))
                images.append(_draw_panel(axes, values[ear], example, kind))
                is_lowest = ear == layout.num_channels - 1
                axes.tick_params(
                    length=2, pad=1.5, left=column == 0, labelleft=column == 0,
                    bottom=is_last and is_lowest, labelbottom=is_last and is_lowest,
                )  # fmt: skip
                if (number, column, index, ear) == (0, 0, 0, 0):
                    axes.set_ylabel("frequency (Hz)", labelpad=1)
                if is_lowest:
                    axes.set_xlabel(caption, labelpad=2)
                if layout.num_channels == len(EARS):
                    _label_ear(axes, EARS[ear])
    for index in range(num_sources):
        _draw_picture(figure.add_axes(layout.picture(number, index)), layout, example, index)
    return images[0]


def _score_caption(example: Example, name: str, index: int) -> str:
    """Return the SDR of an estimate in words; nothing for the mixture and the references."""
    if name not in example.estimates:
        return ""
    return f"SDR {decibels(float(example.estimates[name].scores_db[index, 0]))} dB"


def _panel_values(example: Example, kind: Kind) -> dict[str, Float32[np.ndarray, "_ C R T"]]:
    """Return title -> values of each column: one panel for each source, or one for the mixture."""
    mixture = example.magnitude_rows(example.mixture)
    sounds = {TRUTH: example.magnitude_rows(example.sources)}
    sounds |= {name: estimate.rows for name, estimate in example.estimates.items()}
    if kind == "masks":
        return {name: source_mask(rows, mixture) for name, rows in sounds.items()}
    sounds = {MIXTURE: mixture[None], **sounds}
    return {name: to_decibels(rows, float(mixture.max())) for name, rows in sounds.items()}


def _pages(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Yield groups of examples that fit into one figure, with at most a page of rows."""
    group: list[Example] = []
    for example in examples:
        is_alike = not group or (
            example.front_end == group[0].front_end
            and len(example.mixture) == len(group[0].mixture)
            and list(example.estimates) == list(group[0].estimates)
        )
        num_down = sum(len(e.categories) for e in (*group, example)) * len(example.mixture)
        if group and (not is_alike or num_down > _MAX_PANELS_DOWN):
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _draw_picture(axes: Axes, layout: "FigureLayout", example: Example, index: int) -> None:
    """Draw the frame with the object marked, its category below, the mixture's name on top."""
    _hide_spines(axes)
    axes.set_xticks([])
    axes.set_yticks([])
    jpeg = example.pictures[index]
    if jpeg is not None:
        with Image.open(io.BytesIO(jpeg)) as picture:
            axes.imshow(np.asarray(picture.convert("RGB")))
    axes.set_xlabel(example.categories[index].replace("_", " "), labelpad=2)
    if index == 0:
        lines = _wrapped(example.name, layout.panel_width).splitlines()
        axes.set_title(lines[0] + ("…" if len(lines) > 1 else ""), loc="left", pad=2)


def _draw_panel(
    axes: Axes, values: Float32[np.ndarray, "R T"], example: Example, kind: Kind
) -> AxesImage:
    _hide_spines(axes)
    colours, limits = ("magma", (-RANGE_DB, 0)) if kind == "spectrograms" else ("viridis", (0, 1))
    ticks, names = frequency_ticks(example.front_end)
    axes.set_yticks(ticks[1::2], names[1::2])  # every second: a panel has room for no more
    # The uppermost number would run into the next panel.
    axes.xaxis.set_major_locator(MaxNLocator(3, prune="upper"))
    return axes.imshow(
        values, origin="lower", aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
        extent=(0, example.duration_seconds, 0, example.front_end.num_rows),
        interpolation="nearest",
    )  # fmt: skip


def _label_ear(axes: Axes, ear: str) -> None:
    axes.text(
        0.02, 0.95, ear, transform=axes.transAxes, va="top", color="white",
        fontsize=_SIZE_POINTS - 1,
    )  # fmt: skip


def _hide_spines(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)


def _wrapped(text: str, width_inches: float) -> str:
    """Return a text in lines that fit into a width."""
    return "\n".join(wrap(text, max(8, round(width_inches * _LETTERS_PER_INCH)))) or text


# Layout of a figure


@dataclass(frozen=True)
class FigureLayout:
    """The layout of a figure: a column of pictures, columns of panels, a block for each example.

    Attributes:
        num_columns: of panels.
        num_channels: panels below one another in each row.
        num_sources: number of rows of each example.
        num_title_lines: lines of text above the columns.
    """

    num_columns: int
    num_channels: int
    num_sources: Sequence[int]
    num_title_lines: int = 1

    @property
    def panel_width(self) -> float:
        """The width of pictures and of panels, in inches."""
        fixed = LEFT + SCALE_GAP + RIGHT + GAP * self.num_columns
        return max(SMALLEST_PANEL, (PAGE - fixed) / (self.num_columns + 1))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure, in inches."""
        width = LEFT + SCALE_GAP + RIGHT + GAP * self.num_columns
        width += self.panel_width * (self.num_columns + 1)
        return width, self._example_top(len(self.num_sources)) - EXAMPLE_GAP - ROW_GAP + BOTTOM

    def picture(self, example: int, source: int) -> Rectangle:
        """Return the place of a source's picture."""
        return self._to_shares(LEFT, self._row_top(example, source), self.panel_width, self._row)

    def panel(self, example: int, source: float, column: int, ear: int) -> Rectangle:
        """Return the place of a panel; half a source is between two rows."""
        left = LEFT + self.panel_width + SCALE_GAP + column * (self.panel_width + GAP)
        top = self._row_top(example, source) + ear * (self._ear + EAR_GAP)
        return self._to_shares(left, top, self.panel_width, self._ear)

    def colour_bar(self) -> Rectangle:
        """Return the place of the colour bar, beside the first example."""
        height = self.num_sources[0] * (self._row + ROW_GAP) - ROW_GAP
        return self._to_shares(self.size[0] - RIGHT + 0.08, self._example_top(0), 0.09, height)

    @property
    def _ear(self) -> float:
        return PANEL_HEIGHT if self.num_channels == 1 else EAR_HEIGHT

    @property
    def _row(self) -> float:
        return self.num_channels * (self._ear + EAR_GAP) - EAR_GAP

    def _row_top(self, example: int, source: float) -> float:
        return self._example_top(example) + source * (self._row + ROW_GAP)

    def _example_top(self, example: int) -> float:
        """Return the upper edge of an example, in inches below that of the figure."""
        rows = sum(self.num_sources[:example]) * (self._row + ROW_GAP)
        return 0.1 + TITLE_LINE * self.num_title_lines + rows + EXAMPLE_GAP * example

    def _to_shares(self, left: float, top: float, width: float, height: float) -> Rectangle:
        # Inches from the top left become shares from the bottom left.
        figure_width, figure_height = self.size
        bottom = 1 - (top + height) / figure_height
        return (left / figure_width, bottom, width / figure_width, height / figure_height)
