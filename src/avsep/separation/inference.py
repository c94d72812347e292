"""Run a model window by window over one video: inputs, batches and masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Generator, Tensor

from avsep.cues.crops import ObjectCrops
from avsep.cues.windows import SourceWindow, window_cues
from avsep.devices import to_device
from avsep.models.base import SeparationModel
from avsep.records import Batch, Cues, Separation
from avsep.separation.manifest import SamplingRecord
from avsep.sound.magnitudes import FLOOR, ratio_mask
from avsep.sound.resampling import MaskResampler
from avsep.sound.windows import cut_window

# The category of an object is predicted once for the whole video, from this many crops.
_CATEGORY_CROPS = 9


@dataclass(frozen=True)
class WindowedInput:
    """The audio and the cues of a video, as windows are cut from them.

    Attributes:
        target: the sound that the stems are cut from.
        mixture: the same sound at the model's rate and with its channels.
        objects: cues of each object over the whole video.
        category: the model's index of each object, -1 where it is to be predicted.
        starts: starts of the windows, in samples of `target`.
        mask_resampler: converts masks to the rate of `target`.
        embedding: text embedding of each object, for a model prompted by text.
    """

    target: Float32[np.ndarray, "C N"]
    mixture: Float32[np.ndarray, "channels M"]
    objects: Sequence[ObjectCrops]
    category: Int64[Tensor, " S"]
    starts: tuple[int, ...]
    mask_resampler: MaskResampler
    embedding: Float32[Tensor, "S D"] | None = None

    @property
    def window_seconds(self) -> float:
        """Length of a window."""
        front_end = self.mask_resampler.front_end
        return front_end.window_samples / front_end.sample_rate_hz

    @property
    def duration_seconds(self) -> float:
        """Length of the sound."""
        return self.to_seconds(self.target.shape[1])

    def to_seconds(self, sample: int) -> float:
        """Return the time of a sample of `target`."""
        return sample / self.mask_resampler.sample_rate_hz

    def batch(self, starts: Sequence[int], required_cues: frozenset[str]) -> Batch:
        """Build the batch of some windows."""
        return Batch(
            self._mixtures(starts),
            cues=self.cues(starts, self.window_seconds, required_cues),
            start_frames=self.start_frames(starts),
        )

    def cues(
        self,
        starts: Sequence[int],
        duration_seconds: float,
        names: frozenset[str],
        num_crops: int | None = None,
    ) -> Cues:
        """Build the cues of windows; without any visible object none of its pictures."""
        if not any(crops.is_visible for crops in self.objects):
            names = names - {"crops", "crop_motion"}
        windows = [
            [SourceWindow(crops, self.to_seconds(start)) for crops in self.objects]
            for start in starts
        ]
        cues = window_cues(windows, duration_seconds, names=names, num_crops=num_crops)
        embedding = self.embedding
        if embedding is not None:
            embedding = embedding.expand(len(starts), *embedding.shape)
        return replace(cues, category=self.category.repeat(len(starts), 1), embedding=embedding)

    def _mixtures(self, starts: Sequence[int]) -> Float[Tensor, "B channels N"]:
        front_end = self.mask_resampler.front_end
        rate_hz, num_samples = front_end.sample_rate_hz, front_end.window_samples
        model_starts = [round(self.to_seconds(start) * rate_hz) for start in starts]
        windows = [cut_window(self.mixture, start, num_samples) for start in model_starts]
        return torch.from_numpy(np.stack(windows))

    def start_frames(self, starts: Sequence[int]) -> Int64[Tensor, " B"]:
        """Return the spectrogram frame of the whole sound nearest to each start.

        Samplers then draw the same noise for the same moment in every window that contains it.
        """
        front_end = self.mask_resampler.front_end
        frames_per_second = front_end.sample_rate_hz / front_end.stft.hop_samples
        return torch.tensor([round(self.to_seconds(start) * frames_per_second) for start in starts])


@dataclass(frozen=True)
class WindowOutput:
    """The separation of one window.

    Attributes:
        start: of the window, in samples of the target.
        stems: each object's share of the target, one window long.
        presence: each object's share of the energy, as the model reports it.
        energy: of the window's mixture.
        gate: as in the metadata of `Separation`; none for a model without a gate.
        sampling: sampler and its evaluations; none for a one-pass model.
    """

    start: int
    stems: Float32[np.ndarray, "S C N"]
    presence: Float32[np.ndarray, " S"]
    energy: float
    gate: Float32[np.ndarray, "S h w"] | None
    sampling: SamplingRecord | None = None


class WindowInference:
    """Run a model on its device over the windows of a video."""

    def __init__(self, model: SeparationModel, device: torch.device, seed: int) -> None:
        self.model, self.device = model, device
        self._generator = Generator(device).manual_seed(seed)

    def categories(self, windowed: WindowedInput) -> Int64[Tensor, " S"]:
        """Return the category of each object: given, else predicted from the whole video.

        Predicted once, since windows that each predict could give an object two names.
        """
        given = windowed.category
        if bool((given >= 0).all()) or "category" not in self.model.required_cues:
            return given
        first = windowed.starts[:1]
        batch = windowed.batch(first, self.model.required_cues)
        crops = windowed.cues(
            [0], windowed.duration_seconds, frozenset({"crops"}), _CATEGORY_CROPS
        ).crops
        separation = self._separate(replace(batch, cues=replace(batch.cues, crops=crops)))
        predicted = _to_numpy(separation.metadata.get("category"))
        if predicted is None:
            return given
        return torch.where(given >= 0, given, torch.from_numpy(predicted[0].astype(np.int64)))

    def outputs(self, windowed: WindowedInput, sources_at_once: int) -> Iterator[WindowOutput]:
        """Separate every window, in order, `sources_at_once` sources in a batch."""
        at_once = max(1, sources_at_once // len(windowed.objects))
        for first in range(0, len(windowed.starts), at_once):
            starts = windowed.starts[first : first + at_once]
            batch = windowed.batch(starts, self.model.required_cues)
            separation = self._separate(batch)
            gate = _to_numpy(separation.metadata.get("gate"))
            for row, start in enumerate(starts):
                yield WindowOutput(
                    start=start,
                    stems=self._stems(windowed, start, separation, batch.mixture, row),
                    presence=separation.presence[row].float().cpu().numpy(),
                    energy=float(batch.mixture[row].square().sum()),
                    gate=None if gate is None else gate[row].astype(np.float32),
                    sampling=_sampling(separation),
                )

    def _separate(self, batch: Batch) -> Separation:
        with torch.inference_mode():
            return self.model.separate(to_device(batch, self.device), generator=self._generator)

    def _stems(
        self,
        windowed: WindowedInput,
        start: int,
        separation: Separation,
        mixtures: Float[Tensor, "B channels N"],
        row: int,
    ) -> Float32[np.ndarray, "S C samples"]:
        """Return each object's share of one window of the target."""
        front_end, resampler = self.model.front_end, windowed.mask_resampler
        mixture = front_end.magnitude(mixtures[row])  # C F T
        estimates = limit_to_mixture(mixture, separation.magnitudes[row].float().cpu())  # S C F T
        window_samples = resampler.window_samples
        if windowed.mixture is windowed.target:
            phase = separation.phase[row].cpu()
            return front_end.waveform(estimates, phase, window_samples).numpy()
        # A mono target has the mask of the first of two channels, which are then equal.
        ratio = ratio_mask(estimates, mixture)[:, : len(windowed.target)]
        window = torch.from_numpy(cut_window(windowed.target, start, window_samples))
        return resampler.apply(window, ratio).numpy()


def limit_to_mixture(
    mixture: Float[Tensor, "C F T"], estimates: Float[Tensor, "S C F T"]
) -> Float[Tensor, "S C F T"]:
    """Scale the magnitudes of all objects by one factor where their sum exceeds the mixture.

    Departure: the papers' masks know nothing of each other, so two of them may each take all of a
    cell, and are scored like that. Here what is left would become an upside-down copy of the stems.
    """
    return estimates / (estimates.sum(dim=0) / (mixture + FLOOR)).clamp(min=1)


def _sampling(separation: Separation) -> SamplingRecord | None:
    metadata = separation.metadata
    if "sampler" not in metadata:
        return None
    return SamplingRecord(
        sampler=str(metadata["sampler"]), evaluations=int(str(metadata["evaluations"]))
    )


def _to_numpy(value: object) -> np.ndarray | None:
    """Convert an entry of the metadata with a row for each window to an array."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else None
