"""Draw the performers of a stage: musicians that play, or photographs that shake with the sound."""

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

SWAY_UNITS = 4.0  # largest sway of the body to either side
NOD_UNITS = 4.0  # largest nod, downwards, at the onset of the loudest note
# Shares of a photograph's sides in view, at the closest and the widest zoom: below 1, so that
# there is a margin for panning and shaking.
MIN_VIEW_SHARE, MAX_VIEW_SHARE = 0.7, 0.88
SHAKE_SHARE = 0.05  # largest shake, as a share of the photograph's sides
PixelBox = tuple[int, int, int, int]
Bounds = tuple[float, float, float, float]
Number = TypeVar("Number", int, float)


class PictureSettings(BaseModel):
    """Settings of the pictures of a band."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width_pixels: int = Field(default=640, ge=64, le=4096, description="of the video")
    height_pixels: int = Field(default=360, ge=64, le=4096, description="of the video")
    frame_rate_hz: float = Field(default=20.0, ge=1, le=120, description="frames per second")
    most_distractors: int = Field(
        default=3, ge=0, le=20, description="largest number of silent objects"
    )
    least_size: float = Field(
        default=0.62,
        ge=0.1,
        le=1,
        description="smallest performer, as a share of the largest that fits",
    )

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of a frame in pixels."""
        return (self.width_pixels, self.height_pixels)


class StageSettings(PictureSettings):
    """Settings of the stage of one clip: those of all pictures, and length, split and positions."""

    duration_seconds: float = Field(default=10.0, gt=0)
    held_out_photographs: bool = Field(default=False, description="use the held-out photographs")
    centres: tuple[float, ...] | None = Field(
        default=None,
        description="x of each performer, as a share of the width; none: side by side",
    )

    @property
    def num_frames(self) -> int:
        """Number of frames of the clip."""
        return max(1, round(self.duration_seconds * self.frame_rate_hz))

    @property
    def frame_times_seconds(self) -> list[float]:
        """Time of each frame in seconds."""
        return [index / self.frame_rate_hz for index in range(self.num_frames)]


class Performer(ABC):
    """An object on the stage that moves with its sound.

    Attributes:
        category: one of `avsep.toyband.categories.CATEGORIES`.
        box: x1 y1 x2 y2, 0..1, around everything drawn in any frame of the clip.
    """

    category: str
    box: Box

    @abstractmethod
    def draw(self, canvas: Image.Image, time_seconds: float) -> None:
        """Draw the performer onto a picture in its state at a time."""


# Drawn musicians


class Musician:
    """A musician that has not been placed yet: the motion, and drawings in design units.

    Poses are quantised, so the sketches of a layer are few and are cached.
    """

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
        """Return the pose at a time, from the cache after the first call."""
        if time_seconds not in self._poses:
            self._poses[time_seconds] = self.motion.pose(time_seconds)
        return self._poses[time_seconds]

    def sketch(self, index: int, pose: Pose) -> tuple[Hashable, Sketch]:
        """Return one layer at a pose, with the key of its cached sketch."""
        layer = self.instrument.layers[index]
        # Only the fields that change the layer: poses that differ in others share its sketch.
        key = (index, *(getattr(pose, field) for field in layer.pose_fields))
        if key not in self._sketches:
            sketch = Sketch()
            layer.paint(sketch, self.appearance, pose)
            self._sketches[key] = sketch
            if sketch.shapes:
                self._bounds[key] = sketch.bounds()
        return key, self._sketches[key]

    def bounds(self, times_seconds: Sequence[float]) -> Bounds:
        """Return x1 y1 x2 y2 in units around everything drawn at any of the times."""
        layers = self.drawn_bounds(times_seconds)
        x1, y1, x2, y2 = _union([bounds for _, _, bounds in layers])
        # The largest sway and nod, whether or not they occur: the exact box is computed in pixels.
        x1, x2, y2 = x1 - SWAY_UNITS, x2 + SWAY_UNITS, y2 + NOD_UNITS
        return (-x2, y1, -x1, y2) if self.appearance.mirrored else (x1, y1, x2, y2)

    def drawn_bounds(self, times_seconds: Sequence[float]) -> list[tuple[Layer, Pose, Bounds]]:
        """Return layer, pose and x1 y1 x2 y2 before the sway for everything drawn at the times."""
        poses = dict.fromkeys(self.pose(time) for time in times_seconds)
        return [
            (layer, pose, self._bounds[key])
            for pose in poses
            for index, layer in enumerate(self.instrument.layers)
            if (key := self.sketch(index, pose)[0]) in self._bounds
        ]


class DrawnPerformer(Performer):
    """A musician drawn with the instrument; rasterised layers are cached by pose."""

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
        """Paste the layers at the pose of a time."""
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
    """A photograph that pans and zooms slowly and shakes in proportion to the loudness.

    During rests it does not shake. Pan and zoom continue, as those of a camera would: motion as
    such does not reveal which source sounds.
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
        # Twice the size in the picture is enough for the closest zoom (1 / 0.7), and cheaper to
        # resample in each frame than a large photograph.
        self._photograph = photograph.resize((2 * width, 2 * height), Image.Resampling.BOX)
        self._views = _camera_path(len(envelope), generator)
        # The direction of the shake is random in each frame, its amplitude follows the loudness.
        angles = generator.uniform(0, 2 * np.pi, len(envelope))
        shakes = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self._views[:, :2] += SHAKE_SHARE * np.asarray(envelope)[:, None] * shakes
        self._frame_rate_hz = settings.frame_rate_hz

    def draw(self, canvas: Image.Image, time_seconds: float) -> None:
        """Paste the part of the photograph in view at a time."""
        index = round(time_seconds * self._frame_rate_hz)
        x, y, share = self._views[min(max(index, 0), len(self._views) - 1)].tolist()
        width, height = self._photograph.size
        half = share / 2
        # A shake beyond the edge of the photograph stops at it.
        x, y = min(max(x, half), 1 - half), min(max(y, half), 1 - half)
        view = ((x - half) * width, (y - half) * height, (x + half) * width, (y + half) * height)
        left, top, right, bottom = self._rectangle
        area = (right - left, bottom - top)
        picture = self._photograph.resize(area, Image.Resampling.BILINEAR, box=view)
        canvas.paste(picture, (left, top))


def _camera_path(num_frames: int, generator: np.random.Generator) -> Float[np.ndarray, "K 3"]:
    """Return centre x, y and share in view for each frame: a linear move between random views."""
    shares = generator.uniform(MIN_VIEW_SHARE, MAX_VIEW_SHARE, 2)
    centres = 0.5 + generator.uniform(-0.5, 0.5, (2, 2)) * (0.9 - shares)[:, None]
    ends = np.concatenate([centres, shares[:, None]], axis=1)
    along = np.linspace(0, 1, num_frames)[:, None]
    return ends[0] + (ends[1] - ends[0]) * along


# Boxes


def pixels_to_box(rectangle: PixelBox, picture_size: tuple[int, int]) -> Box:
    """Convert pixels x1 y1 x2 y2 to shares of width and height, clipped at the picture's edges."""
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
    """Return the smallest rectangle around several."""
    lefts, tops, rights, bottoms = zip(*rectangles, strict=True)
    return (min(lefts), min(tops), max(rights), max(bottoms))
