"""Make Table 3 and Figures 6 and 7 of DGFNet, and test its claim about the gate, in one command.

Run `python tools/dgfnet_table3.py --data band --test held-out --out out/table3`. Four variants are
trained for the same number of steps with every seed and scored on the test folders with the
category given, as in the paper. Finished runs and scores are kept: a stopped run is resumed, and
seeds can be added later. OUT/table3.md and .json hold the results, beside two figures.
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

from ablation_runs import SCORE_KEYS, launch, plus_minus, spread_of, train_once
from avsep.checkpoint import load_model
from avsep.data import open_dataset
from avsep.data.clips import ClipFiles
from avsep.evaluation.benchmark import Evaluation, score_clips
from avsep.evaluation.gates import GateSample, gate_shares, measure_gates, paired_difference
from avsep.evaluation.methods import Method, model_methods
from avsep.evaluation.results.writing import as_json
from avsep.media.atomic import write_atomic

# Variant -> the label of its row, and the paper's SDR, SIR, SAR on MUSIC.
VARIANTS = {
    "baseline": ("Baseline", (10.95, 15.56, 14.39)),
    "mul": ("+ Mul", (10.88, 15.66, 14.06)),
    "gate": ("+ DGFM", (11.17, 15.97, 14.41)),
    "full": ("DGFNet", (11.25, 16.22, 14.39)),
}
GATE_ABLATIONS = ("all", "blurred", "hidden")
# Two runs are timed, one of twice these steps: their difference has no start and end of a run.
NUM_TIMED_STEPS = 40
NUM_EXTREMES = 3  # gate maps in Figure 7 from either end of the ranking


def main() -> None:
    """Train, score, measure, draw and write."""
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
    # A process for each test folder: scoring one keeps one core busy.
    with ProcessPoolExecutor(len(tests), get_context("spawn"), share_cores, (len(tests),)) as pool:
        paths = [options.out / f"scores-{num_steps}-{name}.json" for name in tests]
        results = pool.map(score, paths, tests, tests.values(), repeat(runs))
        samples = [
            sample
            for folder_samples in pool.map(gate_samples, tests.values(), repeat(runs))
            for sample in folder_samples
        ]
    rows = {
        name: table_rows(result, options.seeds) for name, result in zip(tests, results, strict=True)
    }
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
    """Limit the threads of this process to its share of the cores."""
    torch.set_num_threads(max(1, torch.get_num_threads() // num_processes))


def read_options() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders to train on")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="folders to score on")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for runs, tables and figures"
    )
    parser.add_argument(
        "--minutes", type=float, default=4.0, help="of each run, timed on the slowest variant"
    )
    parser.add_argument("--steps", type=int, help="of each run, instead of --minutes")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds: 0, 1, ...")
    parser.add_argument("--limit", type=int, help="only the first clips of each test folder")
    parser.add_argument("--set", action="append", default=[], help="setting of all runs, a.b=c")
    return parser.parse_args()


def calibrated_steps(options: argparse.Namespace) -> int:
    """Return the steps of the largest variant in --minutes; timed once and kept in a file."""
    path = options.out / "timing.json"
    if not path.is_file():
        seconds = []
        # The first run prepares the clips; the difference of the others is the time of steps alone.
        for num_steps in (1, NUM_TIMED_STEPS, 2 * NUM_TIMED_STEPS):
            folder = options.out / "runs" / f"timing-{num_steps}"
            shutil.rmtree(folder, ignore_errors=True)  # of a stopped timing
            start = time.perf_counter()
            settings = [f"training.max_steps={num_steps}", "training.num_validation=1"]
            launch(options, "dgfnet-table3-full", folder, settings)
            seconds.append(time.perf_counter() - start)
        per_step = max(seconds[2] - seconds[1], 1e-3) / NUM_TIMED_STEPS
        write_atomic(path, json.dumps({"seconds_per_step": per_step}) + "\n")
    return round(60 * options.minutes / json.loads(path.read_text())["seconds_per_step"])


def train(options: argparse.Namespace, variant: str, seed: int, num_steps: int) -> Path:
    """Return the checkpoint of the last step of a run; train it if it is missing."""
    settings = [f"training.seed={seed}", f"training.validate_every_steps={max(1, num_steps // 2)}"]
    name = f"{variant}-{num_steps}-seed{seed}"
    recipe = f"dgfnet-table3-{variant}"
    return train_once(options, recipe, name, num_steps, settings) / "last.safetensors"


# Scores


def run_name(variant: str, seed: int) -> str:
    """Return the name of a run in tables and files."""
    return f"{variant}, seed {seed}"


def score(
    path: Path, data_name: str, clips: Sequence[ClipFiles], runs: dict[tuple[str, int], Path]
) -> dict[str, Any]:
    """Return the results.json of all runs on one test folder; read from its file if it fits."""
    names = [f"{run_name(*run)} (given)" for run in runs]
    if path.is_file():
        results = json.loads(path.read_text(encoding="utf-8"))
        if list(results["methods"]) == names and len(results["mixtures"]) == len(clips):
            return results
    run_methods = [m for run, folder in runs.items() for m in methods(run, folder, ("all",))]
    scores = []
    for mixture_scores in score_clips(clips, run_methods):
        scores.append(mixture_scores)
        if len(scores) % 20 == 0:
            print(f"{data_name}: {len(scores)} of {len(clips)} clips scored", flush=True)
    results = as_json(Evaluation(tuple(run_methods), tuple(scores)), data_name)
    write_atomic(path, json.dumps(results, indent=1, allow_nan=False) + "\n")
    return results


def methods(run: tuple[str, int], path: Path, ablations: Sequence[str]) -> Iterator[Method]:
    """Return the methods of one run with the category given, as in the paper."""
    return model_methods(run_name(*run), load_model(path), "given", ablations)


def table_rows(results: dict[str, Any], num_seeds: int) -> dict[str, dict[str, Any]]:
    """Return variant -> score -> mean over the seeds, standard deviation, and each seed's."""
    rows: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        rows[variant] = {}
        for key in SCORE_KEYS:
            each = [
                results["methods"][f"{run_name(variant, seed)} (given)"]["strict"][key]
                for seed in range(num_seeds)
            ]
            rows[variant][key] = spread_of(each)
    return rows


