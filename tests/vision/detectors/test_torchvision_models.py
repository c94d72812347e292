"""Detectors of torchvision and Faster R-CNNs that users trained, saved and loaded for real."""

import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import detection, get_model, get_model_weights
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from avsep.errors import InputError
from avsep.vision.detectors import torchvision_models
from avsep.vision.detectors.registry import DETECTORS, load_detector
from avsep.vision.detectors.settings import DetectorSettings
from avsep.vision.detectors.torchvision_models import TorchvisionDetector, load_faster_rcnn

LABELS = ("violin", "cello", "drum")
SMALL = DetectorSettings(least_score=0.0, shortest_side_pixels=64)


def faster_rcnn(num_classes: int = 4, seed: int = 0) -> torch.nn.Module:
    """A small Faster R-CNN as users train them: ResNet-18 with frozen batch norms."""
    torch.manual_seed(seed)
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    return detection.FasterRCNN(backbone, num_classes, min_size=64, max_size=128).eval()


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return faster_rcnn()


@pytest.fixture(scope="module")
def checkpoint(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, folder / "band.pth")
    (folder / "band.labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    return folder / "band.pth"


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 80, 3), dtype=np.uint8)


def load(path: Path, settings: DetectorSettings = SMALL) -> TorchvisionDetector:
    return load_faster_rcnn(path, "cpu", settings)


def test_a_trained_faster_rcnn_finds_what_it_found_in_training(
    network: torch.nn.Module, checkpoint: Path
) -> None:
    settings = SMALL.model_copy(update={"shortest_side_pixels": 64})
    detector = load(checkpoint, settings)
    assert detector.labels == LABELS and detector.longest_side_pixels == round(1333 * 64 / 800)
    network.transform.max_size = detector.longest_side_pixels
    with torch.no_grad():
        pixels = torch.from_numpy(picture()).permute(2, 0, 1) / 255
        (expected,) = network([pixels])
    (detections,) = detector.detect([picture()], [0.0])
    assert 0 < len(detections.labels) <= len(expected["boxes"])
    # Each is one of the raw ones; the surest is never a duplicate.
    raw = expected["boxes"].numpy() / np.array([80, 48, 80, 48], np.float32)
    distances = np.abs(detections.boxes[:, None] - raw[None]).max(axis=-1).min(axis=1)
    assert distances.max() < 1e-5
    assert detections.scores[0] == pytest.approx(expected["scores"].max().item(), abs=1e-6)
    number = int(expected["labels"][expected["scores"].argmax()])
    assert detections.labels[0] == LABELS[number - 1]


def test_safetensors_and_parallel_training_are_the_same(
    network: torch.nn.Module, checkpoint: Path, tmp_path: Path
) -> None:
    weights = {f"module.{name}": value.clone() for name, value in network.state_dict().items()}
    save_file(weights, tmp_path / "band.safetensors")
    settings = SMALL.model_copy(update={"labels": LABELS})
    loaded, first = load(tmp_path / "band.safetensors", settings), load(checkpoint)
    assert loaded.fingerprint == first.fingerprint
    (detections,), (same,) = (each.detect([picture()], [0.0]) for each in (loaded, first))
    np.testing.assert_array_equal(detections.boxes, same.boxes)
    assert load_detector(str(checkpoint), "cpu", SMALL).fingerprint == first.fingerprint


def test_batch_norms_that_were_trained_are_read(tmp_path: Path) -> None:
    backbone = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=torch.nn.BatchNorm2d
    )
    torch.save(detection.FasterRCNN(backbone, 2).state_dict(), tmp_path / "x.pt")
    settings = SMALL.model_copy(update={"labels": ("violin",)})
    assert load(tmp_path / "x.pt", settings).labels == ("violin",)


def test_words_choose_among_the_labels(checkpoint: Path) -> None:
    detector = load(checkpoint)
    (everything,) = detector.detect([picture()], [0.0])
    word = everything.labels[0]
    assert len(set(everything.labels)) > 1
    (chosen,) = detector.detect([picture()], [0.0], [word.upper()])
    assert set(chosen.labels) == {word} and chosen.scores[0] == everything.scores[0]
    with pytest.raises(InputError, match=r"unknown label of band\.pth 'celo'; did you mean 'cell"):
        detector.detect([picture()], [0.0], ["celo"])


