"""Test the catalogue: in step with the modules whose names it keeps, and what is printed of it."""

import json
import sys
from collections.abc import Callable

import pytest

from avsep.catalogue import CATALOGUE_FILE, read_catalogue
from avsep.checkpoint import shipped_names
from avsep.evaluation.baselines import BASELINES
from avsep.models import MODELS
from draw_catalogue import catalogue, count_parameters, names

REMEDY = "run: python tools/draw_catalogue.py"


def test_names_and_settings_are_in_step() -> None:
    written = json.loads(CATALOGUE_FILE.read_text(encoding="utf-8"))
    del written["models"]
    assert written == json.loads(json.dumps(names())), REMEDY


@pytest.mark.slow
def test_the_file_is_in_step() -> None:
    assert CATALOGUE_FILE.read_text(encoding="utf-8") == catalogue(), REMEDY


def test_every_model_with_what_is_known_of_it() -> None:
    entries = read_catalogue().models
    assert [entry.name for entry in entries] == [*BASELINES, *shipped_names(), *MODELS]
    for entry in entries:
        assert entry.description and entry.as_json()["kind"] == entry.kind
        assert (entry.num_trained is None) == (entry.kind != "system")
        assert (entry.megabytes is None) == (entry.kind != "weights")
        assert (entry.categories is None) == (entry.kind != "weights")
        # What ships stays small.
        assert entry.megabytes is None or 0 < entry.megabytes <= 12


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, run: Callable) -> None:
    """As after a plain `pip install`: DAVIS sees by CLIP."""
    missing = {entry.name: entry.package for entry in read_catalogue().models if entry.package}
    assert missing == {"davis": "transformers", "davis-flow": "transformers"}
    monkeypatch.setitem(sys.modules, "transformers", None)
    output = run("models")
    words = "davis-flow needs a package: pip install transformers"
    assert output.code == 0 and words in output.out and "74.70" in output.out


def test_the_papers_sizes() -> None:
    # U-Net 30,274,178, attention 8,908, picture layer 147,488, gate 131,584, queries and
    # transformer 6,472,480 less the 1,318,400 that iQuery's code never uses; then the head of 11
    # categories, 5,643. The ResNet-18 trunk is frozen.
    unet, attention, picture, gate, queries = 30_274_178, 8_908, 147_488, 131_584, 5_154_080
    head = 512 * 11 + 11
    expected = unet + picture + queries + head
    assert count_parameters(MODELS["iquery"]) == (expected, 11_176_512)
    assert count_parameters(MODELS["dgfnet"]) == (expected + attention + gate, 11_176_512)
