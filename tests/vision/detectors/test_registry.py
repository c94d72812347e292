"""Names of detectors: which one is loaded for a name, file or folder, and what is refused."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from avsep.errors import InputError
from avsep.vision.detectors import mask_files, open_vocabulary
from avsep.vision.detectors.base import Detector
from avsep.vision.detectors.labels import match_labels, read_labels
from avsep.vision.detectors.registry import DETECTORS, PLACES, load_detector
from avsep.vision.detectors.settings import DetectorSettings

SOURCE = Path(__file__).resolve().parents[3] / "src"


def masks_detector(folder: Path, **settings: object) -> Detector:
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(folder / "a.png")
    return load_detector(str(folder / "a.png"), "cpu", DetectorSettings.model_validate(settings))


def refused(name: str | Path, match: str, settings: DetectorSettings | None = None) -> None:
    with pytest.raises(InputError, match=match) as stop:
        load_detector(str(name), "cpu", settings)
    assert "\n" not in str(stop.value)


def test_unknown_names_have_the_known_ones_and_the_places() -> None:
    refused("grounding-dno", "unknown detector 'grounding-dno'; did you mean 'grounding-dino'?")
    refused("yolo", r"known: avsep-detector, faster-rcnn, .*; or give owner/name or FOLDER/; FILE")
    refused("a/b/c", "unknown detector 'a/b/c'")
    refused("", "unknown detector ''")


@pytest.mark.parametrize("name", ["masks/violin.png", "x.json", "/nowhere/x", "./masks", "~/x"])
def test_missing_files(name: str) -> None:
    refused(name, f"detector '{name}': there is no such file or folder; check the path")


def test_files_of_unknown_formats(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch()
    refused(tmp_path / "x.csv", r"files that end in '\.csv' are not read; allowed: \.safetensors")


def test_settings_that_a_detector_does_not_have(tmp_path: Path) -> None:
    refused(
        "owlv2",
        "detector 'owlv2' has no setting frame_rate_hz; those that it has: least_score; leave fra",
        DetectorSettings(frame_rate_hz=8),
    )
    refused(
        "avsep-detector",
        "has no setting frame_rate_hz; those that it has: least_score",
        DetectorSettings(frame_rate_hz=8),
    )
    # The words of a model are for whichever detector it is used with.
    assert masks_detector(tmp_path, categories=("violin",)).labels == ("a",)


def test_hub_names_and_devices_come_to_the_loader(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[tuple] = []
    detector = masks_detector(tmp_path)
    monkeypatch.setattr(
        open_vocabulary, "load_open_vocabulary", lambda *given: calls.append(given) or detector
    )
    settings = DetectorSettings(least_score=0.4)
    load_detector("owner/some-detector", "cpu", settings)
    load_detector("grounding-dino", settings=settings)
    assert calls == [
        ("owner/some-detector", "cpu", settings),
        ("IDEA-Research/grounding-dino-tiny", "auto", settings),
    ]


def test_weights_by_name_are_of_a_family_with_the_same_name() -> None:
    assert DETECTORS["grounding-dino"].weights == open_vocabulary.GROUNDING_DINO_WEIGHTS
    assert DETECTORS["owlv2"].weights == open_vocabulary.OWLV2_WEIGHTS
    assert DETECTORS["owlvit"].weights == open_vocabulary.OWLVIT_WEIGHTS
    needing = {name for name, entry in DETECTORS.items() if entry.needs_words}
    assert needing == {"grounding-dino", "grounding-dino-base", "owlv2", "owlvit"}


def test_entries_are_complete() -> None:
    fields = set(DetectorSettings.model_fields)
    for entry in (*DETECTORS.values(), *PLACES.values()):
        assert 20 < len(entry.description) < 100 and "\n" not in entry.description
        assert set(entry.settings) <= fields
        module = SOURCE / "avsep/vision/detectors" / f"{entry.loader.partition(':')[0]}.py"
        assert module.is_file() or module.stem == "avsep_detector"


def test_endings_of_masks_are_those_that_are_read(tmp_path: Path) -> None:
    for ending in (*mask_files.PICTURE_ENDINGS, *mask_files.VIDEO_ENDINGS):
        (tmp_path / f"broken{ending}").touch()
        refused(tmp_path / f"broken{ending}", "broken")


def test_it_is_light_to_import() -> None:
    code = (
        "import sys, avsep.vision.detectors.registry;"
        "print(sorted({'torch', 'torchvision', 'transformers', 'PIL', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


# Labels


def test_words_are_matched_in_any_spelling() -> None:
    labels = ("acoustic_guitar", "Violin")
    assert match_labels(["Acoustic  guitar"], labels, "x") == {"acoustic_guitar"}
    assert match_labels([], labels, "x") == set(labels)
    assert match_labels(["guitar", "fiddle"], labels, "x") == set(labels)
    with pytest.raises(InputError, match=r"unknown label of x 'violn'; did you mean 'Violin'\?"):
        match_labels(["violin", "violn"], labels, "x")


def test_labels_are_read_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "band.pth"
    assert read_labels(path) == ()
    (tmp_path / "band.labels.txt").write_bytes(b"\xef\xbb\xbfviolin\r\n\r\n cello \r\n")
    assert read_labels(path) == ("violin", "", "cello")
    (tmp_path / "band.pth.labels.txt").write_text("drum")
    assert read_labels(path) == ("drum",)
    (tmp_path / "band.pth.labels.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"cannot read labels from .*; write one a line"):
        read_labels(path)


# The page


def test_the_page_has_all_detectors() -> None:
    page = (SOURCE.parent / "docs/detectors.md").read_text(encoding="utf-8")
    for name, entry in DETECTORS.items():
        words = "any; must be given" if entry.needs_words else "its labels"
        assert f"| `{name}` | {entry.description} | {words} |" in page
    for name, entry in PLACES.items():
        assert f"| `{name}` | {entry.description} |" in page


def test_settings_of_the_page_exist() -> None:
    page = (SOURCE.parent / "docs/detectors.md").read_text(encoding="utf-8")
    calls = re.findall(r"DetectorSettings\(((?:[^()]|\([^()]*\))*)\)", page)
    assert len(calls) == 4
    for call in calls:
        eval(f"DetectorSettings({call})", {"DetectorSettings": DetectorSettings})
