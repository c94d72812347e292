"""A simple room: a box whose walls mirror every sound, each mirror image heard by a head.

Metres from the corner at the left, behind, on the floor: to the right, ahead, upwards. The listener
looks ahead, along the second of them.
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

# The listener stands a little off the middle, where no two reflections come at once, and nearer to
# the wall behind than to the stage.
_STANDS = (0.45, 0.3)
_EARS_METRES = 1.4  # above the floor, and never above half of the height
_OFF_THE_WALL_METRES = 0.1  # no source is nearer to a wall

Side = Annotated[float, Field(ge=2, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]


class RoomSettings(BaseModel):
    """A box of a room with a listener in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size_metres: tuple[Side, Side, Side] = Field(
        default=(6.0, 8.0, 3.0), description="of the room: width, depth and height"
    )
    reflection: tuple[Share, Share, Share] = Field(
        default=(0.7, 0.4, 0.6),
        description="share of the pressure that walls, floor and ceiling give back",
    )
    order: int = Field(default=3, ge=0, le=6, description="most walls that a sound comes by")

    @property
    def listener_metres(self) -> tuple[float, float, float]:
        """Where the middle of the head is."""
        width, depth, height = self.size_metres
        return (_STANDS[0] * width, _STANDS[1] * depth, min(_EARS_METRES, 0.5 * height))

    @property
    def free_metres(self) -> float:
        """How near `within` may bring a source to the listener, at the nearest."""
        here = zip(self.listener_metres, self.size_metres, strict=True)
        return min(min(near, size - near) for near, size in here) - _OFF_THE_WALL_METRES

    def within(self, direction: Direction) -> Direction:
        """The same direction, but no further off than the wall that lies there."""
        reach = math.inf
        for along, here, size in zip(
            direction.unit.tolist(), self.listener_metres, self.size_metres, strict=True
        ):
            room = (size - here if along > 0 else here) - _OFF_THE_WALL_METRES
            reach = min(reach, room / max(abs(along), 1e-12))
        return replace(direction, distance_metres=min(direction.distance_metres, reach))


@dataclass(frozen=True)
class Arrival:
    """One way from a source to the listener.

    Attributes:
        direction: where it seems to come from, as far off as the way is long.
        reflection: what the walls on the way have left of the pressure, 1 where there are none.
    """

    direction: Direction
    reflection: float


def arrivals(direction: Direction, room: RoomSettings) -> list[Arrival]:
    """Each way from a source to the listener by `room.order` walls at most; the direct one first.

    Image sources of a box (Allen and Berkley, "Image method for efficiently simulating small-room
    acoustics", JASA 65(4), 1979): mirrors are rigid but for one factor, of all frequencies and
    angles.
    """
    assert room.within(direction) == direction, "the source is in the room"
    walls, floor, ceiling = room.reflection
    source = direction.unit * direction.distance_metres
    by_axis = [
        list(_along_axis(*places, room.order))
        for places in zip(
            room.listener_metres,
            source.tolist(),
            room.size_metres,
            ((walls, walls), (walls, walls), (floor, ceiling)),
            strict=True,
        )
    ]
    found = [Arrival(direction, 1.0)]
    for ways in itertools.product(*by_axis):
        offsets, orders, factors = zip(*ways, strict=True)
        if 0 < sum(orders) <= room.order and math.prod(factors) > 0:
            found.append(Arrival(Direction.towards(np.array(offsets)), math.prod(factors)))
    return found


def _along_axis(
    here: float, offset: float, size: float, reflections: tuple[float, float], order: int
) -> Iterator[tuple[float, int, float]]:
    """Images along one axis: how far from the listener, by how many walls, and their factor."""
    for period in range(-order, order + 1):
        for mirrored in (0, 1):
            hits = (abs(period - mirrored), abs(period))  # of the wall at 0, and of that at `size`
            if sum(hits) <= order:
                place = (here + offset) * (1 - 2 * mirrored) + 2 * period * size
                factor = reflections[0] ** hits[0] * reflections[1] ** hits[1]
                yield place - here, sum(hits), factor


@dataclass(frozen=True)
class RoomHead:
    """A head in a room: what it hears of a source, and of each of its images.

    Each image comes from its own direction, as much later and softer as its way is longer, and
    softer by the walls on the way. Delays are of whole samples, the same for both ears.
    """

    head: Head
    room: RoomSettings

    def responses(self, direction: Direction, sample_rate_hz: int) -> Float64[np.ndarray, "2 taps"]:
        """As `Head` has it; the direct sound is that of the head without a room."""
        heard = []
        for arrival in arrivals(direction, self.room):
            near, far = direction.distance_metres, arrival.direction.distance_metres
            later = round((far - near) / SPEED_OF_SOUND * sample_rate_hz)
            ears = self.head.responses(arrival.direction, sample_rate_hz)
            heard.append((later, arrival.reflection * near / far * ears))
        total = np.zeros((2, max(later + ears.shape[1] for later, ears in heard)))
        for later, ears in heard:
            total[:, later : later + ears.shape[1]] += ears
        return total
