"""Build self-contained HTML pages: shell, tables, players, key frames, the report of a clip."""

import base64
import html
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import av
import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from avsep.media.audio_encoding import AudioCodec, AudioEncoder, encodable_rate_hz
from avsep.pages.spectrograms import draw_spectrogram, log_frequency_rows
from avsep.records import Clip, VisibleObject
from avsep.sound.resampling import BlockResampler

# Longer sounds are AAC: a minute of stereo FLAC takes 5 to 10 MB, a third more in base64.
_LONGEST_FLAC_SECONDS = 60
# At this rate AAC has as little noise as MP3 at its usual one, in less than half the time.
_BITS_PER_SECOND_PER_CHANNEL = 56_000
# One colour per object: Okabe and Ito's, which colour-blind readers can tell apart, but black.
BOX_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
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
REPORT_STYLE = """
.pair { display: flex; flex-wrap: wrap; gap: 1rem; }
.pair > * { flex: 1 1 20rem; min-width: 0; max-width: 100%; border-radius: .5rem; }
.pair > :only-child { flex: 0 1 44rem; }
.track { display: grid; grid-template-columns: 12rem 1fr; gap: .3rem 1rem; align-items: center;
  padding: .6rem; margin: .4rem 0; background: var(--soft); border-radius: .5rem; }
.track b, .track small { display: block; overflow-wrap: anywhere; } .track small { opacity: .75; }
.track svg { width: 100%; height: 2.5rem; display: block; border-bottom: 1px solid var(--line); }
.track path { fill: currentColor; opacity: .45; }
.track img { width: 100%; } .track audio { width: 100%; margin-top: .4rem; }
@media (max-width: 45rem) { .track { grid-template-columns: 1fr; } }
"""


@dataclass(frozen=True)
class EncodedSound:
    """A sound as a page holds it.

    Attributes:
        uri: audio of its player, as a data URI.
        rows: log-frequency magnitude of its spectrogram.
        duration_seconds: its length.
    """

    uri: str
    rows: Float32[np.ndarray, "R T"]
    duration_seconds: float


@dataclass(frozen=True)
class Track:
    """One sound of the report.

    Attributes:
        sound: the sound, as of `encode_sound`.
        note: small text below the title.
        picture: a second picture (PNG) below the spectrogram, or none.
        picture_text: its description.
        curve: values from 0 to 1, one for each second, drawn over the length of the sound; none: no
            curve.
        curve_text: its description.
    """

    title: str
    sound: EncodedSound
    note: str = ""
    picture: bytes | None = None
    picture_text: str = ""
    curve: Sequence[float] = ()
    curve_text: str = ""


@dataclass(frozen=True)
class Section:
    """A heading of the report, a text, and tracks."""

    title: str
    tracks: Sequence[Track]
    text: str = ""


def report_html(
    title: str,
    video: bytes | None,
    key_frame: bytes | None,
    summary: tuple[Sequence[str], Sequence[Sequence[str]]] | None,
    sections: Sequence[Section],
    footer: str,
) -> str:
    """Build report.html: video (MP4), key frame (JPEG), summary table (head, rows), and tracks.

    Video, key frame and summary may be None. Everything is embedded, so that one file can be sent
    on. All spectrograms are on one scale, whose reference is the first track.
    """
    reference = float(sections[0].tracks[0].sound.rows.max())
    body = [
        '<div class="pair">',
        "" if video is None else _video(video),
        "" if key_frame is None else picture("jpeg", key_frame, "key frame with boxes"),
        "</div>",
        "" if summary is None else table(*summary),
    ]
    for section in sections:
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body.append(f"<p>{html.escape(section.text)}</p>" if section.text else "")
        for track in section.tracks:
            body.append(_track_html(track, reference))
    return page(title, body, REPORT_STYLE, footer)


