"""manifest.json: what was separated, by which model, how, and which file holds what."""

import platform
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

import avsep
from avsep.media.names import readable
from avsep.records import Quality, TimedBox

FILE_NAME = "manifest.json"
RESIDUAL_NAME = "residual.wav"
PREVIEW_NAME = "preview.mp4"
REPORT_NAME = "report.html"

# How an object is known: it is seen, or its word alone tells, in CLIP's language or a model's own.
KnownBy = Literal["picture", "text (CLIP)", "stored word"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeparatorSettings(_Record):
    """How a video is separated, whatever the model."""

    rate: Literal["native", "model"] = Field(
        default="native",
        description="of the stems: the video's own rate and channels, or one channel at the "
        "model's rate, which is what papers score",
    )
    quality: Quality = Field(
        default="fast",
        description="how long models that sample take for an answer, as each has it; others answer "
        "in one pass",
    )
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="part that a window shares with the next"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of models that draw at random")
    device: str = Field(
        default="auto",
        description="where the model runs; auto: the fastest here, and a manifest holds which",
    )
    sources_at_once: int = Field(
        default=8, ge=1, description="windows times objects in one pass of the network"
    )
    i3d: Path | None = Field(
        default=None,
        description="weights of I3D, for models that read motion features; a manifest holds the "
        "file's name alone",
    )

    def as_recorded(self, device: torch.device) -> "SeparatorSettings":
        """The same with the device that was used, and without the folders of this machine."""
        i3d = self.i3d and Path(readable(self.i3d.name))
        return self.model_copy(update={"i3d": i3d, "device": str(device)})


class InputRecord(_Record):
    """The video that was separated; SHA-256 and bytes are of the file, none for arrays."""

    name: str
    sha256: str | None
    num_bytes: int | None
    duration_seconds: float
    start_seconds: float = Field(description="when its sound begins on the file's time line")
    sample_rate_hz: int
    num_channels: int
    num_samples: int


class ModelRecord(_Record):
    """The model, with what its checkpoint tells of itself."""

    name: str
    system: str = Field(default="", description="the name of its architecture")
    metadata: dict[str, object] = {}


class SamplingRecord(_Record):
    """How a model that samples drew its answers, as it tells itself."""

    sampler: str
    evaluations: int = Field(description="passes of its network for each window")


class ObjectRecord(_Record):
    """One object; an empty list of boxes means the whole picture, of one that is seen."""

    label: str
    file: str
    known_by: KnownBy
    category: str | None = Field(description="of the model's list, the one that was used")
    category_from: Literal["label", "picture"] | None
    presence: float = Field(description="how much the model says it sounds, 0..1")
    energy_share: float = Field(
        description="the stem's energy over the mixture's; shares add up to one only where "
        "stems and residual have nothing in common"
    )
    boxes: tuple[TimedBox, ...]
    confidence: float
    azimuth_degrees: float | None
    prompt: str | None


class Manifest(_Record):
    """The whole of manifest.json; file names count from its own folder."""

    made_by: Literal["avsep separate"] = "avsep separate"
    versions: dict[str, str]
    input: InputRecord
    model: ModelRecord
    settings: SeparatorSettings
    sampling: SamplingRecord | None = Field(description="none for a model that answers in one pass")
    sample_rate_hz: int = Field(description="of the stems")
    num_channels: int = Field(description="of the stems")
    num_samples: int = Field(description="of the stems")
    input_channels: str = Field(description="what the model reads of several channels")
    objects: tuple[ObjectRecord, ...]
    residual: str = RESIDUAL_NAME
    residual_energy_share: float
    preview: str | None = PREVIEW_NAME
    report: str = REPORT_NAME
    warnings: tuple[str, ...]

    @property
    def files(self) -> set[str]:
        """Names of all files of a result, this one included."""
        return _files(self)


class _Read(BaseModel):
    """What is read back; other versions of avsep may write more beside it, or less."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class EarlierInput(_Read):
    """Which video an earlier result is of."""

    name: str = ""
    sha256: str | None = None
    num_samples: int | None = None

    def is_of(self, video: InputRecord) -> bool:
        """Whether it was the same file; of arrays, which have no checksum, the name and length."""
        if self.sha256 is None and video.sha256 is None:
            return (self.name, self.num_samples) == (video.name, video.num_samples)
        return self.sha256 == video.sha256


class EarlierObject(_Read):
    """One object of an earlier result."""

    file: str


class EarlierManifest(_Read):
    """As much of a manifest as is needed to replace a result, whichever version wrote it."""

    made_by: Literal["avsep separate"]
    input: EarlierInput = EarlierInput()
    objects: tuple[EarlierObject, ...] = ()
    residual: str = RESIDUAL_NAME
    preview: str | None = PREVIEW_NAME
    report: str = REPORT_NAME

    @property
    def files(self) -> set[str]:
        """Names of all files of the result, the manifest included."""
        return _files(self)


def _files(manifest: Manifest | EarlierManifest) -> set[str]:
    files = {found.file for found in manifest.objects}
    files |= {FILE_NAME, manifest.residual, manifest.report}
    return files | ({manifest.preview} if manifest.preview else set())


def versions() -> dict[str, str]:
    """What made the result."""
    return {"avsep": avsep.__version__, "torch": torch.__version__.split("+")[0],
            "python": platform.python_version()}  # fmt: skip
