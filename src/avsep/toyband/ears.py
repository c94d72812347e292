"""A band as two ears hear it: where each performer stands on the screen is where it sounds from.

The camera and the listener are at one place and look the same way. A point of the picture so has
one direction, by the camera's field of view; the head is a sphere drawn for each clip, or measured.
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

# Whom the picture does not show may sound from anywhere ahead, in it or beyond its edges.
_UNSEEN_DEGREES = 80.0


class EarSettings(BaseModel):
    """How a band is heard by two ears."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    field_of_view_degrees: float = Field(
        default=100.0,
        ge=10,
        le=160,
        description="of the camera, from the left edge of the picture to the right",
    )
    azimuth_degrees: tuple[float, float] | None = Field(
        default=None,
        description="least and greatest, drawn for each performer, by turns on the left and on the "
        "right, who then stands there; none: wherever there is room",
    )
    distance_metres: tuple[float, float] = Field(
        default=(1.5, 3.0), description="of a performer from the listener, drawn from these"
    )
    head_radius_metres: tuple[float, float] = Field(
        default=(0.075, 0.1),
        description="of the spherical head of a clip, drawn from these; no matter with --head",
    )
    room: RoomSettings | None = Field(
        default=None, description="that all are in; none: outdoors, where nothing comes back"
    )

    @model_validator(mode="after")
    def _in_the_picture(self) -> Self:
        half = self.field_of_view_degrees / 2
        if self.azimuth_degrees is not None:
            least, most = self.azimuth_degrees
            if not 0 < least <= most < half:
                raise ValueError(
                    f"azimuth_degrees {list(self.azimuth_degrees)} must hold 0 < least <= greatest "
                    f"< {half:g}, half of field_of_view_degrees"
                )
        for name in ("distance_metres", "head_radius_metres"):
            least, most = getattr(self, name)
            if not 0 < least <= most:
                raise ValueError(f"{name} [{least:g}, {most:g}] must hold 0 < least <= greatest")
        if self.head_radius_metres[1] >= self.distance_metres[0]:
            raise ValueError("distance_metres must begin outside the head")
        if self.room is not None and self.head_radius_metres[1] >= self.room.free_metres:
            raise ValueError(
                f"head_radius_metres must be less than {self.room.free_metres:.2f}: in a room of "
                f"{list(self.room.size_metres)} metres, walls may be so near"
            )
        return self

    def direction(self, box: Box, aspect: float, distance_metres: float) -> Direction:
        """Where the middle of a box lies; `aspect` is the picture's height by its width."""
        x1, y1, x2, y2 = box
        edge = math.tan(math.radians(self.field_of_view_degrees / 2))
        right, up = (x1 + x2 - 1) * edge, (1 - y1 - y2) * edge * aspect
        return Direction(
            math.degrees(math.atan(right)),
            math.degrees(math.atan2(up, math.hypot(right, 1))),
            distance_metres,
        )

    def in_room(self, head: Head) -> Head:
        """The head where it hears: in the room, or as it is outdoors."""
        return head if self.room is None else RoomHead(head, self.room)

    def centres(
        self, num_performers: int, generator: np.random.Generator
    ) -> tuple[float, ...] | None:
        """Where in the width of the picture each performer stands; none: wherever there is room."""
        if self.azimuth_degrees is None:
            return None
        edge = math.tan(math.radians(self.field_of_view_degrees / 2))
        degrees = generator.uniform(*self.azimuth_degrees, num_performers)
        sides = np.where(np.arange(num_performers) % 2 == generator.integers(2), 1, -1)
        return tuple((0.5 + 0.5 * sides * np.tan(np.radians(degrees)) / edge).tolist())


def draw_head(settings: EarSettings, generator: np.random.Generator) -> SphericalHead:
    """The spherical head of a clip."""
    return SphericalHead(float(generator.uniform(*settings.head_radius_metres)))


def directions_of(
    boxes: Sequence[Box],
    num_unseen: int,
    aspect: float,
    settings: EarSettings,
    generator: np.random.Generator,
) -> list[Direction]:
    """Where each performer sounds from, then whatever is not seen; in a room, from inside it."""
    distances = generator.uniform(*settings.distance_metres, len(boxes) + num_unseen).tolist()
    seen = [
        settings.direction(box, aspect, distance)
        for box, distance in zip(boxes, distances, strict=False)
    ]
    azimuths = generator.uniform(-_UNSEEN_DEGREES, _UNSEEN_DEGREES, num_unseen).tolist()
    offscreen = [
        Direction(azimuth, 0.0, distance)
        for azimuth, distance in zip(azimuths, distances[len(boxes) :], strict=True)
    ]
    within = settings.room.within if settings.room else lambda direction: direction
    return [within(direction) for direction in (*seen, *offscreen)]


def hear(
    stems: Float32[np.ndarray, "S N"],
    directions: Sequence[Direction],
    head: Head,
    sample_rate_hz: int,
) -> Float32[np.ndarray, "S 2 N"]:
    """Each stem from its direction, as loud over both ears as it was in one channel."""
    heard = []
    for stem, direction in zip(stems, directions, strict=True):
        ears = spatialise(stem, head.responses(direction, sample_rate_hz))
        before, after = (float(np.square(one, dtype=np.float64).mean()) for one in (stem, ears))
        heard.append(ears * np.float32(math.sqrt(before / after) if after > 0 else 1.0))
    return np.stack(heard)
