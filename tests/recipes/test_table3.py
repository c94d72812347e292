"""The four rows of Table 3 differ in what the table is about alone, at both sizes."""

from typing import Any

import pytest

from ablation_runs import small_run
from avsep.models import MODELS
from avsep.training.recipe import load_training

# Row -> fusion, audio attention.
ROWS = {
    "baseline": ("none", False),
    "mul": ("mul", False),
    "gate": ("gate", False),
    "full": ("gate", True),
}


def recipe(row: str, size: str) -> dict[str, Any]:
    name = f"dgfnet-table3-{row}"
    small, changes = small_run(name)
    loaded = load_training(name) if size == "paper" else load_training(small, changes)
    return loaded.model_dump(mode="json")


@pytest.mark.parametrize("size", ["paper", "small"])
@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_its_two_switches(row: str, size: str) -> None:
    result, full = recipe(row, size), recipe("full", size)
    fusion, audio_attention = ROWS[row]
    assert result["settings"].pop("fusion") == fusion
    assert result["settings"].pop("audio_attention") is audio_attention
    del full["settings"]["fusion"], full["settings"]["audio_attention"]
    assert result == full
    MODELS["dgfnet"].Settings(**recipe(row, size)["settings"])


def test_the_last_row_is_the_paper_itself() -> None:
    assert recipe("full", "paper") == load_training("dgfnet-music").model_dump(mode="json")
    assert small_run("dgfnet-table3-mul")[0] == "dgfnet-music-small"
