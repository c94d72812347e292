"""Make Tables 1 to 4 of LAVSS at small size: pre-train, train, score and write in one command.

Run `python tools/lavss_tables.py --data ears --mono solos --duets DUETS --twins TWINS --out OUT`.
Every row is trained for the same number of steps on --data with every seed; a pre-trained one
starts from a run of its own network in mono, on --mono. All are scored on two folders of binaural
duets: of different instruments (Tables 1, 3 and 4) and of the same instrument (Table 2). Finished
runs and scores are kept: a stopped run is resumed, and seeds can be added later.
OUT/tables.md and .json hold the results.
"""

import argparse
import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ablation_runs import plus_minus, spread_of, train_once
from avsep.data import open_dataset
from avsep.evaluation.benchmark import Evaluation
from avsep.evaluation.mixtures import choose_mixtures
from avsep.evaluation.run import EvaluationConfig, EvaluationSettings, run_evaluation
from avsep.media.atomic import write_atomic

# Settings of a run in mono for the network of any row, as in `lavss-table3-25d-mono-small`.
MONO = (
    "settings.position=false",
    'settings.spatial_cues="none"',
    "settings.front_end.num_channels=1",
)
EARS = ("sdr-left", "sir-left", "sdr-right", "sir-right")
# Shipped models, for comparison; they were trained for other numbers of steps than the rows.
SHIPPED = ("dgfnet-mini", "davis-mini", "lavss-mini")
INSTRUMENTS = ("cello", "drums", "guitar", "harp", "piano", "trumpet")


@dataclass(frozen=True)
class Row:
    """A network of the tables and its training.

    Attributes:
        recipe: its name without the common prefix; one that ends in mono is trained in mono.
        start: "anew": random weights; "mono": weights of its network in mono; "anew for longer":
            random weights, for the steps of both runs together.
    """

    recipe: str
    start: Literal["anew", "mono", "anew for longer"] = "anew"

    @property
    def key(self) -> str:
        """The name in files."""
        return f"{self.recipe}-{self.start.replace(' ', '-')}"


@dataclass(frozen=True)
class Printed:
    """A row of the paper: SDR and SIR of the left ear and of the right, and our row."""

    label: str
    paper_db: tuple[float, float, float, float] | None
    row: Row | None


LAVSS = Row("table3-25d-position-ipd", "mono")
SIGNED = Row("table3-25d-signed", "mono")


def _table3_rows(network: str, name: str, paper_db: Sequence[Sequence[float]]) -> list[Printed]:
    """Return the seven rows of one network, in the order of the paper."""
    rows = {
        "neither": Row(f"{network}-none"),
        "position": Row(f"{network}-position"),
        "position, IPD": Row(f"{network}-position-ipd"),
        "pre-training alone (*)": Row(f"{network}-mono"),
        "pre-training": Row(f"{network}-none", "mono"),
        "IPD, pre-training": Row(f"{network}-ipd", "mono"),
        "position, IPD, pre-training": Row(f"{network}-position-ipd", "mono"),
    }
    return [
        Printed(f"{name}: {label}", (a, b, c, d), row)
        for (label, row), (a, b, c, d) in zip(rows.items(), paper_db, strict=True)
    ]


