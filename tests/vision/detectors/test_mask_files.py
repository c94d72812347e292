"""Masks as detectors: pictures of one or several objects, and mask videos."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from avsep.errors import InputError
from avsep.vision.detectors.base import Detector
from avsep.vision.detectors.registry import load_detector
from avsep.vision.detectors.settings import DetectorSettings
from media.making import Video, make

HEIGHT, WIDTH = 40, 80
PICTURE = np.zeros((2 * HEIGHT, 2 * WIDTH, 3), np.uint8)


def load(path: Path, **settings: object) -> Detector:
    return load_detector(str(path), "cpu", DetectorSettings.model_validate(settings))


def index_mask(dtype: type = np.uint8) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype)
    mask[10:30, 0:20] = 1
    mask[0:40, 40:80] = 2
    return mask


BOXES = [[0, 0.25, 0.25, 0.75], [0.5, 0, 1, 1]]


def test_one_white_object_is_called_as_its_file(tmp_path: Path) -> None:
    mask = 255 * (index_mask() == 1).astype(np.uint8)
    Image.fromarray(mask).save(tmp_path / "01-electric_guitar.png")
    detector = load(tmp_path / "01-electric_guitar.png")
    assert detector.labels == ("electric guitar",)
    first, last = detector.detect([PICTURE, PICTURE], [0.0, 77.0])
    np.testing.assert_allclose(first.boxes, BOXES[:1])
    assert first.scores.tolist() == [1.0] and first.masks is not None
    np.testing.assert_array_equal(first.masks[0], (mask > 0).repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(last.boxes, first.boxes)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "I;16"])
def test_several_objects_in_one_picture(tmp_path: Path, mode: str) -> None:
    mask = index_mask()
    if mode == "P":
        image = Image.fromarray(mask).convert("P")
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    elif mode.startswith("RGB"):
        colours = np.array([[0, 0, 0, 255], [0, 0, 200, 255], [200, 0, 0, 255]], np.uint8)
        if mode == "RGBA":
            colours[0] = (9, 9, 9, 0)  # transparent
        image = Image.fromarray(colours[mask][..., : len(mode)])
    else:
        image = Image.fromarray(mask.astype(np.uint16) if mode == "I;16" else mask)
    image.save(tmp_path / "band.png")
    assert load(tmp_path / "band.png").labels == ("object 1", "object 2")
    (tmp_path / "band.labels.txt").write_text("violin\ncello\n", encoding="utf-8")
    (detections,) = load(tmp_path / "band.png").detect([PICTURE], [0.0])
    assert detections.labels == ("violin", "cello")
    np.testing.assert_allclose(detections.boxes, BOXES)
    assert detections.masks is not None and detections.masks.sum(axis=(1, 2)).tolist() == [
        1600,
        6400,
    ]
    (cello,) = load(tmp_path / "band.png").detect([PICTURE], [0.0], ["cello"])
    assert cello.labels == ("cello",) and cello.masks is not None and len(cello.masks) == 1
    with pytest.raises(InputError, match="has 2 objects, and 1 labels are given; write one a line"):
        load(tmp_path / "band.png", labels=("violin",))


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_soft_edges_are_no_objects(tmp_path: Path, ending: str) -> None:
    large = Image.new("L", (8 * WIDTH, 8 * HEIGHT))
    ImageDraw.Draw(large).ellipse([160, 80, 479, 239], fill=255)
    large.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS).save(tmp_path / f"drum.{ending}")
    (detections,) = load(tmp_path / f"drum.{ending}").detect([PICTURE], [0.0])
    assert detections.labels == ("drum",)
    np.testing.assert_allclose(detections.boxes, [[0.25, 0.25, 0.75, 0.75]], atol=0.03)


def test_a_folder_has_an_object_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    for name, number in (("1-violin", 1), ("2-violin", 2)):
        mask = 255 * (index_mask() == number).astype(np.uint8)
        Image.fromarray(mask).save(folder / f"{name}.png")
    (folder / "notes.txt").write_text("by hand")
    detector = load(folder)
    assert detector.labels == ("violin", "violin #2")
    (detections,) = detector.detect([PICTURE], [0.0])
    np.testing.assert_allclose(detections.boxes, BOXES)
    Image.fromarray(np.full((3, 3), 255, np.uint8)).save(folder / "3-drum.png")
    with pytest.raises(InputError, match=r"have several sizes: 3x3, 80x40; give one size"):
        load(folder)


def test_masks_of_another_shape_than_the_picture(tmp_path: Path) -> None:
    Image.fromarray(index_mask()).save(tmp_path / "a.png")
    with pytest.raises(
        InputError, match="are 80x40, and the picture is 80x80: their shape differs"
    ):
        load(tmp_path / "a.png").detect([np.zeros((80, 80, 3), np.uint8)], [0.0])


def test_what_is_no_mask(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "black.png")
    with pytest.raises(
        InputError, match=r"black\.png' has no object: all of it is black; a mask is"
    ):
        load(tmp_path / "black.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"cannot read the mask '.*broken\.png'"):
        load(tmp_path / "broken.png")
    noise = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    with pytest.raises(InputError, match="has more than 64 colours; save it without soft edges"):
        load(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"the folder '.*empty' has no masks: no file in it ends in"
    ):
        load(tmp_path / "empty")


def mask_video(path: Path, left_columns: list[int]) -> Path:
    """Two pictures a second, white from a column on, 20 columns wide; -1: black."""
    pictures = [np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in left_columns]
    for picture, left in zip(pictures, left_columns, strict=True):
        if left >= 0:
            picture[:, left : left + 20] = 255
    return make(path, [Video(pictures, rate=Fraction(2))])


def test_mask_videos_are_read_at_the_time_of_each_picture(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    mask_video(tmp_path / "masks" / "violin.mkv", [0, 20, -1, 40])
    mask_video(tmp_path / "masks" / "cello.mkv", [60, -1, -1, 60])
    detector = load(tmp_path / "masks")
    assert detector.labels == ("cello", "violin")
    times = [0.6, 0.0, 1.2, 9.0]
    second, first, third, last = detector.detect([PICTURE] * 4, times)
    assert first.labels == last.labels == ("cello", "violin") and second.labels == ("violin",)
    assert third.labels == ()
    np.testing.assert_allclose(first.boxes, [[0.75, 0, 1, 1], [0, 0, 0.25, 1]], atol=0.02)
    np.testing.assert_allclose(second.boxes, [[0.25, 0, 0.5, 1]], atol=0.02)
    assert second.masks is not None and second.masks.shape == (1, *PICTURE.shape[:2])
    assert second.masks.mean() == pytest.approx(0.25, abs=0.02)
    (violin,) = detector.detect([PICTURE], [9.0], ["violin"])
    np.testing.assert_allclose(violin.boxes, [[0.5, 0, 0.75, 1]], atol=0.02)
    assert load(tmp_path / "masks" / "violin.mkv").labels == ("violin",)
    assert detector.detect([], []) == ()
