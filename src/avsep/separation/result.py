"""The result of a separation: stems and residual, and their description in manifest.json."""

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field

import avsep
from avsep.media.names import distinct, fill_template, readable
from avsep.records import Span, TimedBox, TimedPoint, VisibleObject
from avsep.separation.inference import SamplingRecord, WindowOutput
from avsep.separation.presence import NOT_JUDGED, ObjectPresence, PresenceState, SeparatedAs
from avsep.separation.progress import RunRecord
from avsep.separation.settings import OutputSettings, SeparatorSettings
from avsep.separation.sound_input import SoundProfile
from avsep.separation.video_input import VideoInput

MANIFEST_NAME = "manifest.json"
RESIDUAL_NAME = "residual.wav"
PREVIEW_NAME = "preview.mp4"
REPORT_NAME = "report.html"
PROJECT_NAME = "project.otio"
# Name of the residual without its ending, which a stem never gets.
RESIDUAL_STEM = RESIDUAL_NAME.removesuffix(".wav")

_BLOCK_SAMPLES = 2**17
# How an object is given to the model: by crops of its box, or by text alone, which the model
# matches to one of its categories or embeds (CLIP).
PromptKind = Literal["visual", "text category", "text embedding"]
# A label of the user; that of a detector; predicted from the picture; by the sound, where the
# picture's name is not heard.
CategorySource = Literal["given", "detected", "predicted", "heard"]


class _Record(BaseModel):
    # A manifest is written once, and a misspelt field is an error.
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputRecord(_Record):
    """The separated video; `sha256` and `num_bytes` of its file, none for arrays.

    Duration, start and samples are those of the part that was separated (`settings.start_seconds`
    and `end_seconds`).
    """

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
    sha256: str | None = Field(
        default=None, description="of the checkpoint file; none for a model that was in memory"
    )
    i3d_sha256: str | None = Field(default=None, description="of the file of I3D weights")


class ObjectRecord(_Record):
    """One separated object; without boxes a visible object fills the whole picture."""

    label: str
    file: str | None = Field(description="none: the stem is not written, and in the residual")
    is_excluded: bool = Field(
        description="it was given to the model and separated, and its sound is in the residual"
    )
    spans: tuple[Span, ...] = Field(
        description="seconds of the video in which it sounds; elsewhere its stem is silent and its "
        "sound in the residual; none: throughout"
    )
    prompt_kind: PromptKind
    category: str | None = Field(description="category that the model used, of its own list")
    category_from: CategorySource | None = Field(
        description="given as a label; detected, as one; predicted from the picture; heard, where "
        "the picture's name is not; none without a category"
    )
    separated_as: SeparatedAs = Field(
        description="model; rest: an equal share of the sound that the model's objects leave, for "
        "a thing that the model has no category for; silence: it is not heard"
    )
    presence_state: PresenceState = Field(
        description="present, uncertain or absent: whether its sound is heard in the mixture"
    )
    presence_probability: float = Field(
        description="of the seconds in which it is heard best; 0 for an unknown sound"
    )
    presence_over_time: tuple[float, ...] = Field(
        description="probability that it is heard in each second; none for an unknown sound"
    )
    presence: float = Field(description="the model's estimate that it sounds, 0..1")
    # Stems may be correlated with each other and with the residual, so energies do not add up.
    energy_share: float = Field(
        description="energy of the stem over that of the mixture; shares sum to one only where "
        "stems and residual are orthogonal. Of an excluded object: of its sound in the residual"
    )
    boxes: tuple[TimedBox, ...]
    confidence: float
    azimuth_degrees: float | None
    prompt: str | None
    point: TimedPoint | None = Field(description="point by which it was given")
    mask: str | None = Field(description="name of the mask file from which its boxes are")


