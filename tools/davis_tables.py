"""Tables 2, 3 and 4 of DAVIS at small size: one command trains, scores and draws.

Run `python tools/davis_tables.py --data band --out out/davis`. The rows of Tables 2 and 3 are
trained for the same number of steps with every seed and scored on the validation list, as in the
paper; of Table 4 one trained model is scored with other rules for silence, and of "bound", a table
of ours, one that may answer with more than the mixture holds, kept to it and not. What is there
already is not made again: a run that was stopped goes on, and more seeds may be asked for later.
OUT/tables.md and .json hold the results.
"""

import argparse
import copy
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from ablation_runs import FIGURES, path_of, plus_minus, spread_of, train_once
from avsep.checkpoint import load_model
from avsep.devices import find_device
from avsep.media.atomic import write_atomic
from avsep.training.datamodule import ClipLists, DataModule, read_lists
from avsep.training.recipe import load_training
from avsep.training.validation import validate

DEFAULT = "table2-rtft"  # the paper's network, which is the last row of both tables


@dataclass(frozen=True)
class Row:
    """A row of Table 2 or 3.

    Attributes:
        run: its recipe's name, without what all have in common.
        paper_db: SDR, SIR, SAR on MUSIC's validation list.
        paper_mebi: the paper's count of parameters, of Table 2 alone.
    """

    label: str
    run: str
    paper_db: tuple[float, float, float]
    paper_mebi: float | None = None


TABLES = {
    "2": (
        Row("{R, R, R}", "table2-rrr", (9.03, 14.05, 13.20), 51.76),
        Row("{R, R, T}", "table2-rrt", (11.78, 17.91, 15.44), 43.85),
        Row("{R, R, TF}", "table2-rrtf", (11.50, 18.01, 15.21), 42.95),
        Row("{R, TF, T}", DEFAULT, (11.88, 17.52, 16.12), 35.04),
    ),
    "3": (
        Row("Concat", "table3-concat", (10.85, 17.62, 15.52)),
        Row("FIM (Point-wise)", "table3-point-wise", (11.06, 17.37, 15.44)),
        Row("FIM (Local)", "table3-local", (11.56, 17.02, 16.28)),
        Row("FIM (Global)", "table3-global", (11.23, 17.56, 15.84)),
        Row("FIM (Local&Global)", DEFAULT, (11.88, 17.52, 16.12)),
    ),
}
# Rule for silence and threshold -> the paper's SDR, SIR, SAR on MUSIC's test list (Table 4), which
# does not say which of the two rules it is of; they stand beside the released one.
SILENCE: dict[tuple[str, float], tuple[float, float, float] | None] = {
    ("off", 0.0): None,
    ("released", 0.0): (11.53, 18.30, 14.74),
    ("released", 0.01): (11.15, 18.21, 14.69),
    ("released", 0.001): (11.50, 18.26, 14.74),
    ("released", 0.002): (11.61, 18.36, 14.70),
    ("equation-5", 0.01): None,
    ("equation-5", 0.001): None,
    ("equation-5", 0.002): None,
}
# Whether answers are kept below the mixture's magnitude; the network says the clean sound itself.
BOUND = {"at most the mixture": True, "as they come": False}
UNBOUNDED = "bound"
# The first columns of each table.
HEADS = {
    "2": ("blocks", "parameters", "paper's, Mi"),
    "3": ("fusion", "parameters"),
    "4": ("rule", "threshold"),
    "bound": ("answers",),
}
Figures = dict[str, float]


def main() -> None:
    """Train, score, write."""
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"steps": num_steps_of(options), "seeds": options.seeds, "tables": {}}
    sampled = {"4": silence_rows, "bound": bound_rows}
    for name in options.tables:
        rows = sampled[name](options) if name in sampled else trained_rows(options, TABLES[name])
        report["tables"][name] = list(rows)
    write_atomic(options.out / "tables.json", json.dumps(report, indent=1) + "\n")
    write_atomic(options.out / "tables.md", markdown(report))
    print((options.out / "tables.md").read_text(encoding="utf-8"))


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders to train on")
    parser.add_argument("--out", type=Path, required=True, help="where everything is written")
    parser.add_argument("--tables", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--steps", type=int, help="a run; without it, as the recipes have it")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 0, 1, ...")
    parser.add_argument("--set", action="append", default=[], help="a setting of all runs, a.b=c")
    return parser.parse_args(words)


def num_steps_of(options: argparse.Namespace) -> int:
    """Steps of every run."""
    if options.steps is not None:
        return options.steps
    found = load_training(path_of(f"davis-{DEFAULT}"), options.set).training.max_steps
    assert found is not None, "the recipes of the tables end at a number of steps"
    return found


