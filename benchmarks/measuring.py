"""Measure time and peak memory of functions and commands, of two commits, beside a busy core."""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOADS = ("quiet", "busy")
# Beside avsep, what takes time to import.
_PRELOADED = ("rich.table", "scipy.linalg", "scipy.signal")
# Started between this process and the command: what the system reports as the peak of a new process
# is never less than the memory of the process that started it, and this one is small.
_LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - start
process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([seconds, usage.ru_maxrss, process.returncode]))
"""


@dataclass(frozen=True)
class Cost:
    """Time and memory of some work.

    Attributes:
        seconds: wall time, the median of the runs.
        megabytes: the peak of the process; of a command with workers, that of its largest process.
        own_megabytes: the part above what the process held before the work; None for commands.
        num_runs: runs that were measured.
    """

    seconds: float
    megabytes: float
    own_megabytes: float | None = None
    num_runs: int = 1


def measure_work(
    work: Callable[[], Any], *, before_megabytes: float, enough_seconds: float, max_runs: int = 5
) -> Cost:
    """Measure a function again until `enough_seconds` are spent.

    The process should be a new one (`in_new_process`), or the peak of other work is counted.

    Args:
        work: the function; the caller has warmed it up.
        before_megabytes: the peak before any of the work, warm-up included.
        enough_seconds: no run begins after this many; 0 asks for one run.
        max_runs: the largest number of runs.
    """
    runs: list[float] = []
    while not runs or (sum(runs) < enough_seconds and len(runs) < max_runs):
        start = time.perf_counter()
        work()
        runs.append(time.perf_counter() - start)
    peak = peak_megabytes()
    return Cost(statistics.median(runs), peak, peak - before_megabytes, len(runs))


def peak_megabytes() -> float:
    """Return the largest resident memory that this process has had."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `getrusage`, which also counts the process that this one was started from.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _megabytes(maximum: int) -> float:
    return maximum / (2**20 if sys.platform == "darwin" else 2**10)


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the function's result from a new process, whose peak memory is its own."""
    # Forked from a server that has imported what is imported here, which takes seconds.
    context = get_context("forkserver")
    ours = [name for name in sys.modules if name.startswith("avsep.")]
    context.set_forkserver_preload([*ours, *_PRELOADED])
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(function, *arguments).result()


def measure_trees(
    words: Callable[[str], Sequence[str]],
    trees: dict[str, Path],
    num_runs: int,
    *,
    warm_up: bool = True,
    code: int = 0,
) -> dict[str, Cost]:
    """Measure `python WORDS` with the package of each source folder, in turns.

    Args:
        words: returns the command's words for the name of a tree, for outputs of its own.
        trees: source folders by name, as of `source_trees`.
        num_runs: runs of each tree; time and peak are medians.
        warm_up: run each once before, to compile and to fill the file cache.
        code: the exit code that the command must have.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in trees}
    for run in range(num_runs + warm_up):
        for name, source in trees.items():
            cost = measure_program(words(name), source, code)
            if run >= warm_up:
                costs[name].append(cost)
    return {name: median_cost(runs) for name, runs in costs.items()}


def measure_program(words: Sequence[str], source: Path = ROOT / "src", code: int = 0) -> Cost:
    """Measure `python WORDS` from shell to exit, with the package of a source folder.

    Raises:
        RuntimeError: the exit code is not `code`; the message has what the command wrote.
    """
    environment = os.environ | {"PYTHONPATH": str(source)}
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, sys.executable, *words]
    done = subprocess.run(launcher, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    seconds, maximum, returned = json.loads(done.stdout)
    if returned != code:
        raise RuntimeError(f"python {' '.join(words)}: exit code {returned}\n{done.stderr}")
    return Cost(seconds, _megabytes(maximum))


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Return the median time of several runs, and the median of their peaks."""
    seconds = statistics.median(cost.seconds for cost in costs)
    megabytes = statistics.median(cost.megabytes for cost in costs)
    return Cost(seconds, megabytes, num_runs=len(costs))


@contextmanager
def source_trees(before: str | None, root: Path = ROOT) -> Iterator[dict[str, Path]]:
    """Yield the source folders that are measured: "now", and "before" of a commit if one is named.

    The commit is checked out into a temporary worktree, which is removed at the end.
    """
    if before is None:
        yield {"now": root / "src"}
        return
    git = ["git", "-C", str(root), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "before"
        add = [*git, "add", "--quiet", "--detach", str(tree), before]
        done = subprocess.run(add, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"--before {before}: {done.stderr.strip()}")
        try:
            yield {"now": root / "src", "before": tree / "src"}
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


@contextmanager
def load_of(name: str) -> Iterator[None]:
    """Keep one core busy while the context lasts if the name is "busy"."""
    assert name in LOADS, f"{name} is none of {LOADS}"
    if name == "quiet":
        yield
        return
    # It ends with this process too, even if that is killed: it is no one's child then.
    code = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(10**5))"
    spinner = subprocess.Popen([sys.executable, "-S", "-c", code, str(os.getpid())])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def add_before_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that measures another commit beside the checkout."""
    parser.add_argument(
        "--before", metavar="COMMIT", help="measure this commit too, in turns with the checkout"
    )


def find_absence(package: str) -> str:
    """Return why a package cannot be used, such as "not installed"; empty if it can."""
    try:
        importlib.import_module(package)
    except ImportError:
        return "not installed"
    except Exception as error:  # museval raises a RuntimeError without the program ffmpeg
        return str(error).splitlines()[0]
    return ""
