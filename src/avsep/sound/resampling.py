"""Resample waveforms, and masks from the rate of a model to the rate of a file."""

from math import ceil

import numpy as np
import soxr
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from avsep.sound.front_end import FrontEndSettings, StftSettings, istft, stft


def resample(
    waveform: Float32[np.ndarray, "C N"], from_rate_hz: int, to_rate_hz: int
) -> Float32[np.ndarray, "C M"]:
    """The same sound at another rate; a sound already at that rate comes back as it is."""
    if from_rate_hz == to_rate_hz or waveform.shape[1] == 0:
        return waveform
    return soxr.resample(waveform.T, from_rate_hz, to_rate_hz, quality="VHQ").T.astype(
        np.float32, copy=False
    )


# Ratios found at a model's rate, carried to the rate and channels that a sound really has A
# model hears one channel, or two ears, at 11,025 Hz and tells for each cell of its spectrogram
# which part is a source's. The same parts are taken of the sound as it is, at its own rate: of
# every channel what was found in the one, or of each ear its own.


# The resampler lets sound pass up to 0.913 of half the lower rate (soxr, very high quality) and
# takes the rest away bit by bit: a model hears next to nothing of the rows above.
_HEARD = 0.9


def stft_at(settings: StftSettings, from_rate_hz: int, to_rate_hz: int) -> StftSettings:
    """A spectrogram of the same window and hop in seconds, for sound of another rate.

    The window is rounded to an even number of samples, the hop to a whole one.

    >>> stft_at(StftSettings(), 11025, 48000)
    StftSettings(fft_samples=4450, hop_samples=1115, padding='zeros')
    """
    scale = to_rate_hz / from_rate_hz
    hop_samples = max(1, round(settings.hop_samples * scale))
    fft_samples = max(2 * hop_samples, 2 * round(settings.fft_samples * scale / 2))
    return settings.model_copy(update={"fft_samples": fft_samples, "hop_samples": hop_samples})


class MaskResampler:
    """Takes sources out of sound at its own rate, by the ratios of a front end.

    Attributes:
        stft: the spectrogram at that rate; the front end's own where the rates are the same.
        window_samples: one window of the model, in samples of that rate.
    """

    def __init__(self, front_end: FrontEndSettings, sample_rate_hz: int) -> None:
        self.front_end, self.sample_rate_hz = front_end, sample_rate_hz
        self.stft = stft_at(front_end.stft, front_end.sample_rate_hz, sample_rate_hz)
        self.window_samples = ceil(
            front_end.window_samples * sample_rate_hz / front_end.sample_rate_hz
        )

    def apply(
        self, waveform: Float[Tensor, "C N"], ratio: Float[Tensor, "S #C F T"]
    ) -> Float[Tensor, "S C N"]:
        """Each source's part of every channel, with that channel's phase.

        Ratios are one for all channels, or of each by itself.
        """
        spectrum = stft(waveform, self.stft)  # C F T
        parts = spectrum * self.resample(ratio, spectrum.shape[-1])
        return istft(parts, self.stft, num_samples=waveform.shape[-1])

    def resample(
        self, ratio: Float[Tensor, "*batch F T"], num_frames: int
    ) -> Float[Tensor, "*batch G U"]:
        """The ratio at the frequencies (Hz) and times (s) of this rate's spectrogram.

        Linear between the model's bins and frames. What the model does not hear, above nine tenths
        of half its rate, is given the ratio of the highest row that it hears.
        """
        rate_hz, grid = self.front_end.sample_rate_hz, self.front_end.stft
        if rate_hz == self.sample_rate_hz:
            return ratio[..., :num_frames]
        seconds = torch.arange(num_frames) * self.stft.hop_samples / self.sample_rate_hz
        frames = seconds * rate_hz / grid.hop_samples
        hertz = torch.arange(self.stft.num_bins) * self.sample_rate_hz / self.stft.fft_samples
        bins = hertz.clamp(max=_HEARD * rate_hz / 2) * grid.fft_samples / rate_hz
        return _read(_read(ratio, frames, -1), bins, -2)


def _read(
    values: Float[Tensor, "*axes"], places: Float[Tensor, " n"], axis: int
) -> Float[Tensor, "*read"]:
    """Values at places between the indices of an axis, linear; the last one is held beyond."""
    last = values.shape[axis] - 1
    below = places.floor().clamp(0, last)
    share = (places - below).clamp(0, 1).to(values)
    above = (below + 1).clamp(max=last).long().to(values.device)
    low = values.index_select(axis, below.long().to(values.device))
    high = values.index_select(axis, above)
    return torch.lerp(low, high, share if axis == -1 else share[:, None])
