"""Test the result files: JSON read back, and tables in every format."""

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avsep.cues.crops import CropSettings
from avsep.evaluation.baselines import MixtureBaseline
from avsep.evaluation.batches import CueSettings
from avsep.evaluation.benchmark import ONE_SOURCE, Evaluation, MixtureScores
from avsep.evaluation.methods import Method
from avsep.evaluation.protocol import PairScores
from avsep.evaluation.results.tables import as_csv, as_latex, as_markdown, cells, make_tables
from avsep.evaluation.results.writing import (
    RESULTS_NAME,
    as_json,
    mixture_json,
    parse_mixture,
    write_results,
)
from avsep.sound.front_end import FrontEnd

FRONT_END = FrontEnd()
LOOKING = CueSettings(CropSettings(), ("harp", "tuba"))  # which makes a row a model's
ROWS = (
    Method("mixture", MixtureBaseline(FRONT_END), FRONT_END, "nothing"),
    Method("good_1 (given)", MixtureBaseline(FRONT_END), FRONT_END, "label given", LOOKING),
    Method("silent | 50%", MixtureBaseline(FRONT_END), FRONT_END, "label predicted", LOOKING),
)


def pair(name: str, db: list[list[float]], silent: list[bool], rest: bool = False) -> PairScores:
    references = np.array([rest, False])
    return PairScores(name, ("harp", "tuba"), np.array(db, float), references, np.array(silent))


def clip(number: int) -> MixtureScores:
    """A mixture on which the first model is good and the second says nothing at all."""
    generator = np.random.default_rng(number)
    name = f"clip{number}"
    scores = {
        "mixture": pair(name, generator.normal(0, 1, (2, 3)).tolist(), [False, False]),
        "good_1 (given)": pair(name, generator.normal(9, 1, (2, 3)).tolist(), [False, False]),
        "silent | 50%": pair(name, [[-math.inf] * 3, [-60.5, -70.0, 1.0]], [True, True]),
    }
    metrics = {row: {"si-sdr": generator.normal(5, 1, 2)} for row in scores}
    used = {"good_1 (given)": ("harp", "harp")}
    videos = (f"v{number}", f"v{(number + 1) % 8}")
    groups = ("different categories", "2 sources")
    return MixtureScores(name, ("harp", "tuba"), scores, groups, used, None, videos, metrics)


@pytest.fixture
def evaluation() -> Evaluation:
    """Eight mixtures, one in which a source rests, and a solo."""
    quiet = {
        row.name: pair("rest", [[math.nan] * 3] * 2, [False, False], rest=True) for row in ROWS
    }
    nothing = {row.name: {"si-sdr": np.full(2, np.nan)} for row in ROWS}
    rest = MixtureScores(
        "rest", ("harp", "tuba"), quiet, ("2 sources",), videos=("v1", "v2"), metrics=nothing
    )
    solo = MixtureScores("solo", ("harp",), {}, left_out=ONE_SOURCE, videos=("v3",))
    clips = (*(clip(number) for number in range(8)), rest, solo)
    return Evaluation(ROWS, clips, seed=7, warnings=("a & b_c",), metrics=("si-sdr",))


def test_silence_ranks_last_under_strict_and_is_excused_under_legacy(
    evaluation: Evaluation,
) -> None:
    by_strict = {row.name: evaluation.summary(row.name, "strict") for row in ROWS}
    silent = by_strict.pop("silent | 50%")
    assert [silent.sdr_db, silent.sir_db, silent.sar_db] == [-30.0] * 3
    assert all(actual.sdr_db > silent.sdr_db for actual in by_strict.values())
    assert silent.num_left_out == 2 and silent.reasons == {ONE_SOURCE: 1, "silent reference": 1}
    excused = evaluation.summary("silent | 50%", "legacy")
    assert excused.reasons["silent estimate"] == 8 and excused.num_left_out == 10
    assert excused.num_empty_batches == 1 and excused.sdr_db == 0.0
    tables = {table.name: table for table in make_tables(evaluation, "ten")}
    assert "8 left out: silent estimate (silent | 50%)" in tables["legacy"].warnings
    (empty,) = (line for line in tables["legacy"].warnings if "batches" in line)
    assert empty == "1 batches in which no mixture counts are 0 dB in the mean (silent | 50%)"
    assert tables["strict"].rows[2][2].startswith("-30.00")


def test_differences_are_of_the_same_mixtures(evaluation: Evaluation) -> None:
    assert evaluation.reference == "good_1 (given)"
    actual = evaluation.difference("mixture", "good_1 (given)")
    changes = [
        each.scores["mixture"].mean_db("strict") - each.scores["good_1 (given)"].mean_db("strict")
        for each in evaluation.mixtures[:8]
    ]
    np.testing.assert_allclose(actual.means_db, np.mean(changes, axis=0))
    assert actual.num_mixtures == 8 and (actual.intervals_db[:, 1] < 0).all()
    # Whatever shifts both alike leaves the difference as it is, to the last digit but rounding.
    ups = tuple(
        replace(
            each,
            scores={n: replace(p, scores_db=p.scores_db + 10 * i) for n, p in each.scores.items()},
        )
        for i, each in enumerate(evaluation.mixtures[:8])
    )
    shifted = replace(evaluation, mixtures=ups).difference("mixture", "good_1 (given)")
    np.testing.assert_allclose(shifted.intervals_db, actual.intervals_db, atol=1e-9)
    own = evaluation.difference("good_1 (given)", "good_1 (given)")
    assert not own.means_db.any() and not own.intervals_db.any()


