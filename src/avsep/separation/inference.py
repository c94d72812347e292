"""Run a model window by window over one video: inputs, batches and masks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field
from torch import Generator, Tensor

from avsep.cues.crops import SourceCues
from avsep.cues.windows import SourceWindow, window_cues
from avsep.devices import to_device
from avsep.models.base import SeparationModel
from avsep.records import Batch, Cues, Separation
from avsep.separation.progress import StageClock
from avsep.sound.magnitudes import FLOOR, ratio_mask
from avsep.sound.resampling import MaskResampler
from avsep.sound.windows import OverlapAdd


class SamplingRecord(BaseModel):
    """Sampler and number of network evaluations, as a generative model reports them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sampler: str
    evaluations: int = Field(description="passes of the network for each window")


@dataclass(frozen=True)
class WindowSound:
    """The sound of one window, zero-padded beyond the end of the video.

    Attributes:
        start: first sample, in samples of the target.
        target: audio that the stems are taken from, at the rate and channels of the result.
        mixture: the same audio at the model's rate and channels.
    """

    start: int
    target: Float32[np.ndarray, "C N"]
    mixture: Float32[np.ndarray, "channels M"]


@dataclass(frozen=True)
class WindowInputs:
    """The part of a model's input that all windows of one video share.

    Attributes:
        objects: cues of each object over the video.
        category: the model's category index of each object, -1: to be predicted.
        mask_resampler: resamples masks to the rate of the target.
        embedding: text embedding of each object, for models prompted by embeddings.
        gain: scales every mixture before the model.
        at_model_rate: the target is the mixture.
    """

    objects: Sequence[SourceCues]
    category: Int64[Tensor, " S"]
    mask_resampler: MaskResampler
    embedding: Float32[Tensor, "S D"] | None = None
    gain: float = 1.0
    at_model_rate: bool = False

    @property
    def window_seconds(self) -> float:
        """Window length."""
        front_end = self.mask_resampler.front_end
        return front_end.window_samples / front_end.sample_rate_hz

    def to_seconds(self, sample: int) -> float:
        """Return the time of a sample of the target."""
        return sample / self.mask_resampler.sample_rate_hz

    def model_start(self, start: int) -> int:
        """Return the first sample of a window in samples of the model's rate."""
        return round(self.to_seconds(start) * self.mask_resampler.front_end.sample_rate_hz)

    def batch(self, windows: Sequence[WindowSound], required_cues: frozenset[str]) -> Batch:
        """Build the batch of some windows."""
        front_end = self.mask_resampler.front_end
        seconds = np.array([self.to_seconds(window.start) for window in windows])
        # Spectrogram frames counted over the whole video: samplers draw the same noise for the same
        # moment in every window that contains it. Noise of its own for each window would make
        # overlapping stems cancel partly, and the level rise and fall with the windows.
        frames_per_second = front_end.sample_rate_hz / front_end.stft.hop_samples
        start_frames = np.rint(seconds * frames_per_second).astype(np.int64)
        mixtures = np.stack([window.mixture for window in windows]) * np.float32(self.gain)
        return Batch(
            torch.from_numpy(mixtures),
            cues=self._cues(seconds.tolist(), required_cues),
            start_frames=torch.from_numpy(start_frames),
        )

    def _cues(self, starts_seconds: Sequence[float], names: frozenset[str]) -> Cues:
        """Build the named cues of windows; crops are left out where no object is visible."""
        # Where all objects are text prompts every crop is black: encoding them would be wasted.
        if not any(cues.is_visible for cues in self.objects):
            names = names - {"crops", "crop_motion"}
        windows = [
            [SourceWindow(cues, seconds) for cues in self.objects] for seconds in starts_seconds
        ]
        cues = window_cues(windows, self.window_seconds, names=names)
        embedding = self.embedding
        if embedding is not None:
            embedding = embedding.expand(len(windows), *embedding.shape)
        return replace(cues, category=self.category.repeat(len(windows), 1), embedding=embedding)


@dataclass(frozen=True)
class WindowOutput:
    """The separation of one window.

    Attributes:
        start: window start, in samples of the target.
        stems: each object's stem, one window long.
        presence: the model's estimate of each object's presence, 0..1.
        energy: energy of the window of the mixture.
        gate: gate of each object (metadata of `Separation`); none for a model without a gate.
        sampling: sampler and network evaluations; none for a one-pass model.
    """

    start: int
    stems: Float32[np.ndarray, "S C N"]
    presence: Float32[np.ndarray, " S"]
    energy: float
    gate: Float32[np.ndarray, "S h w"] | None
    sampling: SamplingRecord | None = None

    @classmethod
    def silent(cls, window: WindowSound, num_objects: int) -> "WindowOutput":
        """Return the output of a window in which no object is the model's."""
        stems = np.zeros((num_objects, *window.target.shape), np.float32)
        return cls(window.start, stems, np.zeros(num_objects, np.float32), energy=0.0, gate=None)