TABLES: dict[str, list[Printed]] = {
    "1": [
        Printed("Sound of Pixels", (3.98, 7.03, 3.96, 6.99), Row("table1-sop", "mono")),
        Printed("2.5D", (4.44, 8.20, 4.47, 8.26), Row("table1-25d", "mono")),
        Printed("Co-Separation", (4.61, 7.93, 4.64, 8.00), None),
        Printed("Sep-Stereo", (5.27, 7.34, 5.31, 7.40), None),
        Printed("CCoL", (5.05, 8.89, 5.17, 9.02), None),
        Printed("LAVSS", (5.89, 10.08, 5.93, 10.30), LAVSS),
        Printed("LAVSS, signed cues (ours)", None, SIGNED),
    ],
    "3": [
        *_table3_rows(
            "table3-sop",
            "Sound of Pixels",
            [
                (3.34, 6.45, 3.29, 6.42), (4.00, 7.31, 4.02, 7.27), (4.32, 7.90, 4.38, 7.86),
                (4.22, 7.84, 4.23, 7.88), (4.79, 8.36, 4.82, 8.39), (5.14, 8.57, 5.15, 8.55),
                (5.32, 8.71, 5.36, 8.73),
            ],
        ),
        *_table3_rows(
            "table3-25d",
            "2.5D-sep",
            [
                (3.85, 7.24, 3.73, 7.44), (4.90, 8.38, 4.82, 8.48), (5.27, 9.27, 5.25, 9.28),
                (4.67, 8.02, 4.70, 8.03), (5.03, 8.56, 5.08, 8.59), (5.53, 9.14, 5.59, 9.18),
                (5.89, 10.08, 5.93, 10.30),
            ],
        ),
        Printed("2.5D-sep: position, signed cues (ours)", None, Row("table3-25d-signed")),
    ],
    "4": [
        Printed("LAVSS", (5.89, 10.08, 5.93, 10.30), LAVSS),
        Printed("w/o VP attention", (5.27, 9.34, 5.16, 9.37), Row("table4-no-vp", "mono")),
        Printed("w/o AVP attention", (5.04, 8.63, 5.05, 8.65), Row("table4-no-avp", "mono")),
        Printed("w/o multi-scale", (4.90, 8.38, 4.82, 8.48), Row("table4-no-multi", "mono")),
        Printed("Tile-Concat", (4.83, 8.41, 4.81, 8.38), Row("table4-tile", "mono")),
    ],
    "pre-training": [
        Printed("anew", None, Row("table3-25d-position-ipd")),
        Printed("pre-trained", None, LAVSS),
        Printed(
            "anew, for the steps of both together",
            None,
            Row("table3-25d-position-ipd", "anew for longer"),
        ),
        Printed("signed cues: anew", None, Row("table3-25d-signed")),
        Printed("signed cues: pre-trained", None, SIGNED),
    ],
}  # fmt: skip
# Method -> the paper's SDR of mixtures of two of each of INSTRUMENTS, and our row.
TABLE_2: dict[str, tuple[tuple[float, ...] | None, Row | str | None]] = {
    "Sound of Pixels": ((-2.12, -1.88, -2.69, -1.77, -2.35, -1.78), Row("table1-sop", "mono")),
    "2.5D": ((-0.93, 0.86, -2.00, -1.49, 0.35, -2.55), Row("table1-25d", "mono")),
    "CCoL": ((-1.75, -1.48, 0.19, -0.55, -0.90, -0.54), None),
    "Sep-Stereo": ((-1.32, 0.34, 1.68, -0.41, 1.38, 0.73), None),
    "mix-gt": ((0.58, 0.25, 0.67, 0.47, 1.17, 1.51), "mixture"),
    "LAVSS": ((1.53, 2.67, 3.72, 1.83, 3.13, 3.12), LAVSS),
    "LAVSS, signed cues (ours)": (None, SIGNED),
    **{f"{name} (as shipped)": (None, name) for name in SHIPPED},
}
# Key of a row -> its scores on a test set: over all mixtures, and the SDR of each instrument.
Scores = dict[str, dict[str, float]]


def main() -> None:
    """Train, score and write."""
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = list(find_rows(options.tables))
    by_seed = []
    for seed in range(options.seeds):
        train_all(options, rows, seed)
        by_seed.append(
            {name: read_scores(options, rows, seed, name) for name in ("duets", "twins")}
        )
    report = make_report(options, by_seed)
    write_atomic(options.out / "tables.json", json.dumps(report, indent=1) + "\n")
    write_atomic(options.out / "tables.md", markdown(report))
    print((options.out / "tables.md").read_text(encoding="utf-8"))


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="binaural solos")
    parser.add_argument("--mono", type=Path, nargs="+", required=True, help="mono solos")
    parser.add_argument("--duets", type=Path, required=True, help="binaural duets to test with")
    parser.add_argument(
        "--twins", type=Path, required=True, help="binaural duets of one instrument"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and tables")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--steps", type=int, default=100, help="of each run")
    parser.add_argument("--mono-steps", type=int, default=200, help="of each run in mono")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds: 0, 1, ...")
    parser.add_argument("--limit", type=int, help="number of mixtures of each test set")
    parser.add_argument("--together", type=int, default=1, help="number of runs at once")
    parser.add_argument("--set", action="append", default=[], help="setting of all runs, a.b=c")
    return parser.parse_args(words)


