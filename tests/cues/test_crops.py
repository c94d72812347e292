"""Test object crops: the frame at each time, cropped at the object's box, of every kind of file."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from avsep.cues import crops as crops_module
from avsep.cues.cropping import crop_box, crop_box_grey
from avsep.cues.crops import (
    CropSettings,
    ObjectCrops,
    blank_crops,
    extract_clip_crops,
    extract_crops,
    extract_crops_from_frames,
)
from avsep.cues.windows import SourceWindow, window_cues
from avsep.data.clips import ClipFiles, SourceFile
from avsep.errors import InputError
from avsep.records import Box, TimedBox, VisibleObject
from media.making import GREY_STEP, Track, Video, make, noise, numbered

WHOLE = VisibleObject()
SMALL = CropSettings(crop_pixels=16, motion_pixels=8)
RED, BLUE = (200, 0, 0), (0, 0, 200)


def at(*boxes: Box) -> VisibleObject:
    """Return an object that is in these boxes at 0, 1, ... seconds."""
    timed = tuple(TimedBox(time_seconds=time, box=box) for time, box in enumerate(boxes))
    return VisibleObject(boxes=timed)


def numbers(pictures: torch.Tensor) -> list[int]:
    """Return the numbers of numbered pictures."""
    means = pictures.float().flatten(1).mean(1)
    return ((means - 8) / GREY_STEP).round().int().tolist()


def halves(left: Sequence[int], right: Sequence[int]) -> np.ndarray:
    picture = np.empty((48, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = left, right
    return picture


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Generate boxes of every kind, thin and tiny ones too."""
    sides = []
    for _ in range(2):
        first = draw(st.floats(0, 1, exclude_max=True))
        beyond = draw(st.floats(first, 1, exclude_min=True))
        sides.append((first, beyond))
    (x1, x2), (y1, y2) = sides
    return (x1, y1, x2, y2)


