"""The recipes of DAVIS' Tables 2 and 3 differ in what the tables are about, and in nothing else."""

from importlib.resources import files
from typing import Any

import pytest
import torch

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


def recipe(row: str) -> dict[str, Any]:
    path = files("avsep") / "recipes" / "ablations" / f"davis-{row}.toml"
    return load_training(str(path)).model_dump(mode="json")


@pytest.mark.parametrize("row", [*BLOCKS, *FUSIONS])
def test_a_row_is_its_switch(row: str) -> None:
    result, full = recipe(row), recipe("tables")
    assert full["model"] == "davis" and full["settings"]["process"] == "diffusion"
    assert full["settings"]["unet"]["visual_every_block"] is False  # fusion is all that tells
    unet, other = (item["settings"]["unet"] for item in (result, full))
    assert unet.pop("blocks") == BLOCKS.get(row, ["R", "TF", "T"])
    assert unet.pop("fusion") == FUSIONS.get(row, "local+global")
    del other["blocks"], other["fusion"]
    assert result == full
    with torch.device("meta"):
        MODELS["davis"](MODELS["davis"].Settings(**recipe(row)["settings"]))


def test_the_last_rows_of_both_tables_are_one_network() -> None:
    assert recipe("table2-rtft") == recipe("table3-local-global") == recipe("tables")