def test_thresholds_and_sizes_are_in_the_fingerprint(checkpoint: Path) -> None:
    prints = {load(checkpoint).fingerprint, load(checkpoint, DetectorSettings()).fingerprint}
    for change in ({"least_score": 0.1}, {"shortest_side_pixels": 80}):
        prints.add(load(checkpoint, SMALL.model_copy(update=change)).fingerprint)
    assert len(prints) == 4
    (surest,) = load(checkpoint, DetectorSettings(shortest_side_pixels=64)).detect(
        [picture()], [0.0]
    )
    assert (surest.scores >= 0.5).all()


def test_labels_of_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    with_background = SMALL.model_copy(update={"labels": ("nothing", *LABELS)})
    assert load(checkpoint, with_background).labels == LABELS
    bare = tmp_path / "bare.pth"
    bare.write_bytes(checkpoint.read_bytes())
    with pytest.raises(
        InputError,
        match=r"has 3 classes beside the background, and 0 labels are given; write one a line, in "
        r"their order, into 'bare\.labels\.txt' beside it",
    ):
        load(bare)


def test_91_classes_are_those_of_coco(tmp_path: Path) -> None:
    torch.save(faster_rcnn(91).state_dict(), tmp_path / "coco.pth")
    labels = load(tmp_path / "coco.pth").labels
    assert labels is not None and len(labels) == 80 and labels[0] == "person"
    assert "N/A" not in labels


def test_other_files(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="holds no Faster R-CNN of torchvision: it has no roi_"):
        load(tmp_path / "other.pth")
    weights = faster_rcnn().state_dict()
    weights["backbone.body.extra"] = torch.zeros(1)
    torch.save(weights, tmp_path / "unknown.pth")
    settings = SMALL.model_copy(update={"labels": LABELS})
    with pytest.raises(InputError, match=r"of an unknown backbone; allowed are .*resnet18, resnet"):
        load(tmp_path / "unknown.pth", settings)
    (tmp_path / "damaged.pth").write_bytes(b"not what it was")
    with pytest.raises(InputError, match="cannot be read as weights"):
        load(tmp_path / "damaged.pth")


# Models of torchvision by name


def test_names_are_those_of_torchvision_with_labels() -> None:
    for entry in DETECTORS.values():
        if entry.loader.startswith("torchvision_models"):
            assert entry.weights is not None
            assert len(get_model_weights(entry.weights)["DEFAULT"].meta["categories"]) == 91


def random_weights(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return get_model(name, weights=None, weights_backbone=None, num_classes=91).state_dict()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssdlite", "mask-rcnn"])
def test_weights_of_torchvision_are_loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DETECTORS[name].weights
    assert model is not None
    kind = type(get_model_weights(model)["DEFAULT"])
    weights = random_weights(model)
    monkeypatch.setattr(kind, "get_state_dict", lambda _, **__: weights)
    settings = DetectorSettings(least_score=0.0)
    if name == "mask-rcnn":
        settings = settings.model_copy(update={"shortest_side_pixels": 64})
    detector = load_detector(name, "cpu", settings)
    (detections,) = detector.detect([picture()], [0.0])
    assert detections.labels and set(detections.labels) <= set(detector.labels or ())
    if name == "mask-rcnn":
        assert detections.masks is not None and detections.masks.shape[1:] == (48, 80)


def test_what_a_download_may_do_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights are downloaded without running code in them, and checked by their digest."""
    kind = type(get_model_weights("ssdlite320_mobilenet_v3_large")["DEFAULT"])
    options: dict[str, object] = {}

    def fail(_: object, **given: object) -> None:
        options.update(given)
        raise urllib.error.URLError("no network here\nat all")

    monkeypatch.setattr(kind, "get_state_dict", fail)
    with pytest.raises(
        InputError, match=r"cannot download the weights of ssdlite320_.* try again with a network"
    ) as stop:
        load_detector("ssdlite", "cpu")
    assert "\n" not in str(stop.value)
    assert options == {"progress": False, "check_hash": True, "weights_only": True}


def test_a_size_that_cannot_be_followed() -> None:
    network = detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=91
    )
    with pytest.raises(InputError, match="resizes all pictures to 320x320, so shortest_side"):
        torchvision_models.TorchvisionDetector(network, ["", "a"], "ssdlite", SMALL, "cpu")
    with pytest.raises(InputError, match="'ssdlite' has no setting shortest_side_pixels; those"):
        load_detector("ssdlite", "cpu", SMALL)
