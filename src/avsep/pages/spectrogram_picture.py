"""Spectrograms to look at: decibels over time and the logarithmic frequency axis, as PNG."""

import io

import numpy as np
import torch
from jaxtyping import Float32
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from avsep.sound.front_end import FrontEnd, FrontEndSettings
from avsep.sound.log_frequency import bins_of_rows
from avsep.sound.resample import resample

RANGE_DB = 70
_WIDTH_PIXELS, _HEIGHT_PIXELS, _DOTS_PER_INCH = 912, 204, 120
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
    ceiling = max(reference or float(rows.max()), 1e-6)
    decibels = 20 * np.log10(np.maximum(rows, 1e-9) / np.float32(ceiling))
    seconds = waveform.shape[1] / sample_rate_hz
    return _picture(decibels, (-RANGE_DB, 0), seconds, front_end, "magma", _HEIGHT_PIXELS)


def gate_png(
    gate: Float32[np.ndarray, "h w"],
    duration_seconds: float,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """A PNG of a gate over time and frequency, on the axes of `spectrogram_png`: dark 0, bright 1.

    The rows of a gate share the logarithmic axis out evenly, the lowest first.
    """
    height_pixels = _HEIGHT_PIXELS * 2 // 3
    return _picture(gate, (0, 1), duration_seconds, FrontEnd(settings), "viridis", height_pixels)


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
    height_pixels: int,
) -> bytes:
    """Values over time and the front end's logarithmic axis, drawn as PNG."""
    size = (_WIDTH_PIXELS / _DOTS_PER_INCH, height_pixels / _DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH)
    left, top, right, bottom = _MARGINS_PIXELS
    # Fixed margins: to lay a figure out takes longer than to draw it.
    axes = figure.add_axes(
        (left / _WIDTH_PIXELS, bottom / height_pixels, 1 - (left + right) / _WIDTH_PIXELS,
         1 - (top + bottom) / height_pixels)
    )  # fmt: skip
    num_rows = front_end.settings.num_rows
    axes.imshow(
        values, origin="lower", aspect="auto", cmap=colours, vmin=limits[0], vmax=limits[1],
        extent=(0, seconds, 0, num_rows), interpolation="bilinear",
    )  # fmt: skip
    nyquist_hz = front_end.settings.sample_rate_hz / 2
    hertz_of_rows = (bins_of_rows(num_rows).numpy() + 1) / 2 * nyquist_hz
    # On a low picture every second one, so that they do not touch.
    every = 1 if height_pixels >= _HEIGHT_PIXELS else 2
    ticks = [hertz for hertz in TICKS_HZ[::every] if hertz < nyquist_hz]
    axes.set_yticks(np.interp(ticks, hertz_of_rows, np.arange(num_rows)))
    axes.set_yticklabels([f"{t // 1000}k" if t >= 1000 else str(t) for t in ticks], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylabel("Hz", fontsize=7, labelpad=1)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