class Manifest(_Record):
    """Content of manifest.json; file names are relative to its folder."""

    made_by: Literal["avsep separate"] = "avsep separate"
    versions: dict[str, str]
    input: InputRecord
    model: ModelRecord
    settings: SeparatorSettings
    output: OutputSettings = Field(
        default=OutputSettings(),
        description="settings of the files; preview and name of the "
        "residual may differ where they had to",
    )
    sampling: SamplingRecord | None = Field(description="none for one-pass models")
    sample_rate_hz: int = Field(description="of the stems")
    num_channels: int = Field(description="of the stems")
    num_samples: int = Field(description="of the stems")
    input_channels: str = Field(description="channels of the audio that the model reads, in words")
    judged_seconds: float = Field(
        description="sound, from the first second that is not silent, by which channels and offset "
        "were judged"
    )
    removed_offset: tuple[float, ...] = Field(
        description="constant offset of each channel that the model did not get; it is in the "
        "residual"
    )
    objects: tuple[ObjectRecord, ...]
    objects_sha256: str = Field(description="of the objects as they were given")
    residual: str = Field(default=RESIDUAL_NAME, description="mixture minus all stems with a file")
    residual_energy_share: float
    peak: float = Field(
        description="largest absolute sample of mixture, stems and residual, as they are written"
    )
    gain_db: float = Field(
        default=0.0,
        description="gain of stems and residual, below 0 where a format would clip them",
    )
    # None in the manifest that is written with the stems, before preview and report are made.
    preview: str | None = PREVIEW_NAME
    report: str | None = REPORT_NAME
    project: str | None = None
    is_complete: bool = Field(default=True, description="false until preview and report were tried")
    warnings: tuple[str, ...]
    run: RunRecord

    @property
    def stems(self) -> tuple["StemFile", ...]:
        """Stems that are written, in the order of the objects."""
        titles = distinct(item.label for item in self.objects)
        return tuple(
            StemFile(index, title, item.file, item)
            for index, (title, item) in enumerate(zip(titles, self.objects, strict=True))
            if item.file
        )

    @property
    def residual_title(self) -> str:
        """Title of the residual, which with `--except` is all but some objects."""
        if not self.output.all_but:
            return "residual"
        return f"all but {', '.join(stem.title for stem in self.stems)}"


@dataclass(frozen=True)
class StemFile:
    """A stem that is written: number of its object from 0, title (all differ), file and object."""

    index: int
    title: str
    file: str
    record: ObjectRecord


@dataclass(frozen=True)
class ObjectInfo:
    """One object of a separation, as it is known before its stem.

    Attributes:
        visible: the object as it was given; its category is an index into the model's list.
        label: given label, else the predicted category.
        prompt_kind: by crops, or by text alone.
        category: category that the model uses; none for a model without categories.
        category_from: source of the category; none without one.
        separated_as: by the model, or not (`Treatment`).
        presence: whether its sound is heard in the mixture.
    """

    visible: VisibleObject
    label: str
    prompt_kind: PromptKind
    category: str | None
    category_from: CategorySource | None
    separated_as: SeparatedAs = "model"
    presence: ObjectPresence = NOT_JUDGED


@dataclass(frozen=True)
class StemBlock:
    """Successive samples of mixture, stems and residual."""

    mixture: Float32[np.ndarray, "C n"]
    stems: Float32[np.ndarray, "S C n"]
    residual: Float32[np.ndarray, "C n"]

    @classmethod
    def build(
        cls, mixture: Float32[np.ndarray, "C n"], stems: Float32[np.ndarray, "S C n"]
    ) -> "StemBlock":
        """Compute the residual: mixture minus stems."""
        residual = stems[0].copy()
        for stem in stems[1:]:
            residual += stem
        np.subtract(mixture, residual, out=residual)
        return cls(mixture, stems, residual)


