"""`avsep evaluate`: duets scored per second by three models in one run."""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from clips import make_duets
from common import RECORDS, ResultTable, compare_trees, run_benchmark
from measuring import add_before_option, measure_trees, source_trees
from recordings import add_recordings_option

MODELS = ("dgfnet-mini", "davis-mini", "davis-flow-mini")
LOG = "score_log.jsonl"  # grows in the order in which workers finish


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure the whole command, start and pages included, and compare what it writes."""
    num_pairs, models = (1, MODELS[:1]) if options.tiny else (options.pairs, MODELS)
    with tempfile.TemporaryDirectory() as folder, source_trees(options.before) as trees:
        # Making them takes minutes: those of the last run are kept.
        source = options.recordings.resolve().name if options.recordings else "shipped notes"
        clips = Path(folder) / "clips" if options.tiny else RECORDS / "duets" / source
        make_duets(clips, num_pairs, options.tiny, options.recordings)
        limit = ["--limit", str(num_pairs)]
        if not options.tiny:  # compile, and fill the file cache
            measure_trees(
                lambda name: evaluate(models, clips, f"{folder}/first-{name}", ["--limit", "2"]),
                trees,
                1,
                warm_up=False,
            )
        costs = measure_trees(
            lambda name: evaluate(models, clips, f"{folder}/{name}", limit), trees, 1, warm_up=False
        )
        differing = None
        if options.before:
            differing = different_files(Path(folder) / "now", Path(folder) / "before")
    rates = (
        f"{name}: {num_pairs / cost.seconds:.2f} pairs a second" for name, cost in costs.items()
    )
    table = compare_trees(
        f"{num_pairs} duets of {source}, {', '.join(models)}", {"evaluate": costs}
    )
    notes = (*table.notes, f"Rates: {', '.join(rates)}; baselines and ceilings are scored too.")
    if differing is not None:
        equal = "All files of results are equal to the byte."
        notes += (f"Files that differ: {', '.join(differing)}." if differing else equal,)
    return [replace(table, notes=notes)]


def evaluate(models: tuple[str, ...], clips: Path, out: str, words: list[str]) -> list[str]:
    """Return the words of the command."""
    return ["-m", "avsep", "evaluate", *models, "--data", str(clips), "-o", out, *words]


def different_files(first: Path, second: Path) -> list[str]:
    """Return the names of files that are not in both folders with the same bytes."""
    contents = [
        {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file() and file.name != LOG
        }
        for folder in (first, second)
    ]
    names = sorted(contents[0] | contents[1])
    return [name for name in names if contents[0].get(name) != contents[1].get(name)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the number of pairs, the notes, and the commit to compare with."""
    parser.add_argument("--pairs", type=int, default=200, help="duets that are scored (200)")
    add_recordings_option(parser)
    add_before_option(parser)


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
