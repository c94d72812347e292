"""Compare all networks at mini size: the same material and mixtures, equal time, several seeds.

    python tools/compare_networks.py --data band solos --test held-out --out out/comparison

Each network is trained for --minutes of one core, counted in processor time, so that other work on
the machine takes nothing from it; steps are computed from a timing of each network. All are scored
on the test folders with the category given where they read one. Recipes are those of the shipped
minis, mono, with one batch size and the mixing below. Finished runs and scores are kept: the same
command resumes a stopped comparison, and seeds or networks can be added later.
OUT/comparison.md and .json hold the table.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablation_runs import SCORE_KEYS, plus_minus, spread_of
from avsep.checkpoint import load_model
from avsep.data import open_dataset
from avsep.data.clips import ClipFiles
from avsep.evaluation.benchmark import Evaluation, score_clips
from avsep.evaluation.methods import model_methods
from avsep.evaluation.results.writing import as_json
from avsep.media.atomic import write_atomic

# Of every network: the same mixtures, and a learning rate that falls to zero within the run.
COMMON = (
    "mixing.num_sources=2",
    "mixing.gain_range=[0.4, 1.6]",
    "mixing.same_clip_probability=0.2",
    "mixing.same_category_probability=0.0",
    "mixing.offscreen_probability=0.15",
    "mixing.unseen_categories=[]",
    "mixing.silent_probability=0.05",
    "mixing.equaliser_db=0.0",
    "mixing.distinct_categories=true",
    "mixing.mirror_probability=0.0",
    "mixing.extra_sources=0",
    "mixing.extra_silent_probability=0.5",
    "training.batch_size=16",
    "training.ema_decay=0.998",
    "training.num_workers=1",
    "training.num_validation=8",
    "training.num_samples=0",
    "training.precision=bf16-mixed",
    "training.channels_last=true",
)
# Without ears, for the networks that have them.
_MONO = ("settings.front_end.num_channels=1", "settings.spatial_cues=none")
_UNET = ("settings.unet.channels=[24, 48, 96, 128, 128, 128, 128]",)


@dataclass(frozen=True)
class Network:
    """One row of the table: the recipe that it starts from, and what is changed in it."""

    recipe: str
    changes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ("model",)


NETWORKS = {
    "avsep": Network("avsep-mini"),
    "dgfnet": Network("dgfnet-mini", groups=("transformer", "rest")),
    "iquery": Network(
        "dgfnet-mini",
        (
            "model=iquery",
            "settings.fusion=none",
            "settings.motion_in_fusion=false",
            "settings.audio_attention=false",
        ),
        ("transformer", "rest"),
    ),
    "davis": Network(
        "davis-flow-mini",
        ("model=davis", "settings.sampling.sampler=ddim", "settings.sampling.num_steps=4"),
        ("unet", "vision"),
    ),
    "davis-flow": Network("davis-flow-mini", groups=("unet", "vision")),
    "lavss": Network(
        "lavss-mini", (*_MONO, *_UNET, "settings.num_templates=0"), ("vision", "separation")
    ),
    "sound-of-pixels": Network(
        "lavss-table3-sop-mono-small",
        ("settings.fusion=none", "settings.unet.num_features=16", *_UNET),
        ("vision", "separation"),
    ),
    "separation-2.5d": Network(
        "lavss-table3-25d-mono-small",
        ("settings.fusion=none", *_UNET),
        ("vision", "separation"),
    ),
}
# Two runs are timed, one of twice these steps: their difference has no start and end of a run.
NUM_TIMED_STEPS = 8


def main() -> None:
    """Time, train, score and write."""
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    steps = {name: options.steps or count_steps(options, name) for name in options.networks}
    runs = {
        (name, seed): train(options, name, seed, steps[name])
        for seed in range(options.seeds)
        for name in options.networks
    }
    tests = {
        folder.resolve().name: open_dataset(folder)[: options.limit] for folder in options.test
    }
    tables = {name: score(options, name, clips, runs) for name, clips in tests.items()}
    report = {
        "minutes": None if options.steps else options.minutes,
        "seeds": options.seeds,
        "steps": steps,
        "parameters": {name: count_parameters(runs[name, 0]) for name in options.networks},
        "tables": tables,
    }
    write_atomic(options.out / "comparison.json", json.dumps(report, indent=1) + "\n")
    write_atomic(options.out / "comparison.md", markdown(report))
    print((options.out / "comparison.md").read_text(encoding="utf-8"))


def read_options() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders to train on")
    parser.add_argument("--test", type=Path, nargs="+", required=True, help="folders to score on")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and the table")
    parser.add_argument("--minutes", type=float, default=10.0, help="of one core, for each run")
    parser.add_argument("--steps", type=int, help="of each run, instead of --minutes")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds: 0, 1, ...")
    parser.add_argument("--limit", type=int, help="only the first clips of each test folder")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--set", action="append", default=[], help="setting of all runs, a.b=c")
    return parser.parse_args()


# Training


def count_steps(options: argparse.Namespace, name: str) -> int:
    """Return the steps that a network takes in --minutes; timed once and kept in a file."""
    path = options.out / f"timing-{name}.json"
    if not path.is_file():
        seconds = []
        # The first run prepares the clips; the difference of the others is the time of steps alone.
        for num_steps in (1, NUM_TIMED_STEPS, 2 * NUM_TIMED_STEPS):
            folder = options.out / "runs" / f"timing-{name}-{num_steps}"
            shutil.rmtree(folder, ignore_errors=True)  # of a stopped timing
            start = resource.getrusage(resource.RUSAGE_CHILDREN)
            launch(options, name, folder, [f"training.max_steps={num_steps}"])
            end = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds.append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
        per_step = max(seconds[2] - seconds[1], 1e-3) / NUM_TIMED_STEPS
        write_atomic(path, json.dumps({"seconds_per_step": per_step}) + "\n")
    return max(1, round(60 * options.minutes / json.loads(path.read_text())["seconds_per_step"]))


def train(options: argparse.Namespace, name: str, seed: int, num_steps: int) -> Path:
    """Return the checkpoint of the last step of a run; train it if it is missing."""
    folder = options.out / "runs" / f"{name}-{num_steps}-seed{seed}"
    last = folder / "last.safetensors"
    if not last.is_file():
        launch(options, name, folder, [f"training.max_steps={num_steps}", f"training.seed={seed}"])
    if not last.is_file():
        sys.exit(f"{folder.name} was stopped; the same command resumes it")
    return last


def launch(options: argparse.Namespace, name: str, folder: Path, settings: Sequence[str]) -> None:
    """Run `avsep train` on one thread in a process of its own, new or resumed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    network = NETWORKS[name]
    schedules = [
        f"optimizers.{group}.{setting}"
        for group in network.groups
        for setting in ("schedule=cosine", "learning_rate=1e-3", "warmup_steps=20")
    ]
    command = [sys.executable, "-m", "avsep", "train", network.recipe, "--run", str(folder)]
    command += [word for data in options.data for word in ("--data", str(data))]
    changes = [*network.changes, *COMMON, *schedules, *settings, *options.set]
    command += [word for line in changes for word in ("--set", line)]
    if (folder / "recipe.toml").is_file():
        command.append("--resume")
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def count_parameters(path: Path) -> int:
    """Return the number of trained parameters of a checkpoint's model."""
    return sum(p.numel() for p in load_model(path).parameters() if p.requires_grad)


