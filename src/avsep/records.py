"""The records passed between stages: clips, visible objects, cues, batches, separations.

Axes, here and everywhere: B batch, S sources, C channels (two are ears), N samples, F frequency
bins, T spectrogram frames, K video frames or crops, M pictures of crop motion, J steps of I3D
features, H height, W width, D width of a feature, Q queries.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from math import isfinite
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool, Complex, Float, Float32, Float64, Int64, UInt8
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from torch import Tensor

from avsep.errors import InputError
from avsep.recipe import first_fault


def _check_four_numbers(box: object) -> object:
    # Before pydantic's own check, whose message would name every number that is missing, and which
    # takes a set, whose order is not that of its numbers.
    if not (isinstance(box, list | tuple | np.ndarray) and len(box) == 4):
        raise ValueError("must be four numbers, [x1, y1, x2, y2]")
    return box


def _check_corners(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        raise ValueError(f"box {list(box)} must hold 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1")
    return box


Box = Annotated[
    tuple[float, float, float, float],
    BeforeValidator(_check_four_numbers),
    AfterValidator(_check_corners),
]
# A trade of time for quality; each generative model defines its own sampling for each.
Quality = Literal["fast", "balanced", "best"]


_BOXES_EXAMPLE = "[TimedBox(time_seconds=0, box=(0.1, 0.2, 0.5, 0.9))]"


class _GivenRecord(BaseModel):
    """A record that users make in Python: a wrong field is an InputError of one line."""

    if not TYPE_CHECKING:  # a type checker has the signature that pydantic gives it

        def __init__(self, *values: object, **fields: object) -> None:
            name = type(self).__name__
            if values:
                raise InputError(
                    f"{name}: fields are given by name: {', '.join(type(self).model_fields)}; "
                    f'write VisibleObject(label="violin", boxes={_BOXES_EXAMPLE})'
                )
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise first_fault(error, type(self), name, "field") from error

        # pydantic then makes the records within others without it, and names fields of those too.
        __init__.__pydantic_base_init__ = True


class TimedBox(_GivenRecord):
    """The box of an object at one time: x1 y1 x2 y2, normalised 0..1, origin top left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time_seconds: float = Field(ge=0, allow_inf_nan=False)
    box: Box


def _check_timed(boxes: object) -> object:
    # Before pydantic's own check, whose message would name every field that a wrong value lacks.
    if not isinstance(boxes, list | tuple) or any(
        not isinstance(box, dict | TimedBox) for box in boxes
    ):
        raise ValueError(
            f'must be [{{"time_seconds": 0, "box": [x1, y1, x2, y2]}}, ...], in Python '
            f"{_BOXES_EXAMPLE}; in objects.json write a single box for the whole clip as box"
        )
    return boxes


def _check_order(boxes: Any) -> Any:
    # pydantic has checked the type by now: a tuple of TimedBoxes.
    times = [timed.time_seconds for timed in boxes]
    if times != sorted(times):
        raise ValueError("must be in order of time")
    return boxes


# The boxes of an object over time, as users give them in Python or in objects.json.
TimedBoxes = Annotated[
    tuple[TimedBox, ...], BeforeValidator(_check_timed), AfterValidator(_check_order)
]


class TimedPoint(_GivenRecord):
    """A point on an object at one time: x y, normalised 0..1, origin top left."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)
    time_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)


# Start and end in seconds of the video.
Span = tuple[float, float]


def _check_pairs(spans: object) -> object:
    # Before pydantic's own check, whose message would name every number that is missing.
    if not isinstance(spans, list | tuple) or not all(
        isinstance(span, list | tuple) and len(span) == 2 for span in spans
    ):
        raise ValueError("must be [[start, end], ...] in seconds, such as [[12, 15.5]]")
    return spans


def merge_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in order of time, those that overlap or touch as one.

    >>> merge_spans([(4, 6), (1, 2), (2, 3), (5, 8)])
    ((1, 3), (4, 8))

    Raises:
        ValueError: a span that begins before 0, or does not end after it begins.
    """
    merged: list[Span] = []
    for start, end in sorted(spans):
        if not (isfinite(end) and 0 <= start < end):
            raise ValueError(f"span {start:g}-{end:g} must hold 0 <= start < end, in seconds")
        if merged and start <= merged[-1][1]:
            start, end = merged[-1][0], max(end, merged.pop()[1])
        merged.append((start, end))
    return tuple(merged)


# When an object sounds, as users give it in Python or in objects.json.
Spans = Annotated[tuple[Span, ...], BeforeValidator(_check_pairs), AfterValidator(merge_spans)]


def _to_text(path: object) -> object:
    return os.fspath(path) if isinstance(path, os.PathLike) else path


class VisibleObject(_GivenRecord):
    """One object in a clip; a box given once holds for the whole clip.

    Attributes:
        label: the user's word for it, or none: then the category is predicted from the crops.
        category: index into the category list in use, or none.
        boxes: its boxes, in order of time; empty means the whole picture.
        confidence: of its detector, 0..1.
        azimuth_degrees: direction of its sound, positive to the right, or none.
        prompt: the text it was prompted by, or none; without boxes it is not visible, and the
            text alone is its cue.
        is_excluded: it is separated, and its sound goes to the residual: its stem is silent and
            gets no file.
        spans: start and end in seconds of the video of the parts in which it sounds; its stem is
            silent elsewhere. Empty: throughout.
        point: a point on it; without boxes it is looked for there.
        is_sought: a detector looks for its label; where it finds none, it is the whole picture.
        is_named_by_detector: its label is not the user's but a detector's, which may be wrong.
        mask: file of a picture or video that is white where it is, which gives its boxes where
            there are none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    category: int | None = None
    boxes: TimedBoxes = ()
    confidence: float = Field(default=1.0, ge=0, le=1)
    azimuth_degrees: float | None = Field(default=None, ge=-180, le=180)
    prompt: str | None = None
    is_excluded: bool = False
    spans: Spans = ()
    point: TimedPoint | None = None
    mask: Annotated[str | None, BeforeValidator(_to_text)] = None
    is_sought: bool = False
    is_named_by_detector: bool = False

    @property
    def needs_finding(self) -> bool:
        """True if it is given by a point or a word, and has not been looked for yet."""
        return (self.point is not None or self.is_sought) and not self.boxes

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
        frames: pictures, upright, RGB; none of them for a sound without pictures.
        frame_times_seconds: when each frame is shown, from the start of the waveform.
    """

    waveform: Float32[np.ndarray, "C N"]
    sample_rate_hz: int
    frames: UInt8[np.ndarray, "K H W 3"] = field(
        default_factory=lambda: np.zeros((0, 1, 1, 3), np.uint8)
    )
    frame_times_seconds: Float64[np.ndarray, " K"] = field(default_factory=lambda: np.zeros(0))
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
