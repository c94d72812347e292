"""How long BSS Eval takes: avsep beside mir_eval, same signals, same process, same run."""

import argparse
import time
import warnings
from collections.abc import Callable

import mir_eval
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from avsep.evaluation.bss_eval import bss_eval

NUM_SOURCES, NUM_SAMPLES = 2, 65_280  # what the field's protocol scores at a time


def make_pairs(num_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a falling spectrum, as music has, and leaky, noisy estimates of it."""
    rng = np.random.default_rng(0)
    white = rng.standard_normal((num_pairs, NUM_SOURCES, NUM_SAMPLES))
    falling = 1 / np.linspace(1, 100, NUM_SAMPLES // 2 + 1)
    sources = np.fft.irfft(np.fft.rfft(white) * falling, n=NUM_SAMPLES)
    noise = 0.1 * sources.std() * rng.standard_normal(sources.shape)
    return sources, sources + 0.2 * sources[:, ::-1] + noise


def best_seconds(work: Callable[[], np.ndarray], repeats: int) -> tuple[float, np.ndarray]:
    """The shortest of several runs, and the scores of the last."""
    spent = []
    result = np.empty(0)
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        spent.append(time.perf_counter() - start)
    return min(spent), result


def main() -> None:
    """Time both and print a table; the greatest difference shows that they did the same work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=4, help="mixtures to score (4)")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the best counts (3)")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", "mir_eval.separation", FutureWarning)
    sources, estimates = make_pairs(options.pairs)

    def ours() -> np.ndarray:
        scores = bss_eval(sources, estimates)
        return np.stack([scores.sdr_db, scores.sir_db, scores.sar_db], axis=1)

    def theirs() -> np.ndarray:
        pairs = zip(sources, estimates, strict=True)
        return np.stack([mir_eval.separation.bss_eval_sources(*pair, False)[:3] for pair in pairs])

    ours_seconds, ours_db = best_seconds(ours, options.repeats)
    theirs_seconds, theirs_db = best_seconds(theirs, options.repeats)
    title = f"{options.pairs} x {NUM_SOURCES} sources x {NUM_SAMPLES} samples, CPU"
    table = Table(title=f"{title}, torch threads: {torch.get_num_threads()}")
    for name in ("", "milliseconds a pair", "times as fast"):
        table.add_column(name, justify="right" if name else "left")
    for name, seconds in (("mir_eval", theirs_seconds), ("avsep", ours_seconds)):
        milliseconds = f"{1000 * seconds / options.pairs:.1f}"
        table.add_row(name, milliseconds, f"{theirs_seconds / seconds:.2f}")
    console = Console()
    console.print(table)
    console.print(f"greatest difference: {np.abs(ours_db - theirs_db).max():.1e} dB")


if __name__ == "__main__":
    main()
