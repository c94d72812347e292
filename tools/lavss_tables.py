"""Tables 1 to 4 of LAVSS at small size: one command pre-trains, trains, scores and draws.

Run `python tools/lavss_tables.py --data ears --mono solos --duets DUETS --twins TWINS --out OUT`.
Every row is trained for the same number of steps on --data with every seed; a pre-trained one
begins with a run of its own network in mono, on --mono. All are scored on two folders of binaural
duets: of different instruments (Tables 1, 3 and 4) and of two of a kind (Table 2). What is there
already is not made again: a run that was stopped goes on, and more seeds may be asked for later.
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

# What a run in mono has for any row's network, as `lavss-table3-25d-mono` has it.
MONO = (
    "settings.position=false",
    'settings.spatial_cues="none"',
    "settings.front_end.num_channels=1",
)
EARS = ("sdr-left", "sir-left", "sdr-right", "sir-right")
# Baselines, and models that ship; they had what they had, not the rows' steps.
SHIPPED = ("dgfnet-mini", "davis-mini", "lavss-mini")
INSTRUMENTS = ("cello", "drums", "guitar", "harp", "piano", "trumpet")


@dataclass(frozen=True)
class Row:
    """A network of the tables, and how it is trained.

    Attributes:
        recipe: its name, without what all have in common; one that ends in mono is trained so.
        start: anew, from its network in mono, or anew for as many steps as both take together.
    """

    recipe: str
    start: Literal["anew", "mono", "anew for longer"] = "anew"

    @property
    def key(self) -> str:
        """How it is called in files."""
        return f"{self.recipe}-{self.start.replace(' ', '-')}"


@dataclass(frozen=True)
class Printed:
    """A row as the paper prints it: SDR and SIR of the left ear and of the right, and ours."""

    label: str
    paper_db: tuple[float, float, float, float] | None
    row: Row | None


LAVSS = Row("table3-25d-position-ipd", "mono")
SIGNED = Row("table3-25d-signed", "mono")


def _of_table3(network: str, name: str, paper_db: Sequence[Sequence[float]]) -> list[Printed]:
    """The seven rows of one network, in the paper's order."""
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
        *_of_table3(
            "table3-sop",
            "Sound of Pixels",
            [
                (3.34, 6.45, 3.29, 6.42), (4.00, 7.31, 4.02, 7.27), (4.32, 7.90, 4.38, 7.86),
                (4.22, 7.84, 4.23, 7.88), (4.79, 8.36, 4.82, 8.39), (5.14, 8.57, 5.15, 8.55),
                (5.32, 8.71, 5.36, 8.73),
            ],
        ),
        *_of_table3(
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
# Method -> SDR of mixtures of two of each of INSTRUMENTS as the paper prints it, and ours.
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
# Of a row on a test set: figures over all mixtures, and the SDR of each instrument's.
Scores = dict[str, dict[str, float]]


def main() -> None:
    """Train, score, write."""
    options = read_options()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = list(rows_of(options.tables))
    found = []
    for seed in range(options.seeds):
        train_all(options, rows, seed)
        found.append({name: scores_of(options, rows, seed, name) for name in ("duets", "twins")})
    report = report_of(options, found)
    write_atomic(options.out / "tables.json", json.dumps(report, indent=1) + "\n")
    write_atomic(options.out / "tables.md", markdown(report))
    print((options.out / "tables.md").read_text(encoding="utf-8"))


def read_options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="binaural solos")
    parser.add_argument("--mono", type=Path, nargs="+", required=True, help="mono solos")
    parser.add_argument("--duets", type=Path, required=True, help="binaural duets to test with")
    parser.add_argument("--twins", type=Path, required=True, help="binaural duets of one kind")
    parser.add_argument("--out", type=Path, required=True, help="where everything is written")
    parser.add_argument("--tables", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--steps", type=int, default=100, help="a run")
    parser.add_argument("--mono-steps", type=int, default=200, help="a run in mono")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 0, 1, ...")
    parser.add_argument("--limit", type=int, help="so many mixtures of each test set")
    parser.add_argument("--together", type=int, default=1, help="so many runs at once")
    parser.add_argument("--set", action="append", default=[], help="a setting of all runs, a.b=c")
    return parser.parse_args(words)


def rows_of(tables: Iterable[str]) -> Iterator[Row]:
    """Every row that is trained, each once."""
    rows = [line.row for name in tables for line in TABLES[name] if line.row is not None]
    yield from {row.key: row for row in rows}.values()


# Runs


def train_all(options: argparse.Namespace, rows: Sequence[Row], seed: int) -> None:
    """All runs of a seed, those in mono first."""
    in_mono = [mono_of(row.recipe) for row in rows if row.start == "mono"]
    with ThreadPoolExecutor(options.together) as pool:
        list(pool.map(lambda recipe: train_mono(options, recipe, seed), dict.fromkeys(in_mono)))
        list(pool.map(lambda row: train(options, row, seed), rows))


def train_mono(options: argparse.Namespace, recipe: str, seed: int) -> Path:
    """The folder of a network's finished run in mono, trained unless it is there."""
    steps = options.mono_steps
    mono = copy.copy(options)
    mono.data = options.mono
    name = f"{recipe.removesuffix('-mono')}-mono-{steps}-seed{seed}"
    return train_once(mono, f"lavss-{recipe}", name, steps, [*run_settings(seed, steps), *MONO])


def train(options: argparse.Namespace, row: Row, seed: int) -> Path:
    """The folder of a row's finished run, trained unless it is there."""
    if row.recipe.endswith("-mono"):
        return train_mono(options, row.recipe, seed)
    steps = options.steps + (options.mono_steps if row.start == "anew for longer" else 0)
    settings = run_settings(seed, steps)
    if row.start == "mono":
        init = train_mono(options, mono_of(row.recipe), seed) / "last.safetensors"
        settings.append(f"init={json.dumps(str(init.resolve()))}")
    name = f"{row.key}-{steps}-seed{seed}"
    return train_once(options, f"lavss-{row.recipe}", name, steps, settings)


def run_settings(seed: int, steps: int) -> list[str]:
    """What every run has of its own."""
    return [f"training.seed={seed}", f"training.validate_every_steps={steps}"]


def mono_of(recipe: str) -> str:
    """What a row's network is when it hears one channel and knows no place; some are the same."""
    if recipe.startswith("table3-sop"):
        return "table3-sop-mono"
    if recipe.startswith("table3-25d") or recipe == "table4-no-vp":
        return "table3-25d-mono"
    return recipe


# Scores


def scores_of(
    options: argparse.Namespace, rows: Sequence[Row], seed: int, name: Literal["duets", "twins"]
) -> Scores:
    """What every row of a seed scores on a test set; what was scored before is not asked again.

    With seed 0 the mixture and the models that ship are asked too.
    """
    kept = options.out / "scores" / f"{name}-seed{seed}.json"
    kept.parent.mkdir(exist_ok=True)
    found: Scores = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    asked = {row.key: str(train(options, row, seed) / "last.safetensors") for row in rows}
    if seed == 0:
        asked |= {other: other for other in ("mixture", *SHIPPED)}
    missing = {key: place for key, place in asked.items() if key not in found}
    if missing:
        clips = open_dataset(getattr(options, name))
        settings = EvaluationSettings()
        chosen = choose_mixtures(clips, limit=options.limit, settings=settings, seed=0)
        found |= scored(chosen.mixtures, missing)
        write_atomic(kept, json.dumps(found, indent=1, allow_nan=False) + "\n")
    return found


def scored(mixtures: Sequence[Any], asked: Mapping[str, str]) -> Scores:
    """Separators by key -> their figures; models that go by categories find them by pictures."""
    plan = EvaluationConfig(
        tuple(mixtures),
        tuple(asked.values()),
        labels="picture",
        with_baselines=False,
        metrics=EARS,
        num_channels=2,
    )
    methods = plan.methods()
    done = tuple(run_evaluation(plan, methods))
    evaluation = Evaluation(methods, done, 0, (), plan.metrics)
    # Baselines stand first among the contenders; models follow as they were named.
    ordered = sorted(asked, key=lambda key: asked[key] != "mixture")
    return {
        key: figures_of(evaluation, method.name)
        for key, method in zip(ordered, methods, strict=True)
    }


def figures_of(evaluation: Evaluation, name: str) -> dict[str, float]:
    """Means over all mixtures, and of the SDR over those of one instrument."""
    figures = {metric: evaluation.metric(name, metric).mean for metric in EARS}
    summary = evaluation.summary(name, "strict")
    figures |= {"sdr": summary.sdr_db, "sir": summary.sir_db}
    for instrument in INSTRUMENTS:
        each = [
            float(clip.scores[name].counted_db("strict")[:, 0].mean())
            for clip in evaluation.mixtures
            if set(clip.categories) == {instrument} and not clip.left_out
        ]
        if each:
            figures[instrument] = float(np.mean(each))
    return {name: round(float(value), 4) for name, value in figures.items()}


# What is written


def report_of(options: argparse.Namespace, found: Sequence[Mapping[str, Scores]]) -> dict[str, Any]:
    """Everything measured: table -> lines."""
    tables: dict[str, Any] = {}
    for name in options.tables:
        lines = []
        if name == "1":
            lines = [line_of("mixture", None, "mixture", found)]
        lines += [
            line_of(one.label, one.paper_db, one.row and one.row.key, found) for one in TABLES[name]
        ]
        if name == "1":
            lines += [line_of(f"{model} (as shipped)", None, model, found) for model in SHIPPED]
        tables[name] = lines
    if "1" in options.tables:
        tables["2"] = [
            line_of(label, paper_db, row.key if isinstance(row, Row) else row, found)
            for label, (paper_db, row) in TABLE_2.items()
        ]
    steps = {"steps": options.steps, "mono_steps": options.mono_steps}
    return {"seeds": options.seeds, **steps, "tables": dict(sorted(tables.items()))}


def line_of(
    label: str,
    paper_db: Sequence[float] | None,
    key: str | None,
    found: Sequence[Mapping[str, Scores]],
) -> dict[str, Any]:
    """One line: the paper's figures, and ours over the seeds on both test sets."""
    ours: dict[str, Any] = {}
    for test in ("duets", "twins"):
        each = [seed[test][key] for seed in found if key in seed[test]]
        if each:
            ours[test] = {name: spread_of([one[name] for one in each]) for name in each[0]}
    return {"label": label, "paper_db": paper_db, "ours": ours or None}


def markdown(report: dict[str, Any]) -> str:
    """The tables as they stand in docs/papers/lavss.md."""
    seeds = f"{report['seeds']} seeds" if report["seeds"] > 1 else "one seed"
    lines = [
        f"{report['steps']} steps each, behind {report['mono_steps']} in mono where pre-trained; "
        f"{seeds}: mean ± standard deviation over the seeds, dB."
    ]
    for name, rows in report["tables"].items():
        title = f"Table {name}" if name.isdigit() else "Does pre-training help?"
        lines += ["", f"### {title}", ""]
        lines += kinds(rows) if name == "2" else ears(rows)
    return "\n".join(lines) + "\n"


def ears(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Tables 1, 3 and 4: each ear, and two of a kind beside."""
    yield "| | paper: left SDR / SIR | right | ours: left SDR / SIR | right | SDR | two of a kind |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        paper, ours = row["paper_db"], row["ours"]
        cells = [row["label"]]
        cells += [f"{paper[k]:.2f} / {paper[k + 1]:.2f}" for k in (0, 2)] if paper else ["—", "—"]
        if ours:
            each = {name: plus_minus(figure) for name, figure in ours["duets"].items()}
            cells += [f"{each[f'sdr-{ear}']} / {each[f'sir-{ear}']}" for ear in ("left", "right")]
            cells += [each["sdr"], plus_minus(ours["twins"]["sdr"])]
        else:
            cells += ["not built"] + ["—"] * 3
        yield f"| {' | '.join(cells)} |"


def kinds(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Table 2: an instrument a column, the paper's figure above ours."""
    yield f"| | of | {' | '.join(INSTRUMENTS)} |"
    yield f"|---|---|{'---:|' * len(INSTRUMENTS)}"
    for row in rows:
        if row["paper_db"]:
            cells = [f"{value:.2f}" for value in row["paper_db"]]
            yield f"| {row['label']} | paper | {' | '.join(cells)} |"
        if row["ours"]:
            twins = row["ours"]["twins"]
            cells = [plus_minus(twins[kind]) if kind in twins else "—" for kind in INSTRUMENTS]
            yield f"| {row['label']} | ours | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
