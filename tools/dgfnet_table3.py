"""Table 3 of DGFNet, Figures 6 and 7 and the test of its claim: one command trains and draws.

Run `python tools/dgfnet_table3.py --data band --test held-out --out out/table3`. Four variants are
trained for the same number of steps with every seed, scored on the test folders with the category
told, as in the paper. What is there already is not made again: a run that was stopped goes on, and
more seeds may be asked for later. OUT/table3.md and .json hold the results, beside two pictures.
"""

import argparse
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablation_runs import FIGURES, launch, plus_minus, spread_of, train_once
from avsep.checkpoint import load_model
from avsep.data import open_dataset
from avsep.data.clips import ClipFiles
from avsep.evaluation.benchmark import Evaluation, score_clips
from avsep.evaluation.gates import GateSample, gate_shares, measure_gates, paired_difference
from avsep.evaluation.methods import Method, model_methods
from avsep.evaluation.results.writing import as_json
from avsep.media.atomic import write_atomic

# Variant -> its row, and the paper's SDR, SIR, SAR on MUSIC.
VARIANTS = {
    "baseline": ("Baseline", (10.95, 15.56, 14.39)),
    "mul": ("+ Mul", (10.88, 15.66, 14.06)),
    "gate": ("+ DGFM", (11.17, 15.97, 14.41)),
    "full": ("DGFNet", (11.25, 16.22, 14.39)),
}
GATE_TRIALS = ("all", "blurred", "hidden")
# Two runs are timed, one of twice these steps: start and end of a run fall out.
NUM_TIMED_STEPS = 40
NUM_EXTREMES = 3  # gate maps shown from either end


def main() -> None:
    """Train, score, measure, draw, write."""
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    num_steps = options.steps or calibrated_steps(options)
    runs = {
        (variant, seed): train(options, variant, seed, num_steps)
        for seed in range(options.seeds)
        for variant in VARIANTS
    }
    tests = {
        folder.resolve().name: open_dataset(folder)[: options.limit] for folder in options.test
    }
    # A process for each folder: scores keep one core busy each.
    with ProcessPoolExecutor(len(tests), get_context("spawn"), share_cores, (len(tests),)) as pool:
        kept = [options.out / f"scores-{num_steps}-{name}.json" for name in tests]
        scores = pool.map(score, kept, tests, tests.values(), repeat(runs))
        samples = [
            s for found in pool.map(gate_samples, tests.values(), repeat(runs)) for s in found
        ]
    rows = {n: table_rows(found, options.seeds) for n, found in zip(tests, scores, strict=True)}
    report = {
        "steps": num_steps,
        "seeds": options.seeds,
        "tables": rows,
        "gate": gate_json(samples),
    }
    draw_histogram(samples, options.out / "figure6.png")
    draw_extremes(samples, options.out / "figure7.png")
    write_atomic(options.out / "table3.json", json.dumps(report, indent=1) + "\n")
    write_atomic(options.out / "table3.md", markdown(report))
    print((options.out / "table3.md").read_text(encoding="utf-8"))


def share_cores(num_processes: int) -> None:
    """Leave the other processes theirs."""
    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders to train on")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="folders to score on")
    parser.add_argument("--out", type=Path, required=True, help="where everything is written")
    parser.add_argument("--minutes", type=float, default=4.0, help="a run, timed on the slowest")
    parser.add_argument("--steps", type=int, help="a run, instead of --minutes")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 0, 1, ...")
    parser.add_argument("--limit", type=int, help="only the first clips of each test folder")
    parser.add_argument("--set", action="append", default=[], help="a setting of all runs, a.b=c")
    return parser.parse_args()


def calibrated_steps(options: argparse.Namespace) -> int:
    """Steps that the largest variant makes in the minutes asked for; timed once and kept."""
    kept = options.out / "timing.json"
    if not kept.is_file():
        seconds = []
        # The first prepares the clips; the difference of the others is steps and nothing else.
        for num_steps in (1, NUM_TIMED_STEPS, 2 * NUM_TIMED_STEPS):
            folder = options.out / "runs" / f"timing-{num_steps}"
            shutil.rmtree(folder, ignore_errors=True)  # of a timing that was stopped
            begun = time.perf_counter()
            short = [f"training.max_steps={num_steps}", "training.num_validation=1"]
            launch(options, "dgfnet-table3-full", folder, short)
            seconds.append(time.perf_counter() - begun)
        per_step = max(seconds[2] - seconds[1], 1e-3) / NUM_TIMED_STEPS
        write_atomic(kept, json.dumps({"seconds_per_step": per_step}) + "\n")
    return round(60 * options.minutes / json.loads(kept.read_text())["seconds_per_step"])


