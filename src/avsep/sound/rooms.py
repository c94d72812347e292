"""Simulate a shoebox room by the image-source method, received by a head.

Positions are in metres from the rear left corner on the floor: right, ahead, up. The listener
faces ahead, along the second axis.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from jaxtyping import Float64
from pydantic import BaseModel, ConfigDict, Field

from avsep.sound.hrtf import SPEED_OF_SOUND, Direction, Head

# Position of the listener as a fraction of width and depth: off the middle, so that no two
# reflections arrive at once, and nearer to the rear wall than to the stage.
_LISTENER_FRACTIONS = (0.45, 0.3)
_EAR_HEIGHT_METRES = 1.4  # above the floor, limited to half of the room's height
_WALL_CLEARANCE_METRES = 0.1  # smallest distance of a source from a wall

SideMetres = Annotated[float, Field(ge=2, le=100)]
ReflectionFactor = Annotated[float, Field(ge=0, le=1)]


class RoomSettings(BaseModel):
    """A shoebox room with a listener."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size_metres: tuple[SideMetres, SideMetres, SideMetres] = Field(
        default=(6.0, 8.0, 3.0), description="of the room: width, depth and height"
    )
    reflection: tuple[ReflectionFactor, ReflectionFactor, ReflectionFactor] = Field(
        default=(0.7, 0.4, 0.6),
        description="share of the pressure that walls, floor and ceiling reflect",
    )
    order: int = Field(default=3, ge=0, le=6, description="largest number of reflections on a path")

    @property
    def listener_metres(self) -> tuple[float, float, float]:
        """Position of the centre of the head."""
        width, depth, height = self.size_metres
        right, ahead = _LISTENER_FRACTIONS[0] * width, _LISTENER_FRACTIONS[1] * depth
        return (right, ahead, min(_EAR_HEIGHT_METRES, 0.5 * height))

    @property
    def free_metres(self) -> float:
        """Smallest distance from the listener to which `within` moves a source."""
        axes = zip(self.listener_metres, self.size_metres, strict=True)
        nearest_wall = min(min(listener, size - listener) for listener, size in axes)
        return nearest_wall - _WALL_CLEARANCE_METRES

    def within(self, direction: Direction) -> Direction:
        """Limit the distance of a source to the wall in its direction."""
        reach = math.inf
        for component, listener, size in zip(
            direction.unit.tolist(), self.listener_metres, self.size_metres, strict=True
        ):
            space = (size - listener if component > 0 else listener) - _WALL_CLEARANCE_METRES
            # 1e-12: a direction along a wall never meets it.
            reach = min(reach, space / max(abs(component), 1e-12))
        return replace(direction, distance_metres=min(direction.distance_metres, reach))


@dataclass(frozen=True)
class ImageSource:
    """The source, or one of its mirror images, as received by the listener.

    Attributes:
        direction: of the image; its distance is the length of the path.
        reflection: product of the reflection factors on the path, 1 for the direct sound.
    """

    direction: Direction
    reflection: float


def image_sources(direction: Direction, room: RoomSettings) -> list[ImageSource]:
    """Compute the image sources of up to `room.order` reflections, the direct sound first.

    Image method (Allen and Berkley, "Image method for efficiently simulating small-room
    acoustics", JASA 65(4), 1979): each wall reflects by one factor for all frequencies and angles.
    """
    assert room.within(direction) == direction, "the source is in the room"
    walls, floor, ceiling = room.reflection
    source = direction.unit * direction.distance_metres
    by_axis = [
        list(_images_along_axis(*axis, room.order))
        for axis in zip(
            room.listener_metres,
            source.tolist(),
            room.size_metres,
            ((walls, walls), (walls, walls), (floor, ceiling)),
            strict=True,
        )
    ]
    # The direct sound keeps the given direction, which arithmetic on positions would round.
    images = [ImageSource(direction, 1.0)]
    for combination in itertools.product(*by_axis):
        offsets, orders, factors = zip(*combination, strict=True)
        if 0 < sum(orders) <= room.order and math.prod(factors) > 0:
            images.append(ImageSource(Direction.towards(np.array(offsets)), math.prod(factors)))
    return images


def _images_along_axis(
    listener: float, offset: float, size: float, reflections: tuple[float, float], order: int
) -> Iterator[tuple[float, int, float]]:
    """Compute images along one axis: offset from the listener, number of reflections, factor."""
    for period in range(-order, order + 1):
        for mirrored in (0, 1):
            # Reflections at the wall at 0, and at that at `size` (Allen and Berkley, equation 10).
            hits = (abs(period - mirrored), abs(period))
            if sum(hits) <= order:
                position = (listener + offset) * (1 - 2 * mirrored) + 2 * period * size
                factor = reflections[0] ** hits[0] * reflections[1] ** hits[1]
                yield position - listener, sum(hits), factor


@dataclass(frozen=True)
class RoomHead:
    """A head in a room, which receives a source and its images.

    Each image has the head's response of its own direction, a delay and an attenuation by the
    length of its path, and the reflection factors. Delays are rounded to whole samples, equal for
    both ears.
    """

    head: Head
    room: RoomSettings

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """Return responses as `Head`; the direct sound is that of the head without a room."""
        parts = []
        for image in image_sources(direction, self.room):
            direct, path = direction.distance_metres, image.direction.distance_metres
            delay = round((path - direct) / SPEED_OF_SOUND * sample_rate_hz)
            ears = self.head.responses(image.direction, sample_rate_hz)
            # Pressure falls as 1 / distance.
            parts.append((delay, image.reflection * direct / path * ears))
        total = np.zeros((2, max(delay + ears.shape[1] for delay, ears in parts)))
        for delay, ears in parts:
            total[:, delay : delay + ears.shape[1]] += ears
        return total
