"""Draw charts without a display, as SVG."""

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
