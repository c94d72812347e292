"""Draw spectrograms: decibels over time and log-frequency, as RGB arrays and PNG files."""

import io

import numpy as np
import torch
from jaxtyping import Float32, Float64, UInt8
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from avsep.sound.front_end import FrontEnd, FrontEndSettings, log_axis_grid
from avsep.sound.resampling import resample

# From the brightest to the darkest colour: about what is audible beside the loudest note.
RANGE_DB = 70
TICKS_HZ = (100, 250, 500, 1000, 2000, 4000)
_GAP_PIXELS = 3
_WIDTH_PIXELS, _HEIGHT_PIXELS, _DOTS_PER_INCH = 912, 204, 120
_SMALL_PIXELS, _SMALL_COLOURS = (432, 168), 64
_MARGINS_PIXELS = (52, 6, 12, 26)  # left, top, right, bottom
# More columns than a picture has pixels only cost memory: 2000 are two to each of 912 pixels.
_MAX_COLUMNS = 2000
# Columns of one step through a long waveform, whose spectrogram is never held as a whole.
_COLUMNS_PER_STEP = 100


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
    return colormaps["magma"](strip, bytes=True)[..., :3]


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
    front_end = FrontEnd(settings)
    rows = _log_frequency_rows(waveform, sample_rate_hz, front_end)
    seconds = waveform.shape[1] / sample_rate_hz
    # A reference of 0, that of a silent mixture, is replaced by the waveform's own.
    picture = spectrogram_rgb(rows[None], reference or None)
    return _draw_png(picture, seconds, front_end, (_WIDTH_PIXELS, _HEIGHT_PIXELS))


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
    png = _draw_png(picture, duration_seconds, FrontEnd(settings), _SMALL_PIXELS)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as drawn:
        drawn.convert("RGB").quantize(_SMALL_COLOURS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def gate_png(
    gate: Float32[np.ndarray, "h w"],
    duration_seconds: float,
    settings: FrontEndSettings | None = None,
) -> bytes:
    """Draw a gate over time and frequency, on the axes of `spectrogram_png`: dark 0, bright 1.

    The rows of the gate divide the log-frequency axis evenly, the lowest first.
    """
    size_pixels = (_WIDTH_PIXELS, _HEIGHT_PIXELS * 2 // 3)
    return _draw_png(gate[::-1], duration_seconds, FrontEnd(settings), size_pixels)


def peak_magnitude(
    waveform: Float32[np.ndarray, "C N"],
    sample_rate_hz: int,
    settings: FrontEndSettings | None = None,
) -> float:
    """Return the highest magnitude in a waveform's log-frequency spectrogram."""
    return float(_log_frequency_rows(waveform, sample_rate_hz, FrontEnd(settings)).max())


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


def _log_frequency_rows(
    waveform: Float32[np.ndarray, "C N"], sample_rate_hz: int, front_end: FrontEnd
) -> Float32[np.ndarray, "R T"]:
    """Compute the log-frequency magnitude, in long sounds the maximum of several frames each."""
    mono = waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    mono = resample(mono, sample_rate_hz, front_end.settings.sample_rate_hz)[0]
    frames_per_column = -(-front_end.settings.stft.num_frames(len(mono)) // _MAX_COLUMNS)
    if frames_per_column == 1:
        return front_end.to_rows(front_end.spectrogram(torch.from_numpy(mono))[0]).numpy()
    columns = []
    frames_per_step = frames_per_column * _COLUMNS_PER_STEP
    # A multiple of the hop, so that each step's last frame is the first of the next.
    step_samples = front_end.settings.stft.hop_samples * frames_per_step
    for begin in range(0, len(mono), step_samples):
        magnitude, _ = front_end.spectrogram(torch.from_numpy(mono[begin : begin + step_samples]))
        rows = front_end.to_rows(magnitude).numpy()[:, :frames_per_step]
        # The maximum, not the mean: short notes keep their brightness.
        starts = np.arange(0, rows.shape[1], frames_per_column)
        columns.append(np.maximum.reduceat(rows, starts, axis=1))
    return np.concatenate(columns, axis=1)


def _draw_png(
    picture: UInt8[np.ndarray, "rows columns 3"] | Float32[np.ndarray, "rows columns"],
    seconds: float,
    front_end: FrontEnd,
    size_pixels: tuple[int, int],
) -> bytes:
    """Draw RGB, or values of 0 to 1, on axes of time and log-frequency, as PNG."""
    width_pixels, height_pixels = size_pixels
    size = (width_pixels / _DOTS_PER_INCH, height_pixels / _DOTS_PER_INCH)
    figure = Figure(figsize=size, dpi=_DOTS_PER_INCH)
    left, top, right, bottom = _MARGINS_PIXELS
    # Fixed margins: an automatic layout takes longer than the drawing.
    axes = figure.add_axes(
        (left / width_pixels, bottom / height_pixels, 1 - (left + right) / width_pixels,
         1 - (top + bottom) / height_pixels)
    )  # fmt: skip
    # Colour map and limits apply to values only, which are interpolated before they are coloured.
    # The map differs from that of magnitudes, so that a gate is not mistaken for a spectrogram.
    axes.imshow(
        picture, cmap="viridis", vmin=0, vmax=1, origin="upper", aspect="auto",
        extent=(0, seconds, 0, front_end.settings.num_rows), interpolation="bilinear",
    )  # fmt: skip
    ticks, labels = frequency_ticks(front_end.settings)
    # On low pictures every second tick, so that labels do not overlap.
    every = 1 if height_pixels >= _HEIGHT_PIXELS else 2
    axes.set_yticks(ticks[::every], labels[::every], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylabel("Hz", fontsize=7, labelpad=1)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
