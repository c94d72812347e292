"""Test the tool for DGFNet's Table 3 on known scores and gates."""

import json
from pathlib import Path

import numpy as np
import pytest

import dgfnet_table3 as table3
from ablation_runs import SCORE_KEYS, plus_minus
from avsep.evaluation.gates import GateSample


def samples() -> list[GateSample]:
    """Two seeds of five sources; the gate falls by 0.1 blurred and rises by 0.1 hidden."""
    shift = {"all": 0.0, "blurred": -0.1, "hidden": 0.1}
    result = []
    for seed in (0, 1):
        for ablation, change in shift.items():
            row = f"full, seed {seed} (given{'' if ablation == 'all' else ', ' + ablation})"
            for place in range(5):
                gate = np.full((4, 6), 0.25 + 0.1 * place + change, np.float32)
                result.append(GateSample(row, f"clip{place}", "harp", gate))
    return result


def scores() -> dict:
    """Seed 0 scores as the paper does, seed 1 two decibels more."""
    return {
        "methods": {
            f"{variant}, seed {seed} (given)": {
                "strict": dict(zip(SCORE_KEYS, (x + 2 * seed for x in paper), strict=True))
            }
            for variant, (_, paper) in table3.VARIANTS.items()
            for seed in (0, 1)
        }
    }


def test_the_report() -> None:
    rows = table3.table_rows(scores(), 2)
    full = rows["full"]["sdr_db"]
    assert full["mean"] == pytest.approx(12.25) and full["spread"] == pytest.approx(2**0.5)
    gate = table3.gate_json(samples())
    assert [result["seed"] for result in gate] == [0, 1] and gate[0]["num_samples"] == 5
    assert gate[0]["shares"] == {"below 0.3": 0.2, "0.4 to 0.6": 0.4, "above 0.7": 0.0}
    assert gate[1]["differences"]["blurred"]["mean"] == pytest.approx(-0.1)
    report = {"steps": 9, "seeds": 2, "tables": {"held-out": rows}, "gate": gate}
    json.dumps(report, allow_nan=False)
    text = table3.markdown(report)
    assert "| DGFNet | 12.25 ± 1.41 | 17.22 ± 1.41 | 15.39 ± 1.41 | 11.25 / 16.22 / 14.39 |" in text
    assert "| 0 | hidden | 0.5500 | +0.1000 ± 0.0000 | 0 % |" in text
    assert "±" not in plus_minus(table3.table_rows(scores(), 1)["full"]["sdr_db"])


@pytest.mark.slow
def test_the_pictures(tmp_path: Path) -> None:
    for draw, name in (
        (table3.draw_histogram, "6.png"),
        (table3.draw_extremes, "7.png"),
    ):
        draw(samples(), tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
