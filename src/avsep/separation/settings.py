"""The settings of a separation, the same for every model, and those of the files it writes."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from avsep.media.audio import Align
from avsep.media.decoding import OnDamage
from avsep.media.names import check_template, readable
from avsep.media.streams import Track
from avsep.records import Quality

# Name in place of a detector's, for none.
NO_DETECTOR = "none"
StemFormat = Literal["wav32", "wav24", "wav16", "flac", "opus", "aac"]


class SeparatorSettings(BaseModel):
    """Settings of `Separator` and `separate`; each field is also a keyword of `separate`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: Literal["native", "model"] = Field(
        default="native",
        description="sample rate and channels of the stems: those of the video (native), or those "
        "of the model, as papers score",
    )
    quality: Quality = Field(
        default="fast",
        description="sampling effort of generative models, as each defines it; other models run "
        "one pass",
    )
    start_seconds: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="start of the part to separate, seconds of the video as a player shows them",
    )
    end_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="end of the part to separate, seconds; none: the end of the video",
    )
    audio_track: Track | None = Field(
        default=None,
        description="audio track of a video with several: a number from 1, a language (eng), mix "
        "for the sum of all, or pair for the first two of one channel as left and right; none: "
        "the default track, and a warning that names the others",
    )
    align: Align = Field(
        default="picture",
        description="start of the stems: that of the picture, so that they fall into place beside "
        "the video, or that of the sound",
    )
    on_damage: OnDamage = Field(
        default="error",
        description="damaged sound: an error, or silence in its place with a warning (skip); "
        "damaged frames are always skipped with a warning",
    )
    detector: str = Field(
        default="avsep-detector",
        min_length=1,
        description="finds objects that are given by a word or a point, or all where none are "
        "given: a name or file as in docs/detectors.md; none: the whole picture is taken",
    )
    frame_rate_hz: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="frames a second that a file of detections counts, for a detector that is an "
        ".npy or COCO's JSON",
    )
    keep_absent: bool = Field(
        default=False,
        description="separate objects, too, that are in the picture and not heard; else their "
        "stems are silent",
    )
    # At one half the raised-cosine fades of neighbouring windows (sound/windows.py) sum to one.
    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="fraction of a window shared with the next"
    )
    # torch.Generator overflows beyond 64 bits; NumPy's SeedSequence refuses negative seeds.
    seed: int = Field(default=0, ge=0, lt=2**63, description="random seed for generative models")
    device: str = Field(
        default="auto",
        description="device of the model, as PyTorch names it; auto: the fastest available. The "
        "manifest records the device that was used",
    )
    sources_at_once: int = Field(
        default=8, ge=1, description="batch size: windows times objects in one forward pass"
    )
    i3d: Path | None = Field(
        default=None,
        description="file of I3D weights, for models that read I3D features; the manifest records "
        "its name",
    )

    @model_validator(mode="after")
    def _check_together(self) -> "SeparatorSettings":
        if self.end_seconds is not None and self.end_seconds <= self.start_seconds:
            raise ValueError(
                f"the part ends at {self.end_seconds:g} s and starts at {self.start_seconds:g} s; "
                "give an end after the start"
            )
        if self.frame_rate_hz is not None and self.detector == NO_DETECTOR:
            raise ValueError(
                "no detector looks for objects, so that a frame rate has no meaning; leave out "
                "frame_rate_hz (--frame-rate)"
            )
        return self

    def as_recorded(self, device: torch.device) -> "SeparatorSettings":
        """Return the settings for the manifest: device that was used, file name without folders."""
        i3d = self.i3d and Path(readable(self.i3d.name))
        return self.model_copy(update={"i3d": i3d, "device": str(device)})


class OutputSettings(BaseModel):
    """Settings of the files that `separate_files`, `write_stream` and `write_result` write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: StemFormat = Field(
        default="wav32",
        description="format of stems and residual: WAV of 32-bit float (exact), 24 or 16 bits, "
        "FLAC of 24 bits, Opus or AAC (.m4a; both lossy)",
    )
    name: str = Field(
        default="{number:02}-{label}",
        description="template of the stems' names, from {number}, {label}, {category}, {video}",
    )
    only: tuple[str, ...] = Field(
        default=(),
        description="labels or numbers of objects: only their stems are written, and all else is "
        "in the residual. Repeat for each",
    )
    all_but: tuple[str, ...] = Field(
        default=(),
        description="labels or numbers of objects: the video's sound without them becomes one "
        "file, all-but-LABEL, beside their stems. Repeat for each",
    )
    preview: Literal["mp4", "mkv", "none"] = Field(
        default="mp4",
        description="container of the preview, whose pictures are copied; mkv is chosen where mp4 "
        "does not hold their codec",
    )
    project: bool = Field(
        default=False,
        description="write project.otio too, which opens in an editing program with the video and "
        "one track for each stem (OpenTimelineIO)",
    )

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        check_template(name)
        return name

    @model_validator(mode="after")
    def _check_choice(self) -> "OutputSettings":
        if self.only and self.all_but:
            raise ValueError("give --only or --except (only=, all_but=), not both")
        return self
