"""One video on its way through a model: windows of sound and sight, and the answer to each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Generator, Tensor

from avsep.cues.crops import ObjectCrops
from avsep.cues.windows import crops_of, window_cues
from avsep.devices import to_device
from avsep.records import Batch, Cues, Separation
from avsep.separation.manifest import SamplingRecord
from avsep.sound.front_end import FrontEnd
from avsep.sound.magnitudes import FLOOR, ratio_mask
from avsep.sound.resampling import MaskResampler
from avsep.sound.windows import cut_window

# What an object is, is asked once for the whole video, by this many crops.
_DECIDING_CROPS = 9


@runtime_checkable
class SeparationModel(Protocol):
    """What is asked of a model here; `settings` holds `categories`, `front_end` and `crops`."""

    settings: Any

    @property
    def required_cues(self) -> frozenset[str]:
        """The cues it reads."""
        ...

    def at_quality(self, quality: str) -> Self:
        """The same model, fast, balanced or best; itself where that makes no difference."""
        ...

    def separate(self, batch: Batch, *, generator: Generator | None = None) -> Separation:
        """One answer for each mixture of the batch."""
        ...


@dataclass(frozen=True)
class WindowedInput:
    """A video as windows are cut from it.

    Attributes:
        target: the sound that the stems are taken from.
        heard: the same sound as the model hears it, at the model's rate: one channel or two ears.
        object_crops: of each object.
        category: the model's index of each object, -1 where only the picture can tell.
        starts: where windows begin, in samples of `target`.
        band: carries the model's answers to the rate of `target`.
        i3d_features: motion features of the whole video, for a model that reads them.
        is_visible: false where nobody sees an object and its word alone tells.
        embedding: of each word in the language of the model's image encoder, where it has one.
    """

    target: Float32[np.ndarray, "C N"]
    heard: Float32[np.ndarray, "ears M"]
    object_crops: Sequence[ObjectCrops]
    category: Int64[Tensor, " S"]
    starts: tuple[int, ...]
    band: MaskResampler
    i3d_features: Float32[Tensor, "D J"] | None = None
    is_visible: Bool[Tensor, " S"] | None = None
    embedding: Float32[Tensor, "S D"] | None = None

    @property
    def window_seconds(self) -> float:
        """How long a window is."""
        front_end = self.band.front_end
        return front_end.window_samples / front_end.sample_rate_hz

    def seconds(self, start: int) -> float:
        """The time of a sample of `target`."""
        return start / self.band.sample_rate_hz

    def start_frames(self, starts: Sequence[int]) -> Int64[Tensor, " B"]:
        """The frame of the whole sound's spectrogram, as the model has it, nearest to each start.

        Samplers then draw the same noise for the same moment in every window that holds it.
        """
        front_end = self.band.front_end
        frames_per_second = front_end.sample_rate_hz / front_end.stft.hop_samples
        return torch.tensor([round(self.seconds(start) * frames_per_second) for start in starts])

    def hear(self, starts: Sequence[int]) -> Float[Tensor, "B ears N"]:
        """Windows as the model hears them."""
        front_end = self.band.front_end
        windows = [
            cut_window(
                self.heard,
                round(self.seconds(start) * front_end.sample_rate_hz),
                front_end.window_samples,
            )
            for start in starts
        ]
        return torch.from_numpy(np.stack(windows))

    def see(self, starts: Sequence[int], required_cues: frozenset[str]) -> Cues:
        """What the same windows show, and what words tell."""
        if self.is_visible is not None and not bool(self.is_visible.any()):
            required_cues = required_cues - {"crops", "crop_motion"}
        times = [self.seconds(start) for start in starts]
        cues = window_cues(
            self.object_crops, times, self.window_seconds, self.category, required_cues
        )
        for name in ("is_visible", "embedding"):
            if (one := getattr(self, name)) is not None:
                cues = replace(cues, **{name: one.expand(len(starts), *one.shape)})
        if self.i3d_features is None:
            return cues
        # Of the whole video, for every window and source alike, as in the papers.
        return replace(
            cues, i3d_features=self.i3d_features.expand(len(starts), len(self.object_crops), -1, -1)
        )


@dataclass(frozen=True)
class WindowOutput:
    """What the model made of one window.

    Attributes:
        parts: each object's part of the target, one window long.
        presence: each object's share, as the model tells it.
        energy: of the window as it was heard.
        category: the model's index of each object; none for a model without categories.
        gate: as in `Separation`; none for a model without a gate.
        sampling: how it was drawn; none for a model that answers in one pass.
    """

    start: int
    parts: Float32[np.ndarray, "S C N"]
    presence: Float32[np.ndarray, " S"]
    energy: float
    category: Int64[np.ndarray, " S"] | None
    gate: Float32[np.ndarray, "S h w"] | None
    sampling: SamplingRecord | None = None


class WindowInference:
    """A model on its device, asked window by window."""

    def __init__(self, model: SeparationModel, device: torch.device, seed: int) -> None:
        self.model, self.device = model, device
        self._generator = Generator(device).manual_seed(seed)
        self._front_end = FrontEnd(model.settings.front_end)

    def decide(self, windowed: WindowedInput) -> Int64[Tensor, " S"]:
        """The category of each object: the one told, else what crops of the whole video show.

        Asked once, since windows that each decide anew could give an object two names.
        """
        if bool((windowed.category >= 0).all()) or "category" not in self.model.required_cues:
            return windowed.category
        cues = windowed.see(windowed.starts[:1], self.model.required_cues)
        duration_seconds = windowed.seconds(windowed.target.shape[1])
        crops = crops_of(windowed.object_crops, 0.0, duration_seconds, _DECIDING_CROPS)
        answer = self._ask(_batch(windowed, windowed.starts[:1], replace(cues, crops=crops[None])))
        found = _rows(answer.metadata.get("category"))
        if found is None:
            return windowed.category
        decided = torch.from_numpy(found[0].astype(np.int64))
        return torch.where(windowed.category >= 0, windowed.category, decided)

    def answers(self, windowed: WindowedInput, sources_at_once: int) -> Iterator[WindowOutput]:
        """The answer to every window, in order."""
        at_once = max(1, sources_at_once // len(windowed.object_crops))
        for first in range(0, len(windowed.starts), at_once):
            starts = windowed.starts[first : first + at_once]
            batch = _batch(windowed, starts, windowed.see(starts, self.model.required_cues))
            answer = self._ask(batch)
            category, gate = (_rows(answer.metadata.get(name)) for name in ("category", "gate"))
            for row, start in enumerate(starts):
                yield WindowOutput(
                    start=start,
                    parts=self._parts(windowed, start, answer, batch.mixture, row),
                    presence=answer.presence[row].float().cpu().numpy(),
                    energy=float(batch.mixture[row].square().sum()),
                    category=None if category is None else category[row].astype(np.int64),
                    gate=None if gate is None else gate[row].astype(np.float32),
                    sampling=_sampling(answer),
                )

    def _ask(self, batch: Batch) -> Separation:
        with torch.inference_mode():
            return self.model.separate(to_device(batch, self.device), generator=self._generator)

    def _parts(
        self,
        windowed: WindowedInput,
        start: int,
        answer: Separation,
        mixture: Float[Tensor, "B ears N"],
        row: int,
    ) -> Float32[np.ndarray, "S channels samples"]:
        """Each object's part of one window of the target."""
        heard = self._front_end.magnitude(mixture[row])  # C F T
        magnitudes = limit_to_mixture(heard, answer.magnitudes[row].float().cpu())  # S C F T
        window_samples = windowed.band.window_samples
        if windowed.heard is windowed.target:
            phase = answer.phase[row].cpu()
            return self._front_end.waveform(magnitudes, phase, window_samples).numpy()
        # What both ears hear alike of a sound of one channel is the same part of it.
        ratio = ratio_mask(magnitudes, heard)[:, : len(windowed.target)]
        window = torch.from_numpy(cut_window(windowed.target, start, window_samples))
        return windowed.band.apply(window, ratio).numpy()


def limit_to_mixture(
    heard: Float[Tensor, "C F T"], magnitudes: Float[Tensor, "S C F T"]
) -> Float[Tensor, "S C F T"]:
    """The magnitudes of all objects, made smaller by one factor where they exceed what is heard.

    Departure: the papers' masks know nothing of each other, so two of them may each take all of a
    cell, and are scored like that. Here what is left would become an upside-down copy of the stems.
    """
    return magnitudes / (magnitudes.sum(dim=0) / (heard + FLOOR)).clamp(min=1)


def _batch(windowed: WindowedInput, starts: Sequence[int], cues: Cues) -> Batch:
    return Batch(windowed.hear(starts), cues=cues, start_frames=windowed.start_frames(starts))


def _sampling(answer: Separation) -> SamplingRecord | None:
    if "sampler" not in answer.metadata:
        return None
    return SamplingRecord(
        sampler=str(answer.metadata["sampler"]),
        evaluations=int(str(answer.metadata["evaluations"])),
    )


def _rows(fact: object) -> np.ndarray | None:
    """A fact that has a row for each window, as an array."""
    return fact.detach().cpu().numpy() if isinstance(fact, Tensor) else None
