"""Test the benchmark on small clips: mixtures left out, groups, differences, null values."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from avsep.data.clips import ClipFiles, SourceFile
from avsep.errors import InputError
from avsep.evaluation.baselines import BASELINES, INPUTS, MixtureBaseline
from avsep.evaluation.benchmark import ONE_SOURCE, Evaluation, Evaluator, score_clips
from avsep.evaluation.methods import Method
from avsep.evaluation.results.tables import SUMMARY_HEAD, make_tables, summary_table
from avsep.evaluation.results.writing import as_json
from avsep.records import Batch, Separation, VisibleObject
from avsep.sound.front_end import FrontEnd, FrontEndSettings, StftSettings

# A window of a quarter of a second keeps the tests quick.
SETTINGS = FrontEndSettings(
    sample_rate_hz=8000, window_samples=2048, stft=StftSettings(fft_samples=256, hop_samples=64)
)
FRONT_END = FrontEnd(SETTINGS)


def clip(folder: Path, name: str, stems: np.ndarray, num_unseen: int = 0) -> ClipFiles:
    """Files of one clip whose players all play the harp; the last stems are unseen."""
    paths = [folder / f"{name}-{index}.wav" for index in range(len(stems))]
    for path, stem in zip(paths, stems, strict=True):
        soundfile.write(path, stem, SETTINGS.sample_rate_hz, subtype="FLOAT")
    num_seen = len(stems) - num_unseen
    sources = tuple(SourceFile(path, "harp", name, VisibleObject()) for path in paths[:num_seen])
    return ClipFiles(name, folder / f"{name}.mp4", sources, tuple(paths[num_seen:]))


def noise(num_stems: int, num_samples: int = 3000, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal((num_stems, num_samples))


def baselines(*names: str) -> tuple[Method, ...]:
    """Those named, or all, at the small front end."""
    return tuple(
        Method(name, make(FRONT_END), FRONT_END, INPUTS[name])
        for name, make in BASELINES.items()
        if name in (names or BASELINES)
    )


def evaluate(clips: list[ClipFiles], *names: str) -> Evaluation:
    methods = baselines(*names)
    return Evaluation(methods, tuple(score_clips(clips, methods)))


def test_who_is_left_out_is_counted_with_the_reason(tmp_path: Path) -> None:
    rest = noise(2, seed=2)
    rest[1, 400:2600] = 0.0  # sounds at the ends of the file, not in the window
    clips = [
        clip(tmp_path, "duet", noise(2)),
        clip(tmp_path, "solo", noise(1)),
        clip(tmp_path, "masked", noise(2), num_unseen=1),
        clip(tmp_path, "rest", rest),
    ]
    result = evaluate(clips, "mixture")
    summary = result.summary("mixture", "strict")
    assert (summary.num_mixtures, summary.num_left_out) == (4, 3)
    assert summary.reasons == {ONE_SOURCE: 2, "silent reference": 1}
    assert [scored.left_out for scored in result.mixtures] == [None, ONE_SOURCE, ONE_SOURCE, None]
    duet_db = result.mixtures[0].scores["mixture"].scores_db.mean(axis=0)
    figures_db = [summary.sdr_db, summary.sir_db, summary.sar_db]
    assert figures_db == pytest.approx(duet_db.tolist())
    table = summary_table("strict", "of four", [("mixture", "nothing", summary)])
    assert table.head == SUMMARY_HEAD and table.title == "of four"
    assert table.rows[0][:2] == ("mixture", "nothing") and table.rows[0][-2:] == ("1", "3")
    assert table.warnings == (f"2 left out: {ONE_SOURCE}", "1 left out: silent reference")
    both = [
        ("mixture", "nothing", summary),
        ("other", "label predicted", replace(summary, reasons={})),
    ]
    told_apart = summary_table("strict", "of four", both).warnings
    assert told_apart[1] == "1 left out: silent reference (mixture)"


def test_nothing_that_counts_is_null_and_a_dash(tmp_path: Path) -> None:
    result = evaluate([clip(tmp_path, "solo", noise(1))], "ideal-ratio-mask")
    summary = result.summary("ideal-ratio-mask", "legacy")
    assert math.isnan(summary.sdr_db) and summary.num_left_out == summary.num_mixtures == 1
    written = json.loads(json.dumps(as_json(result, "solos"), allow_nan=False))
    assert written["methods"]["ideal-ratio-mask"]["legacy"]["sdr_db"] is None
    assert written["mixtures"] == [
        {
            "name": "solo",
            "videos": ["solo"],
            "categories": ["harp"],
            "groups": [],
            "left_out": ONE_SOURCE,
            "scores": {},
        }
    ]
    rows = summary_table("legacy", "of none", [("x", "y", summary)]).rows
    assert rows == (("x", "y", "-", "-", "-", "0", "1"),)
    assert [table.name for table in make_tables(result, "solos")] == ["strict", "legacy"]


def test_json_holds_every_figure(tmp_path: Path) -> None:
    result = evaluate([clip(tmp_path, "trio", noise(3))])
    written = json.loads(json.dumps(as_json(result, "band"), allow_nan=False))
    assert written["data"] == "band" and list(written["methods"]) == list(BASELINES)
    assert [result["inputs"] for result in written["methods"].values()] == list(INPUTS.values())
    for result in written["methods"].values():
        assert FrontEndSettings.model_validate(result["front_end"]) == SETTINGS
    for name, pair in written["mixtures"][0]["scores"].items():
        assert len(pair["sources"]) == 3
        assert all(list(row) == ["sdr_db", "sir_db", "sar_db"] for row in pair["sources"])
        assert pair["left_out"] == {"strict": None, "legacy": None}
        mean_db = written["methods"][name]["strict"]["sdr_db"]
        assert mean_db == pytest.approx(np.mean([row["sdr_db"] for row in pair["sources"]]))


def test_what_is_unseen_is_heard_and_costs(tmp_path: Path) -> None:
    stems = noise(3)
    alone = evaluate([clip(tmp_path, "a", stems[:2])], "mixture")
    beside = evaluate([clip(tmp_path, "b", stems, num_unseen=1)], "mixture")
    before, after = (e.mixtures[0].scores["mixture"].scores_db for e in (alone, beside))
    assert after.shape == (2, 3)
    assert (after[:, 0] < before[:, 0] - 1).all() and (after[:, 2] < before[:, 2] - 20).all()


def test_stems_that_do_not_fit_one_another_name_the_clip(tmp_path: Path) -> None:
    files = clip(tmp_path, "torn", noise(2))
    soundfile.write(files.sources[1].path, noise(1, 2999)[0], SETTINGS.sample_rate_hz)
    with pytest.raises(
        InputError, match="the stems of clip 'torn' differ in length: make the clip"
    ):
        evaluate([files])


def test_clips_are_scored_one_at_a_time(tmp_path: Path) -> None:
    clips = [clip(tmp_path, "whole", noise(2)), clip(tmp_path, "gone", noise(2))]
    clips[1].sources[0].path.unlink()
    scored = score_clips(clips, baselines("mixture"))
    assert next(scored).name == "whole"  # told before the next is opened
    with pytest.raises(InputError, match=r"gone-0\.wav' does not exist"):
        next(scored)


@pytest.mark.slow
def test_groups_and_categories_are_summed_up_by_themselves(tmp_path: Path) -> None:
    trio = clip(tmp_path, "trio", noise(3, seed=1), num_unseen=1)
    mixed = clip(tmp_path, "mixed", noise(2, seed=2))
    mixed = replace(mixed, sources=(mixed.sources[0], replace(mixed.sources[1], category="tuba")))
    result = evaluate([clip(tmp_path, "twins", noise(2)), trio, mixed], "mixture")
    assert result.groups == [
        "different categories",
        "same category",
        "2 sources",
        "with off-screen sound",
    ]
    means_db = [scored.scores["mixture"].mean_db("strict")[0] for scored in result.mixtures]
    same = result.summary("mixture", "strict", "same category")
    assert same.num_mixtures == 2 and same.sdr_db == pytest.approx(np.mean(means_db[:2]))
    assert result.summary("mixture", "strict", "different categories").sdr_db == means_db[2]
    written = as_json(result, "band")["methods"]["mixture"]  # type: ignore[index]
    assert written["groups"]["with off-screen sound"]["strict"]["sdr_db"] == means_db[1]
    tuba_db = result.mixtures[2].scores["mixture"].scores_db[1, 0]
    by_category = written["categories"]["strict"]
    assert by_category["tuba"] == pytest.approx({**by_category["tuba"], "sdr_db": tuba_db})
    assert {name: row["num_sources"] for name, row in by_category.items()} == {"harp": 5, "tuba": 1}
    tables = {table.name: table for table in make_tables(result, "band")}
    assert tables["groups"].head[:3] == (
        "method",
        "different categories (1)",
        "same category (2)",
    )
    assert tables["groups"].rows[0][0] == "mixture"
    assert tables["categories"].head == ("category", "mixture")
    assert [row[0] for row in tables["categories"].rows] == ["harp (5)", "tuba (1)"]
    assert tables["categories"].rows[1][1] == f"{tuba_db:.2f}"


class Broken(MixtureBaseline):
    """Answers what is no number."""

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        answer = super().separate(batch)
        return replace(answer, magnitudes=answer.magnitudes * float("nan"))


class Mute(MixtureBaseline):
    """Answers silence."""

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        answer = super().separate(batch)
        return replace(answer, magnitudes=answer.magnitudes * 0)


class Sampling(MixtureBaseline):
    """Notes the seed of each generator."""

    def __init__(self, front_end: FrontEnd, seeds: list[int]) -> None:
        super().__init__(front_end)
        self.seeds = seeds

    def separate(self, batch: Batch, *, generator: torch.Generator | None = None) -> Separation:
        assert generator is not None
        self.seeds.append(generator.initial_seed())
        return super().separate(batch)


@pytest.mark.slow
def test_noise_depends_on_the_seed_and_the_index_alone(tmp_path: Path) -> None:
    clips = [clip(tmp_path, str(seed), noise(2, seed=seed)) for seed in range(3)]
    seeds: list[int] = []
    method = Method("sampling", Sampling(FRONT_END, seeds), FRONT_END, "nothing")
    for seed in (0, 1):
        list(score_clips(clips, [method], seed))
    assert seeds == [0, 1, 2, 1_000_003, 1_000_004, 1_000_005]
    Evaluator(clips, [method], seed=1).score(2)  # by itself, as in another process
    assert seeds[-1] == 1_000_005


def test_further_metrics_have_the_floor_of_strict(tmp_path: Path) -> None:
    method = Method("mute", Mute(FRONT_END), FRONT_END, "nothing")
    metrics = ("si-sdr", "si-sir")
    evaluator = Evaluator([clip(tmp_path, "duet", noise(2))], [method], metrics=metrics)
    values = evaluator.score(0).metrics["mute"]
    assert values["si-sdr"].tolist() == values["si-sir"].tolist() == [-30.0, -30.0]


@pytest.mark.slow
def test_silence_is_never_better_than_anything(tmp_path: Path) -> None:
    clips = [clip(tmp_path, str(seed), noise(2, seed=seed)) for seed in range(3)]
    methods = (
        *baselines("mixture", "nmf-mfcc"),
        Method("mute", Mute(FRONT_END), FRONT_END, "nothing"),
    )
    result = Evaluation(methods, tuple(score_clips(clips, methods)))
    ranked = sorted(methods, key=lambda row: result.summary(row.name, "strict").sdr_db)
    assert ranked[0].name == "mute" and result.summary("mute", "strict").sdr_db == -30
    excused = result.summary("mute", "legacy")
    assert excused.reasons == {"silent estimate": 3} and excused.num_empty_batches == 1
    tables = {table.name: table for table in make_tables(result, "three")}
    assert "3 left out: silent estimate (mute)" in tables["legacy"].warnings
    assert not any("left out" in warning for warning in tables["strict"].warnings)


def test_an_answer_that_is_no_number_is_named(tmp_path: Path) -> None:
    broken = Method("broken", Broken(FRONT_END), FRONT_END, "nothing")
    with pytest.raises(
        InputError, match="the estimates of 'broken' for 'duet' hold NaN or infinite samples"
    ):
        list(score_clips([clip(tmp_path, "duet", noise(2))], [broken]))


@pytest.mark.slow
def test_front_ends_of_their_own_have_their_own_truth(tmp_path: Path) -> None:
    """A contender at another window is scored against its own window, beside the others."""
    other = FrontEnd(SETTINGS.model_copy(update={"window_samples": 1536}))
    longer, shorter = (
        Method(name, MixtureBaseline(front_end), front_end, "nothing")
        for name, front_end in (("longer", FRONT_END), ("shorter", other))
    )
    clips = [clip(tmp_path, "duet", noise(2))]
    (both,) = score_clips(clips, [longer, shorter])
    for method in (longer, shorter):
        (alone,) = score_clips(clips, [method])
        np.testing.assert_allclose(
            both.scores[method.name].scores_db, alone.scores[method.name].scores_db, atol=1e-9
        )
    assert list(both.scores) == ["longer", "shorter"]
