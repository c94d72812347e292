"""Test the shipped detector: geometry of its cells, drawn stages, odd pictures and words."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou

from avsep.errors import InputError
from avsep.toyband.clip import ToybandSettings, draw_cast, play, set_stage
from avsep.toyband.material import Material
from avsep.vision.detectors.avsep_detector import (
    STRIDES,
    AvsepDetector,
    boxes_of,
    cell_centres,
    encode,
    load_avsep_detector,
    normalise,
)
from avsep.vision.detectors.registry import load_detector
from avsep.vision.detectors.settings import DetectorSettings
from avsep.vision.efficientnet_lite import load_efficientnet_lite


@pytest.fixture(scope="module")
def detector() -> AvsepDetector:
    return load_avsep_detector("cpu")


@pytest.mark.parametrize("size", [(180, 320), (320, 57), (33, 31), (320, 320)])
def test_there_is_a_prediction_for_each_cell(
    detector: AvsepDetector, size: tuple[int, int]
) -> None:
    pictures = normalise(torch.zeros(1, 3, *size))
    assert pictures.shape[2] % 32 == pictures.shape[3] % 32 == 0
    features, maps = encode(load_efficientnet_lite(), pictures)
    predictions = detector.network(features, maps)
    centres, strides = cell_centres(*pictures.shape[2:])
    assert predictions.classes.shape[1] == len(centres) == len(strides)
    assert set(strides.tolist()) == set(STRIDES)
    assert (centres[: pictures.shape[3] // 8, 1] == 4).all()


def test_distances_are_to_the_sides_of_the_box() -> None:
    box = boxes_of(torch.tensor([[10.0, 20.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    assert box.tolist() == [[9.0, 18.0, 13.0, 24.0]]


def test_drawn_musicians_are_found_and_named(detector: AvsepDetector) -> None:
    """Held-out notes and stages that no training saw; the card has figures of a hundred."""
    settings, material = ToybandSettings(clip_seconds=2), Material.read()
    num_found = num_named = num_objects = 0
    for index in range(6):
        generator = np.random.default_rng([4001, index])
        cast = draw_cast(settings, material.categories(True, ()), generator)
        music = play(cast, settings, material, True, generator)
        stage = set_stage(cast, music, settings, material, True, generator)
        (detections,) = detector.detect([stage.frame(1.0)], [1.0])
        boxes = torch.from_numpy(detections.boxes)
        for item in stage.objects():
            overlaps = box_iou(torch.tensor([item.box_at(1.0)]), boxes)[0]
            best = int(overlaps.argmax()) if len(overlaps) else -1
            num_objects += 1
            if best >= 0 and overlaps[best] >= 0.5:
                num_found += 1
                num_named += detections.labels[best] == item.label
    assert num_found >= 0.8 * num_objects and num_named >= 0.8 * num_found


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (2, 900), (2160, 3840), (640, 360), (48, 64)]
)
def test_odd_pictures_have_boxes_inside(detector: AvsepDetector, height: int, width: int) -> None:
    generator = np.random.default_rng(0)
    pictures = [
        np.zeros((height, width, 3), np.uint8),
        generator.integers(0, 256, (height, width, 3), np.uint8),
    ]
    for detections in detector.detect(pictures, [0.0, 1.0]):
        assert ((detections.boxes >= 0) & (detections.boxes <= 1)).all()
        assert list(detections.scores) == sorted(detections.scores, reverse=True)


def test_words_choose_labels_and_unknown_ones_are_one_line(detector: AvsepDetector) -> None:
    generator = np.random.default_rng(3)
    picture = generator.integers(0, 256, (180, 320, 3), np.uint8)
    (detections,) = detector.detect([picture], [0.0], ["Sax", "revolver"])
    assert set(detections.labels) <= {"saxophone", "revolver"}
    with pytest.raises(InputError, match="zzyzx"):
        detector.detect([picture], [0.0], ["zzyzx"])


def test_a_least_score_is_that_of_the_settings(detector: AvsepDetector) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (180, 320, 3), np.uint8)
    numbers, fingerprints = [], {detector.fingerprint}
    for least_score in (0.01, 0.9):
        other = load_detector("avsep-detector", "cpu", DetectorSettings(least_score=least_score))
        (detections,) = other.detect([picture], [0.0])
        assert (detections.scores >= least_score).all()
        numbers.append(len(detections.labels))
        fingerprints.add(other.fingerprint)
    # Stored detections of one score are not those of another.
    assert numbers[0] > numbers[1] and len(fingerprints) == 3
