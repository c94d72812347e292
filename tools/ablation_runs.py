"""Runs of an ablation: each trained once and kept, all seeds, and how far their scores spread."""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from avsep.recipe import recipe_names

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
        recipe: the row of a table, by the name of its recipe; it is trained small.
        folder: of the run.
        settings: of this run, a.b=c.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    small, changes = small_run(recipe)
    command = [sys.executable, "-m", "avsep", "train", small, "--run", str(folder)]
    command += [word for data in options.data for word in ("--data", str(data))]
    command += [word for line in [*changes, *settings, *options.set] for word in ("--set", line)]
    if (folder / "recipe.toml").is_file():
        command.append("--resume")
    subprocess.run(command, check=True)


def small_run(recipe: str) -> tuple[str, list[str]]:
    """The recipe and the settings, a.b=c, of the small run of a table's row.

    Recipes of rows have the paper's size: a row changes the recipe X that it extends. Its small
    run makes the same changes to the recipe X-small.
    """
    names, name, changes = recipe_names(), recipe, dict[str, Any]()
    while f"{name}-small" not in names:
        text = (files("avsep") / "recipes" / "ablations" / f"{name}.toml").read_text("utf-8")
        own = tomllib.loads(text)
        name = own.pop("extends")
        # What a row says goes before what the recipe that it extends says.
        changes = {**dict(_settings_of(own)), **changes}
    return f"{name}-small", [f"{key}={value}" for key, value in changes.items()]


def _settings_of(values: dict[str, Any], group: str = "") -> Iterator[tuple[str, str]]:
    """Each setting of nested groups: a.b, and its value as TOML."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _settings_of(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", json.dumps(value)


def spread_of(values: Sequence[float]) -> dict[str, Any]:
    """The mean of one figure over the seeds, its spread (standard deviation), and each seed's."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "spread": spread, "each": list(values)}


def plus_minus(figure: dict[str, Any]) -> str:
    """A figure with its spread, where there is one."""
    spread = "" if figure["spread"] is None else f" ± {figure['spread']:.2f}"
    return f"{figure['mean']:.2f}{spread}"