class SeparationTotals:
    """Sums over the windows and blocks of a separation."""

    def __init__(self, num_objects: int) -> None:
        self.sampling: SamplingRecord | None = None
        self.peak = 0.0
        self._presence = np.zeros(num_objects)
        self._window_energy = 0.0
        self._energies = np.zeros(num_objects + 2)

    def add_window(self, output: WindowOutput, places: Sequence[int]) -> None:
        """Add a window's presence, weighted by its energy; `places` are those of its objects."""
        # In a quiet window presence is unreliable, and in silence undefined.
        self._presence[list(places)] += output.energy * output.presence
        self._window_energy += output.energy
        self.sampling = output.sampling

    def add_block(self, block: StemBlock) -> None:
        """Add the energies of a block, and its peak."""
        for index, sound in enumerate((*block.stems, block.residual, block.mixture)):
            self._energies[index] += _energy(sound)
            self.peak = max(self.peak, float(sound.max(initial=0)), -float(sound.min(initial=0)))

    def add_excluded(self, index: int, sound: Float32[np.ndarray, "C n"]) -> None:
        """Add the energy of an object whose sound is in the residual of a block."""
        self._energies[index] += _energy(sound)

    @property
    def is_silent(self) -> bool:
        """True if every sample of the mixture was zero."""
        return not self._energies[-1]

    @property
    def presence(self) -> list[float]:
        """Return the presence of each object, 0..1."""
        # Silence sums to 0, which any small divisor keeps at 0. Rounding may leave 0..1.
        return (self._presence / max(self._window_energy, 1e-12)).clip(0, 1).tolist()

    @property
    def energy_shares(self) -> list[float]:
        """Return the energy of each stem and of the residual over the mixture's; 0 in silence."""
        *energies, mixture = self._energies.tolist()
        return [energy / mixture if mixture else 0.0 for energy in energies]


def _energy(sound: Float32[np.ndarray, "C n"]) -> float:
    # einsum sums in float64 and converts piece by piece, without a float64 copy.
    return float(np.einsum("cn,cn->", sound, sound, dtype=np.float64))


@dataclass(frozen=True)
class SeparatedObject:
    """One object and its stem.

    Attributes:
        visible: the object, with the boxes that it was given or that were found; its category is
            an index into the model's list.
        label: given label, else the predicted category.
        prompt_kind: by crops, or by text alone.
        stem: audio of the object, at the rate and channels of the result; silent outside of the
            object's spans, and for an object that is excluded.
        presence: the model's estimate that it sounds, 0..1, weighted by the energy of the mixture.
        category: category that the model used; none for a model without categories.
        category_from: source of the category; none without one.
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
    """Provenance of a result: checksum of the objects as they were given (`objects_sha256`),
    model, settings, input channels in words, and the sound's profile.
    """

    objects_sha256: str
    model: ModelRecord
    settings: SeparatorSettings
    input_channels: str
    profile: SoundProfile


@dataclass(frozen=True)
class StemSamples:
    """Rate, channels and samples of stems, and samples of the video's sound."""

    sample_rate_hz: int
    num_channels: int
    num_samples: int
    num_input_samples: int


