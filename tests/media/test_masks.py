"""Masks: boxes of pictures and videos that are white where an object is, and one-line errors."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsep.errors import InputError
from avsep.media.masks import read_mask_boxes
from avsep.records import TimedBox
from media.making import Video, make

RIGHT_BOX = (TimedBox(time_seconds=0, box=(0.5, 0, 1, 1)),)


def save_mask(path: Path, size: tuple[int, int] = (128, 64), mode: str = "L") -> Path:
    """Write a picture that is white in its right half."""
    array = np.zeros(size[::-1], np.uint8)
    array[:, size[0] // 2 :] = 255
    Image.fromarray(array).convert(mode).save(path)
    return path


@pytest.mark.parametrize(
    ("ending", "mode"), [("png", "L"), ("png", "1"), ("png", "RGB"), ("png", "P"), ("bmp", "L")]
)
def test_a_mask_of_any_size_gives_its_box(tmp_path: Path, ending: str, mode: str) -> None:
    path = save_mask(tmp_path / f"mask.{ending}", (10, 7), mode)
    assert read_mask_boxes(path) == RIGHT_BOX


def test_deep_and_transparent_masks(tmp_path: Path) -> None:
    deep = np.zeros((8, 8), np.uint16)
    deep[:, :4] = 300  # dark in 16 bits
    deep[:, 4:] = 65535
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_mask_boxes(tmp_path / "deep.png") == RIGHT_BOX
    clear = np.full((8, 8, 4), 255, np.uint8)
    clear[:, :4, 3] = 0
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert read_mask_boxes(tmp_path / "clear.png") == RIGHT_BOX


def test_a_mask_video_gives_boxes_over_time(tmp_path: Path) -> None:
    def picture(column: int | None) -> np.ndarray:
        array = np.zeros((32, 64, 3), np.uint8)
        if column is not None:
            array[8:24, column : column + 16] = 255
        return array

    # Ten a second: two tenths without white, a stay, and a move.
    columns = [None, None, 0, 0, 0, 0, 16, 32]
    path = make(tmp_path / "mask.mkv", [Video([picture(c) for c in columns], rate=Fraction(10))])
    boxes = read_mask_boxes(path)
    assert [item.time_seconds for item in boxes] == pytest.approx([0.2, 0.5, 0.6, 0.7])
    assert [item.box for item in boxes] == [
        (0, 0.25, 0.25, 0.75), (0, 0.25, 0.25, 0.75),
        (0.25, 0.25, 0.5, 0.75), (0.5, 0.25, 0.75, 0.75),
    ]  # fmt: skip
    still = make(tmp_path / "still.mkv", [Video([picture(32)] * 5, rate=Fraction(10))])
    assert read_mask_boxes(still) == (TimedBox(time_seconds=0, box=(0.5, 0.25, 0.75, 0.75)),)
    black = make(tmp_path / "black.mkv", [Video([picture(None)] * 5, rate=Fraction(10))])
    with pytest.raises(InputError, match=r"the mask '.*black.mkv' contains no white; a mask is a"):
        read_mask_boxes(black)


def test_wrong_masks_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("violin")
    (tmp_path / "empty.png").touch()
    Image.fromarray(np.ones((4, 4), np.uint8)).save(tmp_path / "labels.png")
    (tmp_path / "cut.png").write_bytes(save_mask(tmp_path / "m.png", (999, 999)).read_bytes()[:300])
    for name, message in {
        "text.png": "a mask is a picture or video that is white where the object is, and black",
        "empty.png": "a mask is a picture",
        "none.png": "cannot read the mask '.*none.png': No such file or directory; a mask is a p",
        "labels.png": "contains no white: its brightest pixel is 1 of 255; a mask is a picture or",
        "cut.png": "cannot read the mask",
    }.items():
        with pytest.raises(InputError, match=message) as error:
            read_mask_boxes(tmp_path / name)
        assert "\n" not in str(error.value)
