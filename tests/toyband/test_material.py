"""Test material: instruments with both notes and pictures, on each side of the split."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from avsep.errors import InputError
from avsep.toyband.categories import CATEGORIES
from avsep.toyband.material import Material


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Write notes of violin (12), cello (3); photographs of violin (2), cello (3), tuba (3)."""
    for name, num_notes in (("violin", 12), ("cello", 3)):
        (tmp_path / "notes" / name).mkdir(parents=True)
        for index in range(num_notes):
            path = tmp_path / "notes" / name / f"{60 + index:03d}_000.wav"
            soundfile.write(path, 0.5 * np.hanning(2000), 44_100)
    for name, num_pictures in (("violin", 2), ("cello", 3), ("tuba", 3)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(num_pictures):
            Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / name / f"{index}.png")
    return tmp_path


def test_shipped_material_has_every_instrument() -> None:
    material = Material.read()
    assert material.categories(False, ()) == material.categories(True, ()) == CATEGORIES
    assert material.categories(False, ("tuba", "cello")) == ("cello", "tuba")
    assert material.origin == "the shipped notes and drawings"
    assert material.warnings() == ()


def test_only_instruments_with_notes_and_pictures_are_played(folders: Path) -> None:
    material = Material.read(folders / "notes", folders / "photos")
    # There are photographs of a tuba, but no notes.
    assert material.categories(False, ()) == ("cello", "violin")
    assert material.origin == "--sounds notes --photos photos"
    assert material.warnings() == (
        "instruments with fewer than 10 notes, only used by seeds below 1000: cello (3)",
    )


def test_held_out_seeds_leave_out_instruments_without_held_out_photographs(folders: Path) -> None:
    material = Material.read(photos=folders / "photos")
    assert material.categories(False, ()) == ("cello", "tuba", "violin")
    # The third of every five photographs is held out, and there are two of the violin.
    assert material.categories(True, ()) == ("cello", "tuba")


def test_nothing_to_play_is_an_error_that_lists_the_instruments(folders: Path) -> None:
    material = Material.read(folders / "notes", folders / "photos")
    with pytest.raises(InputError, match=r"notes of cello, violin; .*cello, tuba, violin; .*tuba"):
        material.categories(False, ("tuba",))
    with pytest.raises(
        InputError, match=r"notes of violin; pictures of cello, tuba; selected: any"
    ):
        material.categories(True, ())
