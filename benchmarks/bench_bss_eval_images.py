"""BSS Eval of images: a ten-minute stereo song of four stems, time and memory."""

import argparse
import importlib
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from avsep.evaluation.bss_eval_images import bss_eval_images
from common import Cell, ResultTable, compare_trees, ratio, run_benchmark
from measuring import (
    Cost,
    add_before_option,
    find_absence,
    in_new_process,
    measure_trees,
    measure_work,
    peak_megabytes,
    source_trees,
)
from recordings import RECORDED_RATE_HZ, Recordings, add_recordings_option

Scorer = Callable[[np.ndarray, np.ndarray], object]
# The whole song by the package of another commit, which only a process of its own can import.
SCORE_FILES = """
import sys
import numpy as np
from avsep.evaluation.bss_eval_images import bss_eval_images
bss_eval_images(np.load(sys.argv[1]), np.load(sys.argv[2]))
"""


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure avsep on the whole song, and all on an excerpt: the others are too slow for more."""
    seconds, excerpt, num_stems = (0.5, 0.2, 2) if options.tiny else (options.seconds, 10.0, 4)
    absences = {name: find_absence(name) for name in SCORERS}
    names = [name for name in SCORERS if not absences[name]]
    rows: list[tuple[Cell, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_song(Recordings.read(options.recordings), seconds, num_stems, Path(folder))
        costs = {name: in_new_process(score_song, name, folder, excerpt) for name in names}
        whole = in_new_process(score_song, "avsep", folder, seconds)
        if options.before:
            files = [f"{folder}/{name}.npy" for name in ("references", "estimates")]
            command = ["-c", SCORE_FILES, *files]
            with source_trees(options.before) as trees:
                processes = measure_trees(lambda _: command, trees, 1, warm_up=False)
    for name, cost in costs.items():
        rows.append(song_row(name, excerpt, cost, costs))
    rows.append(song_row("avsep", seconds, whole, {}))
    rows += [(f"{name}: {why}", *[None] * 6) for name, why in absences.items() if why]
    head = ("", "s of sound", "seconds", "x mir_eval", "x museval", "peak MB", "own MB")
    notes = (
        "One run each, without a warm-up. x: times as fast as; own MB: of the peak, what is above "
        "imports and input.",
    )
    tables = [ResultTable(f"Stereo at 44.1 kHz, {num_stems} stems", head, tuple(rows), notes)]
    if options.before:
        title = f"{seconds:g} s of it, from the start of Python to its end"
        tables.append(compare_trees(title, {"bss_eval_images": processes}))
    return tables


def song_row(name: str, length: float, cost: Cost, costs: dict[str, Cost]) -> tuple[Cell, ...]:
    """Return the row of an implementation, with ratios to the others' costs."""
    peers = [costs[peer].seconds if peer in costs else None for peer in ("mir_eval", "museval")]
    ratios = [ratio(peer, cost.seconds) for peer in peers]
    return (name, length, cost.seconds, *ratios, cost.megabytes, cost.own_megabytes)


def write_song(recordings: Recordings, seconds: float, num_stems: int, folder: Path) -> None:
    """Write the stems and leaky, noisy estimates of them as arrays [S, 2, N], float32."""
    stems = recordings.song(seconds, num_stems)
    noise = np.random.default_rng(1).standard_normal(stems.shape, np.float32)
    np.save(folder / "references.npy", stems)
    np.save(folder / "estimates.npy", 0.7 * stems + 0.3 * stems[::-1] + np.float32(0.01) * noise)


def score_song(name: str, folder: str, seconds: float) -> Cost:
    """Measure one implementation on the middle of the song."""
    warnings.filterwarnings("ignore", "mir_eval.separation", FutureWarning)
    importlib.import_module(name)
    signals = []
    for file in ("references.npy", "estimates.npy"):
        whole = np.load(Path(folder) / file, mmap_mode="r")
        length = round(seconds * RECORDED_RATE_HZ)
        start = (whole.shape[-1] - length) // 2
        signals.append(np.array(whole[..., start : start + length]))
    return measure_work(
        lambda: SCORERS[name](*signals), before_megabytes=peak_megabytes(), enough_seconds=0
    )


def score_by_mir_eval(
    references: Float[np.ndarray, "S 2 N"], estimates: Float[np.ndarray, "S 2 N"]
) -> None:
    """Score by mir_eval, which has channels last."""
    import mir_eval

    swapped = (references.transpose(0, 2, 1), estimates.transpose(0, 2, 1))
    mir_eval.separation.bss_eval_images(*swapped, compute_permutation=False)


def score_by_museval(
    references: Float[np.ndarray, "S 2 N"], estimates: Float[np.ndarray, "S 2 N"]
) -> None:
    """Score by museval in one frame, as mir_eval does; it has channels last too."""
    from museval.metrics import bss_eval_images

    swapped = (references.transpose(0, 2, 1), estimates.transpose(0, 2, 1))
    bss_eval_images(*swapped, compute_permutation=False)


SCORERS: dict[str, Scorer] = {
    "mir_eval": score_by_mir_eval,
    "museval": score_by_museval,
    "avsep": bss_eval_images,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the material."""
    add_recordings_option(parser)
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the song (600)")
    add_before_option(parser)


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
