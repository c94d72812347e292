"""Separate a whole clip in memory: the plain algorithm that the stream must reproduce."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from avsep.cues.crops import extract_crops_from_frames
from avsep.cues.windows import SourceWindow, window_cues
from avsep.models.base import SeparationModel
from avsep.records import Batch, Clip, Cues, VisibleObject
from avsep.separation.inference import limit_to_mixture
from avsep.sound.magnitudes import ratio_mask
from avsep.sound.resampling import MaskResampler, resample
from avsep.sound.windows import cut_window, fade, window_starts


@dataclass(frozen=True)
class Whole:
    """Stems [S C N], and presence of each object."""

    stems: np.ndarray
    presence: np.ndarray


def separate_whole(
    clip: Clip, objects: list[VisibleObject], model: SeparationModel, *, seed: int = 0
) -> Whole:
    """Separate at the clip's own rate: all windows in one batch, joined on whole arrays."""
    front_end = model.settings.front_end
    num_samples, rate_hz = clip.waveform.shape[1], clip.sample_rate_hz
    mono = clip.waveform.mean(axis=0, keepdims=True, dtype=np.float32)
    if front_end.num_channels == 2:
        mono = np.broadcast_to(clip.waveform, (2, num_samples))
    mixture = resample(np.ascontiguousarray(mono), rate_hz, front_end.sample_rate_hz)
    resampler = MaskResampler(front_end, rate_hz)
    starts = window_starts(num_samples, resampler.window_samples)
    frames_per_second = front_end.sample_rate_hz / front_end.stft.hop_samples
    batch = Batch(
        torch.from_numpy(np.stack([_model_window(mixture, s, resampler) for s in starts])),
        cues=_cues(clip, objects, model, [start / rate_hz for start in starts]),
        start_frames=torch.tensor([round(s / rate_hz * frames_per_second) for s in starts]),
    )
    with torch.inference_mode():
        separation = model.separate(batch, generator=torch.Generator().manual_seed(seed))
    total = np.zeros((len(objects), len(clip.waveform), num_samples))
    weight = np.zeros(num_samples)
    weights = fade(resampler.window_samples).astype(np.float64)
    for row, start in enumerate(starts):
        magnitude = model.front_end.magnitude(batch.mixture[row])
        estimates = limit_to_mixture(magnitude, separation.magnitudes[row])
        ratio = ratio_mask(estimates, magnitude)[:, : len(clip.waveform)]
        window = cut_window(clip.waveform, start, resampler.window_samples)
        stems = resampler.apply(torch.from_numpy(window), ratio).numpy()
        length = min(resampler.window_samples, num_samples - start)
        total[..., start : start + length] += (weights * stems)[..., :length]
        weight[start : start + length] += weights[:length]
    energies = batch.mixture.square().sum((1, 2)).double().numpy()
    presence = energies @ separation.presence.double().numpy() / energies.sum()
    return Whole((total / weight).astype(np.float32), presence)


def _model_window(mixture: np.ndarray, start: int, resampler: MaskResampler) -> np.ndarray:
    front_end = resampler.front_end
    begin = round(start / resampler.sample_rate_hz * front_end.sample_rate_hz)
    return cut_window(mixture, begin, front_end.window_samples)


def _cues(
    clip: Clip, objects: list[VisibleObject], model: SeparationModel, starts: list[float]
) -> Cues:
    crops = extract_crops_from_frames(
        clip.frames,
        clip.frame_times_seconds.tolist(),
        objects,
        model.settings.crops.model_copy(update={"whole_when_alone": False}),
        clip.waveform.shape[1] / clip.sample_rate_hz,
    )
    front_end = model.settings.front_end
    window_seconds = front_end.window_samples / front_end.sample_rate_hz
    rows = [[SourceWindow(item, start) for item in crops] for start in starts]
    cues = window_cues(rows, window_seconds, names=model.required_cues)
    category = torch.tensor([-1 if item.category is None else item.category for item in objects])
    return replace(cues, category=category.repeat(len(starts), 1))
