"""report.html: one self-contained page to look at a clip and listen to all that came out of it."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from jaxtyping import Float32

from avsep.pages.spectrogram_picture import peak_magnitude, spectrogram_png
from avsep.sound.resample import resample

_LONGEST_EXACT_SECONDS = 60
_HIGHEST_MP3_RATE_HZ = 48000
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
.pair > * { flex: 1 1 20rem; min-width: 0; max-width: 100%; border-radius: .5rem; }
.pair > :only-child { flex: 0 1 44rem; }
table { border-collapse: collapse; margin: 1rem 0; }
td, th { padding: .3rem .9rem; text-align: right; }
td:first-child, th:first-child { text-align: left; } tr { border-bottom: 1px solid var(--line); }
.track { display: grid; grid-template-columns: 12rem 1fr; gap: .3rem 1rem; align-items: center;
  padding: .6rem; margin: .4rem 0; background: var(--soft); border-radius: .5rem; }
.track b, .track small { display: block; overflow-wrap: anywhere; } .track small { opacity: .75; }
.track img { width: 100%; } .track audio { width: 100%; margin-top: .4rem; }
@media (max-width: 45rem) { .track { grid-template-columns: 1fr; } }
footer { margin: 3rem 0 1rem; opacity: .7; font-size: .85rem; }
"""


@dataclass(frozen=True)
class Track:
    """One sound of the page; the remark stands small below its title.

    A second picture (PNG) may stand below the spectrogram, with a line of what it shows.
    """

    title: str
    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    remark: str = ""
    picture: bytes | None = None
    picture_text: str = ""


@dataclass(frozen=True)
class Section:
    """A headline and the tracks below it; all spectrograms of a page share one scale."""

    title: str
    tracks: Sequence[Track]
    text: str = ""


def report_html(
    title: str,
    video: bytes | None,
    key_frame: bytes,
    table: tuple[Sequence[str], Sequence[Sequence[str]]] | None,
    sections: Sequence[Section],
    footer: str,
) -> str:
    """The page: video (MP4), key frame (JPEG), table (head, rows), every track with its picture.

    Video and table may be left out. Everything is inside the page, so that one file can be sent to
    somebody.
    """
    first = sections[0].tracks[0]
    reference = peak_magnitude(first.waveform, first.sample_rate_hz)
    body = [
        f"<h1>{html.escape(title)}</h1>",
        '<div class="pair">',
        "" if video is None else _video(video),
        f'<img alt="key frame with boxes" src="{_data_uri("image/jpeg", key_frame)}">',
        "</div>",
        "" if table is None else _table(*table),
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
    name = html.escape(track.title)
    below = ""
    if track.picture is not None:
        words = html.escape(track.picture_text)
        below = f'<img alt="{words}" src="{_data_uri("image/png", track.picture)}">'
        below += f"<small>{words}</small>"
    return (
        f'<div class="track"><div><b>{name}</b><small>{html.escape(track.remark)}</small>'
        f'<audio controls aria-label="{name}" src="{_sound_uri(track)}"></audio></div>'
        f'<div><img alt="spectrogram of {name}" src="{_data_uri("image/png", picture)}">{below}'
        "</div></div>"
    )


def _video(content: bytes) -> str:
    return f'<video controls playsinline src="{_data_uri("video/mp4", content)}"></video>'


def _sound_uri(track: Track) -> str:
    """The sound inside the page: FLAC, exact to 16 bits, or MP3 where that would be too large."""
    waveform, rate_hz = track.waveform, track.sample_rate_hz
    sound = io.BytesIO()
    if waveform.shape[1] <= _LONGEST_EXACT_SECONDS * rate_hz:
        soundfile.write(sound, waveform.T, rate_hz, format="FLAC")
        return _data_uri("audio/flac", sound.getvalue())
    if rate_hz > _HIGHEST_MP3_RATE_HZ:
        waveform, rate_hz = resample(waveform, rate_hz, _HIGHEST_MP3_RATE_HZ), _HIGHEST_MP3_RATE_HZ
    soundfile.write(sound, waveform.T, rate_hz, format="MP3")
    return _data_uri("audio/mpeg", sound.getvalue())


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
    return "<table>" + "".join(lines) + "</table>"


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
