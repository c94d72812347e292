"""The page and its pictures: self-contained, escaped, on one scale."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsep.media.audio import read_audio
from avsep.pages.html_page import EncodedSound, Section, Track, encode_sound, report_html
from avsep.pages.spectrograms import gate_png, peak_magnitude, spectrogram_png


def tone(frequency_hz: float, level: float = 0.5) -> np.ndarray:
    n = np.arange(22050)
    return (level * np.sin(2 * np.pi * frequency_hz * n / 11025)).astype(np.float32)[None]


def encoded(sound: np.ndarray) -> EncodedSound:
    """Encode a sound that comes in two blocks."""
    blocks = np.split(sound, [1000], axis=1)
    return encode_sound(blocks, len(sound), sound.shape[1], 11025)


def brightness(png: bytes) -> np.ndarray:
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("L"), dtype=float)
    return picture[10:-35]  # without the white margins


def test_a_higher_tone_stands_higher_and_a_softer_one_darker() -> None:
    low, high = (brightness(spectrogram_png(tone(f), 11025)) for f in (200.0, 2000.0))
    middle = slice(low.shape[1] // 2, low.shape[1] * 3 // 4)
    assert high[:, middle].mean(1).argmax() < low[:, middle].mean(1).argmax()
    reference = peak_magnitude(tone(200), 11025)
    soft = brightness(spectrogram_png(tone(200, 0.05), 11025, reference))
    assert soft[:, middle].mean() < low[:, middle].mean()
    assert peak_magnitude(tone(200, 0.05), 11025) == pytest.approx(reference / 10, rel=0.01)


def test_silence_is_drawn_too() -> None:
    picture = spectrogram_png(np.zeros((2, 44100), dtype=np.float32), 44100)
    assert picture.startswith(b"\x89PNG")


def test_the_page_holds_everything_and_escapes_names() -> None:
    violin = Track("<b>violin</b>", encoded(tone(500)), "5 < 7 dB")
    tracks = [Track("mixture", encoded(tone(300))), violin]
    page = report_html(
        "A & B", b"video bytes", b"picture bytes", (["name", "SDR"], [["mixture", "0.1"]]),
        [Section("Sounds", tracks, "what they are")], "made by a test",
    )  # fmt: skip
    HTMLParser().feed(page)
    assert "A &amp; B" in page and "&lt;b&gt;violin" in page and "<b>violin" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)  # nothing outside the file is loaded
    sounds = re.findall(r'data:audio/flac;base64,([^"]+)', page)
    decoded, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(sounds[1])))
    assert rate_hz == 11025
    np.testing.assert_allclose(decoded, tone(500)[0], atol=1 / 32768)


def test_a_curve_is_drawn_in_steps_of_a_second_over_the_sound() -> None:
    sound = encoded(tone(500))
    curve = Track("violin", sound, curve=(0.5, 1), curve_text="heard, <each> second")
    page = report_html("a", None, None, None, [Section("Sounds", [curve])], "")
    end = max(2, sound.duration_seconds)
    assert f'd="M0 1V0.5H1V0H{end:g}V1Z"' in page and "heard, &lt;each&gt; second" in page
    assert f'viewBox="0 0 {sound.duration_seconds:g} 1"' in page
    plain = Track("violin", sound)
    assert "<svg" not in report_html("a", None, None, None, [Section("Sounds", [plain])], "")


@pytest.mark.slow
def test_a_long_sound_is_drawn_in_fewer_columns_and_as_loud() -> None:
    # Two minutes are 5,168 frames, more than are drawn.
    long = np.tile(tone(500), (1, 60))
    assert peak_magnitude(long, 11025) == pytest.approx(peak_magnitude(tone(500), 11025), rel=0.01)
    rows = [brightness(spectrogram_png(sound, 11025)).mean(1) for sound in (tone(500), long)]
    assert abs(int(rows[0].argmax()) - int(rows[1].argmax())) <= 2


@pytest.mark.slow
def test_a_long_sound_is_held_as_aac_so_that_the_page_stays_small() -> None:
    long = np.tile(tone(500), (1, 31))  # 62 s
    page = report_html(
        "long", None, b"", None, [Section("Sounds", [Track("a", encoded(long))])], ""
    )
    content = base64.b64decode(re.findall(r'data:audio/mp4;base64,([^"]+)', page)[0])
    decoded = read_audio(io.BytesIO(content))
    assert decoded.sample_rate_hz == 11025 and len(content) < long.size
    # Its delay is told in the file, and players take it off.
    samples = decoded.waveform[0, : long.shape[1]]
    assert len(samples) == long.shape[1]
    error = np.square(samples - long[0]).mean() / np.square(long).mean()
    assert error < 1e-3
    assert "<video" not in page and "<table" not in page


def test_a_gate_is_brighter_where_it_is_open() -> None:
    gate = np.zeros((4, 8), np.float32)
    gate[0, 4:] = 1  # the lowest frequencies, in the second half
    picture = np.asarray(Image.open(io.BytesIO(gate_png(gate, 2.0))).convert("L"), dtype=float)
    drawn = picture[10:-35, 60:-20]
    height, width = drawn.shape
    closed, opened = drawn[: height // 4], drawn[-height // 8 :, -width // 4 :]
    assert opened.mean() > 3 * closed.mean()
