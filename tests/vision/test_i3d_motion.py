"""Motion features of a video: the pictures that I3D receives, and their size."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avsep.vision.i3d import I3D, load_i3d, motion_features, video_motion_features


@pytest.fixture(scope="module")
def model(i3d_file: Path) -> I3D:
    return load_i3d(i3d_file)


def noise(num: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, height, width, 3), dtype=np.uint8)


def test_small_pictures_are_not_resized(model: I3D) -> None:
    pictures = noise(9, 24, 36)
    assert torch.equal(
        video_motion_features(iter(pictures), model), motion_features(pictures, model)
    )


def resized(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    image = Image.fromarray(picture)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def test_the_longer_side_is_shrunk_to_320(model: I3D) -> None:
    pictures = noise(2, 20, 640)
    shrunk = np.stack([resized(picture, 320, 10) for picture in pictures])
    assert torch.equal(video_motion_features(pictures, model), motion_features(shrunk, model))


def test_pictures_of_other_sizes_are_brought_to_the_first(model: I3D) -> None:
    (first,), (second,) = noise(1, 20, 30), noise(1, 50, 40)
    expected = motion_features(np.stack([first, resized(second, 30, 20)]), model)
    assert torch.equal(video_motion_features([first, second], model), expected)


def test_no_picture_is_read_after_the_160th(model: I3D) -> None:
    def coming() -> Iterator[np.ndarray]:
        yield from noise(160, 2, 2)
        raise AssertionError("more pictures were read than needed")

    assert video_motion_features(coming(), model).shape == (1024, 20)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 700)])
def test_the_thinnest_picture_has_features(model: I3D, height: int, width: int) -> None:
    features = video_motion_features(noise(1, height, width), model)
    assert features.shape == (1024, 1) and features.isfinite().all()
