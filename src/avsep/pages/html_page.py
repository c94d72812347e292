"""Build self-contained HTML pages: shell, tables, players, and the report of a clip."""

import base64
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soundfile
from jaxtyping import Float32

from avsep.pages.spectrograms import peak_magnitude, spectrogram_png
from avsep.sound.resampling import resample

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


# report.html: one self-contained page to look at a clip and listen to all that came out of it


TRACK_STYLE = """
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
.pair > * { flex: 1 1 20rem; min-width: 0; max-width: 100%; border-radius: .5rem; }
.pair > :only-child { flex: 0 1 44rem; }
.track { display: grid; grid-template-columns: 12rem 1fr; gap: .3rem 1rem; align-items: center;
  padding: .6rem; margin: .4rem 0; background: var(--soft); border-radius: .5rem; }
.track b, .track small { display: block; overflow-wrap: anywhere; } .track small { opacity: .75; }
.track img { width: 100%; } .track audio { width: 100%; margin-top: .4rem; }
@media (max-width: 45rem) { .track { grid-template-columns: 1fr; } }
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
    summary: tuple[Sequence[str], Sequence[Sequence[str]]] | None,
    sections: Sequence[Section],
    footer: str,
) -> str:
    """The page: video (MP4), key frame (JPEG), summary (head, rows), every track with its picture.

    Video and summary may be left out. Everything is inside the page, so that one file can be sent
    to somebody.
    """
    first = sections[0].tracks[0]
    reference = peak_magnitude(first.waveform, first.sample_rate_hz)
    body = [
        '<div class="pair">',
        "" if video is None else _video(video),
        picture("jpeg", key_frame, "key frame with boxes"),
        "</div>",
        "" if summary is None else table(*summary),
    ]
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body.append(f"<p>{html.escape(section.text)}</p>" if section.text else "")
        body += [track_html(track, reference) for track in section.tracks]
    return page(title, body, TRACK_STYLE, footer)


def track_html(track: Track, reference: float) -> str:
    """A track to play beside its spectrogram, on the scale of the reference's magnitude."""
    drawn = spectrogram_png(track.waveform, track.sample_rate_hz, reference)
    below = ""
    if track.picture is not None:
        below = picture("png", track.picture, track.picture_text)
        below += f"<small>{html.escape(track.picture_text)}</small>"
    return (
        f'<div class="track"><div><b>{html.escape(track.title)}</b>'
        f"<small>{html.escape(track.remark)}</small>"
        f"{player(track.title, track.waveform, track.sample_rate_hz)}</div>"
        f"<div>{picture('png', drawn, f'spectrogram of {track.title}')}{below}</div></div>"
    )


def _video(content: bytes) -> str:
    return f'<video controls playsinline src="{data_uri("video/mp4", content)}"></video>'
