"""Start-up of the command `avsep`: help, a wrong option, the list of models, a short separation."""

import argparse
import tempfile
from pathlib import Path

from clips import make_duets
from common import ResultTable, compare_trees, run_benchmark
from measuring import add_before_option, measure_trees, source_trees


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure commands beside what Python and PyTorch alone take, which no change can save."""
    num_runs = 1 if options.tiny else options.runs
    with tempfile.TemporaryDirectory() as folder, source_trees(options.before) as trees:
        (duet,) = make_duets(Path(folder) / "clips", 1, options.tiny)
        commands = {
            "python, which does nothing": (["-c", "pass"], 0),
            "import torch": (["-c", "import torch"], 0),
            "avsep --help": (["-m", "avsep", "--help"], 0),
            "avsep separate --no-such-option": (["-m", "avsep", "separate", "--no-such-option"], 2),
            "avsep models": (["-m", "avsep", "models"], 0),
        }
        costs = {}
        for label, (words, code) in commands.items():
            costs[label] = measure_trees(
                lambda _, words=words: words, trees, num_runs, warm_up=not options.tiny, code=code
            )
        costs["avsep separate, a duet"] = measure_trees(
            lambda name: ["-m", "avsep", "separate", str(duet), "-o", f"{folder}/{name}"],
            trees,
            num_runs,
            warm_up=not options.tiny,
        )
    seconds = 2 if options.tiny else 10
    return [compare_trees(f"Commands, with a duet of {seconds} seconds", costs)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the number of runs and the commit to compare with."""
    parser.add_argument("--runs", type=int, default=5, help="runs of each command (5)")
    add_before_option(parser)


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
