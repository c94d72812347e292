"""Charts and figures without a screen: one look, colours told apart by all eyes, SVG in a page."""

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Okabe and Ito without black and yellow, which vanish on a dark or a light page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#8c8c8c"
# A colour that nothing has; in a page's SVG it becomes that of the page's text, light or dark.
INK = "#0a0b0c"
_LOOK = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, on every machine
    "text.parse_math": False,  # names are names, dollars in them too
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "grid.color": GREY,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
}


@contextmanager
def drawing(ink: str = "black", size_points: float = 9) -> Iterator[None]:
    """Figures made within look as all of ours do; text and ticks are of the ink."""
    inks = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color")
    own: dict[Any, Any] = {**_LOOK, **dict.fromkeys(inks, ink), "font.size": size_points}
    with mpl.rc_context(own), warnings.catch_warnings():
        # A letter that the font lacks is drawn as an empty box, and left to the reader's fonts.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        yield


def new_figure(width_inches: float, height_inches: float, *, laid_out: bool = True) -> Figure:
    """An empty figure that needs no screen, and no other figure to be closed.

    Args:
        laid_out: its parts find their places by themselves; else each is put into its own.
    """
    layout = "constrained" if laid_out else None
    figure = Figure(figsize=(width_inches, height_inches), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def inline_svg(figure: Figure, name: str, words: str) -> str:
    """A figure as a part of a page, in the ink of its text; call within `drawing(INK)`.

    Args:
        name: unique in the page, of letters.
        words: what it shows, for who does not see it.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue().decode("utf-8")
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r'(?<=\bid=")|(?<=url\(#)|(?<=href="#)', f"{name}-", drawn)
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    width = f"width:min(100%,{figure.get_figwidth():.1f}in)"
    said = f'<svg class="chart" style="{width}" role="img" aria-label="{html.escape(words)}" '
    opening, body = drawn.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)  # as wide as the page lets it
    return said + opening.removeprefix("<svg ") + ">" + body
