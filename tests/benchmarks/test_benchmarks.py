"""Test that every benchmark runs at its tiny size and leaves a record of tables."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from common import BENCHMARKS, ResultTable, read_record
from measuring import ROOT
from run_all import PAGE

FOLDER = ROOT / "benchmarks"


# One process runs all: importing PyTorch for each would take most of the time.
RUN_TINY = """
import importlib, sys, traceback
records, *names = sys.argv[1:]
for name in names:
    sys.argv = [name, "--tiny", "--records", records]
    try:
        importlib.import_module(name).main()
    except BaseException:
        traceback.print_exc()
"""


@pytest.mark.slow
def test_every_benchmark_runs(tmp_path: Path) -> None:
    words = [sys.executable, "-c", RUN_TINY, str(tmp_path), *BENCHMARKS]
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{FOLDER}"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    names = [path.stem for path in sorted(tmp_path.glob("*.json"))]
    assert names == BENCHMARKS and "Traceback" not in done.stderr, done.stderr
    for name in BENCHMARKS:
        record = read_record(tmp_path / f"{name}.json")
        assert record.is_tiny and record.name == name and record.command.endswith(" --tiny")
        assert record.machine["cores"] and record.versions["torch"] and record.commit
        assert record.tables
        for table in record.tables:
            check_table(table)
            assert table.title in " ".join(done.stdout.split())


def check_table(table: ResultTable) -> None:
    assert table.rows and all(len(row) == len(table.head) for row in table.rows)
    numbers = [cell for row in table.rows for cell in row if isinstance(cell, int | float)]
    assert numbers and all(math.isfinite(number) for number in numbers)


def test_no_other_file_is_a_benchmark() -> None:
    """A benchmark with another name would run neither in `make bench` nor here."""
    runnable = {path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text()}
    assert runnable == {*BENCHMARKS, "run_all"}


def test_the_page_has_every_benchmark() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in BENCHMARKS:
        if name != "bench_samplers":
            assert f"`python benchmarks/{name}.py" in text, f"run {name}, then run_all --page-only"