def find_rows(tables: Iterable[str]) -> Iterator[Row]:
    """Yield the rows that are trained, each once."""
    rows = [line.row for name in tables for line in TABLES[name] if line.row is not None]
    yield from {row.key: row for row in rows}.values()


# Runs


def train_all(options: argparse.Namespace, rows: Sequence[Row], seed: int) -> None:
    """Train all runs of a seed, those in mono first, since others start from them."""
    in_mono = [mono_recipe(row.recipe) for row in rows if row.start == "mono"]
    with ThreadPoolExecutor(options.together) as pool:
        list(pool.map(lambda recipe: train_mono(options, recipe, seed), dict.fromkeys(in_mono)))
        list(pool.map(lambda row: train(options, row, seed), rows))


def train_mono(options: argparse.Namespace, recipe: str, seed: int) -> Path:
    """Return the folder of a network's finished run in mono; train it if it is missing."""
    steps = options.mono_steps
    mono = copy.copy(options)
    mono.data = options.mono
    name = f"{recipe.removesuffix('-mono')}-mono-{steps}-seed{seed}"
    return train_once(mono, f"lavss-{recipe}", name, steps, [*run_settings(seed, steps), *MONO])


def train(options: argparse.Namespace, row: Row, seed: int) -> Path:
    """Return the folder of a row's finished run; train it if it is missing."""
    if row.recipe.endswith("-mono"):
        return train_mono(options, row.recipe, seed)
    steps = options.steps + (options.mono_steps if row.start == "anew for longer" else 0)
    settings = run_settings(seed, steps)
    if row.start == "mono":
        init = train_mono(options, mono_recipe(row.recipe), seed) / "last.safetensors"
        settings.append(f"init={json.dumps(str(init.resolve()))}")
    name = f"{row.key}-{steps}-seed{seed}"
    return train_once(options, f"lavss-{row.recipe}", name, steps, settings)


def run_settings(seed: int, steps: int) -> list[str]:
    """Return the settings that differ from run to run."""
    return [f"training.seed={seed}", f"training.validate_every_steps={steps}"]


def mono_recipe(recipe: str) -> str:
    """Return the recipe of a row's network in mono, without positions; several rows share one."""
    if recipe.startswith("table3-sop"):
        return "table3-sop-mono"
    if recipe.startswith("table3-25d") or recipe == "table4-no-vp":
        return "table3-25d-mono"
    return recipe


# Scores


def read_scores(
    options: argparse.Namespace, rows: Sequence[Row], seed: int, name: Literal["duets", "twins"]
) -> Scores:
    """Return the scores of every row of a seed on a test set; scores in the file are kept.

    Seed 0 includes the mixture and the shipped models.
    """
    path = options.out / "scores" / f"{name}-seed{seed}.json"
    path.parent.mkdir(exist_ok=True)
    scores: Scores = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    methods = {row.key: str(train(options, row, seed) / "last.safetensors") for row in rows}
    if seed == 0:
        methods |= {other: other for other in ("mixture", *SHIPPED)}
    missing = {key: method for key, method in methods.items() if key not in scores}
    if missing:
        clips = open_dataset(getattr(options, name))
        settings = EvaluationSettings()
        chosen = choose_mixtures(clips, limit=options.limit, settings=settings, seed=0)
        scores |= score(chosen.mixtures, missing)
        write_atomic(path, json.dumps(scores, indent=1, allow_nan=False) + "\n")
    return scores


def score(mixtures: Sequence[Any], names: Mapping[str, str]) -> Scores:
    """Return the scores of separators by key; models that use categories predict them."""
    config = EvaluationConfig(
        tuple(mixtures),
        tuple(names.values()),
        labels="predicted",
        with_baselines=False,
        metrics=EARS,
        num_channels=2,
    )
    methods = config.methods()
    scores = tuple(run_evaluation(config, methods))
    evaluation = Evaluation(methods, scores, 0, (), config.metrics)
    # Baselines come first among the methods; models follow in the order of their names here.
    keys = sorted(names, key=lambda key: names[key] != "mixture")
    return {
        key: mean_scores(evaluation, method.name) for key, method in zip(keys, methods, strict=True)
    }


