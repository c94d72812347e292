"""The four recipes of Table 3 differ in what the table is about, and in nothing else."""

from importlib.resources import files
from typing import Any

import pytest

from avsep.models import MODELS
from avsep.training.recipe import load_training

# Row -> fusion, audio attention.
ROWS = {
    "baseline": ("none", False),
    "mul": ("mul", False),
    "gate": ("gate", False),
    "full": ("gate", True),
}


def recipe(row: str) -> dict[str, Any]:
    path = files("avsep") / "recipes" / "ablations" / f"dgfnet-table3-{row}.toml"
    return load_training(str(path)).model_dump(mode="json")


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_its_two_switches(row: str) -> None:
    result, full = recipe(row), recipe("full")
    fusion, audio_attention = ROWS[row]
    assert result["settings"].pop("fusion") == fusion
    assert result["settings"].pop("audio_attention") is audio_attention
    del full["settings"]["fusion"], full["settings"]["audio_attention"]
    assert result == full
    MODELS["dgfnet"].Settings(**recipe(row)["settings"])
