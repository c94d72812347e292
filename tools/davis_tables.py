"""Make Tables 2, 3 and 4 of DAVIS at small size: train, score and write them in one command.

Run `python tools/davis_tables.py --data band --out out/davis`. The rows of Tables 2 and 3 are
trained for the same number of steps with every seed and scored on the validation list, as in the
paper. For Table 4 one trained model is scored with other rules for silence. Table "bound" is ours:
one model, trained without a limit, is scored with its estimates limited to the mixture and not.
Finished runs and scores are kept: a stopped run is resumed, and seeds can be added later.
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

from ablation_runs import SCORE_KEYS, plus_minus, small_run, spread_of, train_once
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
        run: name of its recipe, without the common prefix.
        paper_db: SDR, SIR, SAR on MUSIC's validation list.
        paper_mebi: the paper's number of parameters in 2^20; Table 2 only.
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
# Rule for silence and threshold -> the paper's SDR, SIR, SAR on MUSIC's test list (Table 4). The
# paper does not state the rule; its scores are printed beside those of the released one.
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
# Label -> limit the estimates to the mixture's magnitude: the network predicts the clean sound.
BOUND = {"at most the mixture": True, "as they come": False}
UNBOUNDED = "bound"
# The first columns of each table.
HEADS = {
    "2": ("blocks", "parameters", "paper's, Mi"),
    "3": ("fusion", "parameters"),
    "4": ("rule", "threshold"),
    "bound": ("estimates",),
}
# SDR, SIR and SAR by SCORE_KEYS.
Scores = dict[str, float]


def main() -> None:
    """Train, score and write."""
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
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders to train on")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables")
    parser.add_argument("--tables", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--steps", type=int, help="of each run; default: that of the recipes")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds: 0, 1, ...")
    parser.add_argument("--set", action="append", default=[], help="setting of all runs, a.b=c")
    return parser.parse_args(words)


def num_steps_of(options: argparse.Namespace) -> int:
    """Return the number of steps of every run."""
    if options.steps is not None:
        return options.steps
    small, _ = small_run(f"davis-{DEFAULT}")
    max_steps = load_training(small, options.set).training.max_steps
    assert max_steps is not None, "small runs end at a number of steps"
    return max_steps


def trained_rows(options: argparse.Namespace, table: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of Table 2 or 3, trained with all seeds."""
    # One seed of every row before the next seed: a stopped run leaves a complete table.
    folders = {
        (row.run, seed): train(options, row.run, seed)
        for seed in range(options.seeds)
        for row in table
    }
    for row in table:
        each = [last_scores(folders[row.run, seed]) for seed in range(options.seeds)]
        cells = {"label": row.label, "parameters": num_parameters(folders[row.run, 0])}
        yield cells | {"paper_mebi": row.paper_mebi, "paper_db": row.paper_db} | spreads_of(each)


def silence_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the rows of Table 4."""
    by_seed = [silence_scores(train(options, DEFAULT, seed)) for seed in range(options.seeds)]
    for (rule, threshold), paper_db in SILENCE.items():
        each = [scores[silence_name(rule, threshold)] for scores in by_seed]
        cells = {"silence": rule, "threshold": threshold, "paper_db": paper_db}
        yield cells | spreads_of(each)


def bound_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield the scores of one model with its estimates limited to the mixture, and not."""
    variants = {label: {"bound_by_mixture": bound} for label, bound in BOUND.items()}
    by_seed = [
        score_variants(train(options, UNBOUNDED, seed), "bound.json", variants)
        for seed in range(options.seeds)
    ]
    for label in BOUND:
        cells = {"label": label, "paper_db": None}
        yield cells | spreads_of([scores[label] for scores in by_seed])


# Runs


def train(options: argparse.Namespace, run: str, seed: int) -> Path:
    """Return the folder of a row's finished run; train it if it is missing."""
    num_steps = num_steps_of(options)
    settings = [f"training.seed={seed}", f"training.validate_every_steps={num_steps}"]
    name = f"{run}-{num_steps}-seed{seed}"
    return train_once(options, f"davis-{run}", name, num_steps, settings)


