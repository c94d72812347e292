"""The front end: waveform to log-frequency magnitude, and masks back to waveforms."""

import math
from typing import Literal

import torch
from jaxtyping import Complex, Float, Float64
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn.functional import grid_sample

from avsep.errors import InputError

# The spectrogram of a sound and the way back, in the numbers that the field shares


class StftSettings(BaseModel):
    """How a waveform becomes frames; the defaults are those of all three papers (512 bins)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fft_samples: int = Field(default=1022, gt=1, description="window and transform, samples (even)")
    hop_samples: int = Field(default=256, gt=0, description="from one frame to the next, samples")
    padding: Literal["zeros", "reflect"] = Field(
        default="zeros",
        description="what lies beyond both ends; librosa before 0.9 (Sound of Pixels) reflected",
    )

    @model_validator(mode="after")
    def _invertible(self) -> "StftSettings":
        if self.fft_samples % 2 or 2 * self.hop_samples > self.fft_samples:
            raise ValueError("fft_samples must be even and at least twice hop_samples")
        return self

    @property
    def num_bins(self) -> int:
        """Frequency bins F, from 0 Hz to half the sampling rate."""
        return self.fft_samples // 2 + 1

    def num_frames(self, num_samples: int) -> int:
        """Spectrogram frames T of a waveform: 256 for the field's 65,535 samples."""
        return 1 + num_samples // self.hop_samples


PAPER_STFT = StftSettings()


def stft(
    waveform: Float[Tensor, "*batch N"], settings: StftSettings = PAPER_STFT
) -> Complex[Tensor, "*batch F T"]:
    """The complex spectrogram: periodic Hann window, frames centred on multiples of the hop."""
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
        window=_window(settings, waveform),
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
    """The waveform of a spectrogram, of `num_samples`.

    Without a number: up to the centre of the last frame, 65,280 samples of the field's 65,535, as
    every released code has it. At most a hop beyond that centre can be given back.
    """
    covered_samples = (spectrum.shape[-1] - 1) * settings.hop_samples
    wanted_samples = covered_samples if num_samples is None else num_samples
    if not 0 < wanted_samples < covered_samples + settings.hop_samples:
        raise InputError(
            f"{spectrum.shape[-1]} frames do not hold {wanted_samples} samples: 1 to "
            f"{covered_samples + settings.hop_samples - 1} can be asked for"
        )
    flat = spectrum.reshape(-1, *spectrum.shape[-2:])  # * F T -> batch F T
    waveform = torch.istft(
        flat,
        settings.fft_samples,
        settings.hop_samples,
        window=_window(settings, spectrum.real),
        center=True,
        length=wanted_samples,
    )
    return waveform.reshape(*spectrum.shape[:-2], -1)  # batch N -> * N


def unit_phase(spectrum: Complex[Tensor, "*batch F T"]) -> Complex[Tensor, "*batch F T"]:
    """The spectrogram at magnitude one: the mixture's phase, which every estimate is given.

    Where the magnitude is zero the phase is taken as zero.
    """
    return torch.polar(torch.ones_like(spectrum.real), spectrum.angle())


def _window(settings: StftSettings, like: Tensor) -> Float[Tensor, " N"]:
    return torch.hann_window(settings.fft_samples, dtype=like.dtype, device=like.device)


# The frequency axis that the networks see, logarithmic in 256 rows, and the way back Row i of R
# looks at linear bin b(i) = (F - 1) (21^(i / (R - 1)) - 1) / 20: fine at the bottom, where the
# notes lie, coarse at the top. Both ways are bilinear sampling, hence differentiable. Source:
# Zhao et al., The Sound of Pixels (ECCV 2018), section 4.2, and every paper since.


# The axis bends as log(1 + 20 x): base 21 between its two ends.
BEND = 21.0


def to_log_frequency(
    spectrogram: Float[Tensor, "*batch F T"],
    num_rows: int = 256,
    *,
    num_columns: int | None = None,
    legacy_corners: bool = False,
) -> Float[Tensor, "*batch R t"]:
    """The spectrogram on the logarithmic axis, R = `num_rows`.

    Its frames are resized to t = `num_columns`; none: they stay as they are.

    `legacy_corners` exists to run weights of codes that call `grid_sample` without its argument
    (iQuery, LAVSS): it blends the outermost half cells with zeros and cannot be undone.
    """
    # Departure: the released codes differ in align_corners; true (as DAVIS) makes the two axes
    # inverse of each other, false costs 1 to 5 dB of the ceiling (measured with the ideal masks).
    return _sample_rows(spectrogram, bins_of_rows(num_rows), num_columns, legacy_corners)


def to_linear_frequency(
    spectrogram: Float[Tensor, "*batch R t"],
    num_bins: int = 512,
    *,
    num_frames: int | None = None,
    legacy_corners: bool = False,
) -> Float[Tensor, "*batch F T"]:
    """A spectrogram, or a mask, of the logarithmic axis back on the linear one, F = `num_bins`.

    Its columns are resized to T = `num_frames`; none: they stay as they are.
    """
    return _sample_rows(spectrogram, rows_of_bins(num_bins), num_frames, legacy_corners)