def _track_html(track: Track, reference: float) -> str:
    """Build a track: title and player beside the spectrogram, whose brightest is `reference`."""
    sound = track.sound
    spectrogram = draw_spectrogram(sound.rows, sound.duration_seconds, reference)
    below = ""
    if track.picture is not None:
        below = picture("png", track.picture, track.picture_text)
        below += f"<small>{html.escape(track.picture_text)}</small>"
    if track.curve:
        below += _curve_svg(track.curve, sound.duration_seconds, track.curve_text)
        below += f"<small>{html.escape(track.curve_text)}</small>"
    return (
        f'<div class="track"><div><b>{html.escape(track.title)}</b>'
        f"<small>{html.escape(track.note)}</small>"
        f"{_player(track.title, sound.uri)}</div>"
        f"<div>{picture('png', spectrogram, f'spectrogram of {track.title}')}{below}</div></div>"
    )


def _curve_svg(values: Sequence[float], duration_seconds: float, text: str) -> str:
    """Draw steps of a second each, from 0 to 1, as wide as the sound; the last one to its end."""
    path = "M0 1"
    for second, value in enumerate(values):
        end = second + 1 if second + 1 < len(values) else max(second + 1, duration_seconds)
        path += f"V{1 - value:g}H{end:g}"
    return (
        f'<svg viewBox="0 0 {duration_seconds:g} 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{html.escape(text)}"><path d="{path}V1Z"/></svg>'
    )


def _video(content: bytes) -> str:
    return f'<video controls playsinline src="{data_uri("video/mp4", content)}"></video>'


# Page shell and elements


def page(title: str, body: Sequence[str], style: str, footer: str, *, script: str = "") -> str:
    """Build a page from parts of HTML, with title and footer.

    Args:
        title: plain text, escaped here, as is the footer.
        style: CSS added to STYLE.
        script: JavaScript, run after the body is loaded.
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
    """Build a table; columns with letters are aligned left, columns of numbers right."""
    is_text = [
        any(re.search("[A-Za-z]", row[column]) for row in rows) for column in range(len(head))
    ]
    classes = [' class="words"' if is_left else "" for is_left in is_text]
    lines = [f"<caption>{html.escape(caption)}</caption>"] if caption else []
    for cells, tag in ((head, 'th scope="col"'), *((row, "td") for row in rows)):
        line = "".join(
            f"<{tag}{name}>{html.escape(cell)}</{tag[:2]}>"
            for cell, name in zip(cells, classes, strict=True)
        )
        lines.append(f"<tr>{line}</tr>")
    return "<table>" + "".join(lines) + "</table>"


def player(name: str, waveform: Float32[np.ndarray, "C N"], sample_rate_hz: int) -> str:
    """Build an audio player; screen readers read its name."""
    return _player(name, sound_uri(waveform, sample_rate_hz))


def _player(name: str, uri: str) -> str:
    return (
        f'<audio controls preload="metadata" aria-label="{html.escape(name)}" src="{uri}"></audio>'
    )


def picture(kind: str, content: bytes, alt_text: str) -> str:
    """Build an embedded picture of a kind such as `png`."""
    return f'<img alt="{html.escape(alt_text)}" src="{data_uri(f"image/{kind}", content)}">'


def sound_uri(waveform: Float32[np.ndarray, "C N"], sample_rate_hz: int) -> str:
    """Encode a waveform as data URI: FLAC, exact to 16 bits, or AAC for long sounds."""
    encoder = _SoundEncoder(waveform.shape[0], waveform.shape[1], sample_rate_hz)
    encoder.write(waveform)
    return encoder.finish()


def encode_sound(
    blocks: Iterable[Float32[np.ndarray, "C _"]],
    num_channels: int,
    num_samples: int,
    sample_rate_hz: int,
) -> EncodedSound:
    """Encode a sound for a page, block by block.

    Args:
        blocks: successive blocks of the sound.
        num_channels: their channels.
        num_samples: length of the sound.
        sample_rate_hz: its rate.
    """
    encoder = _SoundEncoder(num_channels, num_samples, sample_rate_hz)

    def encoded() -> Iterator[Float32[np.ndarray, "C n"]]:
        for block in blocks:
            encoder.write(block)
            yield block

    rows = log_frequency_rows(encoded(), sample_rate_hz, num_samples)
    return EncodedSound(encoder.finish(), rows, num_samples / sample_rate_hz)


class _SoundEncoder:
    """Encode a sound block by block: FLAC, exact to 16 bits, or AAC where it is long."""

    def __init__(self, num_channels: int, num_samples: int, sample_rate_hz: int) -> None:
        is_long = num_samples > _LONGEST_FLAC_SECONDS * sample_rate_hz
        self._codec: AudioCodec = "aac" if is_long else "flac"
        rate_hz = encodable_rate_hz(self._codec, sample_rate_hz)
        self._resampler = BlockResampler(num_channels, sample_rate_hz, rate_hz)
        self._buffer = io.BytesIO()
        self._container = av.open(self._buffer, "w", format="mp4" if is_long else "flac")
        self._encoder = AudioEncoder(
            self._container,
            "sound",
            num_channels,
            rate_hz,
            self._codec,
            bits_per_second=_BITS_PER_SECOND_PER_CHANNEL,
        )

    def write(self, block: Float32[np.ndarray, "C n"]) -> None:
        """Encode the next samples; what exceeds full scale is clipped."""
        self._encode(self._resampler.push(block))

    def finish(self) -> str:
        """Return all as a data URI."""
        self._encode(self._resampler.flush())
        self._container.mux(self._encoder.flush())
        self._container.close()
        kind = "audio/mp4" if self._codec == "aac" else "audio/flac"
        return data_uri(kind, self._buffer.getvalue())

    def _encode(self, samples: Float32[np.ndarray, "C n"]) -> None:
        self._container.mux(self._encoder.encode(samples.clip(-1, 1)))


def data_uri(kind: str, content: bytes) -> str:
    """Encode bytes of a media type as data URI, which needs no file."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


