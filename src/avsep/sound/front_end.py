"""The audio front end: waveforms to log-frequency magnitudes, and masks back to waveforms."""

import math
from typing import Literal

import torch
from jaxtyping import Complex, Float, Float64
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import grid_sample

from avsep.errors import InputError

# The log-frequency axis follows log(1 + 20 x) for x in 0..1: base 21, and (LOG_BASE - 1) / 2 = 10
# and (LOG_BASE + 1) / 2 = 11 in the grids below (Zhao et al., The Sound of Pixels, ECCV 2018,
# section 4.2, and all papers since).
LOG_BASE = 21.0


class StftSettings(BaseModel):
    """Window, hop and padding of the STFT; the defaults are those of all three papers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fft_samples: int = Field(default=1022, gt=1, description="window and transform, samples (even)")
    hop_samples: int = Field(default=256, gt=0, description="from one frame to the next, samples")
    padding: Literal["zeros", "reflect"] = Field(
        default="zeros",
        description="padding of both ends; librosa before 0.9 (Sound of Pixels) reflected",
    )

    @model_validator(mode="after")
    def _check_invertible(self) -> "StftSettings":
        # With more than half a window between frames, Hann windows leave samples near zero weight.
        if self.fft_samples % 2 or 2 * self.hop_samples > self.fft_samples:
            raise ValueError("fft_samples must be even and at least twice hop_samples")
        return self

    @property
    def num_bins(self) -> int:
        """Number of frequency bins F, from 0 Hz to half the sampling rate."""
        return self.fft_samples // 2 + 1

    def num_frames(self, num_samples: int) -> int:
        """Return the number of spectrogram frames T: 256 for the papers' 65,535 samples."""
        return 1 + num_samples // self.hop_samples


PAPER_STFT = StftSettings()


class FrontEndSettings(BaseModel):
    """Settings of the front end; the defaults are those shared since The Sound of Pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: int = Field(default=11025, gt=0, description="sampling rate of the model")
    window_samples: int = Field(default=65535, gt=0, description="one window, 5.944 seconds")
    num_channels: Literal[1, 2] = Field(
        default=1, description="1: channels are averaged; 2: binaural, left first"
    )
    stft: StftSettings = StftSettings()
    num_rows: int = Field(default=256, gt=1, description="rows R of the log-frequency axis")
    num_columns: int | None = Field(
        default=None,
        gt=1,
        description="columns the frames are resized to; none: one per frame",
    )
    legacy_corners: bool = Field(
        default=False, description="only for weights of codes that omit align_corners"
    )

    @property
    def window_format(self) -> tuple[int, int, int]:
        """Sample rate, samples and channels of a window: what its samples depend on."""
        return self.sample_rate_hz, self.window_samples, self.num_channels

    def count_columns(self, num_samples: int) -> int:
        """Return the number of columns of a waveform's log-frequency spectrogram."""
        return self.num_columns or self.stft.num_frames(num_samples)


