"""Test binaural clips: picture position to direction, rendering, and agreement of all files."""

import hashlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsep.data.toyband import read_toyband
from avsep.errors import InputError
from avsep.evaluation.metrics.binaural_errors import time_difference_us
from avsep.media.audio import read_audio
from avsep.recipe import check_settings, load_recipe, read_overrides
from avsep.records import Box
from avsep.sound.hrtf import Direction, SphericalHead
from avsep.sound.rooms import RoomSettings
from avsep.toyband.binaural import (
    BinauralSceneSettings,
    draw_directions,
    draw_head,
    spatialise_stems,
)
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.folder import ClipPaths, read_record
from avsep.toyband.material import Material
from avsep.toyband.pictures.performers import PictureSettings
from avsep.toyband.pictures.photographs import read_photographs
from avsep.toyband.pictures.stage import Role, StageSettings, make_stage

SMALL = PictureSettings(width_pixels=320, height_pixels=180, frame_rate_hz=4)
ROOM = RoomSettings(size_metres=(5, 5, 2.5), order=1)
ASPECT = 9 / 16


def square(x: float, y: float) -> Box:
    """Return a small box around a point of the picture."""
    return (x - 0.01, y - 0.01, x + 0.01, y + 0.01)


def make(folder: Path, recipe: str, *overrides: str, num_clips: int = 1, seed: int = 5) -> Path:
    settings = load_recipe(recipe, "toyband", ToybandSettings, ["clip_seconds=2", *overrides])
    settings = settings.model_copy(update={"pictures": SMALL})
    list(make_toyband(folder, num_clips, seed, settings, Material.read(), num_workers=1))
    return folder


