"""Test the list of models: every name once, and the parameters of the papers' networks."""

import sys
from collections.abc import Callable

import pytest

from avsep.checkpoint import shipped_names
from avsep.evaluation.baselines import BASELINES
from avsep.evaluation.model_info import count_parameters, list_models
from avsep.models import MODELS


@pytest.mark.slow
def test_every_name_with_what_is_known_of_it() -> None:
    entries = list(list_models())
    assert [entry.name for entry in entries] == [*BASELINES, *shipped_names(), *MODELS]
    for entry in entries:
        assert entry.description and entry.as_json()["kind"] == entry.kind
        assert (entry.num_trained is None) == (entry.kind != "system")
        assert (entry.megabytes is None) == (entry.kind != "weights")
        assert (entry.categories is None) == (entry.kind != "weights")
        # What ships stays small.
        assert entry.megabytes is None or 0 < entry.megabytes <= 12


@pytest.mark.slow
def test_a_system_that_needs_a_package_is_listed_without_it(
    monkeypatch: pytest.MonkeyPatch, run: Callable
) -> None:
    """As after a plain `pip install`: DAVIS sees by CLIP."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    missing = {entry.name: entry.missing for entry in list_models() if entry.missing}
    words = "CLIP needs a package: pip install transformers"
    assert missing == {"davis": words, "davis-flow": words}
    output = run("models")
    assert output.code == 0 and f"davis-flow: {words}" in output.out and "74.70" in output.out


def test_the_papers_sizes() -> None:
    # U-Net 30,274,178, attention 8,908, picture layer 147,488, gate 131,584, queries and
    # transformer 6,472,480 less the 1,318,400 that iQuery's code never uses; then the head of 11
    # categories, 5,643. The ResNet-18 trunk is frozen.
    unet, attention, picture, gate, queries = 30_274_178, 8_908, 147_488, 131_584, 5_154_080
    head = 512 * 11 + 11
    expected = unet + picture + queries + head
    assert count_parameters(MODELS["iquery"]) == (expected, 11_176_512)
    assert count_parameters(MODELS["dgfnet"]) == (expected + attention + gate, 11_176_512)