class FrontEnd:
    """Transforms between waveforms and (log-frequency) magnitudes, on the tensors' device."""

    def __init__(self, settings: FrontEndSettings | None = None) -> None:
        self.settings = settings or FrontEndSettings()

    def spectrogram(
        self, waveform: Float[Tensor, "*batch N"]
    ) -> tuple[Float[Tensor, "*batch F T"], Complex[Tensor, "*batch F T"]]:
        """Compute the magnitude and the unit phase of a waveform."""
        spectrum = stft(waveform, self.settings.stft)
        return spectrum.abs(), unit_phase(spectrum)

    def magnitude(self, waveform: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch F T"]:
        """Compute the magnitude alone, which is enough for target masks."""
        return stft(waveform, self.settings.stft).abs()

    def waveform(
        self,
        magnitude: Float[Tensor, "*batch F T"],
        phase: Complex[Tensor, "*#batch F T"],
        num_samples: int | None = None,
    ) -> Float[Tensor, "*batch N"]:
        """Compute the waveform of a magnitude and the mixture's phase; lengths as in `istft`."""
        return istft(magnitude * phase, self.settings.stft, num_samples=num_samples)

    def to_rows(self, linear: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """Resample a magnitude to the log-frequency axis and its frames to `num_columns`."""
        return to_log_frequency(
            linear,
            self.settings.num_rows,
            num_columns=self.settings.num_columns,
            legacy_corners=self.settings.legacy_corners,
        )

    def to_bins(
        self, rows: Float[Tensor, "*batch R t"], num_frames: int | None = None
    ) -> Float[Tensor, "*batch F T"]:
        """Resample a mask or magnitude of the log-frequency axis to the linear one.

        Its columns are resized to `num_frames`; none: they are kept.
        """
        return to_linear_frequency(
            rows,
            self.settings.stft.num_bins,
            num_frames=num_frames,
            legacy_corners=self.settings.legacy_corners,
        )


# Short-time Fourier transform


def stft(
    waveform: Float[Tensor, "*batch N"], settings: StftSettings = PAPER_STFT
) -> Complex[Tensor, "*batch F T"]:
    """Compute the complex spectrogram: periodic Hann window, frames centred on hop multiples.

    Raises:
        InputError: no samples, another dtype than float32 or float64, or too few to reflect.
    """
    if waveform.shape[-1] == 0 or waveform.dtype not in (torch.float32, torch.float64):
        raise InputError(
            f"a waveform of {waveform.shape[-1]} samples of {waveform.dtype} has no spectrogram; "
            "at least one sample is needed, of float32 or float64: see waveform.float()"
        )
    if settings.padding == "reflect" and waveform.shape[-1] <= settings.fft_samples // 2:
        raise InputError(
            f"a waveform of {waveform.shape[-1]} samples is too short to reflect: more than "
            f"{settings.fft_samples // 2} are needed; use padding = 'zeros'"
        )
    flat = waveform.reshape(-1, waveform.shape[-1])  # * N -> batch N
    spectrum = torch.stft(
        flat,
        settings.fft_samples,
        settings.hop_samples,
        window=_hann_window(settings, waveform),
        center=True,
        pad_mode="constant" if settings.padding == "zeros" else "reflect",
        return_complex=True,
    )
    return spectrum.reshape(*waveform.shape[:-1], *spectrum.shape[-2:])  # batch F T -> * F T


def istft(
    spectrum: Complex[Tensor, "*batch F T"],
    settings: StftSettings = PAPER_STFT,
    *,
    num_samples: int | None = None,
) -> Float[Tensor, "*batch N"]:
    """Compute the waveform of a complex spectrogram, `num_samples` long.

    None: up to the centre of the last frame, 65,280 of the papers' 65,535 samples, as in every
    released code. At most one hop beyond that centre can be reconstructed.

    Raises:
        InputError: more samples than the frames cover, or none.
    """
    covered_samples = (spectrum.shape[-1] - 1) * settings.hop_samples
    output_samples = covered_samples if num_samples is None else num_samples
    if not 0 < output_samples < covered_samples + settings.hop_samples:
        raise InputError(
            f"{spectrum.shape[-1]} frames do not hold {output_samples} samples: num_samples must "
            f"be 1 to {covered_samples + settings.hop_samples - 1}"
        )
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])  # * F T -> batch F T
    waveform = torch.istft(
        flat,
        settings.fft_samples,
        settings.hop_samples,
        window=_hann_window(settings, spectrum.real),
        center=True,
        length=output_samples,
    )
    return waveform.reshape(*spectrum.shape[:-2], -1)  # batch N -> * N


def unit_phase(spectrum: Complex[Tensor, "*batch F T"]) -> Complex[Tensor, "*batch F T"]:
    """Scale a spectrogram to magnitude one: the mixture's phase, which all estimates share.

    Silent cells get phase zero.
    """
    # Not `polar` of the angle, which takes four times as long. Below the smallest normal number
    # the sign is not finite.
    is_silent = spectrum.abs() < torch.finfo(spectrum.real.dtype).tiny
    return spectrum.sgn().masked_fill(is_silent, 1)


