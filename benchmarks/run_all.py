"""Run all benchmarks one after another, and write docs/performance.md from their records."""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from avsep.media.atomic import write_atomic
from common import BENCHMARKS, RECORDS, Record, as_markdown, read_record
from measuring import ROOT, add_before_option
from recordings import add_recordings_option

PAGE = ROOT / "docs" / "performance.md"
# Not run with the others, because it takes half an hour: it compares settings of our own models.
# If there is a record, the page has it.
APART = ("bench_samplers",)
# Those that take an option.
WITH_OPTION = {
    "--recordings": ("bench_bss_eval", "bench_bss_eval_images", "bench_evaluate"),
    "--before": (
        "bench_bss_eval_images",
        "bench_evaluate",
        "bench_separate",
        "bench_start",
        "bench_stream",
    ),
}
INTRODUCTION = """\
# Performance

Written by `make bench` from the records of `benchmarks/`: do not edit. Times depend on the machine;
ratios to other implementations and to earlier commits are of one run. After a single benchmark has
run, `python benchmarks/run_all.py --page-only` writes this page again.
"""


def main() -> None:
    """Run the benchmarks, then write the page; exit with 1 after a failure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page-only", action="store_true", help="write the page and run nothing")
    add_recordings_option(parser)
    add_before_option(parser)
    options = parser.parse_args()
    given = {"--recordings": options.recordings, "--before": options.before}
    folder = Path(__file__).parent
    failed = []
    if not options.page_only:
        failed = run_benchmarks(folder, BENCHMARKS, RECORDS, given)
    if missing := write_page(RECORDS, BENCHMARKS, PAGE):
        sys.exit(f"{PAGE} is not written: {missing}")
    Console().print(f"written: {PAGE}")
    if failed:
        sys.exit(f"missed requirements: {', '.join(failed)}")


def run_benchmarks(
    folder: Path,
    names: Sequence[str],
    records: Path,
    given: Mapping[str, str | Path | None] | None = None,
) -> list[str]:
    """Run each benchmark that is not APART; return those that failed or missed a requirement.

    Each gets those options of `given` that it takes, where they have a value.

    The record of a benchmark that fails is removed.
    """
    failed = []
    for name in names:
        if name in APART:
            continue
        Console().rule(name)
        (records / f"{name}.json").unlink(missing_ok=True)
        words = [sys.executable, str(folder / f"{name}.py"), "--records", str(records)]
        for option, value in (given or {}).items():
            if value is not None and name in WITH_OPTION[option]:
                words += [option, str(value)]
        if subprocess.run(words).returncode:
            failed.append(name)
    return failed


def write_page(records: Path, names: Sequence[str], page: Path) -> str:
    """Write the page from all records; without one of them write nothing, and return the reason."""
    paths = {name: records / f"{name}.json" for name in names}
    missing = [name for name in names if not paths[name].exists() and name not in APART]
    if missing:
        return f"no record of {', '.join(missing)}"
    read = [read_record(path) for path in paths.values() if path.exists()]
    if tiny := [record.name for record in read if record.is_tiny]:
        return f"{', '.join(tiny)} ran with --tiny, whose figures mean nothing"
    for record in read:
        if (record.machine, record.versions) != (read[0].machine, read[0].versions):
            return f"{record.name} and {read[0].name} ran on different machines or versions"
    write_atomic(page, page_text(read))
    return ""


def page_text(records: Sequence[Record]) -> str:
    """Return the page: machine and versions, then each benchmark with its command and tables."""
    lines = [INTRODUCTION, "| machine | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in records[0].machine.items()]
    lines += ["", "| version | |", "|---|---|"]
    lines += [f"| {key} | {value} |" for key, value in records[0].versions.items()]
    for record in records:
        lines += ["", f"## {record.description.removesuffix('.')}", ""]
        lines += [f"`{record.command}`, {record.day}, commit {record.commit}."]
        for table in record.tables:
            lines += ["", as_markdown(table)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
