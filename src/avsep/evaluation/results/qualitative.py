"""Draw the papers' qualitative figures: pictures, mixture, references and estimates.

A row a source, its mixture's rows below one another; DGFNet, Figure 5 (masks and spectrograms),
DAVIS, Figures 1, 4, 5, 6 (picture, mixture, truth, models), LAVSS, Figures 4 to 6 (both ears).
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
from avsep.evaluation.results.charts import models_of, pair_means_db
from avsep.evaluation.results.examples import Example, make_example, mask_of
from avsep.evaluation.results.tables import decibels
from avsep.media.atomic import atomic_file, make_folder
from avsep.pages.figures import figure_style, new_figure
from avsep.pages.spectrograms import RANGE_DB, frequency_ticks, to_decibels

# Where the parts of a qualitative figure stand, in inches, as a printed page has them


# Two columns of a printed page are 7 wide; a panel below 1 shows no notes.
PAGE, SMALLEST_PANEL, PANEL_HEIGHT, EAR_HEIGHT = 7.0, 1.0, 0.85, 0.62
LEFT, RIGHT, TITLE_LINE, BOTTOM = 0.05, 0.6, 0.13, 0.32
GAP, SCALE_GAP, ROW_GAP, EXAMPLE_GAP, EAR_GAP = 0.06, 0.46, 0.2, 0.2, 0.03

# Left, bottom, width, height, as shares of the figure.
Place = tuple[float, float, float, float]


@dataclass(frozen=True)
class Grid:
    """A column of pictures, then columns of panels; a block of rows for each example.

    Attributes:
        num_columns: of panels.
        num_channels: panels below one another in each row.
        num_sources: rows of each example.
        num_title_lines: above the columns.
    """

    num_columns: int
    num_channels: int
    num_sources: Sequence[int]
    num_title_lines: int = 1

    @property
    def panel_width(self) -> float:
        """Of pictures and panels alike."""
        fixed = LEFT + SCALE_GAP + RIGHT + GAP * self.num_columns
        return max(SMALLEST_PANEL, (PAGE - fixed) / (self.num_columns + 1))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the figure."""
        width = LEFT + SCALE_GAP + RIGHT + GAP * self.num_columns
        width += self.panel_width * (self.num_columns + 1)
        return width, self._top(len(self.num_sources)) - EXAMPLE_GAP - ROW_GAP + BOTTOM

    def picture(self, example: int, source: int) -> Place:
        """The frame of a source."""
        return self._share(LEFT, self._row_top(example, source), self.panel_width, self._row)

    def panel(self, example: int, source: float, column: int, ear: int) -> Place:
        """A panel; half a source is a place between two rows."""
        left = LEFT + self.panel_width + SCALE_GAP + column * (self.panel_width + GAP)
        top = self._row_top(example, source) + ear * (self._ear + EAR_GAP)
        return self._share(left, top, self.panel_width, self._ear)

    def bar(self) -> Place:
        """The scale of colours, beside the first example."""
        height = self.num_sources[0] * (self._row + ROW_GAP) - ROW_GAP
        return self._share(self.size[0] - RIGHT + 0.08, self._top(0), 0.09, height)

    @property
    def _ear(self) -> float:
        return PANEL_HEIGHT if self.num_channels == 1 else EAR_HEIGHT

    @property
    def _row(self) -> float:
        return self.num_channels * (self._ear + EAR_GAP) - EAR_GAP

    def _row_top(self, example: int, source: float) -> float:
        return self._top(example) + source * (self._row + ROW_GAP)

    def _top(self, example: int) -> float:
        """Where an example begins, counted down from the upper edge."""
        rows = sum(self.num_sources[:example]) * (self._row + ROW_GAP)
        return 0.1 + TITLE_LINE * self.num_title_lines + rows + EXAMPLE_GAP * example

    def _share(self, left: float, top: float, width: float, height: float) -> Place:
        across, down = self.size
        return (left / across, 1 - (top + height) / down, width / across, height / down)


Kind = Literal["spectrograms", "masks"]
KINDS: tuple[Kind, ...] = ("spectrograms", "masks")
EARS = ("left", "right")
MIXTURE, TRUTH = "mixture", "ground truth"
_MOST_PANELS_DOWN = 8  # of one figure, as a page holds them; two ears are two
_SIZE_POINTS, _LETTERS_PER_INCH = 7.0, 16
_DOTS_PER_INCH = 300
# Without date and program, so that the same figure is the same file.
_METADATA = {"png": {"Software": None}, "pdf": {"CreationDate": None}}


