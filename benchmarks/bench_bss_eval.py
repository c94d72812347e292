"""BSS Eval of recordings: time, memory and differences beside mir_eval and fast_bss_eval."""

import argparse
import importlib
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

import referee
from avsep.evaluation.bss_eval import bss_eval
from common import Cell, ResultTable, ratio, run_benchmark
from measuring import (
    LOADS,
    Cost,
    find_absence,
    in_new_process,
    load_of,
    measure_work,
    peak_megabytes,
)
from recordings import RECORDED_RATE_HZ, Recordings, add_recordings_option, make_estimates

TAPS = 512
PERFECT_DB = 100  # above it scores are rounding, and no difference is counted
FAILURE_DB = 0.01  # a score that differs by more from mir_eval's is a failure
AGREEMENT_DB = 1e-6  # mir_eval is the standard where it and the referee differ by less
ENOUGH_SECONDS = 10.0
NAMES = ("mir_eval", "avsep")  # that the referee judges

Scores = Float64[np.ndarray, "P Q S 3"]
Tables = Float64[np.ndarray, "P ... 3"]
Scorer = Callable[[Float64[np.ndarray, "P S N"], Float64[np.ndarray, "P Q S N"]], Scores]


@dataclass(frozen=True)
class Job:
    """Mixtures that all implementations score, in a folder as arrays.

    Attributes:
        folder: holds references.npy [P, S, N] and estimates.npy [P, 3, S, N], float64.
        counts: numbers of estimates of each mixture that are scored.
        loads: of `LOADS`.
    """

    title: str
    folder: Path
    num_mixtures: int
    counts: tuple[int, ...]
    loads: tuple[str, ...]
    enough_seconds: float

    def references(self) -> Float64[np.ndarray, "P S N"]:
        """Read the sources of each mixture."""
        return np.load(self.folder / "references.npy")

    def estimates(self) -> Float64[np.ndarray, "P 3 S N"]:
        """Read three estimates of each source."""
        return np.load(self.folder / "estimates.npy")


@dataclass(frozen=True)
class Scored:
    """The cost of an implementation, and its scores; NaN where it raised an error."""

    cost: Cost
    table_db: Scores


def score_by_avsep(
    references: Float64[np.ndarray, "P S N"], estimates: Float64[np.ndarray, "P Q S N"]
) -> Scores:
    """Score all estimates in one call, which shares the work on the references."""
    return bss_eval(references[:, None], estimates).table_db


