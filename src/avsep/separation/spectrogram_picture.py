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
    decibels = 20 * np.log10(np.maximum(rows, 1e-9) / ceiling)
    figure = Figure(figsize=(7.6, 1.7), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    seconds = waveform.shape[1] / sample_rate_hz
    axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=-RANGE_DB, vmax=0,
        extent=(0, seconds, 0, rows.shape[0]), interpolation="bilinear",
    )  # fmt: skip
    nyquist_hz = front_end.settings.sample_rate_hz / 2
    hertz_of_rows = (bins_of_rows(rows.shape[0]).numpy() + 1) / 2 * nyquist_hz
    ticks = [hertz for hertz in TICKS_HZ if hertz < nyquist_hz]
    axes.set_yticks(np.interp(ticks, hertz_of_rows, np.arange(rows.shape[0])))
    axes.set_yticklabels([f"{t // 1000}k" if t >= 1000 else str(t) for t in ticks], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylabel("Hz", fontsize=7)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


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
    mono = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    mono = resample(mono, sample_rate_hz, front_end.settings.sample_rate_hz)
    magnitude, _ = front_end.spectrogram(torch.from_numpy(mono[0]))
    return front_end.to_rows(magnitude).numpy()