@dataclass(frozen=True)
class FigureChoice:
    """Which mixtures are drawn.

    Attributes:
        named: the places of those asked for by name.
        num_spread: how many more, spread over the first model's ranking; of all, if fewer.
    """

    named: tuple[int, ...] = ()
    num_spread: int = 0

    def places(self, evaluation: Evaluation) -> list[int]:
        """All of them, each once: those named, then from the first model's best to its worst.

        The spread ones stand evenly in the ranking by SDR (`strict`), both ends included, so that
        nobody picks what looks well; the same evaluation gives the same mixtures.
        """
        sdr_db = pair_means_db(evaluation, models_of(evaluation)[0])[:, 0]
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
    """The choice of so many mixtures and of those named, before anything is scored.

    Raises:
        InputError: a name that is no mixture's, or of one source, of which there is no figure;
            no folder to write into.
    """
    if folder is None and (num_spread or names):
        raise InputError("figures are written into a folder: add -o DIR")
    found = as_mixtures(mixtures)
    places = {one.name: place for place, one in reversed(list(enumerate(found)))}
    for name in names:
        if name not in places:
            raise unknown_name("mixture", name, places)
        if len(found[places[name]].parts) < 2:
            raise InputError(f"mixture '{name}' has one source, no figure is drawn of it")
    return FigureChoice(tuple(places[name] for name in names), num_spread)


def figures_of(
    evaluation: Evaluation,
    mixtures: Sequence[ClipFiles | Mixture],
    choice: FigureChoice,
    folder: Path,
    device: str | torch.device = CPU,
) -> tuple[Path, ...]:
    """Separate the chosen mixtures once more with all models, and write their figures.

    Args:
        evaluation: of contenders that can still be asked, by the seed that it was made with.
        mixtures: those evaluated, in order.
        choice: of them; none: nothing is written.
        folder: is made where it is missing.
        device: models are on it.
    """
    models, place = models_of(evaluation), torch.device(device)
    asked = [one for one in evaluation.methods if one.name in models]
    reader = ClipReader(mixtures)
    examples = [
        make_example(asked, reader, index, evaluation.seed, place, evaluation.clips[index])
        for index in choice.places(evaluation)
    ]
    return write_figures(examples, folder) if examples else ()


def write_figures(examples: Sequence[Example], folder: Path) -> tuple[Path, ...]:
    """Write spectrograms and masks of the examples, each as PNG (300 dpi) and PDF (text as text).

    As many figures as pages are needed: spectrograms-1.pdf, spectrograms-2.pdf, ...
    """
    make_folder(folder)
    written = []
    for number, group in enumerate(_pages(examples), 1):
        for kind in KINDS:
            with figure_style(size_points=_SIZE_POINTS):
                figure = draw_figure(group, kind)
                for suffix, metadata in _METADATA.items():
                    target = folder / f"{kind}-{number}.{suffix}"
                    with atomic_file(target) as part:
                        figure.savefig(part, format=suffix, dpi=_DOTS_PER_INCH, metadata=metadata)
                    written.append(target)
    return tuple(written)


def draw_figure(examples: Sequence[Example], kind: Kind) -> Figure:
    """One figure of examples that have the same answers, front end and number of channels."""
    titles = [*([MIXTURE] if kind == "spectrograms" else []), TRUTH, *examples[0].answers]
    num_sources = [len(example.categories) for example in examples]
    grid = Grid(len(titles), len(examples[0].mixture), num_sources)
    titles = [_wrapped(title, grid.panel_width) for title in titles]
    grid = replace(grid, num_title_lines=max(title.count("\n") + 1 for title in titles))
    figure = new_figure(*grid.size, automatic_layout=False)
    drawn = [
        _draw_example(figure, grid, number, example, kind)
        for number, example in enumerate(examples)
    ]
    for column, title in enumerate(titles):
        left, bottom, width, height = grid.panel(0, 0, column, 0)
        across, up = left + width / 2, bottom + height + 0.03 / grid.size[1]
        figure.text(across, up, title, ha="center", va="bottom")
    words = "dB below the mixture's peak" if kind == "spectrograms" else "share of the mixture"
    bar = figure.colorbar(drawn[0], cax=figure.add_axes(grid.bar()))
    bar.set_label(words, labelpad=2)
    bar.outline.set_visible(False)
    return figure


