"""Spectrograms to look at: decibels over time and the logarithmic frequency axis, as PNG."""

import io

import numpy as np
import torch
from jaxtyping import Float32, Float64
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from avsep.sound.front_end import FrontEnd, FrontEndSettings, bins_of_rows
from avsep.sound.resampling import resample

RANGE_DB = 70
_WIDTH_PIXELS, _HEIGHT_PIXELS, _DOTS_PER_INCH = 912, 204, 120
_SMALL_PIXELS, _SMALL_COLOURS = (432, 168), 64
_MARGINS_PIXELS = (52, 6, 12, 26)  # left, top, right, bottom
_MOST_COLUMNS, _COLUMNS_AT_ONCE = 2000, 100
TICKS_HZ = (100, 250, 500, 1000, 2000, 4000)


def spectrogram_png(
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    reference: float | None = None,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """A PNG of what a network sees of a sound, channels averaged, without frame or margin text.

    `reference` is the magnitude shown brightest, by default the sound's own highest; give the
    mixture's (`peak_magnitude`) so that the pictures of one clip can be compared.
    """
    front_end = FrontEnd(settings)
    rows = _rows(waveform, sample_rate_hz, front_end)
    seconds = waveform.shape[1] / sample_rate_hz
    values = decibels_of(rows, reference or float(rows.max()))
    size = (_WIDTH_PIXELS, _HEIGHT_PIXELS)
    return _picture(values, (-RANGE_DB, 0), seconds, front_end, "magma", size)


def rows_png(
    rows: Float32[np.ndarray, "R T"],
    duration_seconds: float,
    reference: float,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """The same of a magnitude that is on the logarithmic axis already, smaller in pixels and bytes.

    It takes one byte a pixel, so that a page can hold a hundred.
    """
    values = decibels_of(rows, reference)
    drawn = _picture(
        values, (-RANGE_DB, 0), duration_seconds, FrontEnd(settings), "magma", _SMALL_PIXELS
    )
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(drawn)) as picture:
        picture.convert("RGB").quantize(_SMALL_COLOURS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def decibels_of(
    rows: Float32[np.ndarray, "*sounds R T"], reference: float
) -> Float32[np.ndarray, "*sounds R T"]:
    """Magnitudes in decibels below the reference's; silence is far below, not at minus infinity."""
    ceiling = np.float32(max(reference, 1e-6))
    return 20 * np.log10(np.maximum(rows, np.float32(1e-9)) / ceiling)


def row_ticks(settings: FrontEndSettings) -> tuple[Float64[np.ndarray, " ticks"], list[str]]:
    """Where round frequencies stand on the rows of the logarithmic axis, and their names."""
    nyquist_hz = settings.sample_rate_hz / 2
    hertz_of_rows = (bins_of_rows(settings.num_rows).numpy() + 1) / 2 * nyquist_hz
    ticks = [hertz for hertz in TICKS_HZ if hertz < nyquist_hz]
    names = [f"{tick // 1000}k" if tick >= 1000 else str(tick) for tick in ticks]
    return np.interp(ticks, hertz_of_rows, np.arange(settings.num_rows)), names


def gate_png(
    gate: Float32[np.ndarray, "h w"],
    duration_seconds: float,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """A PNG of a gate over time and frequency, on the axes of `spectrogram_png`: dark 0, bright 1.

    The rows of a gate share the logarithmic axis out evenly, the lowest first.
    """
    size = (_WIDTH_PIXELS, _HEIGHT_PIXELS * 2 // 3)
    return _picture(gate, (0, 1), duration_seconds, FrontEnd(settings), "viridis", size)


def peak_magnitude(
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    settings: FrontEndSettings | None = None,
) -> float:
    """The highest magnitude in a sound's spectrogram."""
    return float(_rows(waveform, sample_rate_hz, FrontEnd(settings)).max())


def _rows(
    waveform: Float32[np.ndarray, "C N"], sample_rate_hz: int, front_end: FrontEnd
) -> Float32[np.ndarray, "R T"]:
    """The magnitude on the logarithmic axis; of long sounds the highest of several frames."""
    mono = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    mono = resample(mono, sample_rate_hz, front_end.settings.sample_rate_hz)[0]
    at_once = -(-front_end.settings.stft.num_frames(len(mono)) // _MOST_COLUMNS)
    if at_once == 1:
        return front_end.to_rows(front_end.spectrogram(torch.from_numpy(mono))[0]).numpy()
    columns = []
    # A multiple of the hop, so that each piece's last frame is the first of the next.
    piece_samples = front_end.settings.stft.hop_samples * at_once * _COLUMNS_AT_ONCE
    for begin in range(0, len(mono), piece_samples):
        magnitude, _ = front_end.spectrogram(torch.from_numpy(mono[begin : begin + piece_samples]))
        rows = front_end.to_rows(magnitude).numpy()[:, : at_once * _COLUMNS_AT_ONCE]
        columns.append(np.maximum.reduceat(rows, np.arange(0, rows.shape[1], at_once), axis=1))
    return np.concatenate(columns, axis=1)


def _picture(
    values: Float32[np.ndarray, "rows columns"],
    limits: tuple[float, float],
    seconds: float,
    front_end: FrontEnd,
    colours: str,
    size_pixels: tuple[int, int],
) -> bytes:
    """Values over time and the front end's logarithmic axis, drawn as PNG."""
    width_pixels, height_pixels = size_pixels
    size = (width_pixels / _DOTS_PER_INCH, height_pixels / _DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH)
    left, top, right, bottom = _MARGINS_PIXELS
    # Fixed margins: to lay a figure out takes longer than to draw it.
    axes = figure.add_axes(
        (left / width_pixels, bottom / height_pixels, 1 - (left + right) / width_pixels,
         1 - (top + bottom) / height_pixels)
    )  # fmt: skip
    axes.imshow(
        values, origin="lower", aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
        extent=(0, seconds, 0, front_end.settings.num_rows), interpolation="bilinear",
    )  # fmt: skip
    ticks, names = row_ticks(front_end.settings)
    # On a low picture every second one, so that they do not touch.
    every = 1 if height_pixels >= _HEIGHT_PIXELS else 2
    axes.set_yticks(ticks[::every], names[::every], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylabel("Hz", fontsize=7, labelpad=1)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
