"""Resample waveforms, and masks from a model's sampling rate to a file's."""

from collections.abc import Iterable, Iterator
from math import ceil

import numpy as np
import soxr
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from avsep.sound.front_end import FrontEndSettings, StftSettings, istft, stft

# Passband of `resample` as a fraction of half the lower rate: soxr's very high quality is flat up
# to 0.913 and falls off above, so that masks of the rows beyond rest on almost no energy.
_PASSBAND = 0.9


def resample(
    waveform: Float32[np.ndarray, "C N"], from_rate_hz: int, to_rate_hz: int
) -> Float32[np.ndarray, "C M"]:
    """Resample a waveform; returns the same array where the rates are equal."""
    if from_rate_hz == to_rate_hz or waveform.shape[1] == 0:
        return waveform
    # VHQ rejects aliases to the precision of 28 bits, soxr's default HQ to that of 20.
    return soxr.resample(waveform.T, from_rate_hz, to_rate_hz, quality="VHQ").T.astype(
        np.float32, copy=False
    )


class BlockResampler:
    """Resample a waveform that comes block by block; the blocks equal `resample` of the whole."""

    def __init__(self, num_channels: int, from_rate_hz: int, to_rate_hz: int) -> None:
        self._num_channels = num_channels
        self._stream = None
        if from_rate_hz != to_rate_hz:
            self._stream = soxr.ResampleStream(
                from_rate_hz, to_rate_hz, num_channels, dtype="float32", quality="VHQ"
            )

    def push(self, block: Float32[np.ndarray, "C n"]) -> Float32[np.ndarray, "C m"]:
        """Add a block; return the samples that are finished, some milliseconds behind it."""
        if self._stream is None:
            return block
        return self._stream.resample_chunk(np.ascontiguousarray(block.T)).T

    def flush(self) -> Float32[np.ndarray, "C m"]:
        """Return the samples that are left after the last block."""
        empty = np.zeros((0, self._num_channels), np.float32)
        return empty.T if self._stream is None else self._stream.resample_chunk(empty, last=True).T


def resample_blocks(
    blocks: Iterable[Float32[np.ndarray, "C _"]],
    num_channels: int,
    from_rate_hz: int,
    to_rate_hz: int,
) -> Iterator[Float32[np.ndarray, "C m"]]:
    """Resample blocks of one waveform."""
    resampler = BlockResampler(num_channels, from_rate_hz, to_rate_hz)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.flush()


class MaskResampler:
    """Apply a model's masks to a waveform at the waveform's own rate and channels.

    A model predicts masks from one channel, or two ears, at a low rate (11,025 Hz). They are
    resampled to the spectrogram of the original sound, and applied to each of its channels.

    Attributes:
        stft: the STFT at that rate; equal to the front end's where the rates are.
        window_samples: one window of the model, in samples of that rate.
    """

    def __init__(self, front_end: FrontEndSettings, sample_rate_hz: int) -> None:
        self.front_end, self.sample_rate_hz = front_end, sample_rate_hz
        self.stft = scale_stft(front_end.stft, front_end.sample_rate_hz, sample_rate_hz)
        self.window_samples = ceil(
            front_end.window_samples * sample_rate_hz / front_end.sample_rate_hz
        )

    def apply(
        self, waveform: Float[Tensor, "C N"], ratio: Float[Tensor, "S #C F T"]
    ) -> Float[Tensor, "S C N"]:
        """Apply each source's mask to every channel, with that channel's phase.

        Masks are shared by all channels, or given for each.
        """
        spectrum = stft(waveform, self.stft)  # C F T
        parts = spectrum * self.resample(ratio, spectrum.shape[-1])
        return istft(parts, self.stft, num_samples=waveform.shape[-1])

    def resample(
        self, ratio: Float[Tensor, "*batch F T"], num_frames: int
    ) -> Float[Tensor, "*batch G U"]:
        """Resample masks to the frequencies (Hz) and times (s) of this rate's spectrogram.

        Linear between the model's bins and frames. Frequencies above 0.9 of half the model's rate
        get the mask at that frequency.
        """
        rate_hz, grid = self.front_end.sample_rate_hz, self.front_end.stft
        if rate_hz == self.sample_rate_hz:
            return ratio[..., :num_frames]
        seconds = torch.arange(num_frames) * self.stft.hop_samples / self.sample_rate_hz
        frames = seconds * rate_hz / grid.hop_samples
        hertz = torch.arange(self.stft.num_bins) * self.sample_rate_hz / self.stft.fft_samples
        bins = hertz.clamp(max=_PASSBAND * rate_hz / 2) * grid.fft_samples / rate_hz
        # Time first: there are fewer bins to interpolate before the frequencies are expanded.
        return _interpolate(_interpolate(ratio, frames, -1), bins, -2)


def scale_stft(settings: StftSettings, from_rate_hz: int, to_rate_hz: int) -> StftSettings:
    """Scale an STFT to another rate, with window and hop of the same duration.

    The window is rounded to an even number of samples, the hop to a whole one.

    >>> scale_stft(StftSettings(), 11025, 48000)
    StftSettings(fft_samples=4450, hop_samples=1115, padding='zeros')
    """
    scale = to_rate_hz / from_rate_hz
    hop_samples = max(1, round(settings.hop_samples * scale))
    # At least two hops, below which the STFT cannot be inverted (rounding at very low rates).
    fft_samples = max(2 * hop_samples, 2 * round(settings.fft_samples * scale / 2))
    return settings.model_copy(update={"fft_samples": fft_samples, "hop_samples": hop_samples})


def _interpolate(
    values: Float[Tensor, "*axes"], positions: Float[Tensor, " n"], axis: int
) -> Float[Tensor, "*interpolated"]:
    """Interpolate linearly at fractional indices of the last or second last axis.

    Positions beyond the last index get the last value.
    """
    last = values.shape[axis] - 1
    below = positions.floor().clamp(0, last)
    weight = (positions - below).clamp(0, 1).to(values)
    above = (below + 1).clamp(max=last).long().to(values.device)
    low = values.index_select(axis, below.long().to(values.device))
    high = values.index_select(axis, above)
    return torch.lerp(low, high, weight if axis == -1 else weight[:, None])