def _hann_window(settings: StftSettings, like: Tensor) -> Float[Tensor, " N"]:
    return torch.hann_window(settings.fft_samples, dtype=like.dtype, device=like.device)


# Log-frequency axis: row i of R reads linear bin b(i) = (F - 1) (21^(i / (R - 1)) - 1) / 20. Rows
# are dense at low frequencies, where notes are close together. Both directions are bilinear
# sampling, hence differentiable.


def to_log_frequency(
    spectrogram: Float[Tensor, "*batch F T"],
    num_rows: int = 256,
    *,
    num_columns: int | None = None,
    legacy_corners: bool = False,
) -> Float[Tensor, "*batch R t"]:
    """Resample a spectrogram to the log-frequency axis, R = `num_rows`.

    Its frames are resized to t = `num_columns`; none: they are kept.

    `legacy_corners` runs weights of codes that call `grid_sample` without `align_corners` (iQuery,
    LAVSS): it blends the outermost half cells with zeros and cannot be inverted.
    """
    # Departure: the released codes differ in align_corners; true (as DAVIS) makes the two axes
    # inverse of each other, false costs 1 to 5 dB of the ceiling (measured with the ideal masks).
    return _sample_rows(spectrogram, log_axis_grid(num_rows), num_columns, legacy_corners)


def to_linear_frequency(
    spectrogram: Float[Tensor, "*batch R t"],
    num_bins: int = 512,
    *,
    num_frames: int | None = None,
    legacy_corners: bool = False,
) -> Float[Tensor, "*batch F T"]:
    """Resample a log-frequency spectrogram or mask to the linear axis, F = `num_bins`.

    Its columns are resized to T = `num_frames`; none: they are kept.
    """
    return _sample_rows(spectrogram, linear_axis_grid(num_bins), num_frames, legacy_corners)


def log_axis_grid(num_rows: int) -> Float64[Tensor, " R"]:
    """Return each log-frequency row's position on the linear axis, -1 (0 Hz) to 1 (Nyquist)."""
    # Double precision, here and below: the grids agree with the reference values to float32's last
    # digit.
    rows = torch.linspace(-1, 1, num_rows, dtype=torch.float64)
    # In 0..1 it is x = (21^y - 1) / 20; here both axes run over -1..1, as `grid_sample` wants.
    return (LOG_BASE ** ((rows + 1) / 2) - 11) / 10


def linear_axis_grid(num_bins: int) -> Float64[Tensor, " F"]:
    """Return the position of each linear bin on the log-frequency axis, -1 to 1."""
    bins = torch.linspace(-1, 1, num_bins, dtype=torch.float64)
    return 2 * torch.log(10 * bins + 11) / math.log(LOG_BASE) - 1


def _sample_rows(
    spectrogram: Float[Tensor, "*batch F T"],
    rows: Float64[Tensor, " R"],
    num_columns: int | None,
    legacy_corners: bool,
) -> Float[Tensor, "*batch R t"]:
    """Sample a spectrogram at rows in -1..1 and at columns evenly spaced over its frames."""
    columns = torch.linspace(-1, 1, num_columns or spectrogram.shape[-1], dtype=torch.float64)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # R t 2
    grid = grid.to(spectrogram.device, spectrogram.dtype)
    # All spectrograms are channels of one image, so that one grid serves the whole batch.
    flat = spectrogram.reshape(1, -1, *spectrogram.shape[-2:])  # * F T -> 1 batch F T
    sampled = grid_sample(
        flat, grid[None], mode="bilinear", padding_mode="zeros", align_corners=not legacy_corners
    )
    return sampled.reshape(*spectrogram.shape[:-2], *sampled.shape[-2:])  # 1 batch R t -> * R t
