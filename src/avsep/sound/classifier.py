"""Tell which instruments and everyday sounds are heard in a mixture, window by window.

A small convolutional network on a log-mel spectrogram (Kong et al., PANNs, 2020, at a fiftieth of
its size) with one probability for each sound: several sound at once. Shipped with its weights.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, relu

from avsep.devices import own_settings, same_random_state
from avsep.published_weights import fit, read_shipped

SHIPPED = Path(__file__).parents[1] / "weights" / "sound-classifier.safetensors"
_LOWEST_HZ = 40.0
# Below the level to which windows are brought.
_FLOOR = 1e-5
_SILENT_RMS = 1e-5


class SoundClassifierSettings(BaseModel):
    """Sounds, window and spectrogram of the classifier."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=1, description="words for the sounds")
    sample_rate_hz: int = Field(default=11_025, gt=0, description="of the mixtures")
    window_seconds: float = Field(default=2.0, gt=0, description="sound that is judged at once")
    fft_samples: int = Field(default=512, gt=0, description="of the spectrogram")
    hop_samples: int = Field(default=220, gt=0, description="of the spectrogram")
    num_bands: int = Field(default=64, gt=0, description="mel bands")
    widths: tuple[int, ...] = Field(
        default=(24, 48, 96, 128, 192), description="channels after each halving"
    )

    @property
    def window_samples(self) -> int:
        """Length of a window."""
        return round(self.window_seconds * self.sample_rate_hz)


class SoundClassifier(nn.Module):
    """Log-mel spectrogram, blocks of two convolutions that halve it, mean and maximum over time."""

    Settings = SoundClassifierSettings
    bands: Tensor
    window: Tensor

    def __init__(self, settings: SoundClassifierSettings) -> None:
        super().__init__()
        self.settings = settings
        bands = mel_filters(settings.num_bands, settings.fft_samples, settings.sample_rate_hz)
        self.register_buffer("bands", torch.from_numpy(bands).float(), persistent=False)
        self.register_buffer("window", torch.hann_window(settings.fft_samples), persistent=False)
        widths = (1, *settings.widths)
        self.blocks = nn.ModuleList(_Block(before, after) for before, after in pairwise(widths))
        self.linear = nn.Linear(settings.widths[-1], len(settings.labels))

    def forward(self, windows: Float[Tensor, "B N"]) -> Float[Tensor, "B labels"]:
        """Return the logits of all sounds for windows of the settings' rate and length."""
        return self.classify(self.spectrogram(windows))

    def spectrogram(self, windows: Float[Tensor, "B N"]) -> Float[Tensor, "B 1 bands T"]:
        """Return log-mel spectrograms of windows brought to one level."""
        rms = windows.square().mean(1, keepdim=True).sqrt()
        windows = windows / rms.clamp(min=_SILENT_RMS)
        settings = self.settings
        spectrum = torch.stft(
            windows,
            settings.fft_samples,
            settings.hop_samples,
            window=self.window,
            return_complex=True,
        )
        power = self.bands @ spectrum.abs().square()
        return (power + _FLOOR).log10()[:, None]

    def classify(self, maps: Float[Tensor, "B 1 bands T"]) -> Float[Tensor, "B labels"]:
        """Return the logits of all sounds for spectrograms."""
        for block in self.blocks:
            maps = block(maps)
        over_bands = maps.mean(2)
        return self.linear(over_bands.mean(2) + over_bands.amax(2))


class _Block(nn.Module):
    """Two convolutions with batch norm and ReLU, then a mean over 2 x 2 cells."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(after)

    def forward(self, maps: Float[Tensor, "B D f t"]) -> Float[Tensor, "B E _ _"]:
        """Return maps of half the sides."""
        maps = relu(self.first_norm(self.first(maps)))
        maps = relu(self.second_norm(self.second(maps)))
        return avg_pool2d(maps, 2)


def mel_filters(
    num_bands: int, fft_samples: int, sample_rate_hz: int
) -> Float64[np.ndarray, "bands F"]:
    """Return triangular filters, equally wide in mel; each sums to one over the bins.

    >>> mel_filters(8, 512, 11025).sum(axis=1).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    bins_hz = np.linspace(0, sample_rate_hz / 2, fft_samples // 2 + 1)
    lowest, highest = _to_mel(np.array([_LOWEST_HZ, sample_rate_hz / 2])).tolist()
    corners = _from_mel(np.linspace(lowest, highest, num_bands + 2))
    # Low bands may be narrower than a bin: they are then as wide as one.
    width = np.maximum(np.diff(corners), bins_hz[1])
    middle = corners[1:-1]
    rising = 1 - (middle[:, None] - bins_hz) / width[:-1, None]
    falling = 1 - (bins_hz - middle[:, None]) / width[1:, None]
    filters = np.minimum(rising, falling).clip(0)
    return filters / filters.sum(axis=1, keepdims=True)


def _to_mel(hertz: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    # The mel scale of HTK.
    return 2595 * np.log10(1 + hertz / 700)


def _from_mel(mel: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    return 700 * (10 ** (mel / 2595) - 1)


def classify_windows(
    classifier: SoundClassifier, windows: Sequence[Float32[np.ndarray, "_"]]
) -> Float32[np.ndarray, "W labels"]:
    """Return the probability of each sound in windows at the classifier's rate.

    Shorter windows are padded with zeros; in silence nothing sounds.
    """
    length = classifier.settings.window_samples
    batch = torch.stack(
        [
            pad(torch.from_numpy(window[:length]), (0, max(0, length - len(window))))
            for window in windows
        ]
    )
    with torch.inference_mode():
        probabilities = classifier(batch).sigmoid()
    is_heard = batch.square().mean(1).sqrt() > _SILENT_RMS
    return (probabilities * is_heard[:, None]).numpy()


@cache
def load_classifier(path: Path = SHIPPED) -> SoundClassifier:
    """Read a classifier, in float32; one a process.

    Raises:
        InputError: no such file, damaged, without settings, or of other names or shapes.
    """
    settings, weights = read_shipped(
        path, SoundClassifierSettings, "a sound classifier", "tools/train_sound_classifier.py"
    )
    with own_settings(), same_random_state():
        classifier = SoundClassifier(settings)
        fit(classifier, weights, f"'{path}'")
        return classifier.eval().requires_grad_(False)