class WindowInference:
    """Run a model on its device over the windows of a video."""

    def __init__(
        self, model: SeparationModel, device: torch.device, seed: int, clock: StageClock
    ) -> None:
        self.model, self.device, self._clock = model, device, clock
        self._generator = Generator(device).manual_seed(seed)

    def categories(
        self, inputs: WindowInputs, first: WindowSound, crops: UInt8[Tensor, "1 S K 3 H W"]
    ) -> Int64[Tensor, " S"]:
        """Return the category index of each object: given, else predicted from crops.

        Predicted once: separate predictions could give one object different categories in
        different windows.

        Args:
            inputs: inputs of the windows.
            first: the first window; its sound stands in, as crops alone decide.
            crops: crops of each object over the whole video.
        """
        labels = inputs.category
        batch = inputs.batch([first], self.model.required_cues)
        separation = self._separate(replace(batch, cues=replace(batch.cues, crops=crops)))
        predicted = _to_numpy(separation.metadata.get("category"))
        if predicted is None:
            return labels
        return torch.where(labels >= 0, labels, torch.from_numpy(predicted[0].astype(np.int64)))

    def outputs(
        self, inputs: WindowInputs, windows: Sequence[WindowSound], batch: Batch
    ) -> Iterator[WindowOutput]:
        """Separate some windows, given with their batch."""
        with self._clock.measure("network"):
            separation = self._separate(batch)
        gate = _to_numpy(separation.metadata.get("gate"))
        for row, window in enumerate(windows):
            with self._clock.measure("masks"):
                stems = self._stems(inputs, window, separation, batch.mixture, row)
            yield WindowOutput(
                start=window.start,
                stems=stems,
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
        inputs: WindowInputs,
        window: WindowSound,
        separation: Separation,
        mixtures: Float[Tensor, "B channels N"],
        row: int,
    ) -> Float32[np.ndarray, "S C samples"]:
        """Return the stems of one window of the target.

        At the model's own rate and channels they are the inverse STFT of its magnitudes; otherwise
        the ratio masks, resampled, are applied to the spectrogram of the target.
        """
        front_end, resampler = self.model.front_end, inputs.mask_resampler
        mixture = front_end.magnitude(mixtures[row])  # C F T
        estimates = limit_to_mixture(mixture, separation.magnitudes[row].float().cpu())  # S C F T
        if inputs.at_model_rate:
            phase = separation.phase[row].cpu()
            scaled = front_end.waveform(estimates, phase, resampler.window_samples)
            return scaled.numpy() / np.float32(inputs.gain)
        # A mono target takes the mask of the first channel; a binaural model got it twice.
        ratio = _hold_beyond_end(ratio_mask(estimates, mixture), mixture)[:, : len(window.target)]
        return resampler.apply(torch.from_numpy(window.target), ratio).numpy()


def limit_to_mixture(
    mixture: Float[Tensor, "C F T"], estimates: Float[Tensor, "S C F T"]
) -> Float[Tensor, "S C F T"]:
    """Scale the magnitudes of all objects by one factor where their sum exceeds the mixture.

    Departure: the papers' masks are independent of each other, so two may each take all of a cell,
    and are scored like that. Here the residual would become an inverted copy of the stems.
    """
    # On ten duets this raised SDR from 12.5 to 13.0 dB, and lowered the residual from 8.7 to 2.6 %
    # of the energy.
    return estimates / (estimates.sum(dim=0) / (mixture + FLOOR)).clamp(min=1)


def _hold_beyond_end(
    ratio: Float[Tensor, "S C F T"], mixture: Float[Tensor, "C F T"]
) -> Float[Tensor, "S C F T"]:
    """Hold the last mask of a window where the mixture has ended.

    The frames of another rate are not quite as long: the one in which the sound ends there may be
    beyond the end here, where masks are zero.
    """
    sounding = mixture.amax((0, 1)).nonzero()
    if not len(sounding):
        return ratio
    last = int(sounding[-1])
    num_beyond = ratio.shape[-1] - last - 1
    repeated = ratio[..., last : last + 1].expand(*ratio.shape[:-1], num_beyond)
    return torch.cat([ratio[..., : last + 1], repeated], dim=-1)


class GateJoiner:
    """Join the gates of windows to one map over time, as far as it is wanted."""

    def __init__(self, inputs: WindowInputs, max_seconds: float) -> None:
        self._inputs, self._max_seconds = inputs, max_seconds
        self._joined, self._blocks = OverlapAdd(), list[Float32[np.ndarray, "S h w"]]()
        self._columns_per_second = 0.0
        self._last_end = 0

    def add(self, start: int, gate: Float32[np.ndarray, "S h w"]) -> None:
        """Add the gate of the window that begins at a sample of the target."""
        # A gate has far fewer columns than the spectrogram has frames: starts are rounded to
        # columns.
        self._columns_per_second = gate.shape[-1] / self._inputs.window_seconds
        column = round(self._inputs.to_seconds(start) * self._columns_per_second)
        self._last_end = column + gate.shape[-1]
        block = self._joined.add(column, gate)
        if self._joined.position - block.shape[-1] <= self._max_seconds * self._columns_per_second:
            self._blocks.append(block)

    def finish(self, duration_seconds: float) -> Float32[np.ndarray, "S h w"] | None:
        """Return the map over the whole audio, or its begin; none if no window had a gate."""
        if not self._last_end:
            return None
        # The length is rounded too, and must not exceed the end of the last window.
        num_columns = max(1, round(duration_seconds * self._columns_per_second))
        block = self._joined.finish(min(num_columns, self._last_end))
        if duration_seconds <= self._max_seconds:
            self._blocks.append(block)
        gate = np.concatenate(self._blocks, axis=-1)
        if duration_seconds <= self._max_seconds:
            return gate
        return gate[..., : round(self._max_seconds * self._columns_per_second)]


def _sampling(separation: Separation) -> SamplingRecord | None:
    metadata = separation.metadata
    if "sampler" not in metadata:
        return None
    return SamplingRecord(
        sampler=str(metadata["sampler"]), evaluations=int(str(metadata["evaluations"]))
    )


def _to_numpy(value: object) -> np.ndarray | None:
    """Return a tensor of the metadata, one row for each window, as an array; else none."""
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else None
