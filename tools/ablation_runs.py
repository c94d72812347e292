"""Runs of an ablation: each trained once and kept, all seeds, and how far their scores spread."""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

SCORE_KEYS = ("sdr_db", "sir_db", "sar_db")


def train_once(
    options: argparse.Namespace, recipe: str, name: str, num_steps: int, settings: Sequence[str]
) -> Path:
    """The folder of a run that reached its last step; one that is there is not repeated.

    Args:
        options: `out` and what `launch` reads.
        recipe: as `launch` has it.
        name: of the run's folder, below OUT/runs.
        num_steps: the end of the run.
        settings: further ones of this run, a.b=c.
    """
    folder = options.out / "runs" / name
    end = folder / "last.safetensors"
    if not end.is_file():
        begun = time.perf_counter()
        launch(options, recipe, folder, [f"training.max_steps={num_steps}", *settings])
        if not end.is_file():
            sys.exit(f"{folder.name} was stopped; the same command goes on with it")
        print(f"{folder.name}: {(time.perf_counter() - begun) / 60:.1f} minutes", flush=True)
    return folder


def launch(options: argparse.Namespace, recipe: str, folder: Path, settings: Sequence[str]) -> None:
    """One run of `avsep train`, new or gone on with, in a process of its own.

    Args:
        options: `data`, folders, and `set`, settings of all runs.
        recipe: a name below the package's recipes/ablations.
        folder: of the run.
        settings: of this run, a.b=c.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "avsep", "train", path_of(recipe), "--run", str(folder)]
    command += [word for data in options.data for word in ("--data", str(data))]
    command += [word for line in [*settings, *options.set] for word in ("--set", line)]
    if (folder / "recipe.toml").is_file():
        command.append("--resume")
    subprocess.run(command, check=True)


def path_of(recipe: str) -> str:
    """The path of an ablation's recipe."""
    return str(files("avsep") / "recipes" / "ablations" / f"{recipe}.toml")


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """The mean of one figure over the seeds, its spread (standard deviation), and each seed's."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": spread, "each": list(values)}


def plus_minus(figure: dict[str, Any]) -> str:
    """A figure with its spread, where there is one."""
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.2f}"
    return f"{figure['mean']:.2f}{spread}"
