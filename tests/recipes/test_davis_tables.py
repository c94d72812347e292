"""The rows of DAVIS' Tables 2 and 3 differ in what they are about alone, small too."""

from typing import Any

import pytest
import torch

from ablation_runs import small_run
from avsep.models import MODELS
from avsep.training.recipe import load_training

# Row -> blocks of each level, fusion.
BLOCKS = {
    "table2-rrr": ["R", "R", "R"],
    "table2-rrt": ["R", "R", "T"],
    "table2-rrtf": ["R", "R", "TF"],
    "table2-rtft": ["R", "TF", "T"],
}
FUSIONS = {
    "table3-concat": "concat",
    "table3-point-wise": "point-wise",
    "table3-local": "local",
    "table3-global": "global",
    "table3-local-global": "local+global",
}


def recipe(row: str, size: str) -> dict[str, Any]:
    small, changes = small_run(f"davis-{row}")
    loaded = load_training(f"davis-{row}") if size == "paper" else load_training(small, changes)
    return loaded.model_dump(mode="json")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["paper", "small"])
@pytest.mark.parametrize("row", [*BLOCKS, *FUSIONS])
def test_a_row_is_its_switch(row: str, size: str) -> None:
    base = "davis-music" if size == "paper" else "davis-music-small"
    result, full = recipe(row, size), load_training(base).model_dump(mode="json")
    assert full["model"] == "davis" and full["settings"]["process"] == "diffusion"
    assert full["settings"]["unet"]["visual_every_block"] is False  # fusion is all that tells
    unet, other = (item["settings"]["unet"] for item in (result, full))
    assert unet.pop("blocks") == BLOCKS.get(row, ["R", "TF", "T"])
    assert unet.pop("fusion") == FUSIONS.get(row, "local+global")
    del other["blocks"], other["fusion"]
    assert result == full
    with torch.device("meta"):
        MODELS["davis"](MODELS["davis"].Settings(**recipe(row, size)["settings"]))


@pytest.mark.parametrize("size", ["paper", "small"])
def test_the_last_rows_of_both_tables_are_one_network(size: str) -> None:
    assert recipe("table2-rtft", size) == recipe("table3-local-global", size)
