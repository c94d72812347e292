"""What self-contained pages are built of: the shell, tables, and sounds and pictures inside it."""

import base64
import html
import io
import re
from collections.abc import Sequence

import numpy as np
import soundfile
from jaxtyping import Float32

from avsep.sound.resample import resample

_LONGEST_EXACT_SECONDS = 60
_HIGHEST_MP3_RATE_HZ = 48000
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .3rem .9rem; text-align: right; }
td:first-child, th:first-child, .words { text-align: left; }
tr { border-bottom: 1px solid var(--line); }
footer { margin: 3rem 0 1rem; opacity: .7; font-size: .85rem; }
"""


def page(title: str, body: Sequence[str], style: str, footer: str, *, script: str = "") -> str:
    """A whole page of HTML: its parts, which are HTML themselves, between headline and footer.

    Args:
        title: words, escaped here, as is the footer.
        style: CSS that is added to STYLE.
        script: JavaScript that runs when all above it is there.
    """
    code = f"<script>\n{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}{style}</style></head>\n<body>\n"
        + "\n".join([f"<h1>{html.escape(title)}</h1>", *body])
        + f"\n<footer>{html.escape(footer)}</footer>\n{code}</body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of words, which stand to the left, and of figures, which stand to the right."""
    is_words = [
        any(re.search("[A-Za-z]", row[place]) for row in rows) for place in range(len(head))
    ]
    sides = [' class="words"' if is_word else "" for is_word in is_words]
    lines = [f"<caption>{html.escape(caption)}</caption>"] if caption else []
    for cells, tag in ((head, 'th scope="col"'), *((row, "td") for row in rows)):
        line = "".join(
            f"<{tag}{side}>{html.escape(cell)}</{tag[:2]}>"
            for cell, side in zip(cells, sides, strict=True)
        )
        lines.append(f"<tr>{line}</tr>")
    return "<table>" + "".join(lines) + "</table>"


def player(name: str, waveform: Float32[np.ndarray, "C N"], sample_rate_hz: int) -> str:
    """A sound to play, read out as its name."""
    source = sound_uri(waveform, sample_rate_hz)
    return (
        f'<audio controls preload="metadata" aria-label="{html.escape(name)}" src="{source}">'
        "</audio>"
    )


def picture(kind: str, content: bytes, words: str) -> str:
    """A picture of a kind such as `png`; the words are for who does not see it."""
    return f'<img alt="{html.escape(words)}" src="{data_uri(f"image/{kind}", content)}">'


def sound_uri(waveform: Float32[np.ndarray, "C N"], sample_rate_hz: int) -> str:
    """The sound inside the page: FLAC, exact to 16 bits, or MP3 where that would be too large."""
    sound = io.BytesIO()
    if waveform.shape[1] <= _LONGEST_EXACT_SECONDS * sample_rate_hz:
        soundfile.write(sound, waveform.T, sample_rate_hz, format="FLAC")
        return data_uri("audio/flac", sound.getvalue())
    if sample_rate_hz > _HIGHEST_MP3_RATE_HZ:
        waveform = resample(waveform, sample_rate_hz, _HIGHEST_MP3_RATE_HZ)
        sample_rate_hz = _HIGHEST_MP3_RATE_HZ
    soundfile.write(sound, waveform.T, sample_rate_hz, format="MP3")
    return data_uri("audio/mpeg", sound.getvalue())


def data_uri(kind: str, content: bytes) -> str:
    """Bytes of a media type as an address that needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
