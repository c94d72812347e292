"""Test the tool for LAVSS's tables: runs with known scores, and the runs it starts."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import ablation_runs
import lavss_tables as tables
from avsep.data import open_dataset
from avsep.evaluation.mixtures import choose_mixtures
from avsep.evaluation.run import EvaluationSettings
from avsep.recipe import load_recipe
from avsep.toyband.build import make_toyband
from avsep.toyband.clip import ToybandSettings
from avsep.toyband.material import Material

WORDS = ["--data", "ears", "--mono", "solos", "--duets", "d", "--twins", "t"]
LENGTHS = ["--steps", "9", "--mono-steps", "5"]


def words_for(out: Path, *more: str) -> list[str]:
    return [*WORDS, "--out", str(out), *LENGTHS, *more]


def note_launches(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every run that is launched ends at once, and is noted."""
    launched: list[list[str]] = []

    def end_at_once(command: list[str], **_: Any) -> None:
        launched.append(command)
        run = Path(command[command.index("--run") + 1])
        run.mkdir(parents=True, exist_ok=True)
        (run / "last.safetensors").touch()

    monkeypatch.setattr(ablation_runs.subprocess, "run", end_at_once)
    return launched


def after(command: list[str], option: str) -> list[str]:
    return [command[place + 1] for place, word in enumerate(command) if word == option]


def test_a_pre_trained_row_begins_with_its_network_in_mono(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = note_launches(monkeypatch)
    options = tables.read_options(words_for(tmp_path))
    tables.train_all(options, [tables.LAVSS, tables.SIGNED], 2)
    mono, *rows = launched  # one network in mono for both
    assert mono[mono.index("train") + 1] == "lavss-table3-25d-mono-small"
    assert after(mono, "--data") == ["solos"] and "training.max_steps=5" in after(mono, "--set")
    assert set(tables.MONO) <= set(after(mono, "--set"))
    init = f"init={json.dumps(str(Path(after(mono, '--run')[0]) / 'last.safetensors'))}"
    for command in rows:
        assert after(command, "--data") == ["ears"] and init in after(command, "--set")
        assert {"training.max_steps=9", "training.seed=2"} <= set(after(command, "--set"))
    tables.train_all(options, [tables.LAVSS, tables.SIGNED], 2)
    assert len(launched) == 3, "what is there is not made again"


def test_rows_that_begin_anew_and_the_starred_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = note_launches(monkeypatch)
    options = tables.read_options(words_for(tmp_path))
    row = tables.Row("table3-25d-position-ipd", "anew for longer")
    folder = tables.train(options, row, 0)
    assert folder.name == "table3-25d-position-ipd-anew-for-longer-14-seed0"
    assert "training.max_steps=14" in after(launched[0], "--set")
    assert not any(line.startswith("init=") for line in after(launched[0], "--set"))
    starred = tables.train(options, tables.Row("table3-sop-mono"), 0)
    assert starred == tables.train_mono(options, "table3-sop-mono", 0)


def test_every_row_is_trained_once() -> None:
    rows = list(tables.find_rows(tables.TABLES))
    assert len(rows) == len({row.key for row in rows}) == 23


@pytest.mark.slow
def test_scores_are_drawn_and_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed 0 scores 4 dB everywhere, seed 1 two more; Table 2 knows cellos alone."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("what was scored was asked again")

    note_launches(monkeypatch)
    monkeypatch.setattr(tables, "score", refuse)
    keys = [*(row.key for row in tables.find_rows(tables.TABLES)), "mixture", *tables.SHIPPED]
    (tmp_path / "scores").mkdir()
    for seed in range(2):
        figures = dict.fromkeys((*tables.EARS, "sdr", "sir", "cello"), 4.0 + 2 * seed)
        for test in ("duets", "twins"):
            path = tmp_path / "scores" / f"{test}-seed{seed}.json"
            path.write_text(json.dumps(dict.fromkeys(keys, figures)), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["lavss_tables", *words_for(tmp_path, "--seeds", "2")])
    tables.main()
    report = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))
    counts = {name: len(rows) for name, rows in report["tables"].items()}
    assert counts == {"1": 11, "2": 10, "3": 15, "4": 5, "pre-training": 5}
    text = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert "9 steps each, behind 5 in mono where pre-trained; 2 seeds" in text
    figure = "5.00 ± 1.41"
    ears = f"{figure} / {figure}"
    line = f"| LAVSS | 5.89 / 10.08 | 5.93 / 10.30 | {ears} | {ears} | {figure} | {figure} |"
    assert text.count(line) == 2
    assert "| CCoL | 5.05 / 8.89 | 5.17 / 9.02 | not built | — | — | — |" in text
    assert "| LAVSS | paper | 1.53 | 2.67 | 3.72 | 1.83 | 3.13 | 3.12 |" in text
    assert f"| mix-gt | ours | {figure} | — | — | — | — | — |" in text


@pytest.mark.slow
def test_a_model_and_the_mixture_scored_on_both_ears(tmp_path: Path) -> None:
    overrides = ['categories=["harp"]']
    settings = load_recipe("toyband-binaural-twins", "toyband", ToybandSettings, overrides)
    list(make_toyband(tmp_path, 2, 1000, settings, Material.read(), num_workers=1))
    clips = choose_mixtures(open_dataset(tmp_path), settings=EvaluationSettings(), seed=0)
    result = tables.score(clips.mixtures, {"a": "lavss-mini", "mixture": "mixture"})
    for figures in result.values():
        for name in ("sdr", "sir"):
            ears = [figures[f"{name}-{ear}"] for ear in ("left", "right")]
            assert figures[name] == pytest.approx(sum(ears) / 2, abs=1e-3)
        assert figures["harp"] == figures["sdr"]
    assert result["a"]["sdr"] > 8 > 2 > result["mixture"]["sdr"], "each has its own figures"
