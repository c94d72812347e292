"""The result of a separation: stems and residual, and their description in manifest.json."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field

import avsep
from avsep.media.names import distinct, stem_file
from avsep.records import TimedBox, VisibleObject
from avsep.separation.inference import SamplingRecord, WindowedInput
from avsep.separation.settings import SeparatorSettings
from avsep.separation.video_input import VideoInput

MANIFEST_NAME = "manifest.json"
RESIDUAL_NAME = "residual.wav"
PREVIEW_NAME = "preview.mp4"
REPORT_NAME = "report.html"

# How an object is given to the model: by crops of its box, or by text alone, which the model
# matches to one of its categories or embeds (CLIP).
PromptKind = Literal["visual", "text category", "text embedding"]
CategorySource = Literal["given", "predicted"]


class _Record(BaseModel):
    # A manifest is written once, and a misspelt field is an error.
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(_Record):
    """The separated video; `sha256` and `num_bytes` of its file, none for arrays."""

    name: str
    sha256: str | None
    num_bytes: int | None
    duration_seconds: float
    start_seconds: float = Field(description="start of the audio on the file's time line")
    sample_rate_hz: int
    num_channels: int
    num_samples: int


class ModelRecord(_Record):
    """The model and the metadata of its checkpoint."""

    name: str
    system: str = Field(default="", description="name of the architecture")
    metadata: dict[str, object] = {}


class ObjectRecord(_Record):
    """One separated object; without boxes a visible object fills the whole picture."""

    label: str
    file: str
    prompt_kind: PromptKind
    category: str | None = Field(description="category that the model used, of its own list")
    category_from: CategorySource | None = Field(
        description="given as a label, or predicted from the picture; none without a category"
    )
    presence: float = Field(description="the model's estimate that it sounds, 0..1")
    # Stems may be correlated with each other and with the residual, so energies do not add up.
    energy_share: float = Field(
        description="energy of the stem over that of the mixture; shares sum to one only where "
        "stems and residual are orthogonal"
    )
    boxes: tuple[TimedBox, ...]
    confidence: float
    azimuth_degrees: float | None
    prompt: str | None


class Manifest(_Record):
    """Content of manifest.json; file names are relative to its folder."""

    made_by: Literal["avsep separate"] = "avsep separate"
    versions: dict[str, str]
    input: InputRecord
    model: ModelRecord
    settings: SeparatorSettings
    sampling: SamplingRecord | None = Field(description="none for one-pass models")
    sample_rate_hz: int = Field(description="of the stems")
    num_channels: int = Field(description="of the stems")
    num_samples: int = Field(description="of the stems")
    input_channels: str = Field(description="channels of the audio that the model reads, in words")
    objects: tuple[ObjectRecord, ...]
    residual: str = RESIDUAL_NAME
    residual_energy_share: float
    # None in the manifest that is written with the stems, before preview and report are made.
    preview: str | None = PREVIEW_NAME
    report: str | None = REPORT_NAME
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class SeparatedObject:
    """One object and its stem.

    Attributes:
        visible: the object as it was given; its category is an index into the model's list.
        label: given label, else the predicted category.
        prompt_kind: by crops, or by text alone.
        stem: audio of the object, at the rate and channels of the result.
        presence: the model's estimate that it sounds, 0..1, weighted by the energy of the mixture.
        category: category that the model used; none for a model without categories.
        category_from: given as a label, or predicted from the picture; none without a category.
        gate: gate over frequency, lowest first, and time; none for a model without a gate.
    """

    visible: VisibleObject
    label: str
    prompt_kind: PromptKind
    stem: Float32[np.ndarray, "C N"]
    presence: float
    category: str | None = None
    category_from: CategorySource | None = None
    gate: Float32[np.ndarray, "h w"] | None = None

    @property
    def boxes(self) -> tuple[TimedBox, ...]:
        """Boxes over time; empty for the whole picture."""
        return self.visible.boxes


@dataclass(frozen=True)
class SeparationInfo:
    """Provenance of a result: model, settings, input channels in words, and sampling."""

    model: ModelRecord
    settings: SeparatorSettings
    input_channels: str
    sampling: SamplingRecord | None


@dataclass(frozen=True)
class Result:
    """Stems and residual of one video, which add up to the mixture.

    Attributes:
        objects: objects with their stems, in the order given.
        mixture: audio that was separated.
        residual: mixture minus all stems.
        sample_rate_hz: of mixture, stems and residual.
        manifest: description of the separation, as in manifest.json.
        video_input: the video, for its pictures.
    """

    objects: tuple[SeparatedObject, ...]
    mixture: Float32[np.ndarray, "C N"]
    residual: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    manifest: Manifest
    video_input: VideoInput

    @classmethod
    def build(
        cls,
        video_input: VideoInput,
        objects: tuple[SeparatedObject, ...],
        windowed: WindowedInput,
        info: SeparationInfo,
    ) -> "Result":
        """Compute the residual and fill in the manifest of separated objects."""
        mixture = windowed.target
        # In place: with a video of hours, each further copy of the audio is gigabytes.
        residual = objects[0].stem.copy()
        for item in objects[1:]:
            residual += item.stem
        np.subtract(mixture, residual, out=residual)
        return cls(
            objects=objects,
            mixture=mixture,
            residual=residual,
            sample_rate_hz=windowed.mask_resampler.sample_rate_hz,
            manifest=Manifest(
                # PyTorch's local version, such as +cpu, names a build and changes no stem.
                versions={
                    "avsep": avsep.__version__,
                    "torch": torch.__version__.split("+")[0],
                    "python": platform.python_version(),
                },
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
        """Stems by label; a second violin is "violin-2"."""
        names = distinct(item.label for item in self.objects)
        return {name: item.stem for name, item in zip(names, self.objects, strict=True)}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about labels, prompts, damaged frames and silence."""
        return self.manifest.warnings


def energy_share(sound: Float32[np.ndarray, "C N"], mixture: Float32[np.ndarray, "C N"]) -> float:
    """Compute the energy of a sound over that of the mixture; 0 for a silent mixture."""
    # einsum sums in float64 and converts block by block: no float64 copy of hours of audio.
    energy = float(np.einsum("cn,cn->", sound, sound, dtype=np.float64))
    mixture_energy = float(np.einsum("cn,cn->", mixture, mixture, dtype=np.float64))
    return energy / mixture_energy if mixture_energy else 0.0


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
    return tuple(
        ObjectRecord(
            label=item.label,
            file=stem_file(number, item.label),
            prompt_kind=item.prompt_kind,
            category=item.category,
            category_from=item.category_from,
            presence=item.presence,
            energy_share=energy_share(item.stem, mixture),
            boxes=item.visible.boxes,
            confidence=item.visible.confidence,
            azimuth_degrees=item.visible.azimuth_degrees,
            prompt=item.visible.prompt,
        )
        for number, item in enumerate(objects, 1)
    )