# Key frames


def key_frame_jpeg(clip: Clip, index: int = 0) -> bytes:
    """Draw the boxes of a clip's objects on one of its frames, as JPEG."""
    picture = draw_boxes(clip.frames[index], clip, float(clip.frame_times_seconds[index]))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def draw_boxes(
    frame: UInt8[np.ndarray, "H W 3"], clip: Clip, time_seconds: float, first_number: int = 0
) -> Image.Image:
    """Draw each object's box at a time on a frame; an object without boxes fills the picture.

    Objects given by a text prompt alone are not drawn and keep their number.

    Numbers and colours count from `first_number`: the objects of one mixture may be in different
    videos, and each has its position in the mixture.
    """
    numbered = enumerate(clip.objects, first_number)
    return draw_objects(frame, [pair for pair in numbered if pair[1].is_visible], time_seconds)


def draw_objects(
    frame: UInt8[np.ndarray, "H W 3"],
    objects: Iterable[tuple[int, VisibleObject]],
    time_seconds: float,
) -> Image.Image:
    """Draw the box of each object at a time on a frame, with its number from 0 and its label."""
    picture = Image.fromarray(frame)
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    thickness = max(2, height // 150)
    font = ImageFont.load_default(size=max(11, height // 22))
    for index, visible in objects:
        colour = BOX_COLOURS[index % len(BOX_COLOURS)]
        x1, y1, x2, y2 = visible.box_at(max(time_seconds, 0))
        corner = (x1 * width, y1 * height)
        # Boxes of less than a pixel are drawn as one: Pillow refuses corners in the wrong order.
        opposite = (max(corner[0], x2 * width - 1), max(corner[1], y2 * height - 1))
        pen.rectangle((*corner, *opposite), outline=colour, width=thickness)
        text = f" {index + 1:02d} {visible.label or ''} "
        pen.rectangle(pen.textbbox(corner, text, font=font), fill=colour)
        pen.text(corner, text, fill=_text_colour(colour), font=font)
    return picture


def _text_colour(ground: str) -> str:
    """Return black or white, whichever contrasts more with a ground colour."""
    # Relative luminance by the Web Content Accessibility Guidelines 2.2, with a gamma of 2.2.
    red, green, blue = (int(ground[place : place + 2], 16) / 255 for place in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    # From here on black has the larger contrast.
    return "black" if luminance > 0.179 else "white"
