"""The tool of Table 3: what it makes of scores and gates that are known beforehand."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from avsep.evaluation.gates import GateSample


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "dgfnet_table3.py"
    spec = importlib.util.spec_from_file_location("dgfnet_table3", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def samples(tool: ModuleType) -> list[GateSample]:
    """Two seeds of five sources; the gate falls by 0.1 blurred and rises by 0.1 hidden."""
    shift = {"all": 0.0, "blurred": -0.1, "hidden": 0.1}
    found = []
    for seed in (0, 1):
        for trial, change in shift.items():
            row = f"full, seed {seed} (told{'' if trial == 'all' else ', ' + trial})"
            for place in range(5):
                gate = np.full((4, 6), 0.25 + 0.1 * place + change, np.float32)
                found.append(GateSample(row, f"clip{place}", "harp", gate))
    return found


def scores(tool: ModuleType) -> dict:
    """Seed 0 scores as the paper does, seed 1 two decibels more."""
    return {
        "separators": {
            f"{variant}, seed {seed} (told)": {
                "strict": dict(zip(tool.FIGURES, (x + 2 * seed for x in paper), strict=True))
            }
            for variant, (_, paper) in tool.VARIANTS.items()
            for seed in (0, 1)
        }
    }


def test_the_report(tool: ModuleType) -> None:
    rows = tool.table_rows(scores(tool), 2)
    full = rows["full"]["sdr_db"]
    assert full["mean"] == pytest.approx(12.25) and full["spread"] == pytest.approx(2**0.5)
    gate = tool.gate_json(samples(tool))
    assert [found["seed"] for found in gate] == [0, 1] and gate[0]["num_samples"] == 5
    assert gate[0]["shares"] == {"below 0.3": 0.2, "0.4 to 0.6": 0.4, "above 0.7": 0.0}
    assert gate[1]["differences"]["blurred"]["mean"] == pytest.approx(-0.1)
    report = {"steps": 9, "seeds": 2, "tables": {"held-out": rows}, "gate": gate}
    json.dumps(report, allow_nan=False)
    text = tool.markdown(report)
    assert "| DGFNet | 12.25 ± 1.41 | 17.22 ± 1.41 | 15.39 ± 1.41 | 11.25 / 16.22 / 14.39 |" in text
    assert "| 0 | hidden | 0.5500 | +0.1000 ± 0.0000 | 0 % |" in text
    assert "±" not in tool.plus_minus(tool.table_rows(scores(tool), 1)["full"]["sdr_db"])


def test_the_pictures(tool: ModuleType, tmp_path: Path) -> None:
    for draw, name in ((tool.draw_histogram, "6.png"), (tool.draw_extremes, "7.png")):
        draw(samples(tool), tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] == b"\x89PNG"
