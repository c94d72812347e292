"""Test the tools that train detector and namer, on parts of two photographs and on drawn stages."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import detector_scenes
import train_detector
import train_namer
from avsep.published_weights import read_shipped
from avsep.toyband.categories import CATEGORIES
from avsep.vision.detectors.avsep_detector import (
    AvsepDetectorSettings,
    CellPredictions,
    DetectorNetwork,
    cell_centres,
)
from avsep.vision.efficientnet_lite import load_efficientnet_lite
from avsep.vision.namer import load_namer
from detector_scenes import (
    Scene,
    SceneMaker,
    cut_out,
    draw_stages,
    find_labels,
    load_scenes,
    object_box,
    read_photographs,
    save_scenes,
)
from vision.made_pictures import photographs

CHOSEN = ("harp", "tuba")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten parts of a photograph as harp, ten of another as tuba, and ten of both as other."""
    folder = tmp_path_factory.mktemp("photographs")
    palace, daisy = photographs().permute(0, 2, 3, 1).numpy()
    for word, pictures in (("harp", [palace]), ("tuba", [daisy]), ("other", [palace, daisy])):
        (folder / word).mkdir()
        for number in range(10):
            pixels = pictures[number % len(pictures)][: 400 - 4 * number, 8 * number :]
            picture = Image.fromarray(pixels).resize((96, 72))
            picture.save(folder / word / f"{number}.png")
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four frames of two drawn stages."""
    path = tmp_path_factory.mktemp("drawn") / "drawn.npz"
    save_scenes(list(draw_stages(2, 0)), path)
    return path


def test_photographs_are_split_and_labelled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_scenes, "rename", lambda *_: "other")
    labels = find_labels([folder])
    assert labels == (*CATEGORIES, "other")
    parts = [read_photographs([folder], labels, held_out=held_out) for held_out in (False, True)]
    counts = [{labels[item.label] for item in part} for part in parts]
    assert [len(part) for part in parts] == [24, 6] and counts == [{"harp", "tuba", "other"}] * 2


def test_a_thing_on_a_plain_ground_is_cut_out_with_its_box() -> None:
    pixels = np.full((60, 80, 3), 240, np.uint8)
    pixels[20:40, 10:50] = (180, 30, 30)
    alpha = cut_out(pixels)
    assert alpha is not None and alpha[30, 30] == 255 and alpha[5, 5] == 0
    box = object_box(pixels, "harp", alpha, is_coco=False)
    assert box == pytest.approx((10 / 80, 20 / 60, 50 / 80, 40 / 60), abs=0.03)
    assert cut_out(photographs()[0].permute(1, 2, 0).numpy()) is None
    inset = object_box(pixels, "harp", None, is_coco=True)
    assert inset[2] - inset[0] == pytest.approx(1 / 1.24)


def test_scenes_repeat_with_their_seed_and_hold_their_boxes(
    folder: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_scenes, "rename", lambda *_: "other")
    labels = find_labels([folder])
    stages = load_scenes(drawn)
    assert len(stages) == 4 and all(len(scene.labels) for scene in stages)
    maker = SceneMaker(read_photographs([folder], labels, held_out=False), stages, len(labels))
    # None of these photographs can be cut out.
    monkeypatch.setattr(detector_scenes, "KINDS", {"cards": 0.4, "whole": 0.3, "drawn": 0.3})
    number = 0
    for seed in range(8):
        first, again = (maker.make((192, 320), np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(first.picture, again.picture)
        assert first.picture.shape == (192, 320, 3) and len(first.boxes) == len(first.labels)
        assert (first.boxes >= 0).all() and (first.boxes[:, 2] <= 320).all()
        number += len(first.labels)
    assert number >= 8


def test_cells_belong_to_the_smallest_object_of_their_size() -> None:
    centres, strides = cell_centres(64, 64)
    boxes = torch.tensor([[0.0, 0.0, 64.0, 64.0], [24.0, 24.0, 40.0, 40.0]])
    owners = train_detector.assign(centres, strides, boxes)
    fine = strides == 8
    inside = (centres[:, 0] > 24) & (centres[:, 0] < 40) & (centres[:, 1] > 24)
    assert set(owners[fine & inside & (centres[:, 1] < 40)].tolist()) == {1}
    assert 0 in owners[strides > 8].tolist() and 1 not in owners[strides > 16].tolist()
    none = train_detector.assign(centres, strides, torch.zeros(0, 4))
    assert none.tolist() == [-1] * len(centres)


def test_right_predictions_cost_less() -> None:
    centres, strides = cell_centres(64, 64)
    box, label = torch.tensor([[8.0, 8.0, 40.0, 40.0]]), torch.tensor([1])
    owner = train_detector.assign(centres, strides, box)
    sides = torch.stack(
        [centres[:, 0] - 8, centres[:, 1] - 8, 40 - centres[:, 0], 40 - centres[:, 1]], -1
    )
    right = torch.full((1, len(centres), 2), -8.0)
    right[0, owner >= 0, 1] = 8.0
    overlap = torch.full((1, len(centres)), 8.0)
    costs = []
    for classes, distances in ((right, sides.clamp(min=1)), (-right, sides.clamp(min=1) + 20)):
        predictions = CellPredictions(classes, distances[None], overlap)
        losses = train_detector.detector_losses(predictions, [(box, label)], (64, 64))
        assert set(losses) == {"classes", "boxes", "overlaps"}
        costs.append({name: float(loss) for name, loss in losses.items()})
    assert costs[0]["classes"] < 0.1 < costs[1]["classes"]
    assert costs[0]["boxes"] < 0.01 < costs[1]["boxes"]
    empty = [(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long))]
    predictions = CellPredictions(-right.abs(), sides[None], overlap)
    losses = train_detector.detector_losses(predictions, empty, (64, 64))
    assert float(losses["boxes"]) == float(losses["overlaps"]) == 0.0


@pytest.mark.filterwarnings("ignore")  # of Lightning, on workers and folders
def test_a_detector_is_trained_stored_and_read(
    folder: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector_scenes, "KINDS", {"cards": 0.5, "whole": 0.5})
    monkeypatch.setattr(train_detector, "BATCH_SCENES", 1)
    monkeypatch.setattr(train_detector, "SHAPES", {(64, 96): 1.0})
    monkeypatch.setattr(train_detector, "DataLoader", lambda batches, **_: batches)
    out = tmp_path / "detector.safetensors"
    words = ["--photos", str(folder), "--drawn", str(drawn), "--run", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--out", str(out), "--steps", "2"])
    train_detector.main()
    settings, weights = read_shipped(out, AvsepDetectorSettings, "a detector", "the tool")
    assert settings.labels == find_labels([folder])
    network = DetectorNetwork(settings, load_efficientnet_lite())
    network.load_state_dict(weights)


def test_a_namer_learns_two_photographs_and_is_stored(
    folder: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(detector_scenes, "rename", lambda *_: "other")
    monkeypatch.setattr(train_namer, "VIEWS", 1)
    monkeypatch.setattr(train_namer, "EPOCHS", 200)
    out = tmp_path / "namer.safetensors"
    words = ["--photos", str(folder), "--drawn", str(drawn), "--drawn-test", str(drawn)]
    monkeypatch.setattr(sys, "argv", ["x", *words, "--out", str(out), "--drawn-scenes", "1"])
    train_namer.main()
    photographed, *_ = capsys.readouterr().out.splitlines()
    assert photographed.startswith("photographs: ") and " of 6 right; of toyband's " in photographed
    assert photographed.endswith("among themselves 1.000")
    namer = load_namer(out)
    assert namer.settings.labels == (*CATEGORIES, "other")


def test_views_are_squares_around_the_boxes() -> None:
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[20:40, 10:50] = 255
    scene = Scene(picture, np.array([[10.0, 20, 50, 40]]), np.array([3]))
    ((square, label),) = train_namer.scene_views([scene])
    assert square.shape == (224, 224, 3) and label == 3 and square.mean() > 150
    photograph = detector_scenes.Photograph(picture, 5, None, (1 / 8, 1 / 3, 5 / 8, 2 / 3))
    (exact, _), (moved, _) = train_namer.photograph_views([photograph], 2)
    assert exact.min() == 255 and moved.shape == (224, 224, 3)
