"""Who is on the stage: drawn musicians, photographs that shake, and things that make no sound."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import Float
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from avsep.records import Box
from avsep.toyband.pictures.drawing import Placement, Sketch, Sprite, rasterise
from avsep.toyband.pictures.instruments.instrument import Instrument, Layer
from avsep.toyband.pictures.instruments.motion import Motion, PlayedNote, Pose
from avsep.toyband.pictures.instruments.people import Appearance

SWAY_UNITS = 4.0  # of the body to either side
NOD_UNITS = 4.0  # downwards, into a loud note
MIN_VIEW_SHARE = 0.7  # least share of a photograph's sides that is shown
SHAKE_SHARE = 0.05  # of the shown side, at the loudest
PixelBox = tuple[int, int, int, int]
Bounds = tuple[float, float, float, float]
Number = TypeVar("Number", int, float)


class PictureSettings(BaseModel):
    """How the pictures of a band are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width_pixels: int = Field(default=640, ge=64, le=4096, description="of the video")
    height_pixels: int = Field(default=360, ge=64, le=4096, description="of the video")
    frame_rate_hz: float = Field(default=20.0, ge=1, le=120, description="pictures a second")
    most_distractors: int = Field(default=3, ge=0, le=20, description="things that make no sound")
    least_size: float = Field(
        default=0.62, ge=0.1, le=1, description="of a performer, by the largest that fits"
    )

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return (self.width_pixels, self.height_pixels)


class StageSettings(PictureSettings):
    """The same for one clip, whose length and side of the split are known."""

    duration_seconds: float = Field(default=10.0, gt=0)
    held_out_photographs: bool = Field(default=False, description="take those kept for evaluation")
    centres: tuple[float, ...] | None = Field(
        default=None,
        description="middle of each performer, as shares of the width; none: side by side",
    )

    @property
    def num_frames(self) -> int:
        """Frames of a clip."""
        return max(1, round(self.duration_seconds * self.frame_rate_hz))

    @property
    def frame_times_seconds(self) -> list[float]:
        """When each frame is shown."""
        return [index / self.frame_rate_hz for index in range(self.num_frames)]


class Performer(ABC):
    """Something on the stage that moves with its sound.

    Attributes:
        category: one of `avsep.toyband.categories.CATEGORIES`.
        box: x1 y1 x2 y2, 0..1, around all that it draws at any frame of the clip.
    """

    category: str
    box: Box

    @abstractmethod
    def draw(self, canvas: Image.Image, time_seconds: float) -> None:
        """Draw it onto the picture as it is at a time."""


# Drawn musicians


class Musician:
    """A musician who has not yet a place: how far the drawing reaches, in design units."""

    def __init__(
        self, instrument: Instrument, appearance: Appearance, notes: Sequence[PlayedNote]
    ) -> None:
        self.instrument = instrument
        self.appearance = appearance
        self.motion = Motion(notes, instrument.strike_position)
        self._sketches: dict[Hashable, Sketch] = {}
        self._bounds: dict[Hashable, Bounds] = {}
        self._poses: dict[float, Pose] = {}

    def pose(self, time_seconds: float) -> Pose:
        """The pose at a time, reckoned once."""
        if time_seconds not in self._poses:
            self._poses[time_seconds] = self.motion.pose(time_seconds)
        return self._poses[time_seconds]

    def sketch(self, index: int, pose: Pose) -> tuple[Hashable, Sketch]:
        """One layer at a pose, and the key under which the same drawing is found again."""
        layer = self.instrument.layers[index]
        key = (index, *(getattr(pose, field) for field in layer.pose_fields))
        if key not in self._sketches:
            sketch = Sketch()
            layer.paint(sketch, self.appearance, pose)
            self._sketches[key] = sketch
            if sketch.shapes:
                self._bounds[key] = sketch.bounds()
        return key, self._sketches[key]

    def bounds(self, times_seconds: Sequence[float]) -> Bounds:
        """x1 y1 x2 y2 in units around all that it draws at any of the times."""
        drawn_bounds = self.drawn_bounds(times_seconds)
        x1, y1, x2, y2 = _union([bounds for _, _, bounds in drawn_bounds])
        x1, x2, y2 = x1 - SWAY_UNITS, x2 + SWAY_UNITS, y2 + NOD_UNITS
        return (-x2, y1, -x1, y2) if self.appearance.mirrored else (x1, y1, x2, y2)

    def drawn_bounds(self, times_seconds: Sequence[float]) -> list[tuple[Layer, Pose, Bounds]]:
        """What is drawn at any of the times: layer, pose, and x1 y1 x2 y2 before its sway."""
        poses = dict.fromkeys(self.pose(time) for time in times_seconds)
        return [
            (layer, pose, self._bounds[key])
            for pose in poses
            for index, layer in enumerate(self.instrument.layers)
            if (key := self.sketch(index, pose)[0]) in self._bounds
        ]