def last_scores(folder: Path) -> Scores:
    """Return the scores of a run's last validation."""
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("validation/sdr_db")]
    return {key: float(rows[-1][f"validation/{key}"]) for key in SCORE_KEYS}


def num_parameters(folder: Path) -> int:
    """Return the number of parameters of a run's U-Net."""
    groups = load_model(folder / "last.safetensors").parameter_groups()
    return sum(parameter.numel() for parameter in groups["unet"])


# Scores with other settings


def silence_name(rule: str, threshold: float) -> str:
    """Return the name of a row of Table 4 in files."""
    return f"{rule} {threshold:g}"


def silence_scores(folder: Path) -> dict[str, Scores]:
    """Return the scores of a run's last model under each rule for silence."""
    variants = {
        silence_name(rule, threshold): {
            "sampling": {
                "silence": rule,
                "silence_threshold": threshold,
                # As in the released code, of which the paper's Table 4 is made.
                "step_noise": "predicted",
            }
        }
        for rule, threshold in SILENCE
    }
    return score_variants(folder, "silence.json", variants)


def score_variants(
    folder: Path, file_name: str, variants: Mapping[str, Mapping[str, Any]]
) -> dict[str, Scores]:
    """Return the scores of a run's last model with changed settings; each is kept in a file.

    All are scored on the run's own validation mixtures and start from the same noise.
    """
    path = folder / file_name
    scores = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    missing = [name for name in variants if name not in scores]
    if not missing:
        return scores
    device = find_device("auto")
    recipe = load_training(folder / "recipe.toml")
    model = load_model(folder / "last.safetensors", device)
    data = DataModule(recipe, lists=ClipLists(validation=read_lists(recipe).validation))
    for _ in data.build_caches(model):
        pass
    for name in missing:
        # A shallow copy: the weights are shared, only the settings differ.
        variant = copy.copy(model)
        variant.settings = revised(model.settings, variants[name])
        torch.manual_seed(0)
        metrics = validate(variant, data.validation, device)
        scores[name] = {key: metrics[f"validation/{key}"] for key in SCORE_KEYS}
        write_atomic(path, json.dumps(scores, indent=1, allow_nan=False) + "\n")
    return scores


def revised(settings: BaseModel, changes: Mapping[str, Any]) -> BaseModel:
    """Return the settings with changes; a group of settings keeps the rest of its values."""
    new = {
        name: revised(getattr(settings, name), value) if isinstance(value, Mapping) else value
        for name, value in changes.items()
    }
    return settings.model_copy(update=new)


# Output


def spreads_of(each: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    """Return mean and spread of each score over the seeds."""
    return {key: spread_of([scores[key] for scores in each]) for key in SCORE_KEYS}


def markdown(report: dict[str, Any]) -> str:
    """Return the tables as they are in docs/papers/davis.md."""
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
            cells = [*row_heads(name, row), *(plus_minus(row[key]) for key in SCORE_KEYS)]
            lines.append(f"| {' | '.join([*cells, published_db(row['paper_db'])])} |")
    return "\n".join(lines) + "\n"


def row_heads(name: str, row: dict[str, Any]) -> list[str]:
    """Return the first cells of a row."""
    if name == "bound":
        return [row["label"]]
    if name == "4":
        return [row["silence"], f"{row['threshold']:g}" if row["silence"] != "off" else "—"]
    cells = [row["label"], f"{row['parameters']:,}"]
    return [*cells, f"{row['paper_mebi']:.2f}"] if name == "2" else cells


def published_db(scores_db: Sequence[float] | None) -> str:
    """Return SDR, SIR, SAR of the paper as text, or a dash."""
    return "—" if scores_db is None else " / ".join(f"{value:.2f}" for value in scores_db)


if __name__ == "__main__":
    main()