def _draw_example(
    figure: Figure, grid: Grid, number: int, example: Example, kind: Kind
) -> AxesImage:
    """A row a source; the mixture in the middle of its sources. Any of its panels comes out."""
    num_sources = len(example.categories)
    drawn = []
    for column, (name, values) in enumerate(_shown(example, kind).items()):
        for place, one in enumerate(values):
            row = (num_sources - 1) / 2 if name == MIXTURE else place
            is_last = (number, place) == (len(grid.num_sources) - 1, num_sources - 1)
            below = _below(example, name, place)
            if name == TRUTH and is_last:
                below = "time (s)"
            for ear in range(grid.num_channels):
                axes = figure.add_axes(grid.panel(number, row, column, ear))
                drawn.append(_draw_panel(axes, one[ear], example, kind))
                is_lowest = ear == grid.num_channels - 1
                axes.tick_params(
                    length=2, pad=1.5, left=column == 0, labelleft=column == 0,
                    bottom=is_last and is_lowest, labelbottom=is_last and is_lowest,
                )  # fmt: skip
                if (number, column, place, ear) == (0, 0, 0, 0):
                    axes.set_ylabel("frequency (Hz)", labelpad=1)
                if is_lowest:
                    axes.set_xlabel(below, labelpad=2)
                if grid.num_channels == len(EARS):
                    _name_ear(axes, EARS[ear])
    for place in range(num_sources):
        _draw_picture(figure.add_axes(grid.picture(number, place)), grid, example, place)
    return drawn[0]


def _below(example: Example, name: str, place: int) -> str:
    """The SDR of an estimate; nothing below what is no estimate."""
    if name not in example.answers:
        return ""
    return f"SDR {decibels(float(example.answers[name].scores_db[place, 0]))} dB"


def _shown(example: Example, kind: Kind) -> dict[str, Float32[np.ndarray, "_ C R T"]]:
    """What each column draws of an example, by its title: a picture a source, or one a mixture."""
    mixture = example.rows_of(example.mixture)
    sounds = {TRUTH: example.rows_of(example.sources)}
    sounds |= {name: answer.rows for name, answer in example.answers.items()}
    if kind == "masks":
        return {name: mask_of(rows, mixture) for name, rows in sounds.items()}
    sounds = {MIXTURE: mixture[None], **sounds}
    return {name: to_decibels(rows, float(mixture.max())) for name, rows in sounds.items()}


def _pages(examples: Sequence[Example]) -> Iterator[list[Example]]:
    """Groups that can be drawn as one figure, of no more rows than a page holds."""
    group: list[Example] = []
    for example in examples:
        alike = not group or (
            example.front_end == group[0].front_end
            and len(example.mixture) == len(group[0].mixture)
            and list(example.answers) == list(group[0].answers)
        )
        num_down = sum(len(one.categories) for one in (*group, example)) * len(example.mixture)
        if group and (not alike or num_down > _MOST_PANELS_DOWN):
            yield group
            group = []
        group.append(example)
    if group:
        yield group


def _draw_picture(axes: Axes, grid: Grid, example: Example, place: int) -> None:
    """The frame with the object marked, named below; above the first the mixture's name."""
    _bare(axes)
    axes.set_xticks([])
    axes.set_yticks([])
    jpeg = example.pictures[place]
    if jpeg is not None:
        with Image.open(io.BytesIO(jpeg)) as picture:
            axes.imshow(np.asarray(picture.convert("RGB")))
    axes.set_xlabel(example.categories[place].replace("_", " "), labelpad=2)
    if place == 0:
        name = _wrapped(example.name, grid.panel_width).splitlines()
        axes.set_title(name[0] + ("…" if len(name) > 1 else ""), loc="left", pad=2)


def _draw_panel(
    axes: Axes, values: Float32[np.ndarray, "R T"], example: Example, kind: Kind
) -> AxesImage:
    _bare(axes)
    colours, limits = ("magma", (-RANGE_DB, 0)) if kind == "spectrograms" else ("viridis", (0, 1))
    ticks, names = frequency_ticks(example.front_end)
    axes.set_yticks(ticks[1::2], names[1::2])
    axes.xaxis.set_major_locator(MaxNLocator(3, prune="upper"))  # its number is the next panel's
    return axes.imshow(
        values, origin="lower", aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
        extent=(0, example.duration_seconds, 0, example.front_end.num_rows),
        interpolation="nearest",
    )  # fmt: skip


def _name_ear(axes: Axes, ear: str) -> None:
    axes.text(
        0.02, 0.95, ear, transform=axes.transAxes, va="top", color="white",
        fontsize=_SIZE_POINTS - 1,
    )  # fmt: skip


def _bare(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set_visible(False)


def _wrapped(words: str, width_inches: float) -> str:
    """Words in lines that fit into a width; nothing is lost."""
    return "\n".join(wrap(words, max(8, round(width_inches * _LETTERS_PER_INCH)))) or words
