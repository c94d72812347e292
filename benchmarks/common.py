"""The shape that all benchmarks share: options, tables, and a record of how they were measured."""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from avsep.media.atomic import make_folder, write_atomic
from measuring import ROOT, Cost

PEERS = ("mir_eval", "fast_bss_eval", "museval")
PACKAGES = ("torch", "numpy", "scipy", *PEERS)
RECORDS = ROOT / "out" / "bench"
BENCHMARKS = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))

Cell = str | int | float | None


@dataclass(frozen=True)
class ResultTable:
    """One table of a benchmark.

    Attributes:
        title: what is measured, on which material.
        head: names of the columns, with units.
        rows: cells of each row; None is a cell without a value.
        notes: sentences below the table.
        missed: requirements that the figures do not meet; the benchmark then exits with 1.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """The tables of one run, and what is needed to repeat it.

    Attributes:
        name: the benchmark, such as bench_start.
        description: its first line.
        command: what was typed, with DIR for folders.
        commit: of the checkout, with "-dirty" if code or benchmarks were changed.
        is_tiny: made by --tiny, so that its figures mean nothing.
    """

    name: str
    description: str
    command: str
    commit: str
    is_tiny: bool
    tables: tuple[ResultTable, ...]
    day: str = field(default_factory=lambda: date.today().isoformat())
    machine: dict[str, str] = field(default_factory=lambda: describe_machine())
    versions: dict[str, str] = field(default_factory=lambda: describe_versions())


def run_benchmark(
    file: str,
    description: str | None,
    measure: Callable[[argparse.Namespace], Sequence[ResultTable]],
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> None:
    """Parse options, measure, print the tables and write the record; the main of a benchmark.

    Args:
        file: `__file__` of the benchmark.
        description: its docstring.
        measure: returns the tables of the parsed options; `options.tiny` asks for the least work
            that runs every line.
        add_options: adds options of this benchmark.
    """
    name = Path(file).stem
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--tiny", action="store_true", help="the least work that runs every line, for the tests"
    )
    parser.add_argument(
        "--records", type=Path, default=RECORDS, help="folder of the record (out/bench)"
    )
    if add_options:
        add_options(parser)
    options = parser.parse_args()
    tables = tuple(measure(options))
    console = Console()
    for table in tables:
        console.print(as_rich(table))
        console.print(*table.notes, *(f"Missed: {line}" for line in table.missed), sep="\n")
    command = command_line(name, sys.argv[1:])
    lines = (description or name).splitlines()
    record = Record(name, lines[0], command, find_commit(), options.tiny, tables)
    make_folder(options.records)
    write_atomic(options.records / f"{name}.json", json.dumps(asdict(record), indent=1) + "\n")
    if any(table.missed for table in tables) and not options.tiny:
        sys.exit(1)


def read_record(path: Path) -> Record:
    """Read a record that `run_benchmark` wrote."""
    values = json.loads(path.read_text(encoding="utf-8"))
    tables = []
    for table in values.pop("tables"):
        rows = tuple(tuple(row) for row in table.pop("rows"))
        lists = {key: tuple(table.pop(key)) for key in ("head", "notes", "missed")}
        tables.append(ResultTable(**table, rows=rows, **lists))
    return Record(**values, tables=tuple(tables))


def command_line(name: str, words: Sequence[str]) -> str:
    """Return the command of these options: folders as DIR, without the folder of the record.

    >>> command_line("bench_start", ["--records", "x", "--runs", "3"])
    'python benchmarks/bench_start.py --runs 3'
    """
    options = list(words)
    if "--records" in options:
        place = options.index("--records")
        del options[place : place + 2]
    options = ["DIR" if Path(word).is_dir() else word for word in options]
    return " ".join([f"python benchmarks/{name}.py", *options])


def find_commit() -> str:
    """Return the short hash of the checkout, with "-dirty" if code or benchmarks differ from it."""
    git = ["git", "-C", str(ROOT)]
    done = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = [*git, "status", "--porcelain", "--", "src", "benchmarks"]
    changes = subprocess.run(changed, capture_output=True, text=True)
    if done.returncode:
        return "unknown"
    return done.stdout.strip() + ("-dirty" if changes.stdout else "")


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory and system, as text."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    megabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    cores, threads = str(os.cpu_count()), os.environ.get("OMP_NUM_THREADS")
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        # As many threads as cores is what libraries choose by themselves.
        "cores": f"{cores}, OMP_NUM_THREADS={threads}" if threads not in (None, cores) else cores,
        "memory": f"{megabytes / 1024:.0f} GB",
        "system": f"{platform.system()}, {platform.machine()}",
    }


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that figures depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def format_cell(cell: Cell) -> str:
    """Return a cell as text: three digits, small values as a power of ten.

    >>> [format_cell(cell) for cell in (1234.5, 12.345, 0.5, 3.2e-8, 0.0, None, "a")]
    ['1,234', '12.3', '0.5', '3e-08', '0', '-', 'a']
    """
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else cell
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:.0e}" if 0 < abs(cell) < 1e-3 else f"{cell:.3g}"


def as_rich(table: ResultTable) -> Table:
    """Return the table for a terminal."""
    result = Table(title=table.title)
    for index, name in enumerate(table.head):
        result.add_column(name, justify="right" if index else "left")
    for row in table.rows:
        result.add_row(*map(format_cell, row))
    return result


def as_markdown(table: ResultTable) -> str:
    """Return title, table and sentences for a page."""
    lines = [f"### {table.title}", "", f"| {' | '.join(table.head)} |"]
    lines.append("|---|" + "---:|" * (len(table.head) - 1))
    lines += [f"| {' | '.join(map(format_cell, row))} |" for row in table.rows]
    for line in table.notes:
        lines += ["", line]
    for line in table.missed:
        lines += ["", f"**Missed:** {line}"]
    return "\n".join(lines)


def compare_trees(title: str, costs: dict[str, dict[str, Cost]]) -> ResultTable:
    """Return the table of commands that were measured now and, perhaps, before a change.

    Args:
        title: title of the table.
        costs: costs by command, then by name of the tree, as `measure_trees` returns them.
    """
    with_before = all("before" in trees for trees in costs.values())
    head = ("", "seconds", "peak MB")
    if with_before:
        head = ("", "seconds", "before", "x before", "peak MB", "before, MB")
    rows: list[tuple[Cell, ...]] = []
    for label, trees in costs.items():
        now, row = trees["now"], (label, trees["now"].seconds, trees["now"].megabytes)
        if with_before:
            before = trees["before"]
            row = (
                label, now.seconds, before.seconds, ratio(before.seconds, now.seconds),
                now.megabytes, before.megabytes,
            )  # fmt: skip
        rows.append(row)
    num_runs = next(iter(costs.values()))["now"].num_runs
    runs = "One run" if num_runs == 1 else f"Medians of {num_runs} runs"
    note = f"{runs} from shell to exit; the peak is that of the largest process."
    return ResultTable(title, head, tuple(rows), (note,))


def ratio(peer_seconds: float | None, seconds: float | None) -> float | None:
    """Return how many times as fast as the peer the work is, None where either is missing."""
    return peer_seconds / seconds if peer_seconds and seconds else None
