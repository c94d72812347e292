"""Open-vocabulary detectors: tiny random ones that the loader of published ones reads."""

import json
import shutil
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from avsep.errors import InputError
from avsep.vision.detectors.open_vocabulary import (
    FAMILIES,
    OpenVocabularyDetector,
    load_open_vocabulary,
)
from avsep.vision.detectors.registry import load_detector
from avsep.vision.detectors.settings import DetectorSettings
from vision.detectors.tiny_networks import write_grounding_dino, write_owl

WORDS = ("violin", "electric guitar", "acoustic guitar", "drum")
NAMES = ("grounding-dino", "mm-grounding-dino", "owlvit", "owlv2")
HEIGHT, WIDTH = 40, 100


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("detectors")
    write_grounding_dino(place / "grounding-dino")
    write_grounding_dino(place / "mm-grounding-dino", kind="MMGroundingDino")
    write_owl(place / "owlvit", 1)
    write_owl(place / "owlv2", 2)
    return {name: place / name for name in NAMES}


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def load(folder: Path, least_score: float = 0.0, **settings: object) -> OpenVocabularyDetector:
    fields = {"least_score": least_score, **settings}
    return load_open_vocabulary(str(folder), "cpu", DetectorSettings.model_validate(fields))


@pytest.mark.parametrize("name", NAMES)
def test_objects_have_the_words_that_were_given(folders: dict[str, Path], name: str) -> None:
    detector = load(folders[name])
    first, second = detector.detect([picture(), picture(1)], [0.0, 1.0], WORDS)
    for detections in (first, second):
        assert detections.labels and set(detections.labels) <= set(WORDS)
        boxes, scores = detections.boxes, detections.scores
        assert (boxes >= 0).all() and (boxes <= 1).all() and (boxes[:, :2] < boxes[:, 2:]).all()
        assert (np.diff(scores) <= 0).all() and scores.min() >= 0 and scores.max() <= 1
    assert not np.array_equal(first.scores, second.scores)
    (alone,) = detector.detect([picture(1)], [5.0], WORDS)
    np.testing.assert_array_equal(alone.boxes, second.boxes)
    assert type(detector) is FAMILIES[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_words_stands_for_none(folders: dict[str, Path], name: str) -> None:
    detector = load(folders[name], categories=("drum", "violin"))
    assert detector.labels == ("drum", "violin")
    (listed,) = detector.detect([picture()], [0.0])
    (given,) = load(folders[name]).detect([picture()], [0.0], ("drum", "violin"))
    np.testing.assert_array_equal(listed.boxes, given.boxes)
    assert listed.labels == given.labels
    without = load(folders[name])
    assert without.labels is None
    with pytest.raises(InputError, match=r"finds objects by words, and there are none: name the"):
        without.detect([picture()], [0.0])


@pytest.mark.parametrize("name", ["owlvit", "owlv2"])
def test_boxes_are_those_of_its_package(folders: dict[str, Path], name: str) -> None:
    detector = load(folders[name])
    kind = transformers.AutoModelForZeroShotObjectDetection
    network = kind.from_pretrained(folders[name]).eval()
    processor = transformers.AutoProcessor.from_pretrained(folders[name])
    texts = [[f"a photo of a {word}" for word in WORDS]]
    image = Image.fromarray(picture())
    with torch.no_grad():
        outputs = network(**processor(images=image, text=texts, return_tensors="pt"))
    (expected,) = processor.image_processor.post_process_object_detection(
        outputs, threshold=-1.0, target_sizes=[(HEIGHT, WIDTH)]
    )
    raw = detector._find(image, WORDS)
    sides = np.array([WIDTH, HEIGHT] * 2)
    np.testing.assert_allclose(raw.boxes * sides, expected["boxes"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(raw.scores, expected["scores"], rtol=1e-5)
    assert raw.labels == tuple(WORDS[index] for index in expected["labels"].tolist())


@pytest.mark.parametrize("name", ["grounding-dino", "mm-grounding-dino"])
def test_boxes_of_grounding_dino_are_those_of_its_package(
    folders: dict[str, Path], name: str
) -> None:
    folder = folders[name]
    kind = transformers.AutoModelForZeroShotObjectDetection
    network = kind.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    image = Image.fromarray(picture())
    inputs = processor(images=image, text=[list(WORDS)], return_tensors="pt")
    with torch.no_grad():
        outputs = network(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, inputs["input_ids"], threshold=-1.0, target_sizes=[(HEIGHT, WIDTH)]
    )
    raw = load(folder)._find(image, WORDS)
    sides = np.array([WIDTH, HEIGHT] * 2)
    np.testing.assert_allclose(raw.boxes * sides, expected["boxes"], rtol=1e-4, atol=1e-3)
    # There, the score may also be that of a full stop between words.
    assert (raw.scores <= expected["scores"].numpy() + 1e-6).all()


def test_a_word_of_grounding_dino_is_that_with_the_best_mean(folders: dict[str, Path]) -> None:
    """Words that share a token: "electric guitar" is not "acoustic guitar" because of "guitar"."""
    detector = load(folders["grounding-dino"])
    logits = torch.full((1, 1, 32), -9.0)
    # [CLS] violin . electric guitar . acoustic guitar . drum . [SEP]
    logits[0, 0, [3, 4, 5, 6, 7]] = torch.tensor([1.0, 2.0, 5.0, -3.0, 2.5])

    class Outputs:
        pass

    outputs = Outputs()
    outputs.logits, outputs.pred_boxes = logits, torch.tensor([[[0.5, 0.5, 0.2, 0.4]]])
    tokens = detector._processor.tokenizer(". ".join(WORDS) + ".")["input_ids"]
    detector._run = lambda image, text: ({"input_ids": torch.tensor([tokens])}, outputs)
    (found,) = detector.detect([picture()], [0.0], WORDS)
    assert found.labels == ("electric guitar",)
    assert found.scores[0] == pytest.approx(torch.tensor(2.0).sigmoid().item())
    np.testing.assert_allclose(found.boxes, [[0.4, 0.3, 0.6, 0.7]], atol=1e-6)


def test_words_that_do_not_fit_into_one_text_are_in_several(tmp_path: Path) -> None:
    write_grounding_dino(tmp_path / "short", max_text_len=8)
    detector = load(tmp_path / "short")
    assert list(detector._texts(WORDS)) == [
        ("violin", "electric guitar"),
        ("acoustic guitar", "drum"),
    ]
    raw = detector._find(Image.fromarray(picture()), WORDS)
    parts = [
        detector._find_together(Image.fromarray(picture()), words)
        for words in (WORDS[:2], WORDS[2:])
    ]
    np.testing.assert_array_equal(raw.boxes, np.concatenate([part.boxes for part in parts]))
    assert raw.labels == parts[0].labels + parts[1].labels
    with pytest.raises(InputError, match=r"'zzzzzz' makes 7 tokens and .* reads 6: shorten it"):
        detector.detect([picture()], [0.0], ["zzzzzz"])


def test_labels_are_the_words_as_they_were_written(folders: dict[str, Path]) -> None:
    words = ("Electric_Guitar", "Dr. Um?")
    for name in NAMES:
        (detections,) = load(folders[name]).detect([picture()], [0.0], words)
        assert set(detections.labels) <= set(words)
    with pytest.raises(InputError, match=r"cannot look for '\.\.': give a word of letters"):
        load(folders["grounding-dino"]).detect([picture()], [0.0], [".."])


def test_a_word_that_is_too_long_for_owl(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"makes \d+ tokens and .* reads 24: shorten it"):
        load(folders["owlv2"]).detect([picture()], [0.0], ["q" * 30])


def test_thresholds_and_fingerprints(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["owlv2"]
    (everything,) = load(folder).detect([picture()], [0.0], WORDS)
    limit = float(everything.scores[0]) - 1e-4
    (surest,) = load(folder, least_score=limit).detect([picture()], [0.0], WORDS)
    assert 0 < len(surest.labels) < len(everything.labels)
    usual = {name: load_detector(str(folders[name]), "cpu")._least_score for name in NAMES}  # type: ignore[attr-defined]
    assert [usual[name] for name in NAMES] == [0.3, 0.3, 0.1, 0.2]
    prints = {
        load(folder).fingerprint,
        load(folder, least_score=0.5).fingerprint,
        load(folder, categories=("drum",)).fingerprint,
        load(folders["owlvit"]).fingerprint,
    }
    assert len(prints) == 4 and load(folder).fingerprint in prints
    shutil.copytree(folder, tmp_path / "moved")
    assert load(tmp_path / "moved").fingerprint == load(folder).fingerprint


def test_pictures_may_be_shrunk_to_the_size_that_is_read(folders: dict[str, Path]) -> None:
    sides = {name: load(folders[name]).longest_side_pixels for name in NAMES}
    assert [sides[name] for name in NAMES] == [128, 128, 64, 64]


@pytest.mark.parametrize("name", NAMES)
def test_folders_as_older_versions_saved_them(
    folders: dict[str, Path], tmp_path: Path, name: str
) -> None:
    """Most of the hub: settings of pictures alone, the size of OWL-ViT's as two numbers."""
    folder = tmp_path / name
    shutil.copytree(folders[name], folder)
    (saved,) = folder.glob("*processor_config.json")
    pictures = json.loads(saved.read_text(encoding="utf-8"))
    pictures = pictures.get("image_processor", pictures)
    saved.unlink()
    if name == "owlvit":
        pictures |= {"size": [64, 64], "crop_size": [64, 64], "rescale": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures), encoding="utf-8")
    old, new = load(folder), load(folders[name])
    assert old.longest_side_pixels == new.longest_side_pixels
    (first,), (second,) = (each.detect([picture()], [0.0], WORDS) for each in (old, new))
    np.testing.assert_allclose(first.boxes, second.boxes, atol=1e-6)
    assert first.labels == second.labels


# Errors of one line


def refused(name: str | Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as stop:
        load_detector(str(name), "cpu")
    assert "\n" not in str(stop.value)


def test_without_the_package(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    refused(folders["owlv2"], "open-vocabulary detector needs a package: pip install transformers")
    refused("grounding-dino", "open-vocabulary detector needs a package: pip install transformers")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["grounding-dino", "owlv2", "nobody/no-detector-here"])
def test_without_the_network(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the hub's attempts
    refused(name, r"cannot load open-vocabulary detector '.*/.*' \(.*; give a folder with")


def test_another_architecture(tmp_path: Path) -> None:
    transformers.CLIPVisionConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    refused(
        tmp_path,
        "is no open-vocabulary detector but a network of the architecture 'clip_vision_model'; "
        "allowed are grounding-dino, ",
    )


def test_missing_and_damaged_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["owlvit"], tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"not what it was")
    refused(tmp_path / "damaged", r"cannot load open-vocabulary detector '.*damaged' \(")
    shutil.copytree(folders["owlvit"], tmp_path / "old")
    (tmp_path / "old" / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, tmp_path / "old" / "pytorch_model.bin")
    refused(tmp_path / "old", r"cannot load open-vocabulary detector '.*model\.safetensors")


def test_without_a_tokenizer(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["owlv2"], tmp_path / "mute")
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "tokenizer.json"):
        (tmp_path / "mute" / name).unlink(missing_ok=True)  # by the version of transformers
    refused(tmp_path / "mute", r"has no tokenizer for its weights|cannot load open-vocabulary")