@pytest.fixture(scope="module")
def duets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three duets on opposite sides."""
    folder = tmp_path_factory.mktemp("ears") / "duets"
    return make(folder, "toyband-binaural-duets", num_clips=3)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# Geometry


@pytest.mark.parametrize("field_of_view_degrees", [60.0, 100.0, 150.0])
def test_the_edge_of_the_picture_is_half_the_field_of_view(field_of_view_degrees: float) -> None:
    ears = BinauralSceneSettings(field_of_view_degrees=field_of_view_degrees)
    for x, azimuth in ((0.0, -0.5), (0.5, 0.0), (1.0, 0.5)):
        direction = ears.box_direction(square(x, 0.5), ASPECT, 2.0)
        assert direction.azimuth_degrees == pytest.approx(azimuth * field_of_view_degrees)
        assert direction.elevation_degrees == pytest.approx(0, abs=1e-9)
        assert direction.distance_metres == 2.0


def test_a_camera_has_a_pinhole() -> None:
    """Check that halfway to the edge is half the tangent, and that directions are camera rays."""
    ears = BinauralSceneSettings(field_of_view_degrees=90)
    half = ears.box_direction(square(0.75, 0.5), ASPECT, 1.0)
    assert half.azimuth_degrees == pytest.approx(math.degrees(math.atan(0.5)))
    assert ears.box_direction(square(0.5, 0.2), ASPECT, 1.0).elevation_degrees > 10
    assert ears.box_direction(square(0.5, 0.9), ASPECT, 1.0).elevation_degrees < -10
    for x, y in ((0.1, 0.1), (0.8, 0.3), (0.6, 0.95)):
        right, ahead, up = ears.box_direction(square(x, y), ASPECT, 1.0).unit
        assert right / ahead == pytest.approx(2 * x - 1)
        assert up / ahead == pytest.approx((1 - 2 * y) * ASPECT)


def test_centres_are_what_directions_undo() -> None:
    """Check that sides alternate and that the first side is random."""
    ears, firsts = BinauralSceneSettings(azimuth_degrees=(10, 45)), set()
    for seed in range(20):
        centres = ears.draw_centres(4, np.random.default_rng(seed))
        assert centres is not None
        azimuths = [ears.box_direction(square(x, 0.5), ASPECT, 2).azimuth_degrees for x in centres]
        assert all(10 <= abs(azimuth) <= 45 for azimuth in azimuths)
        assert np.array_equal(np.sign(azimuths), np.sign(azimuths[0]) * np.array([1, -1, 1, -1]))
        firsts.add(np.sign(azimuths[0]))
    assert firsts == {-1, 1}
    assert BinauralSceneSettings().draw_centres(4, np.random.default_rng(0)) is None


def photographs(folder: Path) -> Path:
    for name in ("violin", "cello", "other"):
        (folder / name).mkdir()
        for index, size in enumerate(((120, 90), (60, 140), (90, 90))):
            Image.new("RGB", size, "red").save(folder / name / f"{index}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("drawn", [True, False])
def test_performers_stand_where_they_sound_from(drawn: bool, tmp_path: Path) -> None:
    """Check azimuths to half a degree, boxes inside the picture, and little overlap."""
    photos = None if drawn else read_photographs(photographs(tmp_path))
    ears = BinauralSceneSettings(azimuth_degrees=(10, 45))
    for seed in range(3):
        generator = np.random.default_rng(seed)
        centres = ears.draw_centres(2, generator)
        assert centres is not None
        stage = StageSettings(
            width_pixels=960, height_pixels=540, duration_seconds=0.5, centres=centres
        )
        cast = [Role(name, (), np.full(stage.num_frames, 0.3)) for name in ("violin", "cello")]
        boxes = [
            visible.box_at(0) for visible in make_stage(cast, stage, generator, photos).objects()
        ]
        for box, x in zip(boxes, centres, strict=True):
            drawn_azimuth = ears.box_direction(square(x, 0.5), ASPECT, 2).azimuth_degrees
            box_azimuth = ears.box_direction(box, ASPECT, 2).azimuth_degrees
            # Half a degree is about 4 of 960 pixels.
            assert box_azimuth == pytest.approx(drawn_azimuth, abs=0.5)
        (left, right) = sorted(boxes)
        assert left[2] - right[0] < 0.3 * min(left[2] - left[0], right[2] - right[0])


def test_offscreen_sounds_come_from_random_directions() -> None:
    ears = BinauralSceneSettings(distance_metres=(1.0, 4.0))
    boxes = [square(0.2, 0.5), square(0.7, 0.4)]
    draws = [
        draw_directions(boxes, 2, ASPECT, ears, np.random.default_rng(seed)) for seed in range(40)
    ]
    assert all(len(directions) == 4 for directions in draws)
    assert len({directions[0].azimuth_degrees for directions in draws}) == 1
    offscreen = [direction for directions in draws for direction in directions[2:]]
    azimuths = [direction.azimuth_degrees for direction in offscreen]
    # 80 draws over 160 degrees: the outermost 20 degrees are missed with probability 2e-5.
    assert -80 <= min(azimuths) < -60 and 60 < max(azimuths) <= 80
    distances = [direction.distance_metres for directions in draws for direction in directions]
    assert 1 <= min(distances) < 1.3 and 3.7 < max(distances) <= 4


# Rendering


def test_rendering_keeps_the_power_of_each_stem() -> None:
    stems = np.random.default_rng(0).standard_normal((3, 8000)).astype(np.float32)
    stems *= np.array([[1.0], [0.1], [0.0]], np.float32)  # silence must stay silence
    directions = [Direction(-60, 0, 2), Direction(20, 10, 3), Direction(0)]
    rendered = spatialise_stems(stems, directions, SphericalHead(), 44100)
    assert rendered.shape == (3, 2, 8000) and rendered.dtype == np.float32
    energies = np.square(rendered, dtype=np.float64).mean(axis=(1, 2))
    np.testing.assert_allclose(energies, np.square(stems, dtype=np.float64).mean(1), rtol=1e-5)
    left, right = np.square(rendered).sum(axis=2).T
    assert left[0] > 2 * right[0] and right[1] > left[1] and not rendered[2].any()


def test_head_radii_are_within_their_range() -> None:
    settings = BinauralSceneSettings(head_radius_metres=(0.08, 0.09))
    radii = [draw_head(settings, np.random.default_rng(n)).radius_metres for n in range(50)]
    assert 0.08 <= min(radii) < 0.082 and 0.088 < max(radii) <= 0.09


def test_both_channels_sum_to_the_sample(duets: Path) -> None:
    for clip in read_toyband(duets):
        paths = [*(source.path for source in clip.sources), *clip.offscreen]
        stems = np.array([soundfile.read(path, dtype="int16")[0].T for path in paths], int)
        sound = read_audio(clip.video)
        assert stems.shape == (2, 2, 2 * 44100) and sound.waveform.shape == (2, 2 * 44100)
        assert np.array_equal(sound.waveform * 32768, stems.sum(axis=0))
        assert np.abs(stems[0, 0] - stems[0, 1]).max() > 100  # the ears differ


def test_every_file_tells_the_same_direction(duets: Path) -> None:
    ears = load_recipe("toyband-binaural-duets", "toyband", ToybandSettings).binaural
    assert ears is not None
    for clip in read_toyband(duets):
        paths = ClipPaths(duets, clip.name)
        record = read_record(paths.score).ears
        assert record is not None
        radius = re.fullmatch(r"SphericalHead\(radius_metres=([\d.]+), .*\)", record.head)
        assert radius and 0.075 <= float(radius[1]) <= 0.1
        objects = json.loads(paths.objects.read_text())
        assert len(objects) == len(record.directions) == 2
        for entry, written, source in zip(objects, record.directions, clip.sources, strict=True):
            direction = ears.box_direction(tuple(entry["box"]), ASPECT, written.distance_metres)
            assert entry["azimuth_degrees"] == round(written.azimuth_degrees, 2)
            assert written.azimuth_degrees == pytest.approx(direction.azimuth_degrees)
            assert written.elevation_degrees == pytest.approx(direction.elevation_degrees)
            assert source.visible.azimuth_degrees == entry["azimuth_degrees"]
            # The sound has the same direction: it is louder and earlier at the nearer ear.
            stem = soundfile.read(source.path)[0].T
            side = np.sign(sum(entry["box"][::2]) - 1)  # of the middle of the picture: x is 0.5
            left, right = np.square(stem).sum(axis=1)
            assert side * (right - left) > 0
            assert side * float(time_difference_us(stem, 44100, whiten=False)) < -50
        assert objects[0]["azimuth_degrees"] * objects[1]["azimuth_degrees"] < 0


@pytest.mark.slow
def test_the_same_seed_the_same_files(duets: Path, tmp_path: Path) -> None:
    again = digests(make(tmp_path / "again", "toyband-binaural-duets"))
    first = digests(duets)
    assert all(first[name] == value for name, value in again.items()) and len(again) == 6


@pytest.mark.slow
@pytest.mark.parametrize("binaural", [False, True])
def test_two_ears_change_nothing_else_of_a_band(binaural: bool, tmp_path: Path) -> None:
    """Check that cast, score and notes, and boxes without an azimuth range, are the same."""
    mono = make(tmp_path / "mono", "toyband-duets")
    override = ["binaural.room.order=1"] if binaural else ["binaural.field_of_view_degrees=90"]
    both = make(tmp_path / "both", "toyband-duets", *override)
    one_channel, two_channels = (
        read_record(ClipPaths(band, "000001").score) for band in (mono, both)
    )
    assert one_channel.ears is None and two_channels.ears is not None
    assert two_channels.model_copy(update={"ears": None}) == one_channel
    boxes = [
        [entry["box"] for entry in json.loads(ClipPaths(band, "000001").objects.read_text())]
        for band in (mono, both)
    ]
    assert boxes[0] == boxes[1]


@pytest.mark.slow
def test_in_a_room_the_band_is_inside_and_echoes(tmp_path: Path) -> None:
    walls = "binaural.room.size_metres=[2.5, 4.0, 2.2]"
    outdoors = make(tmp_path / "outdoors", "toyband-binaural-duets")
    indoors = make(tmp_path / "indoors", "toyband-binaural-duets", walls, "binaural.room.order=2")
    free, walled = (
        read_record(ClipPaths(band, "000001").score).ears for band in (outdoors, indoors)
    )
    assert free is not None and walled is not None
    assert walled.head == f"RoomHead(head={free.head}, room={walled.head.partition('room=')[2]}"
    assert "size_metres=(2.5, 4.0, 2.2)" in walled.head
    room = RoomSettings(size_metres=(2.5, 4.0, 2.2))
    for before, after in zip(free.directions, walled.directions, strict=True):
        assert after.azimuth_degrees == before.azimuth_degrees
        assert after.distance_metres <= before.distance_metres
        inside = Direction(after.azimuth_degrees, after.elevation_degrees, after.distance_metres)
        assert room.within(inside) == inside
    assert [direction.distance_metres for direction in free.directions] != [
        direction.distance_metres for direction in walled.directions
    ]
    clip, dry = read_toyband(indoors)[0], read_toyband(outdoors)[0]
    stems = np.array([soundfile.read(s.path, dtype="int16")[0].T for s in clip.sources], int)
    assert np.array_equal(read_audio(clip.video).waveform * 32768, stems.sum(axis=0))
    assert not np.array_equal(stems[0], soundfile.read(dry.sources[0].path, dtype="int16")[0].T)


# Settings and recipes


def test_the_option_binaural(tmp_path: Path) -> None:
    mono = ToybandSettings()
    assert mono.with_binaural(False, None) == mono
    assert mono.with_binaural(True, None).binaural == BinauralSceneSettings()
    custom = ToybandSettings(binaural=BinauralSceneSettings(field_of_view_degrees=70))
    assert custom.with_binaural(True, None) == custom.with_binaural(False, tmp_path) == custom
    with pytest.raises(
        InputError, match=r"--head '.*' is only used for two-channel sound: add --binaural"
    ):
        mono.with_binaural(False, tmp_path / "a.sofa")


def test_recipes_for_two_ears() -> None:
    recipes = {
        name: load_recipe(f"toyband-binaural-{name}", "toyband", ToybandSettings)
        for name in ("duets", "twins", "training", "solos")
    }
    assert all(
        settings.binaural is not None and settings.binaural.room is None
        for settings in recipes.values()
    )
    assert recipes["twins"].binaural == recipes["duets"].binaural
    assert recipes["twins"].same_category_probability == 1
    assert recipes["solos"].num_performers == (1,)
    assert ToybandSettings().binaural is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("azimuth_degrees=[0, 45]", r"azimuth_degrees \[0.0, 45.0\] must hold 0 < least <= great"),
        ("azimuth_degrees=[50, 40]", "azimuth_degrees .* must hold"),
        ("azimuth_degrees=[10, 50]", "< 50, half of field_of_view_degrees"),
        ("field_of_view_degrees=170", "field_of_view_degrees: .* less than or equal to 160"),
        ("distance_metres=[3, 1]", r"distance_metres \[3, 1\] must hold 0 < least <= greatest"),
        ("distance_metres=[0, 1]", "distance_metres .* must hold"),
        ("distance_metres=[1, inf]", "finite"),
        ("distance_metres=[nan, 1]", "finite"),
        ("head_radius_metres=[0.1, 0.08]", "head_radius_metres .* must hold"),
        ("distance_metres=[0.09, 3]", "distance_metres must begin outside the head"),
        ("head_radius_metres=[0.1, 1.4]", "head_radius_metres must be less than 1.30: in a room"),
        ("room.order=9", "binaural.room.order: .* less than or equal to 6"),
        ("room.size_metres=[1, 1, 1]", "binaural.room.size_metres.0: .* greater than or equal"),
        ("fov=3", "unknown setting 'binaural.fov'; .*known: .*binaural.field_of_view_degrees"),
        ("room.echo=3", "unknown setting 'binaural.room.echo'; .*binaural.room.reflection"),
    ],
)
def test_settings_that_cannot_be(override: str, message: str) -> None:
    overrides = [f"binaural.{override}"]
    if "1.4" in override:
        # A head as large as this is only refused in a room.
        overrides.append("binaural.room.order=1")
    with pytest.raises(InputError, match=message):
        read_overrides(overrides, ToybandSettings)


@pytest.mark.slow
def test_the_recipe_in_the_folder_has_all_settings(tmp_path: Path) -> None:
    settings = ToybandSettings(
        clip_seconds=1,
        pictures=SMALL,
        num_performers=(1,),
        binaural=BinauralSceneSettings(room=ROOM),
    )
    list(make_toyband(tmp_path / "band", 1, 0, settings, Material.read(), num_workers=1))
    assert load_recipe(tmp_path / "band" / "toyband.toml", "toyband", ToybandSettings) == settings
    assert check_settings(settings.model_dump(), ToybandSettings, "itself") == settings