class DrawnPerformer(Performer):
    """A musician drawn with the instrument; layers that look the same again are kept."""

    def __init__(
        self,
        category: str,
        musician: Musician,
        placement: Placement,
        settings: StageSettings,
    ) -> None:
        self.category = category
        self.musician = musician
        self._placement = placement._replace(mirrored=musician.appearance.mirrored)
        self._sprites: dict[Hashable, Sprite | None] = {}
        rectangles = {
            _shift_rectangle(self._placement.rectangle(bounds), self._shift(layer, pose))
            for layer, pose, bounds in musician.drawn_bounds(settings.frame_times_seconds)
        }
        self.box = pixels_to_box(_union(rectangles), settings.picture_size)

    def draw(self, canvas: Image.Image, time_seconds: float) -> None:
        """Paste the layers at the pose of that time."""
        pose = self.musician.pose(time_seconds)
        for index, layer in enumerate(self.musician.instrument.layers):
            key, sketch = self.musician.sketch(index, pose)
            if key not in self._sprites:
                self._sprites[key] = rasterise(sketch, self._placement)
            sprite = self._sprites[key]
            if sprite is not None:
                sprite.paste(canvas, self._shift(layer, pose))

    def _shift(self, layer: Layer, pose: Pose) -> tuple[int, int]:
        scale = self._placement.pixels_per_unit * layer.sway_share
        side = -1 if self._placement.mirrored else 1
        return (round(side * SWAY_UNITS * scale * pose.sway), round(NOD_UNITS * scale * pose.lean))


# Photographs


class PhotographPerformer(Performer):
    """A photograph that pans and zooms slowly and shakes as loud as its sound is.

    Where the sound rests, the shake rests; pan and zoom go on, as a camera's do.
    """

    def __init__(
        self,
        category: str,
        photograph: Image.Image,
        rectangle: PixelBox,
        settings: StageSettings,
        envelope: Float[np.ndarray, " K"],
        generator: np.random.Generator,
    ) -> None:
        self.category = category
        self.box = pixels_to_box(rectangle, settings.picture_size)
        self._rectangle = rectangle
        width, height = rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
        # Twice the shown size is enough for the closest zoom and makes every frame cheap.
        self._photograph = photograph.resize((2 * width, 2 * height), Image.Resampling.BOX)
        self._views = _camera_path(len(envelope), generator)
        angles = generator.uniform(0, 2 * np.pi, len(envelope))
        shakes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self._views[:, :2] += SHAKE_SHARE * np.asarray(envelope)[:, None] * shakes
        self._frame_rate_hz = settings.frame_rate_hz

    def draw(self, canvas: Image.Image, time_seconds: float) -> None:
        """Paste the part of the photograph that is seen at that time."""
        index = round(time_seconds * self._frame_rate_hz)
        x, y, share = self._views[min(max(index, 0), len(self._views) - 1)].tolist()
        width, height = self._photograph.size
        half = share / 2
        x, y = min(max(x, half), 1 - half), min(max(y, half), 1 - half)
        view = ((x - half) * width, (y - half) * height, (x + half) * width, (y + half) * height)
        left, top, right, bottom = self._rectangle
        area = (right - left, bottom - top)
        shown = self._photograph.resize(area, Image.Resampling.BILINEAR, box=view)
        canvas.paste(shown, (left, top))


def _camera_path(num_frames: int, generator: np.random.Generator) -> Float[np.ndarray, "K 3"]:
    """Centre x, y and shown share of each frame: from one view to another at even speed."""
    shares = generator.uniform(MIN_VIEW_SHARE, 0.88, 2)
    centres = 0.5 + generator.uniform(-0.5, 0.5, (2, 2)) * (0.9 - shares)[:, None]
    ends = np.concatenate([centres, shares[:, None]], axis=1)
    along = np.linspace(0, 1, num_frames)[:, None]
    return ends[0] + (ends[1] - ends[0]) * along


# Boxes


def pixels_to_box(rectangle: PixelBox, picture_size: tuple[int, int]) -> Box:
    """Pixels x1 y1 x2 y2 as a share of width and height, cut at the picture's edges."""
    width, height = picture_size
    x1, y1, x2, y2 = rectangle
    return (
        max(0, x1) / width,
        max(0, y1) / height,
        min(width, x2) / width,
        min(height, y2) / height,
    )


def _shift_rectangle(rectangle: PixelBox, shift: tuple[int, int]) -> PixelBox:
    x1, y1, x2, y2 = rectangle
    return (x1 + shift[0], y1 + shift[1], x2 + shift[0], y2 + shift[1])


def _union(
    rectangles: Collection[tuple[Number, Number, Number, Number]],
) -> tuple[Number, Number, Number, Number]:
    """The smallest rectangle around several."""
    lefts, tops, rights, bottoms = zip(*rectangles, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))
