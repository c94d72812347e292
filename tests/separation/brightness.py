"""A tiny real separation model with predictable stems, and videos for it to separate."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from avsep.cues.crops import CropSettings
from avsep.models.base import ModelSettings, SeparationModel
from avsep.records import Batch, Separation
from avsep.sound.front_end import FrontEndSettings, StftSettings
from media.making import Track, Video, make, noise

RATE_HZ = 8000
LEFT, RIGHT = "violin@0,0,0.5,1", "harp@0.5,0,1,1"


class BrightnessSettings(ModelSettings):
    """Windows of about half a second."""

    categories: tuple[str, ...] = ("harp", "tuba", "violin")
    front_end: FrontEndSettings = FrontEndSettings(
        sample_rate_hz=RATE_HZ,
        window_samples=4095,
        stft=StftSettings(fft_samples=254, hop_samples=64),
        num_rows=64,
    )
    crops: CropSettings = CropSettings(crop_pixels=4, crop_rate_hz=5, motion_pixels=4)


class Brightness(SeparationModel[BrightnessSettings]):
    """Multiplies the mixture by the mean brightness of each object's crops, 0 to 1.

    A category that is not given is predicted from brightness: darkest, middle, brightest third.
    """

    Settings = BrightnessSettings

    def __init__(self, required_cues: Sequence[str] = ("crops", "crop_motion", "category")) -> None:
        super().__init__()
        self._required_cues = frozenset(required_cues)

    @property
    def required_cues(self) -> frozenset[str]:
        return self._required_cues

    def losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        raise NotImplementedError("it has no parameters")

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        magnitude, phase = self.front_end.spectrogram(batch.mixture)  # B 1 F T
        crops, given = batch.cues.crops, batch.cues.category
        assert crops is not None and given is not None and batch.cues.crop_motion is not None
        assert batch.cues.crop_motion.shape[2] == 5  # of half a second at ten a second
        share = crops.float().mean((2, 3, 4, 5)) / 255  # B S
        category = torch.where(given >= 0, given, (share * 3).long().clamp(max=2))
        gate = share[:, :, None, None].expand(-1, -1, 2, 8).clone()
        return Separation(
            magnitude[:, None] * share[..., None, None, None],
            share,
            phase,
            {"category": category, "gate": gate},
        )


def two_tone(left: float, right: float, num_pictures: int = 50) -> list[np.ndarray]:
    """Make frames whose halves have these levels of brightness, 0 to 1."""
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = round(255 * left), round(255 * right)
    return [picture] * num_pictures


def video(
    path: Path,
    pictures: Sequence[np.ndarray] | None = None,
    waveform: np.ndarray | None = None,
    rate_hz: int = RATE_HZ,
    layout: str = "mono",
) -> Path:
    """Write a file with lossless audio; by default two seconds, a quarter left and half right."""
    pictures = two_tone(0.25, 0.5) if pictures is None else pictures
    waveform = noise(1, 2 * rate_hz) if waveform is None else waveform
    track = Track(waveform, rate=rate_hz, layout=layout)
    return make(path, [Video(pictures, rate=Fraction(25))], [track])
