"""Binaural scenes: directions from positions in the picture, and stems rendered for two ears.

Camera and listener are at the same place and face the same way, so each point of the picture has
one direction, given by the camera's field of view. The head is a sphere drawn for each clip, or a
measured one.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from jaxtyping import Float32
from pydantic import BaseModel, ConfigDict, Field, model_validator

from avsep.records import Box
from avsep.sound.hrtf import Direction, Head, SphericalHead, spatialise
from avsep.sound.rooms import RoomHead, RoomSettings

# Offscreen sounds come from anywhere in front, inside the field of view or beyond its edges: an
# offscreen player may be hidden, or outside of the picture.
_OFFSCREEN_DEGREES = 80.0


class BinauralSceneSettings(BaseModel):
    """The camera, distances, head and room of binaural clips."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    field_of_view_degrees: float = Field(
        default=100.0,
        ge=10,
        le=160,
        description="horizontal field of view of the camera, from edge to edge",
    )
    azimuth_degrees: tuple[float, float] | None = Field(
        default=None,
        description="range of each performer's angle from the middle, on alternating sides; the "
        "performer is placed there; none: wherever there is room",
    )
    distance_metres: tuple[float, float] = Field(
        default=(1.5, 3.0), description="range of a performer's distance from the listener"
    )
    # Around 0.0875, about the mean of adults (`SphericalHead`).
    head_radius_metres: tuple[float, float] = Field(
        default=(0.075, 0.1),
        description="range of the spherical head's radius; not used with --head",
    )
    room: RoomSettings | None = Field(
        default=None, description="room with reflecting walls; none: outdoors, no reflections"
    )

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        half = self.field_of_view_degrees / 2
        if self.azimuth_degrees is not None:
            least, greatest = self.azimuth_degrees
            if not 0 < least <= greatest < half:
                raise ValueError(
                    f"azimuth_degrees {list(self.azimuth_degrees)} must hold 0 < least <= greatest "
                    f"< {half:g}, half of field_of_view_degrees"
                )
        for name in ("distance_metres", "head_radius_metres"):
            least, greatest = getattr(self, name)
            if not 0 < least <= greatest:
                raise ValueError(
                    f"{name} [{least:g}, {greatest:g}] must hold 0 < least <= greatest"
                )
        # Inside the sphere its solution for a point source does not exist.
        if self.head_radius_metres[1] >= self.distance_metres[0]:
            raise ValueError(
                f"distance_metres must begin outside the head: above {self.head_radius_metres[1]:g}"
            )
        # Walls shorten distances (`RoomSettings.within`), which must not end inside the head.
        if self.room is not None and self.head_radius_metres[1] >= self.room.free_metres:
            raise ValueError(
                f"head_radius_metres must be less than {self.room.free_metres:.2f}: in a room of "
                f"{list(self.room.size_metres)} metres a wall may be this near"
            )
        return self

    def box_direction(self, box: Box, aspect: float, distance_metres: float) -> Direction:
        """Return the direction of the middle of a box.

        Pinhole camera: a point at x, y in 0..1 has the ray (right, up, ahead) =
        ((2x - 1) e, (1 - 2y) e a, 1) with e = tan(field of view / 2) and a the aspect.

        Args:
            box: x1 y1 x2 y2, 0..1.
            aspect: height of the picture divided by its width.
            distance_metres: distance of the source, which the picture does not determine.
        """
        x1, y1, x2, y2 = box
        edge = math.tan(math.radians(self.field_of_view_degrees / 2))
        right, up = (x1 + x2 - 1) * edge, (1 - y1 - y2) * edge * aspect
        return Direction(
            math.degrees(math.atan(right)),
            math.degrees(math.atan2(up, math.hypot(right, 1))),
            distance_metres,
        )

    def place_head(self, head: Head) -> Head:
        """Return the head inside the room, or unchanged without a room."""
        return head if self.room is None else RoomHead(head, self.room)

    def draw_centres(
        self, num_performers: int, generator: np.random.Generator
    ) -> tuple[float, ...] | None:
        """Draw the horizontal centre of each performer, as a share of the picture's width.

        None if no azimuth range is set: the stage then places performers where there is room.
        """
        if self.azimuth_degrees is None:
            return None
        edge = math.tan(math.radians(self.field_of_view_degrees / 2))
        degrees = generator.uniform(*self.azimuth_degrees, num_performers)
        # Alternating sides keep two performers apart; the first side is random.
        sides = np.where(np.arange(num_performers) % 2 == generator.integers(2), 1, -1)
        # The inverse of `box_direction`.
        return tuple((0.5 + 0.5 * sides * np.tan(np.radians(degrees)) / edge).tolist())


def draw_head(settings: BinauralSceneSettings, generator: np.random.Generator) -> SphericalHead:
    """Draw the radius of a clip's spherical head."""
    return SphericalHead(float(generator.uniform(*settings.head_radius_metres)))


def draw_directions(
    boxes: Sequence[Box],
    num_offscreen: int,
    aspect: float,
    settings: BinauralSceneSettings,
    generator: np.random.Generator,
) -> list[Direction]:
    """Return the direction of each visible performer, then draw those of the offscreen sounds.

    In a room, distances are limited so that every source is inside it.
    """
    distances = generator.uniform(*settings.distance_metres, len(boxes) + num_offscreen).tolist()
    visible = [
        settings.box_direction(box, aspect, distance)
        for box, distance in zip(boxes, distances, strict=False)
    ]
    azimuths = generator.uniform(-_OFFSCREEN_DEGREES, _OFFSCREEN_DEGREES, num_offscreen).tolist()
    offscreen = [
        Direction(azimuth, 0.0, distance)
        for azimuth, distance in zip(azimuths, distances[len(boxes) :], strict=True)
    ]
    within = settings.room.within if settings.room else lambda direction: direction
    return [within(direction) for direction in (*visible, *offscreen)]


def spatialise_stems(
    stems: Float32[np.ndarray, "S N"],
    directions: Sequence[Direction],
    head: Head,
    sample_rate_hz: int,
) -> Float32[np.ndarray, "S 2 N"]:
    """Render each stem from its direction for two ears, left first.

    The mean power over both ears is that of the one-channel stem.
    """
    rendered = []
    for stem, direction in zip(stems, directions, strict=True):
        ears = spatialise(stem, head.responses(direction, sample_rate_hz))
        # Distance must not change the balance between performers: `level_spread_db` sets it. The
        # sum is in double precision, since float32 loses digits over 441000 samples.
        before, after = (float(np.square(sound, dtype=np.float64).mean()) for sound in (stem, ears))
        rendered.append(ears * np.float32(math.sqrt(before / after) if after > 0 else 1.0))
    return np.stack(rendered)
