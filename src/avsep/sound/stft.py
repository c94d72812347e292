"""The spectrogram of a sound and the way back, in the numbers that the field shares."""

from typing import Literal

import torch
from jaxtyping import Complex, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from avsep.errors import InputError


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
