"""report.html: one self-contained page to look at a clip and listen to all that came out of it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avsep.pages.html_parts import data_uri, page, picture, player, table
from avsep.pages.spectrogram_picture import peak_magnitude, spectrogram_png

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