def trained_rows(options: argparse.Namespace, table: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The rows of Table 2 or 3, all seeds trained; one seed of every row before the next seed."""
    folders = {
        (row.run, seed): train(options, row.run, seed)
        for seed in range(options.seeds)
        for row in table
    }
    for row in table:
        each = [last_figures(folders[row.run, seed]) for seed in range(options.seeds)]
        found = {"label": row.label, "parameters": num_parameters(folders[row.run, 0])}
        yield found | {"paper_mebi": row.paper_mebi, "paper_db": row.paper_db} | spreads_of(each)


def silence_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The rows of Table 4."""
    each = [silence_figures(train(options, DEFAULT, seed)) for seed in range(options.seeds)]
    for (rule, threshold), paper_db in SILENCE.items():
        figures = [found[silence_name(rule, threshold)] for found in each]
        found = {"silence": rule, "threshold": threshold, "paper_db": paper_db}
        yield found | spreads_of(figures)


def bound_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Answers kept to the mixture and not, of one model."""
    ways = {label: {"bound_by_mixture": bound} for label, bound in BOUND.items()}
    each = [
        figures_of_ways(train(options, UNBOUNDED, seed), "bound.json", ways)
        for seed in range(options.seeds)
    ]
    for label in BOUND:
        found = {"label": label, "paper_db": None}
        yield found | spreads_of([figures[label] for figures in each])


# A run


def train(options: argparse.Namespace, run: str, seed: int) -> Path:
    """The folder of a finished run of a row, trained unless it is there."""
    num_steps = num_steps_of(options)
    settings = [f"training.seed={seed}", f"training.validate_every_steps={num_steps}"]
    name = f"{run}-{num_steps}-seed{seed}"
    return train_once(options, f"davis-{run}", name, num_steps, settings)


def last_figures(folder: Path) -> Figures:
    """What a run's last validation scored."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("validation/sdr_db")]
    return {figure: float(rows[-1][f"validation/{figure}"]) for figure in FIGURES}


def num_parameters(folder: Path) -> int:
    """Parameters of a run's U-Net."""
    groups = load_model(folder / "last.safetensors").parameter_groups()
    return sum(one.numel() for one in groups["unet"])


# Table 4


def silence_name(rule: str, threshold: float) -> str:
    """How a row of Table 4 is called in files."""
    return f"{rule} {threshold:g}"


def silence_figures(folder: Path) -> dict[str, Figures]:
    """The scores of a run's last model under each rule for silence."""
    ways = {
        silence_name(*row): {"sampling": {"silence": row[0], "silence_threshold": row[1]}}
        for row in SILENCE
    }
    return figures_of_ways(folder, "silence.json", ways)


# One model in several ways


def figures_of_ways(
    folder: Path, file_name: str, ways: Mapping[str, Mapping[str, Any]]
) -> dict[str, Figures]:
    """The scores of a run's last model with other settings; each is kept once it is there.

    All are scored on the run's own validation mixtures and begin from the same noise.
    """
    kept = folder / file_name
    found = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    missing = [name for name in ways if name not in found]
    if not missing:
        return found
    device = find_device("auto")
    recipe = load_training(folder / "recipe.toml")
    model = load_model(folder / "last.safetensors", device)
    data = DataModule(recipe, lists=ClipLists(validation=read_lists(recipe).validation))
    for _ in data.build_caches(model):
        pass
    for name in missing:
        changed = copy.copy(model)
        changed.settings = revised(model.settings, ways[name])
        torch.manual_seed(0)
        scored = validate(changed, data.validation, device)
        found[name] = {figure: scored[f"validation/{figure}"] for figure in FIGURES}
        write_atomic(kept, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def revised(settings: BaseModel, changes: Mapping[str, Any]) -> BaseModel:
    """The settings with these in place; those of a group are changed one by one."""
    new = {
        name: revised(getattr(settings, name), value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return settings.model_copy(update=new)


# What is written


def spreads_of(each: Sequence[Figures]) -> dict[str, dict[str, Any]]:
    """Every figure over the seeds."""
    return {figure: spread_of([one[figure] for one in each]) for figure in FIGURES}


def markdown(report: dict[str, Any]) -> str:
    """The tables as they stand in docs/papers/davis.md."""
    seeds = f"{report['seeds']} seeds" if report["seeds"] > 1 else "one seed"
    lines = [f"{report['steps']} steps each, {seeds}: mean ± standard deviation over the seeds."]
    for name, rows in report["tables"].items():
        heads = HEADS[name]
        published = f"paper, on MUSIC's {'test' if name == '4' else 'validation'} list"
        title = "Bound by the mixture" if name == "bound" else f"Table {name}"
        lines += ["", f"### {title} (dB)", ""]
        lines.append(f"| {' | '.join([*heads, 'SDR', 'SIR', 'SAR', published])} |")
        lines.append("|---|" + "---:|" * (len(heads) + 2) + "---|")
        for row in rows:
            cells = [*row_heads(name, row), *(plus_minus(row[figure]) for figure in FIGURES)]
            lines.append(f"| {' | '.join([*cells, published_db(row['paper_db'])])} |")
    return "\n".join(lines) + "\n"


def row_heads(name: str, row: dict[str, Any]) -> list[str]:
    """The first cells of a row."""
    if name == "bound":
        return [row["label"]]
    if name == "4":
        return [row["silence"], f"{row['threshold']:g}" if row["silence"] != "off" else "—"]
    cells = [row["label"], f"{row['parameters']:,}"]
    return [*cells, f"{row['paper_mebi']:.2f}"] if name == "2" else cells


def published_db(figures: Sequence[float] | None) -> str:
    """SDR, SIR, SAR of the paper, where it has them."""
    return "—" if figures is None else " / ".join(f"{value:.2f}" for value in figures)


if __name__ == "__main__":
    main()