def build_manifest(
    video_input: VideoInput,
    info: SeparationInfo,
    objects: Sequence[ObjectInfo],
    totals: SeparationTotals,
    stem_samples: StemSamples,
    run: RunRecord,
) -> Manifest:
    """Fill in the manifest of a separation that is complete."""
    *energy_shares, residual_energy_share = totals.energy_shares
    return Manifest(
        # PyTorch's local version, such as +cpu, names a build and changes no stem.
        versions={
            "avsep": avsep.__version__,
            "torch": torch.__version__.split("+")[0],
            "python": platform.python_version(),
        },
        input=_input_record(video_input, stem_samples.num_input_samples),
        model=info.model,
        settings=info.settings,
        sampling=totals.sampling,
        sample_rate_hz=stem_samples.sample_rate_hz,
        num_channels=stem_samples.num_channels,
        num_samples=stem_samples.num_samples,
        input_channels=info.input_channels,
        judged_seconds=info.profile.judged_seconds,
        removed_offset=tuple(info.profile.offset[:, 0].tolist()),
        objects=tuple(
            ObjectRecord(
                label=item.label,
                file=None if item.visible.is_excluded else file,
                is_excluded=item.visible.is_excluded,
                spans=item.visible.spans,
                prompt_kind=item.prompt_kind,
                category=item.category,
                category_from=item.category_from,
                separated_as=item.separated_as,
                presence_state=item.presence.state,
                presence_probability=item.presence.confidence,
                presence_over_time=item.presence.over_time,
                presence=presence,
                energy_share=energy_share,
                boxes=item.visible.boxes,
                confidence=item.visible.confidence,
                azimuth_degrees=item.visible.azimuth_degrees,
                prompt=item.visible.prompt,
                point=item.visible.point,
                # A folder may name its owner.
                mask=item.visible.mask and readable(Path(item.visible.mask).name),
            )
            for item, file, presence, energy_share in zip(
                objects,
                stem_files(objects, video_input.name),
                totals.presence,
                energy_shares,
                strict=True,
            )
        ),
        objects_sha256=info.objects_sha256,
        residual_energy_share=residual_energy_share,
        peak=totals.peak,
        warnings=tuple(video_input.warnings),
        run=run,
    )


def objects_sha256(objects: Sequence[VisibleObject]) -> str:
    """Return a checksum of objects as they were given, before a model chooses categories."""
    # The boxes say all of a mask.
    fields = [item.model_dump(mode="json", exclude={"category", "mask"}) for item in objects]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def stem_files(
    objects: Sequence["ObjectInfo | SeparatedObject"],
    video: str,
    template: str = OutputSettings().name,
    ending: str = ".wav",
) -> tuple[str, ...]:
    """Return the names of the stems' files, all different and none that of the residual.

    Args:
        objects: objects in the order given.
        video: name of the video.
        template: see `fill_template`.
        ending: ending of the names.
    """
    names = (
        fill_template(
            template, number=number, label=item.label, category=item.category or "", video=video
        )
        for number, item in enumerate(objects, 1)
    )
    return tuple(f"{name}{ending}" for name in distinct([RESIDUAL_STEM, *names])[1:])


def _input_record(video_input: VideoInput, num_samples: int) -> InputRecord:
    sha256, num_bytes = video_input.fingerprint or (None, None)
    sound = video_input.sound
    return InputRecord(
        name=video_input.file_name,
        sha256=sha256,
        num_bytes=num_bytes,
        duration_seconds=num_samples / sound.sample_rate_hz,
        start_seconds=sound.start_seconds,
        sample_rate_hz=sound.sample_rate_hz,
        num_channels=sound.num_channels,
        num_samples=num_samples,
    )


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

    @property
    def stems(self) -> dict[str, Float32[np.ndarray, "C N"]]:
        """Stems by label; a second violin is "violin-2". Excluded objects have none."""
        names = distinct(item.label for item in self.objects)
        return {
            name: item.stem
            for name, item in zip(names, self.objects, strict=True)
            if not item.visible.is_excluded
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about labels, prompts, damaged frames and silence."""
        return self.manifest.warnings

    @property
    def gate(self) -> Float32[np.ndarray, "S h w"] | None:
        """Gates of all objects; none for a model without a gate."""
        gates = [item.gate for item in self.objects if item.gate is not None]
        return np.stack(gates) if gates else None

    def blocks(self) -> Iterator[StemBlock]:
        """Return the result in blocks of some seconds."""
        for begin in range(0, self.mixture.shape[1], _BLOCK_SAMPLES):
            piece = slice(begin, begin + _BLOCK_SAMPLES)
            stems = np.stack([item.stem[:, piece] for item in self.objects])
            yield StemBlock(self.mixture[:, piece], stems, self.residual[:, piece])