# Scores


def score(
    options: argparse.Namespace,
    data_name: str,
    clips: Sequence[ClipFiles],
    runs: dict[tuple[str, int], Path],
) -> dict[str, dict[str, Any]]:
    """Return network -> score -> mean over the seeds, spread, and each seed's."""
    by_run = {run: score_run(options, data_name, clips, run, path) for run, path in runs.items()}
    return {
        name: {
            key: spread_of([by_run[name, seed][key] for seed in range(options.seeds)])
            for key in SCORE_KEYS
        }
        for name in options.networks
    }


def score_run(
    options: argparse.Namespace,
    data_name: str,
    clips: Sequence[ClipFiles],
    run: tuple[str, int],
    path: Path,
) -> dict[str, float]:
    """Return the mean scores of one run on one test folder; kept in a file beside the run."""
    kept = path.parent / f"scores-{data_name}-{len(clips)}.json"
    if not kept.is_file():
        methods = tuple(model_methods(run[0], load_model(path), "given"))
        results: dict[str, Any] = as_json(
            Evaluation(methods, tuple(score_clips(clips, methods))), data_name
        )
        write_atomic(kept, json.dumps(results["methods"][methods[0].name]["strict"]) + "\n")
        print(f"{path.parent.name}: scored on {data_name}", flush=True)
    return json.loads(kept.read_text(encoding="utf-8"))


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown: a table for each test folder, the best SDR first."""
    length = "" if report["minutes"] is None else f", {report['minutes']:g} minutes of one core"
    lines = [f"# Networks at mini size: {report['seeds']} seeds{length}", ""]
    for data_name, rows in report["tables"].items():
        lines += [
            f"## {data_name}",
            "",
            "| network | parameters | steps | SDR | SIR | SAR |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for name in sorted(rows, key=lambda row: -rows[row]["sdr_db"]["mean"]):
            millions = report["parameters"][name] / 1e6
            scores = " | ".join(plus_minus(rows[name][key]) for key in SCORE_KEYS)
            lines.append(f"| {name} | {millions:.2f} M | {report['steps'][name]} | {scores} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
