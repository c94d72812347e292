"""`avsep separate`: a ten-second duet from shell to folder, in total and by part."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from common import ResultTable, compare_trees, run_benchmark
from measuring import LOADS, ROOT, add_before_option, load_of, measure_trees, source_trees

# Of a duet of ten seconds on two quiet cores.
REQUIRED_SECONDS = 3.0


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure the command, of another commit too if one is named, and the parts of one run."""
    # Not at the head: the process that measures the parts imports this file before it counts.
    from clips import make_duets

    num_runs = 1 if options.tiny else options.runs
    with tempfile.TemporaryDirectory() as folder, source_trees(options.before) as trees:
        (duet,) = make_duets(Path(folder) / "clips", 1, options.tiny)
        words = ["-m", "avsep", "separate", str(duet), "--model", options.model, "-o"]
        costs = {}
        for load in LOADS:
            with load_of(load):
                costs[f"separate, {options.model}, {load}"] = measure_trees(
                    lambda name: [*words, f"{folder}/{name}"],
                    trees,
                    num_runs,
                    warm_up=not options.tiny,
                )
        parts = part_seconds(str(duet), options.model, f"{folder}/parts")
    table = compare_trees("From shell to folder", costs)
    table = replace(table, notes=(*table.notes, "busy: beside a process that keeps a core busy."))
    seconds = next(iter(costs.values()))["now"].seconds
    line = f"{seconds:.1f} s quiet, required at most {REQUIRED_SECONDS:.1f} s."
    if seconds <= REQUIRED_SECONDS:
        table = replace(table, notes=(*table.notes, line))
    else:
        table = replace(table, missed=(line,))
    whole = sum(parts.values())
    rows = tuple((name, spent, f"{spent / whole:.0%}") for name, spent in parts.items())
    note = "Decoding and vision run beside network, masks and writing: the sum is not the whole."
    by_part = ResultTable("Parts, in one process", ("part", "seconds", "share"), rows, (note,))
    return [table, by_part]


def part_seconds(video: str, model: str, out: str) -> dict[str, float]:
    """Measure the seconds of each part in a new process, so that importing counts."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import bench_separate, json; "
        "print(json.dumps(bench_separate.timed_run(*sys.argv[2:])))"
    )
    words = [sys.executable, "-c", code, str(Path(__file__).parent), video, model, out]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def timed_run(video: str, model: str, out: str) -> dict[str, float]:
    """Measure the seconds of each part of one separation in this process."""
    start = time.perf_counter()
    from avsep.separation import many_files, separator

    spent = {"importing": time.perf_counter() - start}
    start = time.perf_counter()
    loaded = separator.Separator(model)
    spent["loading the model"] = time.perf_counter() - start
    runner = many_files.ThisProcess(loaded)
    (outcome,) = many_files.separate_files([video], None, Path(out), runner)
    assert outcome.manifest is not None, outcome.error
    return spent | outcome.manifest.run.seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the model, the number of runs and the commit to compare with."""
    parser.add_argument("--model", default="avsep-mini", help="name or checkpoint (avsep-mini)")
    parser.add_argument("--runs", type=int, default=5, help="runs of the command (5)")
    add_before_option(parser)


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
