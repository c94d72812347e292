"""Test photographs: categories, held-out split, shaking with the loudness, error messages."""

import re

import numpy as np
import pytest
from PIL import Image

from avsep.errors import InputError
from avsep.toyband.pictures.photographs import open_photograph, read_photographs
from avsep.toyband.pictures.stage import Role, StageSettings, make_stage

SETTINGS = StageSettings(width_pixels=320, height_pixels=180, duration_seconds=1.0)


@pytest.fixture
def folder(tmp_path):
    """Write photographs: seven violins, three acoustic guitars, four others and two unknown."""
    rng = np.random.default_rng(0)
    for name, num_files in (("violin", 7), ("Acoustic_Guitar", 3), ("other", 4), ("kazoo", 2)):
        (tmp_path / name).mkdir()
        for index in range(num_files):
            # Few random blocks, enlarged: structure coarse enough that a shake changes the pixels.
            coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((120, 90), Image.Resampling.BICUBIC)
            picture.save(tmp_path / name / f"{index:03d}.jpg")
    (tmp_path / "violin" / "SOURCE.txt").write_text("not a picture")
    return tmp_path


def make_photograph_stage(folder, envelope, seed=0, **settings):
    cast = [Role("violin", (), envelope)]
    return make_stage(
        cast,
        SETTINGS.model_copy(update=settings),
        np.random.default_rng(seed),
        read_photographs(folder),
    )


def test_folder_names_are_matched_to_categories(folder):
    photographs = read_photographs(folder)
    assert photographs.categories == ("guitar", "violin")
    assert len(photographs.distractors) == 4


def test_every_fifth_photograph_is_held_out(folder):
    photographs = read_photographs(folder)
    held_out = [path.name for path in photographs.files("violin", held_out=True)]
    used = [path.name for path in photographs.files("violin", held_out=False)]
    assert held_out == ["002.jpg"]
    assert used == ["000.jpg", "001.jpg", "003.jpg", "004.jpg", "005.jpg", "006.jpg"]


def test_a_category_without_photographs_is_an_error_that_lists_those_with(folder):
    with pytest.raises(InputError, match=re.escape("or choose from: guitar, violin")):
        read_photographs(folder).files("cello", held_out=False)


def test_no_folder_and_an_empty_folder_are_errors(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        read_photographs(tmp_path / "missing")
    with pytest.raises(InputError, match="no photographs in"):
        read_photographs(tmp_path)


def test_a_broken_photograph_is_an_error_that_names_it(folder):
    broken = folder / "violin" / "000.jpg"
    # A valid header and no complete data: the error comes while decoding, not while opening.
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(InputError, match=f"cannot read the photograph {re.escape(str(broken))}"):
        open_photograph(broken)


def test_a_file_that_is_no_picture_is_an_error_without_addresses(folder):
    letter = folder / "violin" / "000.jpg"
    letter.write_text("dear")
    with pytest.raises(InputError, match=r"000\.jpg: no known format; replace or remove the file$"):
        open_photograph(letter)


def test_only_categories_with_a_photograph_in_the_split_are_listed(folder):
    assert read_photographs(folder).categories_in_split(held_out=True) == ("guitar", "violin")
    (folder / "Acoustic_Guitar" / "000.jpg").unlink()
    assert read_photographs(folder).categories_in_split(held_out=True) == ("violin",)
    assert read_photographs(folder).categories_in_split(held_out=False) == ("guitar", "violin")


def test_a_photograph_is_rotated_upright(tmp_path):
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown a quarter turn clockwise
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    assert open_photograph(path).size == (20, 40)


def test_transparent_pixels_become_white(tmp_path):
    path = tmp_path / "cut_out.png"
    Image.new("RGBA", (8, 8), (200, 0, 0, 0)).save(path)
    assert open_photograph(path).getpixel((4, 4)) == (255, 255, 255)


def test_the_shape_of_a_photograph_is_kept(folder):
    x1, y1, x2, y2 = make_photograph_stage(folder, np.zeros(20)).performers[0].box
    # Whole pixels, of which the height has 90 or more: one pixel is about 1 %, two sides 2 %.
    assert (x2 - x1) * 320 / ((y2 - y1) * 180) == pytest.approx(120 / 90, rel=0.02)


@pytest.mark.slow
def test_a_photograph_shakes_as_loud_as_its_sound(folder):
    def shaking(loudness, seed):
        stage = make_photograph_stage(folder, np.full(20, loudness), seed, most_distractors=0)
        frames = np.stack(list(stage.frames())).astype(float)
        return np.abs(np.diff(frames, axis=0)).mean()

    for seed in range(3):
        silent, soft, loud = (shaking(loudness, seed) for loudness in (0.0, 0.4, 1.0))
        assert silent < soft < loud
        assert loud > 2 * silent


@pytest.mark.slow
def test_only_photographs_move_and_silent_ones_are_distractors(folder):
    # Eight seeds, since one may sample no distractor.
    stages = [make_photograph_stage(folder, np.full(20, 1.0), seed) for seed in range(8)]
    assert any(stage.distractors for stage in stages)
    for stage in stages:
        frames = np.stack(list(stage.frames())).astype(int)
        moved = np.ptp(frames, axis=0).max(axis=2) > 0
        for x1, y1, x2, y2 in [
            stage.performers[0].box,
            *(distractor.box for distractor in stage.distractors),
        ]:
            moved[round(y1 * 180) : round(y2 * 180), round(x1 * 320) : round(x2 * 320)] = False
        assert not moved.any()


def test_held_out_photographs_are_used_only_on_request(folder):
    no_distractors = {"most_distractors": 0}
    frames = {
        side: make_photograph_stage(
            folder, np.zeros(20), held_out_photographs=side, **no_distractors
        ).frame(0.0)
        for side in (False, True)
    }
    assert not np.array_equal(frames[False], frames[True])
    # Empty files are errors when read: equal pixels show that no other photograph was opened.
    for index in (0, 1, 3, 4, 5, 6):
        (folder / "violin" / f"{index:03d}.jpg").write_bytes(b"")
    repeated = make_photograph_stage(
        folder, np.zeros(20), held_out_photographs=True, **no_distractors
    ).frame(0.0)
    assert np.array_equal(repeated, frames[True])


def test_the_same_seed_gives_the_same_pixels(folder):
    first, second = (
        make_photograph_stage(folder, np.linspace(0, 1, 20), 3).frame(0.5) for _ in range(2)
    )
    assert np.array_equal(first, second)
