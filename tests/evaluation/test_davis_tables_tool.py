"""Test the tool for DAVIS's tables: runs with known scores, and a run of its own."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ablation_runs
import davis_tables as tables
from training.tiny_band import make_band


def leave_runs(folder: Path, seeds: Sequence[int]) -> None:
    """Runs of 9 steps: seed 0 scores as the paper does, each further seed two decibels more."""
    for seed in seeds:
        for row in (*tables.TABLES["2"], *tables.TABLES["3"]):
            run = folder / "runs" / f"{row.run}-9-seed{seed}"
            run.mkdir(parents=True, exist_ok=True)
            (run / "last.safetensors").touch()
            scores = [f"{value + 2 * seed:.6g}" for value in row.paper_db]
            names = [f"validation/{figure}" for figure in ablation_runs.SCORE_KEYS]
            lines = [["step", *names, "loss_total"], ["5", "1", "1", "1", "2"]]
            lines += [["9", *scores, "1"], ["10", "", "", "", "1"]]
            (run / "metrics.csv").write_text("\n".join(map(",".join, lines)), encoding="utf-8")
        kept = {
            tables.silence_name(*row): dict.fromkeys(ablation_runs.SCORE_KEYS, 10.0 * row[1] + seed)
            for row in tables.SILENCE
        }
        path = folder / "runs" / f"{tables.DEFAULT}-9-seed{seed}" / "silence.json"
        path.write_text(json.dumps(kept), encoding="utf-8")
        unbounded = folder / "runs" / f"bound-9-seed{seed}"
        unbounded.mkdir(exist_ok=True)
        (unbounded / "last.safetensors").touch()
        kept = {
            label: dict.fromkeys(ablation_runs.SCORE_KEYS, 3.0 + bound)
            for label, bound in tables.BOUND.items()
        }
        (unbounded / "bound.json").write_text(json.dumps(kept), encoding="utf-8")


def test_what_is_there_is_reported_and_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a finished run was launched again")

    monkeypatch.setattr(ablation_runs.subprocess, "run", refuse)
    monkeypatch.setattr(tables, "num_parameters", lambda folder: len(folder.name) * 1000)
    leave_runs(tmp_path, (0, 1))
    words = ["davis_tables", "--data", "band", "--out", str(tmp_path), "--steps", "9"]
    monkeypatch.setattr(sys, "argv", [*words, "--seeds", "2"])
    tables.main()
    report = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    counts = {name: len(rows) for name, rows in report["tables"].items()}
    assert counts == {"2": 4, "3": 5, "4": 8, "bound": 2}
    sdr = report["tables"]["2"][0]["sdr_db"]
    assert sdr["mean"] == pytest.approx(10.03) and sdr["spread"] == pytest.approx(2**0.5)
    assert sdr["each"] == pytest.approx([9.03, 11.03])
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "9 steps each, 2 seeds" in text
    ends = "12.88 ± 1.41 | 18.52 ± 1.41 | 17.12 ± 1.41 | 11.88 / 17.52 / 16.12 |"
    assert f"| {{R, TF, T}} | 19,000 | 35.04 | {ends}" in text
    assert f"| FIM (Local&Global) | 19,000 | {ends}" in text
    assert (
        "| released | 0.01 | 0.60 ± 0.71 | 0.60 ± 0.71 | 0.60 ± 0.71 | 11.15 / 18.21 / 14.69 |"
        in text
    )
    assert "| off | — | 0.50 ± 0.71 |" in text
    bound = "| at most the mixture | 4.00 ± 0.00 | 4.00 ± 0.00 | 4.00 ± 0.00 | — |"
    assert "### Bound by the mixture (dB)" in text and bound in text

    leave_runs(tmp_path, (0,))
    monkeypatch.setattr(sys, "argv", [*words, "--seeds", "1", "--tables", "3"])
    tables.main()
    alone = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "one seed" in alone and "Table 2" not in alone and "±" not in alone.split("\n", 1)[1]


def test_what_is_missing_is_launched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[list[str]] = []

    def note(command: list[str], **_: Any) -> None:
        launched.append(command)
        run = Path(command[command.index("--run") + 1])
        run.mkdir(parents=True, exist_ok=True)
        (run / "last.safetensors" if "--resume" in command else run / "recipe.toml").touch()

    monkeypatch.setattr(ablation_runs.subprocess, "run", note)
    words = [
        "--data",
        "a",
        "b",
        "--out",
        str(tmp_path),
        "--steps",
        "9",
        "--set",
        "mixing.repeats=2",
    ]
    options = tables.read_options(words)
    with pytest.raises(SystemExit, match="table2-rrt-9-seed3 was stopped"):
        tables.train(options, "table2-rrt", 3)
    tables.train(options, "table2-rrt", 3)
    tables.train(options, "table2-rrt", 3)
    first, second = launched  # the third found it done
    assert second == [*first, "--resume"]
    assert first[first.index("train") + 1] == "davis-music-small"
    assert [first[i + 1] for i, word in enumerate(first) if word == "--data"] == ["a", "b"]
    changed = [first[i + 1] for i, word in enumerate(first) if word == "--set"]
    assert changed == [
        'settings.unet.blocks=["R", "R", "T"]', "training.max_steps=9", "training.seed=3",
        "training.validate_every_steps=9", "mixing.repeats=2",
    ]  # fmt: skip
    assert tables.num_steps_of(tables.read_options(words[:5])) == 200


# The network of the tables, smaller still.
TINY = [
    "settings.unet.channels=[8,16]", "settings.unet.fold=[16,16]", "training.batch_size=2",
    "settings.transformer.feed_forward_width=16", "training.num_validation=2",
    "training.num_workers=0", "training.num_samples=0", "training.validation_share=0.5",
    'training.precision="32"',
]  # fmt: skip


@pytest.mark.slow
def test_a_table_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make_band(tmp_path / "band", 6)
    words = ["--data", str(tmp_path / "band"), "--out", str(tmp_path / "out"), "--steps", "1"]
    words += ["--seeds", "1", "--tables", "4", "bound"]
    words += [word for line in TINY for word in ("--set", line)]
    monkeypatch.setattr(sys, "argv", ["davis_tables", *words])
    tables.main()
    report = json.loads((tmp_path / "out" / "tables.json").read_text(encoding="utf-8"))
    result = {
        (row["silence"], row["threshold"]): row["sdr_db"]["mean"] for row in report["tables"]["4"]
    }
    # Nothing is below zero, and what is bounded stays in 0..1 as it is.
    assert result["off", 0.0] == result["released", 0.0]
    assert len({result["off", 0.0], result["released", 0.01], result["equation-5", 0.01]}) == 3
    at_most, free = (row["sdr_db"]["mean"] for row in report["tables"]["bound"])
    assert at_most != free
    run = tmp_path / "out" / "runs" / f"{tables.DEFAULT}-1-seed0"
    assert tables.num_parameters(run) > 1000 and set(tables.last_scores(run)) == set(
        ablation_runs.SCORE_KEYS
    )
