"""Test the comparison of networks: one setting for all, steps of equal time, the table."""

import argparse
import json
from pathlib import Path

import pytest

import compare_networks
from avsep.models import MODELS
from avsep.training.recipe import load_training
from training.tiny_band import make_band


@pytest.mark.parametrize("name", compare_networks.NETWORKS)
def test_networks_differ_in_the_network_alone(name: str) -> None:
    network = compare_networks.NETWORKS[name]
    recipe = load_training(network.recipe, [*network.changes, *compare_networks.COMMON])
    first = load_training("dgfnet-mini", list(compare_networks.COMMON))
    assert recipe.model == name
    assert recipe.mixing == first.mixing
    same = {"batch_size", "ema_decay", "precision", "gradient_clip", "optimizer", "channels_last"}
    assert recipe.training.model_dump(include=same) == first.training.model_dump(include=same)
    settings = MODELS[name].Settings(**recipe.settings)
    assert settings.front_end.num_channels == 1
    assert settings.front_end.window_format == (11_025, 65_535, 1)
    assert settings.input_rms == 0.1
    assert set(recipe.optimizers) == set(network.groups)


@pytest.mark.slow
def test_a_run_is_trained_and_scored_once(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_band(tmp_path / "band", 6)
    make_band(tmp_path / "test", 2, seed=1000)
    options = argparse.Namespace(
        data=[tmp_path / "band"],
        out=tmp_path / "out",
        set=["training.batch_size=2", "training.num_validation=1", "training.validation_share=0.5"],
    )
    path = compare_networks.train(options, "sound-of-pixels", 0, 1)
    runs = {("sound-of-pixels", 0): path}
    written = path.stat().st_mtime_ns
    assert compare_networks.train(options, "sound-of-pixels", 0, 1) == path
    assert path.stat().st_mtime_ns == written
    options.networks, options.seeds = ["sound-of-pixels"], 1
    clips = compare_networks.open_dataset(tmp_path / "test")
    table = compare_networks.score(options, "test", clips, runs)
    assert set(table["sound-of-pixels"]) == {"sdr_db", "sir_db", "sar_db"}
    # Scores are read from their file the second time.
    kept = next(path.parent.glob("scores-test-2.json"))
    kept.write_text(json.dumps({"sdr_db": 1.0, "sir_db": 2.0, "sar_db": 3.0}))
    again = compare_networks.score(options, "test", clips, runs)
    assert again["sound-of-pixels"]["sar_db"]["mean"] == 3.0
    assert compare_networks.count_parameters(path) > 100_000


def test_the_best_is_first_in_the_table() -> None:
    def row(sdr_db: float) -> dict:
        return {
            key: {"mean": sdr_db, "spread": 0.25, "each": []}
            for key in ("sdr_db", "sir_db", "sar_db")
        }

    text = compare_networks.markdown(
        {
            "minutes": 10.0, "seeds": 2, "steps": {"davis": 7, "avsep": 9},
            "parameters": {"davis": 1_500_000, "avsep": 2_000_000},
            "tables": {"duets": {"davis": row(1.0), "avsep": row(2.5)}},
        }
    )  # fmt: skip
    assert text.startswith("# Networks at mini size: 2 seeds, 10 minutes of one core\n")
    rows = [line for line in text.splitlines() if line.startswith(("| avsep", "| davis"))]
    assert rows[0] == "| avsep | 2.00 M | 9 | 2.50 ± 0.25 | 2.50 ± 0.25 | 2.50 ± 0.25 |"
    assert rows[1].startswith("| davis | 1.50 M | 7 |")
