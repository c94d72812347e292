"""The records passed between stages: clips, visible objects, cues, batches, separations.

Axes, here and everywhere: B batch, S sources, C channels (two are ears), N samples, F frequency
bins, T spectrogram frames, K video frames or crops, M pictures of crop motion, J steps of I3D
features, H height, W width, D width of a feature, Q queries.
"""

from bisect import bisect_right
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Literal

import numpy as np
from jaxtyping import Bool, Complex, Float, Float32, Float64, Int64, UInt8
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

Box = tuple[float, float, float, float]
# A trade of time for quality; each generative model defines its own sampling for each.
Quality = Literal["fast", "balanced", "best"]


class TimedBox(BaseModel):
    """The box of an object at one time: x1 y1 x2 y2, normalised 0..1, origin top left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_seconds: float = Field(ge=0, allow_inf_nan=False)
    box: Box

    @model_validator(mode="after")
    def _inside_the_picture(self) -> "TimedBox":
        x1, y1, x2, y2 = self.box
        if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
            raise ValueError(
                f"box {list(self.box)} must hold 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1"
            )
        return self


class VisibleObject(BaseModel):
    """One object in a clip; a box given once holds for the whole clip.

    Attributes:
        label: the user's word for it, or none: then the category is predicted from the crops.
        category: index into the category list in use, or none.
        boxes: its boxes, in order of time; empty means the whole picture.
        confidence: of its detector, 0..1.
        azimuth_degrees: direction of its sound, positive to the right, or none.
        prompt: the text it was prompted by, or none; without boxes it is not visible, and the
            text alone is its cue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    category: int | None = None
    boxes: tuple[TimedBox, ...] = ()
    confidence: float = Field(default=1.0, ge=0, le=1)
    azimuth_degrees: float | None = Field(default=None, ge=-180, le=180)
    prompt: str | None = None

    @property
    def is_visible(self) -> bool:
        """True if it is in the picture; false if its text prompt is the only cue."""
        return self.prompt is None or bool(self.boxes)

    def box_at(self, time_seconds: float) -> Box:
        """Interpolate the box at a time; the first and last boxes are held beyond the ends."""
        if not self.boxes:
            return (0.0, 0.0, 1.0, 1.0)
        index = bisect_right(self.boxes, time_seconds, key=attrgetter("time_seconds"))
        before, after = self.boxes[max(0, index - 1)], self.boxes[min(index, len(self.boxes) - 1)]
        seconds = after.time_seconds - before.time_seconds
        # Before the first box and after the last one both are the same.
        speed = np.subtract(after.box, before.box) / seconds if seconds else np.zeros(4)
        x1, y1, x2, y2 = speed * (time_seconds - before.time_seconds) + before.box
        return (float(x1), float(y1), float(x2), float(y2))


@dataclass(frozen=True)
class Clip:
    """A piece of one video with its sound, as read from files.

    Attributes:
        waveform: sound in -1..1.
        frames: pictures, upright, RGB.
        frame_times_seconds: when each frame is shown, from the start of the waveform.
    """

    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    frames: UInt8[np.ndarray, "K H W 3"]
    frame_times_seconds: Float64[np.ndarray, " K"]
    objects: tuple[VisibleObject, ...] = ()
    name: str = ""


@dataclass(frozen=True)
class Cues:
    """The cues that condition a model; a model lists those it reads in `required_cues`.

    Attributes:
        crops: RGB crops of each source's object.
        appearance: maps of the crops by a frozen image encoder, precomputed; they replace crops.
        crop_motion: the object's crop in grey over the window, M pictures evenly in time.
        i3d_features: I3D motion features over time, precomputed.
        i3d_padding: true where `i3d_features` is padding.
        category: index of each source among the model's categories; -1 where it is not given.
        is_visible: false for a source without pictures, known by text alone; none: all visible.
        boxes: normalised x1 y1 x2 y2 of each crop.
        embedding: one vector a source, from a picture or a text.
    """

    crops: UInt8[Tensor, "B S K 3 H W"] | None = None
    appearance: Float[Tensor, "B S K maps i j"] | None = None
    crop_motion: UInt8[Tensor, "B S M h w"] | None = None
    i3d_features: Float[Tensor, "B S motion J"] | None = None
    i3d_padding: Bool[Tensor, "B S J"] | None = None
    category: Int64[Tensor, "B S"] | None = None
    is_visible: Bool[Tensor, "B S"] | None = None
    boxes: Float[Tensor, "B S K 4"] | None = None
    embedding: Float[Tensor, "B S D"] | None = None


@dataclass(frozen=True)
class Batch:
    """Mixtures at the model's rate, their cues and, in training and evaluation, the references.

    Attributes:
        start_frames: spectrogram frame at which each mixture starts in one long sound; samplers
            then draw the same noise for the same moment. None: unrelated mixtures.
    """

    mixture: Float[Tensor, "B C N"]
    sources: Float[Tensor, "B S C N"] | None = None
    cues: Cues = field(default_factory=Cues)
    start_frames: Int64[Tensor, " B"] | None = None


@dataclass(frozen=True)
class Separation:
    """The output of a model: a magnitude for each source on the linear frequency axis.

    Attributes:
        magnitudes: at the level each source has in the mixture.
        presence: how much each source sounds according to the model, 0..1.
        phase: the mixture's spectrogram scaled to unit magnitude, used for every source.
        metadata: what a model reports beside it (category used, gate, sampler and evaluations).
    """

    magnitudes: Float[Tensor, "B S C F T"]
    presence: Float[Tensor, "B S"]
    phase: Complex[Tensor, "B C F T"]
    metadata: dict[str, object] = field(default_factory=dict)