@pytest.fixture(scope="module")
def late_sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make two seconds of pictures at 10 Hz; the sound begins half a second after them."""
    path = tmp_path_factory.mktemp("crops") / "late.mkv"
    track = Track(noise(1, 24000), start_seconds=0.5)
    return make(path, [Video(numbered(20), Fraction(10))], [track])


def test_time_zero_is_the_first_sample_of_the_sound(late_sound: Path) -> None:
    (object_crop,) = extract_crops(late_sound, [WHOLE], SMALL, end_seconds=1.5)
    assert numbers(object_crop.crops) == [5, 15]
    assert object_crop.crop_motion is not None and numbers(object_crop.crop_motion) == list(
        range(5, 20)
    )
    assert object_crop.crops.shape == (2, 3, 16, 16) and object_crop.crop_motion.shape == (15, 8, 8)


def test_the_first_and_last_pictures_are_held(tmp_path: Path) -> None:
    sound = Track(noise(1, 48000))
    pictures = Video(numbered(10), Fraction(10), start_seconds=0.5)
    path = make(tmp_path / "a.mkv", [pictures], [sound])
    (object_crop,) = extract_crops(path, [WHOLE], SMALL, end_seconds=3.0)
    assert object_crop.crop_motion is not None and numbers(object_crop.crops) == [0, 5, 9]
    assert numbers(object_crop.crop_motion) == [0] * 5 + list(range(10)) + [9] * 15


def test_without_an_end_crops_end_with_the_pictures(late_sound: Path) -> None:
    (object_crop,) = extract_crops(late_sound, [WHOLE], SMALL)
    assert object_crop.crop_motion is not None and numbers(object_crop.crop_motion) == list(
        range(5, 20)
    )
    (short,) = extract_crops(late_sound, [WHOLE], SMALL, end_seconds=0.0)
    assert short.crop_motion is not None and len(short.crops) == len(short.crop_motion) == 1


def test_a_silent_video_counts_from_its_own_start(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", [Video(numbered(5), Fraction(10))])
    (object_crop,) = extract_crops(path, [WHOLE], SMALL)
    assert object_crop.crop_motion is not None and numbers(object_crop.crop_motion) == [
        0,
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize("part", [(0.0, 0.6), (1.0, 1.6), (1.0, 9.0), (3.0, 4.0)])
@pytest.mark.parametrize("selection", ["spread", "consecutive"])
def test_windows_of_a_part_have_the_cues_of_the_whole(
    late_sound: Path, selection: str, part: tuple[float, float]
) -> None:
    """The last part is later than all pictures."""
    settings = SMALL.model_copy(update={"selection": selection, "num_crops": 1})
    whole, extracted = (
        extract_crops(late_sound, [WHOLE], settings, **more) for more in ({}, {"part": part})
    )
    cues = [window_cues([[SourceWindow(crops, part[0])]], 0.6) for (crops,) in (whole, extracted)]
    for name in ("crops", "crop_motion", "boxes"):
        assert torch.equal(*(getattr(item, name) for item in cues)), name
    if part == (1.0, 9.0):
        assert len(extracted[0].crop_motion) == 5 and extracted[0].num_rows("crop_motion") == 15
        with pytest.raises(AssertionError, match=r"before 1.0 s were not extracted"):
            extracted[0].rows("crops", np.array([0]))


def test_a_part_of_a_folder_of_pictures_is_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / f"{number + 1:06d}.png")
    sounding = SourceFile(tmp_path / "a.wav", "a", "a", WHOLE)
    clip = ClipFiles("a", tmp_path, (sounding,), sound=tmp_path / "a.wav", frame_rate_hz=2.0)
    names: list[str] = []

    def read(paths: Sequence[Path]) -> Iterator[np.ndarray]:
        for path in paths:
            names.append(path.name)
            yield np.asarray(Image.open(path).convert("RGB"))

    monkeypatch.setattr(crops_module, "read_pictures", read)
    (crops,) = extract_clip_crops(clip, SMALL, part=(3.0, 4.0))
    assert crops.rows("crops", np.array([3, 4]))[:, 0, 0, 0].tolist() == [120, 160]
    assert names == [f"{number:06d}.png" for number in range(7, 11)]  # to the one after 4 s


def test_bytes_and_open_files_give_what_the_path_gives(late_sound: Path) -> None:
    (object_crop,) = extract_crops(late_sound, [WHOLE], SMALL)
    with late_sound.open("rb") as file:
        for source in (late_sound.read_bytes(), file):
            (other,) = extract_crops(source, [WHOLE], SMALL)
            assert torch.equal(other.crops, object_crop.crops)


def test_an_audio_file_is_an_error_of_one_line(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wav", tracks=[Track(noise(1, 1600))])
    with pytest.raises(InputError, match=r"a\.wav' has no video: .*Give a file with a video"):
        extract_crops(path, [WHOLE], SMALL)


@pytest.mark.slow
def test_crops_follow_the_boxes(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", [Video([halves(RED, BLUE)] * 30, Fraction(10))])
    left, right = (0.0, 0.0, 0.4, 1.0), (0.6, 0.0, 1.0, 1.0)
    moving, still = extract_crops(path, [at(left, left, right), at(right)], SMALL, end_seconds=3)
    red, _, blue = moving.crops.float().mean((2, 3)).T  # of each crop
    assert (red[:2] > 180).all() and red[2] < 20 and blue[2] > 180 and (blue[:2] < 20).all()
    assert (still.crops[:, 2].float().mean((1, 2)) > 180).all()


@pytest.mark.slow
def test_many_objects_in_one_pass_are_as_each_alone(late_sound: Path) -> None:
    objects = [at((0.1, 0.2, 0.5, 0.9)), WHOLE, at((0.0, 0.0, 0.3, 0.3), (0.7, 0.7, 1.0, 1.0))]
    together = extract_crops(late_sound, objects, SMALL)
    for object_crop, visible in zip(together, objects, strict=True):
        (alone,) = extract_crops(late_sound, [visible], SMALL)
        assert object_crop.crop_motion is not None and alone.crop_motion is not None
        assert torch.equal(object_crop.crops, alone.crops) and torch.equal(
            object_crop.crop_motion, alone.crop_motion
        )


def test_boxes_are_those_of_the_upright_picture(tmp_path: Path) -> None:
    # Stored with red on the left; a clockwise quarter turn puts it on top.
    video = Video([halves(RED, BLUE)] * 3, Fraction(10), rotation=(-90, False, False))
    path = make(tmp_path / "a.mov", [video])
    top, bottom = extract_crops(path, [at((0, 0, 1, 0.4)), at((0, 0.6, 1, 1))], SMALL)
    assert top.crops[0, 0].float().mean() > 180 and bottom.crops[0, 2].float().mean() > 180


def test_frame_folders_give_what_their_video_gives() -> None:
    pictures = numbered(6)
    (object_crop,) = extract_crops_from_frames(
        iter(pictures), [k / 2 for k in range(6)], [WHOLE], SMALL, 4.0
    )
    assert object_crop.crop_motion is not None and numbers(object_crop.crops) == [0, 2, 4, 5]
    assert numbers(object_crop.crop_motion) == [k // 5 for k in range(30)] + [5] * 10


def test_pictures_may_differ_in_size() -> None:
    pictures = [np.full((20, 30, 3), 90, np.uint8), np.full((50, 10, 3), 90, np.uint8)]
    (object_crop,) = extract_crops_from_frames(pictures, [0.0, 1.0], [at((0.5, 0.5, 1, 1))], SMALL)
    assert (object_crop.crops == 90).all() and len(object_crop.crops) == 2


def test_crop_motion_is_left_out_by_its_setting(late_sound: Path) -> None:
    (object_crop,) = extract_crops(
        late_sound, [WHOLE], SMALL.model_copy(update={"with_crop_motion": False})
    )
    assert object_crop.crop_motion is None and object_crop.num_rows("crop_motion") == 0


@settings(max_examples=40, deadline=None)
@given(box=boxes(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_any_box_of_an_even_picture_is_even(box: Box, height: int, width: int) -> None:
    picture = np.full((height, width, 3), (10, 200, 90), np.uint8)
    crop = crop_box(picture, box, 12)
    assert crop.shape == (3, 12, 12) and (crop == picture[0, 0][:, None, None]).all()
    # 0.2126 x 10 + 0.7152 x 200 + 0.0722 x 90
    assert (crop_box_grey(picture, box, 12) == round(2.126 + 143.04 + 6.498)).all()


def test_the_thinnest_boxes_at_the_border_show_the_border() -> None:
    picture = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, :, None] * 20, (10, 10, 3))
    for box, value in (((1 - 1e-15, 0, 1, 1e-300), 180), ((0, 0, 1e-300, 1e-15), 0)):
        assert (crop_box_grey(picture, box, 8) == value).all()


@pytest.mark.parametrize(
    ("box", "columns"),
    [
        ((0.0, 0.0, 0.001, 0.001), [0, 1]),
        ((0.999, 0.0, 1.0, 0.001), [8, 9]),
        ((0.3, 0.0, 0.5, 0.001), [3, 4]),  # on pixels' edges: not one more
        ((0.31, 0.0, 0.49, 0.001), [3, 4]),
        ((0.29, 0.0, 0.51, 0.001), [2, 3, 4, 5]),
    ],
)
def test_crops_are_rounded_outward_to_at_least_two_pixels(box: Box, columns: list[int]) -> None:
    picture = np.broadcast_to(np.arange(10, dtype=np.uint8)[None, :, None] * 20, (10, 10, 3))
    num_pixels = len(columns)
    expected = np.array(columns) * 20
    assert (crop_box(picture, box, num_pixels)[0, 0] == expected).all()


def test_a_box_that_glides_over_a_ramp_brightens_evenly() -> None:
    ramp = np.broadcast_to(np.arange(200, dtype=np.uint8)[None, :, None], (40, 200, 3))
    starts = np.linspace(0.1, 0.2, 101)  # a fifth of a pixel a step
    grey = [crop_box_grey(ramp, (x, 0.1, x + 0.4, 0.9), 8)[0, 0] for x in starts]
    # The first of 8 cells is 10 pixels wide, its centre 5 from the start; pixel n has its centre
    # at n + 0.5.
    expected = starts * 200 + 5 - 0.5
    # Half a step of rounding; a box rounded to pixels would be off by up to one more.
    assert np.abs(grey - expected).max() <= 0.51


def test_a_pixel_of_crop_motion_is_the_mean_of_an_area() -> None:
    checks = np.indices((64, 64)).sum(0) % 2 * 255
    picture = np.repeat(checks.astype(np.uint8)[..., None], 3, axis=2)
    assert (crop_box_grey(picture, (0, 0, 1, 1), 8) == 128).all()
    assert np.abs(crop_box(picture, (0, 0, 1, 1), 8).astype(int) - 128).max() <= 8  # no moiré


def test_crops_within_a_window() -> None:
    crops = torch.zeros(10, 3, 2, 2, dtype=torch.uint8)
    object_crop = ObjectCrops(crops, None, torch.zeros(10, 4), CropSettings())
    for start, window, expected in [
        (0.0, 3.0, [0, 1, 2]),
        (0.5, 3.0, [1, 2, 3]),
        (2.0, 1.0, [2]),
        (2.1, 0.5, [2]),  # none inside: the nearest to its middle
        (2.4, 0.5, [3]),
        (8.0, 6.0, [8, 9]),
        (30.0, 6.0, [9]),
        (-9.0, 2.0, [0]),
        (-1.0, 2.5, [0, 1]),
    ]:
        assert object_crop.crop_indices(start, window).tolist() == expected


def test_crop_motion_within_a_window_holds_the_ends() -> None:
    frames = torch.arange(20, dtype=torch.uint8)[:, None, None].expand(20, 2, 2)
    crops = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    object_crop = ObjectCrops(crops, frames, torch.zeros(2, 4), CropSettings())
    for start, expected in [
        (0.5, [5, 6, 7]),
        (-0.2, [0, 0, 0]),
        (-0.1, [0, 0, 1]),
        (1.8, [18, 19, 19]),
        (9.0, [19, 19, 19]),
    ]:
        indices = object_crop.motion_indices(start, 0.3, is_repeated=False)
        assert indices.tolist() == expected
        rows = object_crop.rows("crop_motion", indices)
        assert rows.shape == (3, 2, 2) and rows[:, 0, 0].tolist() == expected


def test_an_object_alone_is_cropped_whole_by_its_setting() -> None:
    left, right = at((0.0, 0.0, 0.5, 1.0)), at((0.5, 0.0, 1.0, 1.0))
    settings = SMALL.model_copy(update={"whole_when_alone": True})
    pictures = [halves(RED, BLUE)]
    (alone,) = extract_crops_from_frames(pictures, [0.0], [left], settings)
    (whole,) = extract_crops_from_frames(pictures, [0.0], [WHOLE], SMALL)
    assert alone.crops.equal(whole.crops) and alone.crop_motion is not None
    assert whole.crop_motion is not None and alone.crop_motion.equal(whole.crop_motion)
    for crop_settings in (settings, SMALL):
        object_crops = extract_crops_from_frames(pictures, [0.0], [left, right], crop_settings)
        assert [object_crop.crops[0, :, 8, 8].tolist() for object_crop in object_crops] == [
            list(RED),
            list(BLUE),
        ]
    assert extract_crops_from_frames(pictures, [0.0], [left], SMALL)[0].crops[
        0, :, 8, 15
    ].tolist() == [*RED]


@pytest.mark.parametrize("with_crop_motion", [True, False])
def test_blank_crops_are_black_at_any_time(with_crop_motion: bool) -> None:
    settings = SMALL.model_copy(update={"with_crop_motion": with_crop_motion})
    object_crops = blank_crops(2, settings)
    assert len(object_crops) == 2
    for object_crop in object_crops:
        assert not object_crop.crops.any() and object_crop.crops.shape[1:] == (3, 16, 16)
        assert object_crop.crop_indices(7.0, 3.0).tolist() == [0]
        assert not object_crop.is_visible
        if with_crop_motion:
            indices = object_crop.motion_indices(-1.0, 5.0, is_repeated=False)
            assert len(indices) and not object_crop.rows("crop_motion", indices).any()
        else:
            assert object_crop.crop_motion is None


def test_boxes_are_those_of_the_crops() -> None:
    """A moving box is interpolated at the time of each crop."""
    ends = [(0.0, (0.0, 0.0, 0.2, 1.0)), (4.0, (0.8, 0.0, 1.0, 1.0))]
    gliding = VisibleObject(boxes=tuple(TimedBox(time_seconds=t, box=box) for t, box in ends))
    pictures = [np.zeros((10, 20, 3), np.uint8)] * 5
    (object_crop,) = extract_crops_from_frames(
        pictures, range(5), [gliding], CropSettings(crop_pixels=4)
    )
    assert object_crop.boxes.shape == (len(object_crop.crops), 4)
    expected = [0.2 * second for second in range(len(object_crop.crops))]
    torch.testing.assert_close(object_crop.boxes[:, 0], torch.tensor(expected))
