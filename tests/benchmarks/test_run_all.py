"""Test that the page of performance is written whole or not at all."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import run_all
from common import Record, ResultTable, command_line, format_cell, read_record
from run_all import run_benchmarks, write_page

TABLE = ResultTable(
    "Pairs", ("", "ms", "x peer"), (("avsep", 1234.5, 24.04), ("peer: not installed", None, None)),
    ("A note.",), ("slower than required.",),
)  # fmt: skip
RECORD = Record(
    "bench_a", "Scores.", "python benchmarks/bench_a.py --pairs 2", "abc1234", False, (TABLE,),
    "2026-01-31", {"processor": "fast", "cores": "2"}, {"python": "3.11", "mir_eval": "0.8"},
)  # fmt: skip
WORKS = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--records") + 1])
(folder / "bench_a.json").write_text(json.dumps({record}))
"""


def write(record: Record, folder: Path) -> None:
    (folder / f"{record.name}.json").write_text(json.dumps(asdict(record)))


def test_the_page(tmp_path: Path) -> None:
    other = replace(RECORD, name="bench_b", description="Starts.", command="python b.py")
    for record in (RECORD, other):
        write(record, tmp_path)
    page = tmp_path / "performance.md"
    assert write_page(tmp_path, ["bench_a", "bench_b"], page) == ""
    text = page.read_text()
    assert "| processor | fast |" in text and "| mir_eval | 0.8 |" in text
    assert "`python benchmarks/bench_a.py --pairs 2`, 2026-01-31, commit abc1234." in text
    assert "| avsep | 1,234 | 24 |" in text and "| peer: not installed | - | - |" in text
    assert "A note." in text and "**Missed:** slower than required." in text
    assert text.index("## Scores\n") < text.index("## Starts\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"is_tiny": True}, "bench_b ran with --tiny"),
        ({"machine": {"processor": "slow"}}, "bench_b and bench_a ran on different machines"),
        ({"versions": {"python": "3.12"}}, "bench_b and bench_a ran on different machines"),
        (None, "no record of bench_b"),
    ],
)
def test_without_a_record_the_page_stays(tmp_path: Path, change: dict, reason: str) -> None:
    write(RECORD, tmp_path)
    if change is not None:
        write(replace(RECORD, name="bench_b", **change), tmp_path)
    page = tmp_path / "performance.md"
    page.write_text("as it was")
    assert reason in write_page(tmp_path, ["bench_a", "bench_b"], page)
    assert page.read_text() == "as it was"


def test_a_benchmark_that_fails_leaves_no_record(tmp_path: Path) -> None:
    (tmp_path / "bench_a.py").write_text(WORKS.format(record=asdict(RECORD)))
    (tmp_path / "bench_b.py").write_text("raise ValueError('it has rotted')")
    write(replace(RECORD, name="bench_b"), tmp_path)
    assert run_benchmarks(tmp_path, ["bench_a", "bench_b"], tmp_path) == ["bench_b"]
    assert read_record(tmp_path / "bench_a.json") == RECORD
    assert "bench_b" in write_page(tmp_path, ["bench_a", "bench_b"], tmp_path / "page.md")


def test_options_reach_those_that_take_them() -> None:
    folder = Path(run_all.__file__).parent
    taking = {
        "--recordings": "add_recordings_option(parser)",
        "--before": "add_before_option(parser)",
    }
    for option, line in taking.items():
        scripts = sorted(p.stem for p in folder.glob("bench_*.py") if line in p.read_text())
        assert scripts == sorted(run_all.WITH_OPTION[option])


def test_commands_name_no_folder(tmp_path: Path) -> None:
    words = ["--records", str(tmp_path), "--recordings", str(tmp_path), "--pairs", "3"]
    expected = "python benchmarks/bench_a.py --recordings DIR --pairs 3"
    assert command_line("bench_a", words) == expected


def test_cells() -> None:
    cells = [1234.5, 12.345, 0.5, 3.2e-8, 0.0, 12345, None, "a"]
    texts = ["1,234", "12.3", "0.5", "3e-08", "0", "12,345", "-", "a"]
    assert [format_cell(cell) for cell in cells] == texts
