"""Test the tool that measures the picture encoders, on parts of two photographs and on drawings."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsep.errors import InputError
from avsep.toyband.pictures.stage import Role, StageSettings, make_stage
from measure_encoder import find_photographs, measure
from vision.made_pictures import photographs


def save(pixels: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten large parts of each photograph, a folder of anything, and two drawn musicians."""
    folder = tmp_path_factory.mktemp("photographs")
    for label, pixels in zip(("palace", "daisy"), photographs().permute(0, 2, 3, 1), strict=True):
        for number in range(10):
            part = pixels.numpy()[: 427 - 4 * number, 8 * number :]
            save(part, folder / "things" / label / f"{number}.png")
        save(pixels.numpy(), folder / "things" / "other" / f"{label}.png")
    (folder / "things" / "empty").mkdir()
    settings = StageSettings(width_pixels=448, height_pixels=252, duration_seconds=0.5)
    for number, label in enumerate(("violin", "harp")):
        cast = [Role(label, (), np.full(settings.num_frames, 0.5))]
        stage = make_stage(cast, settings, np.random.default_rng(number))
        x1, y1, x2, y2 = np.array(stage.objects()[0].box_at(0.0)) * (448, 252, 448, 252)
        crop = stage.frame(0.0)[round(y1) : round(y2), round(x1) : round(x2)]
        save(crop, folder / "band" / label / "1.png")
    return [folder / "things", folder / "band"]


@pytest.mark.slow
def test_figures_of_both_encoders(folders: list[Path]) -> None:
    figures = measure(folders, 5)
    photographs, drawn = (figures[name] for name in ("efficientnet-lite0", "image-encoder-mini"))
    assert photographs["naming"]["things"]["photographs"] == 20
    assert set(photographs["naming"]["things"]["by class"]) == {"palace", "daisy"}
    # Both are named right as a whole, and among two alone in every part.
    assert photographs["naming"]["things"]["among classes of the folders"] == 100.0
    assert photographs["probe"]["things"] == {"classes": 2, "tested": 4, "right": 100.0}
    assert photographs["probe"]["band"] == {"classes": 0}  # too few photographs
    assert photographs["pointing"]["things"] == {"mosaics": 5, "halves": 100.0}
    assert drawn["naming"]["things"] == {"classes": 0}
    assert drawn["pointing"]["things"] == {"mosaics": 0}
    assert drawn["naming"]["band"]["among all its classes"] == 100.0
    assert drawn["naming"]["band"]["among all its classes, held out"] is None  # one of each
    assert drawn["pointing"]["band"]["mosaics"] == 5
    assert all(figures[name]["milliseconds a picture"] > 0 for name in figures)


def test_photographs_of_anything_and_empty_folders_are_left_out(folders: list[Path]) -> None:
    assert {label: len(files) for label, files in find_photographs(folders[0], 3).items()} == {
        "daisy": 3,
        "palace": 3,
    }


def test_folders_without_photographs_are_one_clear_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"no photographs in '.*'; give a folder of <class>/"):
            find_photographs(folder, None)