@pytest.mark.slow
def test_every_clip_is_read_back_the_same(evaluation: Evaluation, tmp_path: Path) -> None:
    """From results.json as it is written: one that rests and one left out are among them."""
    write_results(evaluation, tmp_path, "band")
    written = json.loads((tmp_path / RESULTS_NAME).read_text(encoding="utf-8"))["mixtures"]
    actual = [parse_mixture(clip) for clip in written]
    again = replace(evaluation, mixtures=tuple(actual))
    assert as_json(again, "band") == as_json(evaluation, "band")
    for mine, theirs in zip(evaluation.mixtures, actual, strict=True):
        assert (mine.name, mine.videos, mine.groups) == (theirs.name, theirs.videos, theirs.groups)
        for name, scores in mine.scores.items():
            np.testing.assert_array_equal(scores.scores_db, theirs.scores[name].scores_db)


@pytest.mark.parametrize("content", [{}, [], {"name": "x"}, {"categories": "harp"}, None])
def test_what_is_no_clip(content: object) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        parse_mixture(content)  # type: ignore[arg-type]


def test_a_line_of_the_score_log_is_read_back_to_the_bit() -> None:
    scored = clip(3)
    actual = parse_mixture(json.loads(json.dumps(mixture_json(scored), allow_nan=False)))
    assert json.dumps(mixture_json(actual)) == json.dumps(mixture_json(scored))
    silent = actual.scores["silent | 50%"].scores_db
    assert np.isneginf(silent[0]).all() and silent[1].tolist() == [-60.5, -70.0, 1.0]


def test_csv_has_a_line_for_each_source(evaluation: Evaluation) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(evaluation))))
    assert len(lines) == 9 * 3 * 2
    first = next(line for line in lines if line["method"] == "good_1 (given)")
    scores = evaluation.mixtures[0].scores["good_1 (given)"].scores_db
    assert float(first["sdr_db"]) == scores[0, 0] and first["number"] == "1"
    assert (first["category"], first["category_used"]) == ("harp", "harp")
    metric = evaluation.mixtures[0].metrics["good_1 (given)"]["si-sdr"]
    assert float(first["si_sdr_db"]) == metric[0]
    silent = next(line for line in lines if line["silent_estimate"] == "1")
    assert silent["sdr_db"] == "" and silent["left_out_legacy"] == "silent estimate"
    assert silent["left_out_strict"] == ""


def test_every_table_is_in_every_file(evaluation: Evaluation) -> None:
    tables = list(make_tables(evaluation, "eight & more"))
    assert [table.name for table in tables] == [
        "strict",
        "legacy",
        "differences",
        "groups",
        "categories",
    ]
    markdown, latex = as_markdown(tables), as_latex(tables)
    for table in tables:
        assert all(len(row) == len(table.head) for row in table.rows)
        assert rf"\label{{tab:avsep-{table.name}}}" in latex
    # Cells are cut at bars that are not escaped, and as many stand in every row of a table.
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(rows) == sum(len(table.rows) + 2 for table in tables)
    num_cells = [len(re.split(r"(?<!\\)\|", row)) - 2 for row in rows]
    assert num_cells == [len(t.head) for t in tables for _ in range(len(t.rows) + 2)]
    assert r"silent \| 50%" in markdown and r"good\_1 (given)" in markdown
    assert r"silent | 50\% &" in latex and r"good\_1 (given)" in latex
    assert r"eight \& more (dB), strict" in latex and "±" not in latex and r"$\pm$" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(tables)
    assert "± is half a 95 % interval" in markdown and markdown.count("± is half") == 1
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert not re.search(r"& -\d", latex) and re.search(r"& \$-\$\d", latex)
    cells = [len(re.split(r"(?<!\\)&", line)) for line in body]
    assert cells == [len(t.head) for t in tables for _ in range(len(t.rows) + 1)]


def test_a_metric_is_a_column(evaluation: Evaluation) -> None:
    table = next(iter(make_tables(evaluation, "ten")))
    assert table.head[2:6] == ("SDR", "SIR", "SAR", "SI-SDR")
    actual = evaluation.metric("mixture", "si-sdr")
    means = [each.metrics["mixture"]["si-sdr"].mean() for each in evaluation.mixtures[:8]]
    assert actual.num_mixtures == 8 and actual.mean == pytest.approx(np.mean(means))
    assert table.rows[0][5].startswith(f"{actual.mean:.2f} ± ")
    clips = list(evaluation.mixtures)
    undefined = clips[0].metrics | {"mixture": {"si-sdr": np.array([np.nan, 1.0])}}
    clips[0] = replace(clips[0], metrics=undefined)
    fewer = replace(evaluation, mixtures=tuple(clips))
    assert fewer.metric("mixture", "si-sdr").mean == pytest.approx(np.mean(means[1:]))
    assert "1 without SI-SDR (mixture)" in next(iter(make_tables(fewer, "ten"))).warnings


def test_a_metric_that_is_better_when_low_says_so(evaluation: Evaluation) -> None:
    clips = tuple(
        replace(
            clip,
            metrics={row: {"spectral": actual["si-sdr"]} for row, actual in item.items()},
        )
        for clip in evaluation.mixtures
        for item in [clip.metrics]
    )
    low = replace(evaluation, mixtures=clips, metrics=("spectral",))
    assert "MR-STFT: lower is better" in next(iter(make_tables(low, "ten"))).warnings
    assert not any("lower" in item for item in next(iter(make_tables(evaluation, "ten"))).warnings)


def test_what_is_rounded_to_nothing_has_no_sign() -> None:
    assert cells([1e-9, -1e-9, 0.5], None, signed=True) == ["0.00", "0.00", "+0.50"]
