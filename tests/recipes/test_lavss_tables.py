"""The rows of LAVSS' tables differ in what the tables are about, and in nothing else, small too."""

from typing import Any

import pytest
import torch

from ablation_runs import small_run
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
# The networks as published, and the small ones.
CHANNELS = {
    "paper": [64, 128, 256, 512, 512, 512, 512],
    "small": [8, 16, 32, 64, 96, 96, 96],
}
SIZES = list(CHANNELS)


def recipe(row: str, size: str, *overrides: str) -> dict[str, Any]:
    small, changes = small_run(f"lavss-{row}")
    loaded = (
        load_training(f"lavss-{row}", overrides)
        if size == "paper"
        else load_training(small, [*changes, *overrides])
    )
    return loaded.model_dump(mode="json")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("network", "row"),
    [*((network, row) for network in ("sop", "25d") for row in CUES), ("25d", "signed")],
)
def test_a_row_of_table_3_is_its_cues(network: str, row: str, size: str) -> None:
    result, full = (recipe(f"table3-{network}-{name}", size) for name in (row, "position-ipd"))
    cues = result["settings"]["position"], result["settings"]["spatial_cues"]
    assert cues == CUES.get(row, (True, "signed"))
    for item in (result, full):
        del item["settings"]["position"], item["settings"]["spatial_cues"]
    assert result == full


@pytest.mark.parametrize("size", SIZES)
def test_both_networks_learn_alike(size: str) -> None:
    full, sop = (recipe(f"table3-{network}-position-ipd", size) for network in ("25d", "sop"))
    assert full.pop("model") == "separation-2.5d" and sop.pop("model") == "sound-of-pixels"
    for item in (sop, full):
        settings = item.pop("settings")
        assert settings["fusion"] == "attention" and settings["masks"] == "ratio"
        assert settings["unet"]["channels"] == CHANNELS[size]
        assert settings["front_end"]["num_channels"] == 2
    assert sop == full


def test_the_last_row_of_table_3_is_lavss() -> None:
    """All but the model is of lavss-fair-play, and the networks' tensors are the same."""
    row, lavss = load_training("lavss-table3-25d-position-ipd"), load_training("lavss-fair-play")
    assert row.model_copy(update={"model": "lavss", "settings": {}}) == lavss.model_copy(
        update={"settings": {}}
    )
    with torch.device("meta"):
        first, second = (
            MODELS[item.model](MODELS[item.model].Settings(**item.settings)).state_dict()
            for item in (row, lavss)
        )
    assert {name: value.shape for name, value in first.items()} == {
        name: value.shape for name, value in second.items()
    }


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("row", ATTENTION)
def test_a_row_of_table_4_is_its_switch(row: str, size: str) -> None:
    result, full = recipe(f"table4-{row}", size), recipe("table3-25d-position-ipd", size)
    name, value = ATTENTION[row]
    assert result["settings"]["attention"].pop(name) == value
    assert full["settings"]["attention"].pop(name) != value
    assert result == full


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("network", ["sop", "25d"])
def test_table_1_has_the_networks_without_what_lavss_adds(network: str, size: str) -> None:
    result, other = recipe(f"table1-{network}", size), recipe(f"table3-{network}-none", size)
    assert result["settings"].pop("fusion") == "none"
    assert other["settings"].pop("fusion") == "attention"
    if network == "25d":  # five layers, as published
        assert result["settings"].pop("unet")["channels"] == CHANNELS[size][:5]
        assert other["settings"].pop("unet")
    assert result == other


@pytest.mark.slow
@pytest.mark.parametrize("network", ["sop", "25d"])
def test_the_starred_rows_are_the_networks_in_mono(network: str) -> None:
    mono, full = f"table3-{network}-mono", f"table3-{network}-position-ipd"
    assert recipe(mono, "small") == recipe(full, "small", *MONO)
    # At the paper's size it is trained as the first step of LAVSS.
    result, first = recipe(mono, "paper"), load_training("lavss-music").model_dump(mode="json")
    assert result.pop("settings") == recipe(full, "paper", *MONO)["settings"]
    del result["model"], first["model"], first["settings"]
    assert result == first


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_pre_trained_row_takes_all_of_its_network_in_mono(size: str) -> None:
    """Shapes alone are made here."""
    for row in find_rows(TABLES):
        if row.start != "mono":
            continue
        with torch.device("meta"):
            own, given = (
                MODELS[item["model"]](MODELS[item["model"]].Settings(**item["settings"]))
                for item in (recipe(row.recipe, size), recipe(mono_recipe(row.recipe), size, *MONO))
            )
        shapes = {name: value.shape for name, value in own.state_dict().items()}
        for name, value in given.state_dict().items():
            assert shapes[name] == value.shape or name in own.widenable_tensors, f"{row}: {name}"


def test_the_paper_prints_its_last_row_twice() -> None:
    assert TABLES["3"][-2].paper_db == TABLES["4"][0].paper_db == TABLES["1"][5].paper_db
    assert len(TABLES["3"]) == 15 and len(TABLES["4"]) == 5
