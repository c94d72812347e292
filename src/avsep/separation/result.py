"""What a separation answers: the objects with their stems, the residual, and an account."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from avsep.media.names import distinct, stem_files
from avsep.records import TimedBox, VisibleObject
from avsep.separation.inference import WindowedInput
from avsep.separation.manifest import (
    InputRecord,
    KnownBy,
    Manifest,
    ModelRecord,
    ObjectRecord,
    SamplingRecord,
    SeparatorSettings,
    versions,
)
from avsep.separation.video_input import VideoInput


@dataclass(frozen=True)
class SeparatedObject:
    """One object and the sound that is its own.

    Attributes:
        visible: as it was given; its category is an index into the model's list.
        label: what it was called, else the category that the picture shows.
        known_by: its picture, or its word alone.
        stem: its sound at the rate and with the channels of the result.
        presence: how much the model says it sounds, 0..1, mean over the sound's energy.
        category: the category that the model used, or none for a model without categories.
        label_given: whether a label told the category; else the picture decided.
        gate: how much picture went into what was heard, low frequencies first, over the whole
            sound; none for a model without a gate.
    """

    visible: VisibleObject
    label: str
    known_by: KnownBy
    stem: Float32[np.ndarray, "C N"]
    presence: float
    category: str | None = None
    label_given: bool = False
    gate: Float32[np.ndarray, "h w"] | None = None

    @property
    def boxes(self) -> tuple[TimedBox, ...]:
        """Where it is over time; empty for the whole picture."""
        return self.visible.boxes


@dataclass(frozen=True)
class SeparationInfo:
    """How a separation was done: by which model and settings, from which channels, how drawn."""

    model: ModelRecord
    settings: SeparatorSettings
    input_channels: str
    sampling: SamplingRecord | None


@dataclass(frozen=True)
class Result:
    """All sounds of one video; the stems and the residual add up to the mixture.

    Attributes:
        objects: in the order given.
        mixture: the sound that was separated.
        residual: what is left of it when all stems are taken away.
        sample_rate_hz: of all sounds: the video's own, or the model's where that was asked for.
        manifest: all that is known of the separation, as manifest.json holds it.
        video_input: the video, for its pictures.
    """

    objects: tuple[SeparatedObject, ...]
    mixture: Float32[np.ndarray, "C N"]
    residual: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    manifest: Manifest
    video_input: VideoInput

    @classmethod
    def of(
        cls,
        video_input: VideoInput,
        objects: tuple[SeparatedObject, ...],
        windowed: WindowedInput,
        info: SeparationInfo,
    ) -> "Result":
        """The result of objects that were separated from a passage of a scene."""
        mixture = windowed.target
        residual = objects[0].stem.copy()
        for found in objects[1:]:
            residual += found.stem
        np.subtract(mixture, residual, out=residual)
        return cls(
            objects=objects,
            mixture=mixture,
            residual=residual,
            sample_rate_hz=windowed.mask_resampler.sample_rate_hz,
            manifest=Manifest(
                versions=versions(),
                input=_input_record(video_input),
                model=info.model,
                settings=info.settings,
                sampling=info.sampling,
                sample_rate_hz=windowed.mask_resampler.sample_rate_hz,
                num_channels=mixture.shape[0],
                num_samples=mixture.shape[1],
                input_channels=info.input_channels,
                objects=_object_records(objects, mixture),
                residual_energy_share=energy_share(residual, mixture),
                warnings=tuple(video_input.warnings),
            ),
            video_input=video_input,
        )

    @property
    def stems(self) -> dict[str, Float32[np.ndarray, "C N"]]:
        """The stems by label; a second violin is "violin-2"."""
        names = distinct(found.label for found in self.objects)
        return {name: found.stem for name, found in zip(names, self.objects, strict=True)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a listener should know: words not understood, damage, silence."""
        return self.manifest.warnings


def energy_share(sound: Float32[np.ndarray, "C N"], mixture: Float32[np.ndarray, "C N"]) -> float:
    """A sound's energy over the mixture's; 0 where there is none."""
    # In float64, and converted bit by bit: a whole copy of hours would be large.
    energy, whole = (
        float(np.einsum("cn,cn->", one, one, dtype=np.float64)) for one in (sound, mixture)
    )
    return energy / whole if whole else 0.0


def _input_record(video_input: VideoInput) -> InputRecord:
    sha256, num_bytes = video_input.fingerprint() or (None, None)
    return InputRecord(
        name=video_input.file_name,
        sha256=sha256,
        num_bytes=num_bytes,
        duration_seconds=video_input.duration_seconds,
        start_seconds=video_input.sound.start_seconds,
        sample_rate_hz=video_input.sound.sample_rate_hz,
        num_channels=video_input.sound.waveform.shape[0],
        num_samples=video_input.sound.waveform.shape[1],
    )


def _object_records(
    objects: Sequence[SeparatedObject], mixture: Float32[np.ndarray, "C N"]
) -> tuple[ObjectRecord, ...]:
    files = stem_files([found.label for found in objects])
    return tuple(
        ObjectRecord(
            label=found.label,
            file=file,
            known_by=found.known_by,
            category=found.category,
            category_from=None
            if found.category is None
            else "label"
            if found.label_given
            else "picture",
            presence=found.presence,
            energy_share=energy_share(found.stem, mixture),
            boxes=found.boxes,
            confidence=found.visible.confidence,
            azimuth_degrees=found.visible.azimuth_degrees,
            prompt=found.visible.prompt,
        )
        for file, found in zip(files, objects, strict=True)
    )
