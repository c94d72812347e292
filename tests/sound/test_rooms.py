"""Rooms: image sources at the positions and levels of an empty box."""

import numpy as np
import pytest
from pydantic import ValidationError

from avsep.sound.hrtf import LEAD_SECONDS, SPEED_OF_SOUND, Direction, Head, SphericalHead
from avsep.sound.rooms import RoomHead, RoomSettings, image_sources

RATE_HZ = 44100
HARD = RoomSettings(size_metres=(6, 8, 3), reflection=(0.9, 0.5, 0.7), order=1)
SOURCE = Direction(25.0, 8.0, 2.5)


class Microphone:
    """Two ears at one point: a click for each direction."""

    def responses(self, direction: Direction, sample_rate_hz: int) -> np.ndarray:
        response = np.zeros((2, 200))
        response[:, round(LEAD_SECONDS * sample_rate_hz)] = 1.0
        return response


def places(direction: Direction, room: RoomSettings) -> np.ndarray:
    """Positions of the image sources, in the room's metres."""
    positions = [
        image.direction.unit * image.direction.distance_metres
        for image in image_sources(direction, room)
    ]
    return np.array(positions) + room.listener_metres


def test_each_wall_mirrors_once() -> None:
    positions = places(SOURCE, HARD)
    source = positions[0]
    expected = [source]
    for axis, size in enumerate(HARD.size_metres):
        for mirrored in (-source[axis], 2 * size - source[axis]):
            expected.append(np.where(np.arange(3) == axis, mirrored, source))
    assert len(positions) == 7
    for place in expected:
        assert np.abs(positions - place).max(axis=1).min() < 1e-9
    by_height = {
        round(z, 6): a.reflection
        for (_, _, z), a in zip(positions, image_sources(SOURCE, HARD), strict=True)
    }
    assert by_height[round(-source[2], 6)] == 0.5 and by_height[round(6 - source[2], 6)] == 0.7
    assert sum(image.reflection == 0.9 for image in image_sources(SOURCE, HARD)) == 4


@pytest.mark.parametrize(("order", "number"), [(0, 1), (1, 7), (2, 25), (3, 63), (6, 377)])
def test_the_number_of_images_is_that_of_an_octahedron(order: int, number: int) -> None:
    room = HARD.model_copy(update={"order": order})
    positions = places(SOURCE, room)
    assert len(positions) == number == len(np.unique(positions.round(6), axis=0))


def test_images_mirror_each_other() -> None:
    """The image of an image is an image of one order more: the whole set maps onto itself."""
    positions = places(SOURCE, HARD.model_copy(update={"order": 4}))
    few = places(SOURCE, HARD.model_copy(update={"order": 3}))
    for axis, size in enumerate(HARD.size_metres):
        for wall in (0.0, size):
            mirrored = few.copy()
            mirrored[:, axis] = 2 * wall - mirrored[:, axis]
            gaps = np.abs(mirrored[:, None] - positions).max(axis=2).min(axis=1)
            assert gaps.max() < 1e-9


def test_reflections_come_later_and_softer() -> None:
    responses_of_room = RoomHead(Microphone(), HARD).responses(SOURCE, RATE_HZ)
    expected = np.zeros_like(responses_of_room)
    for image in image_sources(SOURCE, HARD):
        metres = image.direction.distance_metres
        later = (metres - 2.5) / SPEED_OF_SOUND
        at = round(LEAD_SECONDS * RATE_HZ) + round(later * RATE_HZ)
        expected[:, at] += image.reflection * 2.5 / metres
    np.testing.assert_allclose(responses_of_room, expected, atol=1e-12)
    assert np.argmax(np.abs(responses_of_room[0])) == round(LEAD_SECONDS * RATE_HZ)


def test_without_reflection_a_room_is_no_room() -> None:
    head = SphericalHead()
    outdoors = head.responses(SOURCE, RATE_HZ)
    for room in (RoomSettings(reflection=(0, 0, 0)), RoomSettings(order=0)):
        assert np.array_equal(RoomHead(head, room).responses(SOURCE, RATE_HZ), outdoors)


def test_the_direct_sound_is_untouched_and_what_follows_comes_from_the_walls() -> None:
    head = SphericalHead()
    room = RoomSettings(size_metres=(20, 20, 20), reflection=(0.8, 0, 0), order=1)
    outdoors = head.responses(Direction(60, 0, 1.0), RATE_HZ)
    responses_of_room = RoomHead(head, room).responses(Direction(60, 0, 1.0), RATE_HZ)
    taps = outdoors.shape[1]
    assert np.array_equal(responses_of_room[:, :taps], outdoors)
    assert np.square(responses_of_room[:, taps:]).sum() > 1e-4
    assert isinstance(RoomHead(head, room), Head)
    assert repr(RoomHead(head, room)).startswith("RoomHead(head=SphericalHead(radius_metres=0.0875")


def test_a_wall_at_the_side_is_heard_by_the_ear_at_that_side() -> None:
    """From ahead, the first reflection comes from the left wall, which is nearer."""
    room = RoomSettings(size_metres=(4, 30, 30), reflection=(0.9, 0, 0), order=1)
    source = Direction(0, 0, 3.0)
    nearest = min(
        image_sources(source, room)[1:], key=lambda image: image.direction.distance_metres
    )
    assert nearest.direction.azimuth_degrees < -40
    responses = RoomHead(SphericalHead(), room).responses(source, RATE_HZ)
    after = responses - np.pad(
        SphericalHead().responses(source, RATE_HZ), ((0, 0), (0, responses.shape[1] - 270))
    )
    early = slice(0, round(0.006 * RATE_HZ))
    assert np.square(after[0, early]).sum() > 2 * np.square(after[1, early]).sum()


def test_what_stands_behind_a_wall_comes_before_it() -> None:
    room = RoomSettings(size_metres=(4, 5, 2.4))
    for azimuth, elevation in ((0, 0), (80, 0), (-80, 30), (20, -45), (180, 0)):
        far = room.within(Direction(azimuth, elevation, 50.0))
        place = far.unit * far.distance_metres + room.listener_metres
        assert (place > 0.099).all() and (place < np.array(room.size_metres) - 0.099).all()
        assert (far.azimuth_degrees, far.elevation_degrees) == (azimuth, elevation)
        assert room.within(far) == far and far.distance_metres >= room.free_metres
    assert room.within(Direction(10, 0, 0.3)) == Direction(10, 0, 0.3)
    with pytest.raises(AssertionError, match="the source is in the room"):
        image_sources(Direction(0, 0, 50.0), room)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size_metres": (1, 8, 3)},
        {"size_metres": (6, 8, float("inf"))},
        {"reflection": (1.1, 0.5, 0.5)},
        {"reflection": (-0.1, 0.5, 0.5)},
        {"order": 7},
        {"listener": (1, 1, 1)},
    ],
)
def test_rooms_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RoomSettings.model_validate(wrong)