def train(options: argparse.Namespace, variant: str, seed: int, num_steps: int) -> Path:
    """The model of the last step of a run, trained unless it is there."""
    settings = [f"training.seed={seed}", f"training.validate_every_steps={max(1, num_steps // 2)}"]
    name = f"{variant}-{num_steps}-seed{seed}"
    recipe = f"dgfnet-table3-{variant}"
    return train_once(options, recipe, name, num_steps, settings) / "last.safetensors"


# Scores


def run_name(variant: str, seed: int) -> str:
    """How a run is called in tables and files."""
    return f"{variant}, seed {seed}"


def score(
    kept: Path, data_name: str, clips: Sequence[ClipFiles], runs: dict[tuple[str, int], Path]
) -> dict[str, Any]:
    """What `avsep evaluate` writes of all runs on one folder; kept, and taken from there again."""
    names = [run_name(*run) for run in runs]
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        if list(found["methods"]) == [f"{name} (told)" for name in names] and len(
            found["mixtures"]
        ) == len(clips):
            return found
    rows = [row for run, path in runs.items() for row in methods(run, path, ("all",))]
    done = []
    for clip in score_clips(clips, rows):
        done.append(clip)
        if len(done) % 20 == 0:
            print(f"{data_name}: {len(done)} of {len(clips)} clips scored", flush=True)
    found = as_json(Evaluation(tuple(rows), tuple(done)), data_name)
    write_atomic(kept, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def methods(run: tuple[str, int], path: Path, trials: Sequence[str]) -> Iterator[Method]:
    """The rows of one run with the category told, as the paper reads it."""
    return model_methods(run_name(*run), load_model(path), "told", trials)


def table_rows(found: dict[str, Any], num_seeds: int) -> dict[str, dict[str, Any]]:
    """Variant -> figure -> mean over the seeds, spread (standard deviation), and each seed's."""
    rows: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        rows[variant] = {}
        for figure in FIGURES:
            each = [
                found["methods"][f"{run_name(variant, seed)} (told)"]["strict"][figure]
                for seed in range(num_seeds)
            ]
            rows[variant][figure] = spread_of(each)
    return rows


# The gate


def gate_samples(clips: Sequence[ClipFiles], runs: dict[tuple[str, int], Path]) -> list[GateSample]:
    """The gates of the whole model, each seed's, with crops clear, blurred and hidden."""
    rows = [
        row
        for run, path in runs.items()
        if run[0] == "full"
        for row in methods(run, path, GATE_TRIALS)
    ]
    return list(measure_gates(clips, rows))


def means_of(samples: Sequence[GateSample], seed: int, trial: str) -> np.ndarray:
    """Mean gates of one seed under one trial, in the order of the sources."""
    name = run_name("full", seed)
    row = f"{name} (told)" if trial == "all" else f"{name} (told, {trial})"
    return np.array([sample.mean for sample in samples if sample.method == row])


def seeds_of(samples: Sequence[GateSample]) -> list[int]:
    """The seeds that were measured."""
    return list(range(len({sample.method for sample in samples}) // len(GATE_TRIALS)))


def gate_json(samples: Sequence[GateSample]) -> list[dict[str, Any]]:
    """For each seed the mean gates, the shares of Figure 6, and how hiding the crop moves them."""
    found = []
    for seed in seeds_of(samples):
        means = {trial: means_of(samples, seed, trial) for trial in GATE_TRIALS}
        differences = {
            trial: vars(paired_difference(means["all"], means[trial])) for trial in GATE_TRIALS[1:]
        }
        found.append(
            {
                "seed": seed,
                "num_samples": len(means["all"]),
                "mean": {trial: float(values.mean()) for trial, values in means.items()},
                "spread": float(means["all"].std(ddof=1)),
                "lowest": float(means["all"].min()),
                "highest": float(means["all"].max()),
                "shares": gate_shares(means["all"]),
                "differences": differences,
            }
        )
    return found


def draw_histogram(samples: Sequence[GateSample], path: Path) -> None:
    """Figure 6: how the mean gates of the test pairs' sources spread, a line a seed."""
    figure, axes = new_figure(1, 1, (6.0, 3.4))
    for seed in seeds_of(samples):
        means = means_of(samples, seed, "all")
        axes[0].hist(means, bins=np.linspace(0, 1, 51), histtype="step", label=f"seed {seed}")
    for edge in (0.3, 0.4, 0.6, 0.7):
        axes[0].axvline(edge, color="0.8", linewidth=0.8, zorder=0)
    axes[0].set(xlabel="mean of the gate", ylabel="sources", xlim=(0, 1))
    axes[0].legend(frameon=False)
    save(figure, path)


def draw_extremes(samples: Sequence[GateSample], path: Path) -> None:
    """Figure 7: gate maps of the sources with the lowest and the highest mean, of seed 0."""
    own = [s for s in samples if s.method == f"{run_name('full', 0)} (told)"]
    ranked = sorted(own, key=lambda sample: sample.mean)
    shown = [*ranked[:NUM_EXTREMES], *ranked[-NUM_EXTREMES:]]
    figure, axes = new_figure(2, NUM_EXTREMES, (3.0 * NUM_EXTREMES, 5.4))
    # The paper's colours: purple is low, yellow is high, of all that is shown.
    lowest, highest = (float(f([f(s.gate) for s in shown])) for f in (np.min, np.max))
    colours = {"cmap": "viridis", "vmin": lowest, "vmax": highest}
    pictures = []
    for place, sample in zip(axes, shown, strict=False):
        pictures.append(place.imshow(sample.gate, aspect="auto", origin="lower", **colours))
        place.set_title(f"{sample.category} of {sample.clip}: {sample.mean:.3f}", fontsize=9)
        place.set(xlabel="time", ylabel="frequency", xticks=[], yticks=[])
    figure.colorbar(pictures[-1], ax=axes, label="gate, mean over channels")
    save(figure, path)


def new_figure(num_rows: int, num_columns: int, inches: tuple[float, float]) -> tuple[Any, list]:
    """A figure without a screen, and its places in a row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(num_rows, num_columns, squeeze=False).flat)


def save(figure: Any, path: Path) -> None:
    """Write a picture."""
    figure.savefig(path, dpi=110)


# What is written


def markdown(report: dict[str, Any]) -> str:
    """The tables as they stand in docs/papers/dgfnet.md."""
    seeds = f"{report['seeds']} seeds" if report["seeds"] > 1 else "one seed"
    lines = [f"{report['steps']} steps each, {seeds}: mean ± standard deviation over the seeds."]
    for name, rows in report["tables"].items():
        lines += ["", f"### Table 3 on `{name}` (dB)", ""]
        lines += ["| | SDR | SIR | SAR | paper, on MUSIC |", "|---|---:|---:|---:|---|"]
        for variant, (label, paper) in VARIANTS.items():
            cells = [plus_minus(rows[variant][figure]) for figure in FIGURES]
            published = " / ".join(f"{value:.2f}" for value in paper)
            lines.append(f"| {label} | {' | '.join(cells)} | {published} |")
    lines += ["", "### The gate", ""]
    lines += [
        "| seed | mean | spread | below 0.3 | 0.4 to 0.6 | above 0.7 |",
        "|---|" + "---:|" * 5,
    ]
    for found in report["gate"]:
        shares = [f"{100 * share:.1f} %" for share in found["shares"].values()]
        cells = [f"{found['mean']['all']:.3f}", f"{found['spread']:.3f}", *shares]
        lines.append(f"| {found['seed']} | {' | '.join(cells)} |")
    lines += ["", "| seed | crop | mean gate | less clear | lower in |", "|---|---|---:|---:|---:|"]
    for found in report["gate"]:
        lines.append(f"| {found['seed']} | clear | {found['mean']['all']:.4f} | | |")
        for trial, change in found["differences"].items():
            moved = f"{change['mean']:+.4f} ± {change['margin']:.4f}"
            lower = f"{100 * change['share_lower']:.0f} %"
            mean = f"{found['mean'][trial]:.4f}"
            lines.append(f"| {found['seed']} | {trial} | {mean} | {moved} | {lower} |")
    lines += ["", "Differences are paired, source by source; ± is half a 95 % interval."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
