"""The recipes of LAVSS' tables differ in what the tables are about, and in nothing else."""

from importlib.resources import files
from typing import Any

import pytest
import torch

from avsep.models import MODELS
from avsep.training.recipe import load_training
from lavss_tables import MONO, TABLES, find_rows, mono_recipe

# Row -> position, spatial cues.
CUES = {
    "none": (False, "none"),
    "position": (True, "none"),
    "ipd": (False, "paper"),
    "position-ipd": (True, "paper"),
}
ATTENTION = {
    "no-vp": ("vision_position", False),
    "no-avp": ("audio", False),
    "no-multi": ("multi_scale", False),
    "tile": ("fusion", "tile"),
}


def recipe(row: str, *overrides: str) -> dict[str, Any]:
    path = files("avsep") / "recipes" / "ablations" / f"lavss-{row}.toml"
    return load_training(str(path), overrides).model_dump(mode="json")


@pytest.mark.parametrize(
    ("network", "row"),
    [*((network, row) for network in ("sop", "25d") for row in CUES), ("25d", "signed")],
)
def test_a_row_of_table_3_is_its_cues(network: str, row: str) -> None:
    result, full = (recipe(f"table3-{network}-{name}") for name in (row, "position-ipd"))
    cues = result["settings"]["position"], result["settings"]["spatial_cues"]
    assert cues == CUES.get(row, (True, "signed"))
    for item in (result, full):
        del item["settings"]["position"], item["settings"]["spatial_cues"]
    assert result == full


def test_both_networks_learn_alike() -> None:
    full = recipe("tables")
    assert recipe("table3-25d-position-ipd") == full and full["model"] == "separation-2.5d"
    sop = recipe("table3-sop-position-ipd")
    assert sop.pop("model") == "sound-of-pixels" and full.pop("model")
    for item in (sop, full):
        settings = item.pop("settings")
        assert settings["fusion"] == "attention" and settings["masks"] == "ratio"
        assert settings["unet"]["channels"] == [8, 16, 32, 64, 96, 96, 96]
    assert sop == full


@pytest.mark.parametrize("row", ATTENTION)
def test_a_row_of_table_4_is_its_switch(row: str) -> None:
    result, full = recipe(f"table4-{row}"), recipe("tables")
    name, value = ATTENTION[row]
    assert result["settings"]["attention"].pop(name) == value
    assert full["settings"]["attention"].pop(name) != value
    assert result == full


@pytest.mark.parametrize("network", ["sop", "25d"])
def test_table_1_has_the_networks_without_what_lavss_adds(network: str) -> None:
    result, other = recipe(f"table1-{network}"), recipe(f"table3-{network}-none")
    assert result["settings"].pop("fusion") == "none"
    assert other["settings"].pop("fusion") == "attention"
    if network == "25d":  # five layers, as published
        assert len(result["settings"].pop("unet")["channels"]) == 5
        assert other["settings"].pop("unet")
    assert result == other


@pytest.mark.parametrize("network", ["sop", "25d"])
def test_the_starred_rows_are_the_networks_in_mono(network: str) -> None:
    assert recipe(f"table3-{network}-mono") == recipe(f"table3-{network}-position-ipd", *MONO)


@pytest.mark.slow
def test_every_pre_trained_row_takes_all_of_its_network_in_mono() -> None:
    """Shapes alone are made here."""
    for row in find_rows(TABLES):
        if row.start != "mono":
            continue
        with torch.device("meta"):
            own, given = (
                MODELS[item["model"]](MODELS[item["model"]].Settings(**item["settings"]))
                for item in (recipe(row.recipe), recipe(mono_recipe(row.recipe), *MONO))
            )
        shapes = {name: value.shape for name, value in own.state_dict().items()}
        for name, value in given.state_dict().items():
            assert shapes[name] == value.shape or name in own.widenable_tensors, f"{row}: {name}"


def test_the_paper_prints_its_last_row_twice() -> None:
    assert TABLES["3"][-2].paper_db == TABLES["4"][0].paper_db == TABLES["1"][5].paper_db
    assert len(TABLES["3"]) == 15 and len(TABLES["4"]) == 5
