"""Draw figures without a display: charts as SVG, key frames with boxes."""

import html
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from avsep.records import Clip

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


# A key frame: one picture of a clip with a labelled box around each object, as JPEG


# One colour an object, told apart by colour-blind eyes too (Okabe and Ito).
BOX_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")


def key_frame_jpeg(clip: Clip, index: int = 0) -> bytes:
    """The clip's frame of that index with its objects, numbered as their stems are."""
    picture = draw_boxes(clip.frames[index], clip, float(clip.frame_times_seconds[index]))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def draw_boxes(
    frame: UInt8[np.ndarray, "H W 3"], clip: Clip, time_seconds: float, first_number: int = 0
) -> Image.Image:
    """The frame with each object's box at a time; an object without boxes is the whole picture.

    One that is known by its word alone is drawn nowhere, and keeps its number.

    Objects are numbered, and coloured, from `first_number` on: where those of one mixture stand in
    different videos, each has its place in the mixture.
    """
    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    thickness = max(2, height // 150)
    font = ImageFont.load_default(size=max(11, height // 22))
    for index, visible in enumerate(clip.objects, first_number):
        if not visible.is_visible:
            continue
        colour = BOX_COLOURS[index % len(BOX_COLOURS)]
        x1, y1, x2, y2 = visible.box_at(max(time_seconds, 0))
        corner = (x1 * width, y1 * height)
        # A box of less than a pixel is drawn as one.
        opposite = (max(corner[0], x2 * width - 1), max(corner[1], y2 * height - 1))
        pen.rectangle((*corner, *opposite), outline=colour, width=thickness)
        text = f" {index + 1:02d} {visible.label or ''} "
        pen.rectangle(pen.textbbox(corner, text, font=font), fill=colour)
        pen.text(corner, text, fill="black", font=font)
    return picture