def mean_scores(evaluation: Evaluation, name: str) -> dict[str, float]:
    """Return means over all mixtures, and of the SDR over those of one instrument."""
    scores = {metric: evaluation.metric(name, metric).mean for metric in EARS}
    summary = evaluation.summary(name, "strict")
    scores |= {"sdr": summary.sdr_db, "sir": summary.sir_db}
    for instrument in INSTRUMENTS:
        each = [
            float(mixture.scores[name].counted_db("strict")[:, 0].mean())
            for mixture in evaluation.mixtures
            if set(mixture.categories) == {instrument} and not mixture.left_out
        ]
        if each:
            scores[instrument] = float(np.mean(each))
    return {name: round(float(value), 4) for name, value in scores.items()}


# Output


def make_report(
    options: argparse.Namespace, by_seed: Sequence[Mapping[str, Scores]]
) -> dict[str, Any]:
    """Return all scores: table -> lines."""
    tables: dict[str, Any] = {}
    for name in options.tables:
        lines = []
        if name == "1":
            lines = [make_line("mixture", None, "mixture", by_seed)]
        lines += [
            make_line(row.label, row.paper_db, row.row and row.row.key, by_seed)
            for row in TABLES[name]
        ]
        if name == "1":
            lines += [make_line(f"{model} (as shipped)", None, model, by_seed) for model in SHIPPED]
        tables[name] = lines
    if "1" in options.tables:
        tables["2"] = [
            make_line(label, paper_db, row.key if isinstance(row, Row) else row, by_seed)
            for label, (paper_db, row) in TABLE_2.items()
        ]
    steps = {"steps": options.steps, "mono_steps": options.mono_steps}
    return {"seeds": options.seeds, **steps, "tables": dict(sorted(tables.items()))}


def make_line(
    label: str,
    paper_db: Sequence[float] | None,
    key: str | None,
    by_seed: Sequence[Mapping[str, Scores]],
) -> dict[str, Any]:
    """Return one line: the paper's scores, and ours over the seeds on both test sets."""
    ours: dict[str, Any] = {}
    for test in ("duets", "twins"):
        each = [scores[test][key] for scores in by_seed if key in scores[test]]
        if each:
            ours[test] = {name: spread_of([values[name] for values in each]) for name in each[0]}
    return {"label": label, "paper_db": paper_db, "ours": ours or None}


def markdown(report: dict[str, Any]) -> str:
    """Return the tables as they are in docs/papers/lavss.md."""
    seeds = f"{report['seeds']} seeds" if report["seeds"] > 1 else "one seed"
    lines = [
        f"{report['steps']} steps each, behind {report['mono_steps']} in mono where pre-trained; "
        f"{seeds}: mean ± standard deviation over the seeds, dB."
    ]
    for name, rows in report["tables"].items():
        title = f"Table {name}" if name.isdigit() else "Does pre-training help?"
        lines += ["", f"### {title}", ""]
        lines += instrument_lines(rows) if name == "2" else ear_lines(rows)
    return "\n".join(lines) + "\n"


def ear_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of Tables 1, 3 and 4: each ear, and duets of one instrument beside."""
    yield "| | paper: left SDR / SIR | right | ours: left SDR / SIR | right | SDR | two of a kind |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        paper, ours = row["paper_db"], row["ours"]
        cells = [row["label"]]
        cells += [f"{paper[k]:.2f} / {paper[k + 1]:.2f}" for k in (0, 2)] if paper else ["—", "—"]
        if ours:
            each = {name: plus_minus(spread) for name, spread in ours["duets"].items()}
            cells += [f"{each[f'sdr-{ear}']} / {each[f'sir-{ear}']}" for ear in ("left", "right")]
            cells += [each["sdr"], plus_minus(ours["twins"]["sdr"])]
        else:
            cells += ["not built"] + ["—"] * 3
        yield f"| {' | '.join(cells)} |"


def instrument_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of Table 2: a column for each instrument, the paper's SDR above ours."""
    yield f"| | of | {' | '.join(INSTRUMENTS)} |"
    yield f"|---|---|{'---:|' * len(INSTRUMENTS)}"
    for row in rows:
        if row["paper_db"]:
            cells = [f"{value:.2f}" for value in row["paper_db"]]
            yield f"| {row['label']} | paper | {' | '.join(cells)} |"
        if row["ours"]:
            twins = row["ours"]["twins"]
            cells = [plus_minus(twins[name]) if name in twins else "—" for name in INSTRUMENTS]
            yield f"| {row['label']} | ours | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
