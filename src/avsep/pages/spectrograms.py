"""Draw spectrograms: decibels over time and log-frequency, as RGB arrays and PNG files."""

import io
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from PIL import Image, ImageDraw, ImageFont

from avsep.sound.front_end import FrontEnd, FrontEndSettings, log_axis_grid
from avsep.sound.resampling import resample_blocks

# From the brightest to the darkest colour: about what is audible beside the loudest note.
RANGE_DB = 70
TICKS_HZ = (100, 250, 500, 1000, 2000, 4000)
_GAP_PIXELS = 3
_WIDTH_PIXELS, _HEIGHT_PIXELS = 912, 204
_SMALL_PIXELS, _SMALL_COLOURS = (432, 168), 64
_MARGINS_PIXELS = (52, 6, 12, 26)  # left, top, right, bottom
_FONT_PIXELS, _TICK_PIXELS = 12, 4
_MAX_TIME_STEPS = 8
# More columns than a picture has pixels only cost memory: 2000 are two to each of 912 pixels.
_MAX_COLUMNS = 2000
# Columns of one step through a long waveform, whose spectrogram is never held as a whole.
_COLUMNS_PER_STEP = 100


def _colour_table(colours: str) -> UInt8[np.ndarray, "256 3"]:
    """Interpolate evenly spaced colours, in hexadecimal digits, to 256."""
    spaced = np.frombuffer(bytes.fromhex(colours), np.uint8).reshape(-1, 3)
    places = np.linspace(0, 255, len(spaced))
    channels = [np.interp(np.arange(256), places, channel) for channel in spaced.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


# Every 15th of the 256 colours of matplotlib's magma and viridis. Importing matplotlib would take
# longer than drawing a page of spectrograms.
_MAGMA = _colour_table(
    "00000309071f1a10413010654a107961187f792281912a80a9327c"
    "c23a75d9466aec585ff7715bfc8e63feaa74fec689fde1a3fbfcbf"
)
_VIRIDIS = _colour_table(
    "440154471669472a79433c843c4d8a355d8c2e6c8e287a8e23898d"
    "1e978a20a5852eb27c45bf6f64cb5d88d547afdc2ed7e219fde724"
)


def spectrogram_rgb(
    rows: Float32[np.ndarray, "sounds R T"], reference: float | None = None
) -> UInt8[np.ndarray, "R W 3"]:
    """Draw log-frequency magnitudes side by side as RGB on one dB scale, low frequencies below.

    Args:
        rows: magnitudes, as of `FrontEnd.to_rows`.
        reference: magnitude of the brightest colour; none: the highest of all sounds. The darkest
            colour is RANGE_DB below.

    Returns:
        pixels, one for each cell of each sound, with gaps of 3 bright columns between sounds.
    """
    decibels = to_decibels(rows, float(rows.max()) if reference is None else reference)
    shares = np.clip(1 + decibels / RANGE_DB, 0, 1)[:, ::-1]  # of the colour range; top row first
    gaps = np.ones((*shares.shape[:2], _GAP_PIXELS), shares.dtype)
    strip = np.concatenate([shares, gaps], axis=2)  # S R T+gap
    strip = np.concatenate(list(strip), axis=1)[:, :-_GAP_PIXELS]  # R W
    return _MAGMA[(255 * strip).round().astype(np.uint8)]


def spectrogram_png(
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    reference: float | None = None,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """Draw the log-frequency spectrogram of a waveform, channels averaged, as PNG.

    `reference` is the magnitude of the brightest colour; none: the waveform's highest. Give the
    mixture's (`peak_magnitude`) to make the pictures of one clip comparable.
    """
    rows = log_frequency_rows([waveform], sample_rate_hz, waveform.shape[1], settings)
    return draw_spectrogram(rows, waveform.shape[1] / sample_rate_hz, reference, settings)


def draw_spectrogram(
    rows: Float32[np.ndarray, "R T"],
    duration_seconds: float,
    reference: float | None = None,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """Draw a log-frequency magnitude, as of `log_frequency_rows`, as PNG."""
    # A reference of 0, that of a silent mixture, is replaced by the waveform's own.
    picture = spectrogram_rgb(rows[None], reference or None)
    size_pixels = (_WIDTH_PIXELS, _HEIGHT_PIXELS)
    return _draw_png(picture, duration_seconds, settings or FrontEndSettings(), size_pixels)


def rows_png(
    rows: Float32[np.ndarray, "R T"],
    duration_seconds: float,
    reference: float,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """Draw a log-frequency magnitude as a small PNG of one byte a pixel.

    A page of results holds a hundred of them.
    """
    picture = spectrogram_rgb(rows[None], reference)
    settings = settings or FrontEndSettings()
    return _draw_png(picture, duration_seconds, settings, _SMALL_PIXELS, _SMALL_COLOURS)


def gate_png(
    gate: Float32[np.ndarray, "h w"],
    duration_seconds: float,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """Draw a gate over time and frequency, on the axes of `spectrogram_png`: dark 0, bright 1.

    The rows of the gate divide the log-frequency axis evenly, the lowest first.
    """
    size_pixels = (_WIDTH_PIXELS, _HEIGHT_PIXELS * 2 // 3)
    # Not the colours of magnitudes, so that a gate is not mistaken for a spectrogram.
    picture = _VIRIDIS[(255 * gate[::-1]).round().astype(np.uint8)]
    settings = settings or FrontEndSettings()
    return _draw_png(picture, duration_seconds, settings, size_pixels)


def peak_magnitude(
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    settings: FrontEndSettings | None = None,
) -> float:
    """Return the highest magnitude in a waveform's log-frequency spectrogram."""
    rows = log_frequency_rows([waveform], sample_rate_hz, waveform.shape[1], settings)
    return float(rows.max())


def to_decibels(
    rows: Float32[np.ndarray, "*sounds R T"], reference: float
) -> Float32[np.ndarray, "*sounds R T"]:
    """Convert magnitudes to decibels relative to a reference; silence stays finite."""
    # The two floors keep silence finite; that of the reference is the higher one, so that a wholly
    # silent sound is drawn dark, 60 dB below its reference.
    ceiling = np.float32(max(reference, 1e-6))
    return 20 * np.log10(np.maximum(rows, np.float32(1e-9)) / ceiling)


def frequency_ticks(settings: FrontEndSettings) -> tuple[Float64[np.ndarray, " ticks"], list[str]]:
    """Return the rows of round frequencies on the log-frequency axis, and their labels."""
    nyquist_hz = settings.sample_rate_hz / 2
    hertz_of_rows = (log_axis_grid(settings.num_rows).numpy() + 1) / 2 * nyquist_hz
    ticks = [hertz for hertz in TICKS_HZ if hertz < nyquist_hz]
    labels = [f"{tick // 1000}k" if tick >= 1000 else str(tick) for tick in ticks]
    return np.interp(ticks, hertz_of_rows, np.arange(settings.num_rows)), labels


def log_frequency_rows(
    blocks: Iterable[Float32[np.ndarray, "C _"]],
    sample_rate_hz: int,
    num_samples: int,
    settings: FrontEndSettings | None = None,
) -> Float32[np.ndarray, "R T"]:
    """Compute the log-frequency magnitude of a sound, channels averaged, in bounded memory.

    In long sounds a column is the maximum of several frames: it has at most 2,000 of them.

    Args:
        blocks: successive blocks of the sound.
        sample_rate_hz: their rate.
        num_samples: length of the sound.
        settings: front end whose axis is drawn; none: that of the papers.
    """
    front_end = FrontEnd(settings)
    rate_hz, hop_samples = front_end.settings.sample_rate_hz, front_end.settings.stft.hop_samples
    num_frames = 1 + round(num_samples * rate_hz / sample_rate_hz) // hop_samples
    frames_per_column = -(-num_frames // _MAX_COLUMNS)
    # A short sound in one step. Else a multiple of the hop, so that each step's last frame is the
    # first of the next.
    frames_per_step = frames_per_column * _COLUMNS_PER_STEP
    if frames_per_column == 1:
        frames_per_step = num_frames + 1
    mono = (block.mean(axis=0, keepdims=True, dtype=np.float32) for block in blocks)
    resampled = resample_blocks(mono, 1, sample_rate_hz, rate_hz)
    columns = []
    for piece in _in_steps(resampled, frames_per_step * hop_samples):
        magnitude = front_end.magnitude(torch.from_numpy(piece))
        rows = front_end.to_rows(magnitude).numpy()[:, :frames_per_step]
        # The maximum, not the mean: short notes keep their brightness.
        starts = np.arange(0, rows.shape[1], frames_per_column)
        columns.append(np.maximum.reduceat(rows, starts, axis=1))
    return np.concatenate(columns, axis=1)


def _in_steps(
    blocks: Iterable[Float32[np.ndarray, "1 _"]], step_samples: int
) -> Iterator[Float32[np.ndarray, " m"]]:
    """Join blocks and split them into steps of one length; the last is shorter."""
    pieces: list[Float32[np.ndarray, " n"]] = []
    num_samples = 0
    for block in blocks:
        pieces.append(block[0])
        num_samples += block.shape[1]
        while num_samples >= step_samples:
            joined = np.concatenate(pieces)
            yield joined[:step_samples]
            pieces, num_samples = [joined[step_samples:]], num_samples - step_samples
    if num_samples:
        yield np.concatenate(pieces)


def _draw_png(
    picture: UInt8[np.ndarray, "rows columns 3"],
    seconds: float,
    settings: FrontEndSettings,
    size_pixels: tuple[int, int],
    num_colours: int | None = None,
) -> bytes:
    """Draw RGB on axes of time and log-frequency, as PNG; none: all colours are kept."""
    width, height = size_pixels
    left, top, right, bottom = _MARGINS_PIXELS
    right, bottom = width - right, height - bottom
    drawn = Image.new("RGB", size_pixels, "white")
    inner = Image.fromarray(picture).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    drawn.paste(inner, (left, top))
    pen = ImageDraw.Draw(drawn)
    pen.font = ImageFont.load_default(_FONT_PIXELS)
    pen.rectangle((left - 1, top - 1, right, bottom), outline="black")
    ticks, labels = frequency_ticks(settings)
    # On low pictures every second tick, so that labels do not overlap.
    every = 1 if height >= _HEIGHT_PIXELS else 2
    for row, label in zip(ticks[::every], labels[::every], strict=True):
        y = bottom - (bottom - top) * row / settings.num_rows
        pen.line((left - _TICK_PIXELS, y, left, y), "black")
        pen.text((left - 2 * _TICK_PIXELS, y), label, "black", anchor="rm")
    pen.text((_TICK_PIXELS, (top + bottom) / 2), "Hz", "black", anchor="lm")
    # Multiples of 1, 2, 5 or 10 times a power of ten.
    power = 10.0 ** np.floor(np.log10(seconds / _MAX_TIME_STEPS))
    steps = power * np.array([1, 2, 5, 10])
    step = steps[seconds / steps <= _MAX_TIME_STEPS].min()
    for tick in np.arange(0, seconds, step).tolist():
        x = left + (right - left) * tick / seconds
        pen.line((x, bottom, x, bottom + _TICK_PIXELS), "black")
        pen.text((x, bottom + 2 * _TICK_PIXELS), f"{tick:g}", "black", anchor="mt")
    buffer = io.BytesIO()
    drawn = drawn.quantize(num_colours) if num_colours else drawn
    # Higher levels take twice the time for a tenth less.
    drawn.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