def bins_of_rows(num_rows: int) -> Float64[Tensor, " R"]:
    """Where each logarithmic row looks on the linear axis, -1 (0 Hz) to 1 (half the rate)."""
    return (BEND ** ((_linspace(num_rows) + 1) / 2) - 11) / 10


def rows_of_bins(num_bins: int) -> Float64[Tensor, " F"]:
    """Where each linear bin stands on the logarithmic axis, -1 to 1."""
    return 2 * torch.log(10 * _linspace(num_bins) + 11) / math.log(BEND) - 1


def _sample_rows(
    spectrogram: Float[Tensor, "*batch F T"],
    rows: Float64[Tensor, " R"],
    num_columns: int | None,
    legacy_corners: bool,
) -> Float[Tensor, "*batch R t"]:
    """Read the spectrogram at rows given in -1..1, and at columns evenly spread over its frames."""
    columns = _linspace(num_columns or spectrogram.shape[-1])
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # R t 2
    grid = grid.to(spectrogram.device, spectrogram.dtype)
    flat = spectrogram.reshape(1, -1, *spectrogram.shape[-2:])  # * F T -> 1 batch F T
    sampled = grid_sample(
        flat, grid[None], mode="bilinear", padding_mode="zeros", align_corners=not legacy_corners
    )
    return sampled.reshape(*spectrogram.shape[:-2], *sampled.shape[-2:])  # 1 batch R t -> * R t


def _linspace(num_points: int) -> Float64[Tensor, " P"]:
    """Points over -1..1, in double so that the golden grids come out to float32's last digit."""
    return torch.linspace(-1, 1, num_points, dtype=torch.float64)


class FrontEndSettings(BaseModel):
    """Numbers of the front end; the defaults are the ones shared since The Sound of Pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample_rate_hz: int = Field(default=11025, gt=0, description="rate the model works at")
    window_samples: int = Field(default=65535, gt=0, description="one window, 5.944 seconds")
    num_channels: Literal[1, 2] = Field(
        default=1, description="one that all are averaged to, or two ears, left first"
    )
    stft: StftSettings = StftSettings()
    num_rows: int = Field(default=256, gt=1, description="rows R of the logarithmic axis")
    num_columns: int | None = Field(
        default=None,
        gt=1,
        description="columns that the frames are resized to; none: as many as there are frames",
    )
    legacy_corners: bool = Field(
        default=False, description="only to run weights of codes that leave out align_corners"
    )

    def columns_of(self, num_samples: int) -> int:
        """Columns of what a network sees of a waveform."""
        return self.num_columns or self.stft.num_frames(num_samples)


class FrontEnd:
    """Transforms on whatever device the tensors are on; nothing is learned."""

    def __init__(self, settings: FrontEndSettings | None = None) -> None:
        self.settings = settings or FrontEndSettings()

    def spectrogram(
        self, waveform: Float[Tensor, "*batch N"]
    ) -> tuple[Float[Tensor, "*batch F T"], Complex[Tensor, "*batch F T"]]:
        """Magnitude and unit phase of a waveform."""
        spectrum = stft(waveform, self.settings.stft)
        return spectrum.abs(), unit_phase(spectrum)

    def magnitude(self, waveform: Float[Tensor, "*batch N"]) -> Float[Tensor, "*batch F T"]:
        """The magnitude alone, all that the truth of a mask is made of."""
        return stft(waveform, self.settings.stft).abs()

    def waveform(
        self,
        magnitude: Float[Tensor, "*batch F T"],
        phase: Complex[Tensor, "*#batch F T"],
        num_samples: int | None = None,
    ) -> Float[Tensor, "*batch N"]:
        """The waveform of a magnitude with the mixture's phase; lengths as `istft` has them."""
        return istft(magnitude * phase, self.settings.stft, num_samples=num_samples)

    def to_rows(self, linear: Float[Tensor, "*batch F T"]) -> Float[Tensor, "*batch R t"]:
        """A magnitude on the logarithmic axis, its frames resized to `num_columns`."""
        return to_log_frequency(
            linear,
            self.settings.num_rows,
            num_columns=self.settings.num_columns,
            legacy_corners=self.settings.legacy_corners,
        )

    def to_bins(
        self, rows: Float[Tensor, "*batch R t"], num_frames: int | None = None
    ) -> Float[Tensor, "*batch F T"]:
        """A mask or magnitude of the logarithmic axis, on the linear one.

        Its columns are resized to `num_frames`; none: they stay as they are.
        """
        return to_linear_frequency(
            rows,
            self.settings.stft.num_bins,
            num_frames=num_frames,
            legacy_corners=self.settings.legacy_corners,
        )