def score_by_mir_eval(
    references: Float64[np.ndarray, "P S N"], estimates: Float64[np.ndarray, "P Q S N"]
) -> Scores:
    """Score with one call per estimate: mir_eval has no batches."""
    import mir_eval

    def score(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return np.stack(mir_eval.separation.bss_eval_sources(truth, guess, False)[:3], axis=-1)

    pairs = zip(references, estimates, strict=True)
    return np.stack([[score(truth, guess) for guess in guesses] for truth, guesses in pairs])


def score_by_fast_bss_eval(
    references: Float64[np.ndarray, "P S N"], estimates: Float64[np.ndarray, "P Q S N"]
) -> Scores:
    """Score with its PyTorch path and exact solver, four mixtures at a time, its best size."""
    import fast_bss_eval

    def score(truths: np.ndarray, guesses: np.ndarray) -> np.ndarray:
        guess = torch.from_numpy(guesses)
        truth = torch.from_numpy(truths[:, None]).expand_as(guess).contiguous()
        scores = fast_bss_eval.bss_eval_sources(
            truth, guess, filter_length=TAPS, compute_permutation=False
        )
        return torch.stack(scores[:3], dim=-1).numpy()

    tables = []
    for first in range(0, len(references), 4):
        part = slice(first, first + 4)
        try:
            tables.append(score(references[part], estimates[part]))
        except RuntimeError:  # a singular matrix, in any of the four
            for truth, guess in zip(references[part], estimates[part], strict=True):
                try:
                    tables.append(score(truth[None], guess[None]))
                except RuntimeError:
                    tables.append(np.full((1, *guess.shape[:2], 3), np.nan))
    return np.concatenate(tables)


SCORERS: dict[str, Scorer] = {
    "mir_eval": score_by_mir_eval,
    "fast_bss_eval": score_by_fast_bss_eval,
    "avsep": score_by_avsep,
}


def score_job(name: str, job: Job) -> list[Scored]:
    """Score all mixtures of a job by one implementation, for each number of estimates."""
    warnings.filterwarnings("ignore", "mir_eval.separation", FutureWarning)
    importlib.import_module(name)
    scorer, references, estimates = SCORERS[name], job.references(), job.estimates()
    before = peak_megabytes()
    results = []
    for count in sorted(job.counts):  # the memory of fewer estimates first: peaks only grow
        chosen = estimates[:, :count]
        scorer(references[:1], chosen[:1])
        tables: list[Scores] = []
        cost = measure_work(
            lambda chosen=chosen, tables=tables: tables.append(scorer(references, chosen)),
            before_megabytes=before,
            enough_seconds=job.enough_seconds,
        )
        results.append(Scored(cost, tables[0]))
    return results


def measure_job(job: Job) -> tuple[ResultTable, dict[str, Scores]]:
    """Run all implementations that are installed; return the table, and scores of all estimates."""
    absences = {name: find_absence(name) for name in SCORERS}
    names = [name for name in SCORERS if not absences[name]]
    rows: list[tuple[Cell, ...]] = []
    scores: dict[str, Scores] = {}
    for load in job.loads:
        with load_of(load):
            results = {name: in_new_process(score_job, name, job) for name in names}
        scores = {name: result[-1].table_db for name, result in results.items()}
        for place, count in enumerate(job.counts):
            chosen = {name: result[place] for name, result in results.items()}
            cells = job_rows(chosen, job.num_mixtures)
            rows += [(name, count, load, *row) for name, row in cells.items()]
    rows += [(f"{name}: {why}", *[None] * 8) for name, why in absences.items() if why]
    head = (
        "", "estimates", "machine", "ms a mixture", "x mir_eval", "x fast_bss_eval",
        "peak MB", "own MB", "off",
    )  # fmt: skip
    notes = (
        "x: times as fast as; own MB: of the peak, what is above imports and input; off: mixtures "
        "with an error, NaN, or a score more than 0.01 dB from mir_eval's, whichever is right; "
        "busy: beside a process that keeps one core busy.",
    )
    return ResultTable(job.title, head, tuple(rows), notes), scores


def job_rows(results: dict[str, Scored], num_mixtures: int) -> dict[str, tuple[Cell, ...]]:
    """Return time, ratios, memory and failures of each implementation."""
    seconds = {name: scored.cost.seconds for name, scored in results.items()}
    expected_db = results["mir_eval" if "mir_eval" in results else "avsep"].table_db
    rows: dict[str, tuple[Cell, ...]] = {}
    for name, scored in results.items():
        ratios = (ratio(seconds.get(peer), seconds[name]) for peer in ("mir_eval", "fast_bss_eval"))
        rows[name] = (
            1000 * seconds[name] / num_mixtures, *ratios, scored.cost.megabytes,
            scored.cost.own_megabytes, int(failures(scored.table_db, expected_db).sum()),
        )  # fmt: skip
    return rows


def failures(table_db: Tables, expected_db: Tables) -> Bool[np.ndarray, " P"]:
    """Return True for mixtures with an error, NaN, or a score far from the expected one."""
    return ~(differences(table_db, expected_db) <= FAILURE_DB)


def differences(table_db: Tables, expected_db: Tables) -> Float64[np.ndarray, " P"]:
    """Return the largest difference of each mixture; scores that only rounding decides are none."""
    with np.errstate(invalid="ignore"):
        difference_db = np.abs(table_db - expected_db)
    difference_db[(expected_db > PERFECT_DB) & (table_db > PERFECT_DB)] = 0
    return difference_db.max(tuple(range(1, table_db.ndim)))


def accuracy_table(job: Job, scores: dict[str, Scores], num_drawn: int) -> ResultTable:
    """Return differences between mir_eval and avsep, and of both from the referee.

    The referee judges each mixture where the two are more than 1e-6 dB apart, and `num_drawn` of
    the others.
    """
    head = (
        "largest difference in dB", "mixtures", "mir_eval from referee", "avsep from referee",
        "avsep from mir_eval",
    )  # fmt: skip
    title = f"{job.title}: agreement"
    if "mir_eval" not in scores:
        return ResultTable(title, head, (), ("There is no mir_eval to compare with.",))
    apart_db = differences(scores["avsep"], scores["mir_eval"])
    is_apart = ~(apart_db <= AGREEMENT_DB)
    close, apart = np.flatnonzero(~is_apart), np.flatnonzero(is_apart)
    if not referee.HAS_EXTENDED:
        groups, judged_db = {"avsep and mir_eval within 1e-6 dB": close, "the rest": apart}, {}
        note = "No referee: this machine's long double is double."
    else:
        drawn = np.random.default_rng(0).permutation(close)[:num_drawn]
        judged_db = in_new_process(judge, job, [*apart.tolist(), *drawn.tolist()])
        groups = group_judged(apart, judged_db, scores["mir_eval"])
        groups |= {"avsep and mir_eval within 1e-6 dB": close, "of these, judged": drawn}
        note = (
            "All three estimates of each mixture. The referee is least squares with residuals in "
            "extended precision; it has judged each mixture in which avsep and mir_eval are more "
            f"than 1e-6 dB apart, and {len(drawn)} drawn from the others."
        )
    rows: list[tuple[Cell, ...]] = []
    for label, group in groups.items():
        from_referee: list[float | None] = [None, None]
        if len(group) and all(index in judged_db for index in group.tolist()):
            judged = np.stack([judged_db[index] for index in group.tolist()])
            if not np.isnan(judged).any():
                from_referee = [
                    float(differences(scores[name][group], judged).max()) for name in NAMES
                ]
        largest = float(apart_db[group].max()) if len(group) else None
        rows.append((label, len(group), *from_referee, largest))
    return ResultTable(title, head, tuple(rows), (note,))


def group_judged(
    apart: Int64[np.ndarray, " A"], judged_db: dict[int, Tables], by_mir_eval: Scores
) -> dict[str, Int64[np.ndarray, " _"]]:
    """Group mixtures where avsep and mir_eval differ: where the referee confirms mir_eval, or not.

    Args:
        apart: indices of the mixtures.
        judged_db: scores of the referee by index; NaN where it cannot judge.
        by_mir_eval: scores of all mixtures.
    """
    off_db = np.array(
        [float(differences(by_mir_eval[i][None], judged_db[i][None])[0]) for i in apart.tolist()]
    )
    return {
        "apart, mir_eval and referee within 1e-6 dB": apart[off_db <= AGREEMENT_DB],
        "apart, mir_eval further from the referee": apart[off_db > AGREEMENT_DB],
        "apart, singular in double precision: no referee": apart[np.isnan(off_db)],
    }


def judge(job: Job, indices: Sequence[int]) -> dict[int, Tables]:
    """Return the referee's scores [3, S, 3] of some mixtures; NaN where it has none."""
    references, estimates = job.references(), job.estimates()
    unknown = np.full((*estimates.shape[1:3], 3), np.nan)
    tables = {index: referee.score(references[index], estimates[index], TAPS) for index in indices}
    return {index: unknown if table is None else table for index, table in tables.items()}


def measure(options: argparse.Namespace) -> list[ResultTable]:
    """Measure windows of the protocol, then 10 s of four sources at 44.1 kHz."""
    recordings = Recordings.read(options.recordings)
    tiny = options.tiny
    loads = LOADS[:1] if options.without_busy else LOADS
    enough = 0 if tiny else ENOUGH_SECONDS
    with tempfile.TemporaryDirectory() as folder:
        num_pairs, num_samples = (2, 4096) if tiny else (options.pairs, 65_280)
        title = f"{num_pairs} pairs of phrases, {num_samples:,} samples at 11,025 Hz"
        pairs = Job(title, Path(folder), num_pairs, (1, 3), loads, enough)
        write_job(pairs, recordings.pairs(num_pairs, 2, 11_025, num_samples))
        table, scores = measure_job(pairs)
        differing = accuracy_table(pairs, scores, 1 if tiny else options.referee)
    with tempfile.TemporaryDirectory() as folder:
        num_mixtures, num_sources, seconds = (1, 2, 0.2) if tiny else (4, 4, 10.0)
        title = f"{num_mixtures} mixtures of {num_sources} phrases, {seconds:g} s at 44,100 Hz"
        num_samples = round(seconds * RECORDED_RATE_HZ)
        counts, loads = ((1,), LOADS[:1]) if tiny else ((1, 3), loads)
        long = Job(title, Path(folder), num_mixtures, counts, loads, enough)
        write_job(long, recordings.pairs(num_mixtures, num_sources, RECORDED_RATE_HZ, num_samples))
        return [table, differing, measure_job(long)[0]]


def write_job(job: Job, references: Float64[np.ndarray, "P S N"]) -> None:
    """Write the sounds of a job into its folder."""
    np.save(job.folder / "references.npy", references)
    np.save(job.folder / "estimates.npy", make_estimates(references, 3))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the material and of the referee."""
    add_recordings_option(parser)
    parser.add_argument("--pairs", type=int, default=256, help="mixtures at 11,025 Hz (256)")
    parser.add_argument(
        "--referee",
        type=int,
        default=4,
        help="mixtures for the referee besides those that are apart, 25 s each (4)",
    )
    parser.add_argument(
        "--without-busy", action="store_true", help="do not measure beside a busy core too"
    )


def main() -> None:
    """Parse options, measure, print and write the record."""
    run_benchmark(__file__, __doc__, measure, add_options)


if __name__ == "__main__":
    main()
