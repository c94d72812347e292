"""report.html: one self-contained page to look at a clip and listen to all that came out of it."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from jaxtyping import Float32

from avsep.separation.spectrogram_picture import peak_magnitude, spectrogram_png

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
.pair > * { flex: 1 1 20rem; min-width: 0; max-width: 100%; border-radius: .5rem; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .3rem .9rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid var(--line); }
.track { display: grid; grid-template-columns: 12rem 1fr; gap: .3rem 1rem; align-items: center;
  padding: .6rem; margin: .4rem 0; background: var(--soft); border-radius: .5rem; }
.track b { display: block; } .track small { opacity: .75; }
.track img { width: 100%; grid-row: span 2; } .track audio { width: 100%; }
@media (max-width: 45rem) { .track { grid-template-columns: 1fr; } }
footer { margin: 3rem 0 1rem; opacity: .7; font-size: .85rem; }
"""


@dataclass(frozen=True)
class Track:
    """One sound of the page; the remark stands small below its title."""

    title: str
    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    remark: str = ""


@dataclass(frozen=True)
class Section:
    """A headline and the tracks below it; all spectrograms of a page share one scale."""

    title: str
    tracks: Sequence[Track]
    text: str = ""


def report_html(
    title: str,
    video: bytes,
    key_frame: bytes,
    table: tuple[Sequence[str], Sequence[Sequence[str]]],
    sections: Sequence[Section],
    footer: str,
) -> str:
    """The page: video (MP4), key frame (JPEG), table (head, rows), every track with its picture.

    Everything is inside the page, so that one file can be sent to somebody.
    """
    first = sections[0].tracks[0]
    reference = peak_magnitude(first.waveform, first.sample_rate_hz)
    body = [
        f"<h1>{html.escape(title)}</h1>",
        '<div class="pair">',
        f'<video controls playsinline src="{_data_uri("video/mp4", video)}"></video>',
        f'<img alt="key frame with boxes" src="{_data_uri("image/jpeg", key_frame)}">',
        "</div>",
        _table(*table),
    ]
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body.append(f"<p>{html.escape(section.text)}</p>" if section.text else "")
        body += [_track(track, reference) for track in section.tracks]
    body.append(f"<footer>{html.escape(footer)}</footer>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _track(track: Track, reference: float) -> str:
    picture = spectrogram_png(track.waveform, track.sample_rate_hz, reference)
    sound = io.BytesIO()
    soundfile.write(sound, track.waveform.T, track.sample_rate_hz, format="FLAC")
    name = html.escape(track.title)
    return (
        f'<div class="track"><div><b>{name}</b><small>{html.escape(track.remark)}</small></div>'
        f'<img alt="spectrogram of {name}" src="{_data_uri("image/png", picture)}">'
        f'<audio controls aria-label="{name}" src="{_data_uri("audio/flac", sound.getvalue())}">'
        "</audio></div>"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