# The gate


def gate_samples(clips: Sequence[ClipFiles], runs: dict[tuple[str, int], Path]) -> list[GateSample]:
    """Return the gates of the full model of each seed with clear, blurred and hidden crops."""
    full_methods = [
        method
        for run, path in runs.items()
        if run[0] == "full"
        for method in methods(run, path, GATE_ABLATIONS)
    ]
    return list(measure_gates(clips, full_methods))


def mean_gates(samples: Sequence[GateSample], seed: int, ablation: str) -> np.ndarray:
    """Return the mean gates of one seed under one ablation, in the order of the sources."""
    name = run_name("full", seed)
    method = f"{name} (given)" if ablation == "all" else f"{name} (given, {ablation})"
    return np.array([sample.mean for sample in samples if sample.method == method])


def find_seeds(samples: Sequence[GateSample]) -> list[int]:
    """Return the seeds among the samples."""
    return list(range(len({sample.method for sample in samples}) // len(GATE_ABLATIONS)))


def gate_json(samples: Sequence[GateSample]) -> list[dict[str, Any]]:
    """Return for each seed the mean gates, the shares of Figure 6 and the effect of ablations."""
    seeds = []
    for seed in find_seeds(samples):
        means = {ablation: mean_gates(samples, seed, ablation) for ablation in GATE_ABLATIONS}
        differences = {
            ablation: vars(paired_difference(means["all"], means[ablation]))
            for ablation in GATE_ABLATIONS[1:]
        }
        seeds.append(
            {
                "seed": seed,
                "num_samples": len(means["all"]),
                "mean": {ablation: float(values.mean()) for ablation, values in means.items()},
                "spread": float(means["all"].std(ddof=1)),
                "lowest": float(means["all"].min()),
                "highest": float(means["all"].max()),
                "shares": gate_shares(means["all"]),
                "differences": differences,
            }
        )
    return seeds


def draw_histogram(samples: Sequence[GateSample], path: Path) -> None:
    """Draw Figure 6: a histogram of the mean gates of all sources, a line for each seed."""
    figure, axes = new_figure(1, 1, (6.0, 3.4))
    for seed in find_seeds(samples):
        means = mean_gates(samples, seed, "all")
        axes[0].hist(means, bins=np.linspace(0, 1, 51), histtype="step", label=f"seed {seed}")
    # The borders of `gate_shares`.
    for edge in (0.3, 0.4, 0.6, 0.7):
        axes[0].axvline(edge, color="0.8", linewidth=0.8, zorder=0)
    axes[0].set(xlabel="mean of the gate", ylabel="sources", xlim=(0, 1))
    axes[0].legend(frameon=False)
    save(figure, path)


def draw_extremes(samples: Sequence[GateSample], path: Path) -> None:
    """Draw Figure 7: gate maps of the sources with the lowest and the highest mean, of seed 0."""
    unchanged = [s for s in samples if s.method == f"{run_name('full', 0)} (given)"]
    ranked = sorted(unchanged, key=lambda sample: sample.mean)
    extremes = [*ranked[:NUM_EXTREMES], *ranked[-NUM_EXTREMES:]]
    figure, axes = new_figure(2, NUM_EXTREMES, (3.0 * NUM_EXTREMES, 5.4))
    # The paper's colours, purple for low and yellow for high, on one scale for all maps.
    lowest, highest = (float(f([f(s.gate) for s in extremes])) for f in (np.min, np.max))
    colours = {"cmap": "viridis", "vmin": lowest, "vmax": highest}
    images = []
    for panel, sample in zip(axes, extremes, strict=False):
        images.append(panel.imshow(sample.gate, aspect="auto", origin="lower", **colours))
        panel.set_title(f"{sample.category} of {sample.clip}: {sample.mean:.3f}", fontsize=9)
        panel.set(xlabel="time", ylabel="frequency", xticks=[], yticks=[])
    figure.colorbar(images[-1], ax=axes, label="gate, mean over channels")
    save(figure, path)


def new_figure(num_rows: int, num_columns: int, inches: tuple[float, float]) -> tuple[Any, list]:
    """Return a figure without a display, and its axes in a list."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(num_rows, num_columns, squeeze=False).flat)


def save(figure: Any, path: Path) -> None:
    """Write a figure as an image."""
    figure.savefig(path, dpi=110)


# Output


def markdown(report: dict[str, Any]) -> str:
    """Return the tables as they are in docs/papers/dgfnet.md."""
    seeds = f"{report['seeds']} seeds" if report["seeds"] > 1 else "one seed"
    lines = [f"{report['steps']} steps each, {seeds}: mean ± standard deviation over the seeds."]
    for name, rows in report["tables"].items():
        lines += ["", f"### Table 3 on `{name}` (dB)", ""]
        lines += ["| | SDR | SIR | SAR | paper, on MUSIC |", "|---|---:|---:|---:|---|"]
        for variant, (label, paper) in VARIANTS.items():
            cells = [plus_minus(rows[variant][key]) for key in SCORE_KEYS]
            published = " / ".join(f"{value:.2f}" for value in paper)
            lines.append(f"| {label} | {' | '.join(cells)} | {published} |")
    lines += ["", "### The gate", ""]
    lines += [
        "| seed | mean | spread | below 0.3 | 0.4 to 0.6 | above 0.7 |",
        "|---|" + "---:|" * 5,
    ]
    for seed_gates in report["gate"]:
        shares = [f"{100 * share:.1f} %" for share in seed_gates["shares"].values()]
        cells = [f"{seed_gates['mean']['all']:.3f}", f"{seed_gates['spread']:.3f}", *shares]
        lines.append(f"| {seed_gates['seed']} | {' | '.join(cells)} |")
    lines += ["", "| seed | crop | mean gate | less clear | lower in |", "|---|---|---:|---:|---:|"]
    for seed_gates in report["gate"]:
        lines.append(f"| {seed_gates['seed']} | clear | {seed_gates['mean']['all']:.4f} | | |")
        for ablation, change in seed_gates["differences"].items():
            shift = f"{change['mean']:+.4f} ± {change['margin']:.4f}"
            lower = f"{100 * change['share_lower']:.0f} %"
            mean = f"{seed_gates['mean'][ablation]:.4f}"
            lines.append(f"| {seed_gates['seed']} | {ablation} | {mean} | {shift} | {lower} |")
    lines += ["", "Differences are paired, source by source; ± is half a 95 % interval."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
