"""Test methods by name, and the cues of a model in each of its rows, on one toyband clip."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avsep.checkpoint import save_checkpoint
from avsep.data.clips import ClipFiles
from avsep.errors import InputError
from avsep.evaluation.baselines import BASELINES, INPUTS
from avsep.evaluation.benchmark import Evaluation, score_clips
from avsep.evaluation.gates import measure_gates
from avsep.evaluation.methods import find_methods, model_methods
from avsep.evaluation.results.writing import as_json
from avsep.models.davis.model import DAVIS
from avsep.records import Separation
from tiny_models import CATEGORIES, CROPS, FRONT_END, tiny_model


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_checkpoint(tiny_model("dgfnet"), path, model_name="dgfnet", metadata={})
    return str(path)


@pytest.fixture(scope="module")
def duet(tmp_path_factory: pytest.TempPathFactory) -> ClipFiles:
    """A violin, which the tiny model knows, and a piano, which it does not."""
    from avsep.data.toyband import read_clip
    from avsep.toyband.clip import ToybandSettings, make_clip
    from avsep.toyband.folder import ClipPaths
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    settings = ToybandSettings(
        clip_seconds=2,
        num_performers=(2,),
        categories=("violin", "piano"),
        same_category_probability=0,
        offscreen_player_probability=0,
        pictures=PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=5),
    )
    paths = ClipPaths(tmp_path_factory.mktemp("band"), "duet")
    make_clip(paths, 1000, 1, settings, Material.read())
    return read_clip(paths)


def test_a_model_that_goes_by_boxes_reads_places() -> None:
    (row,) = model_methods("ears", tiny_model("lavss"))
    assert (row.name, row.inputs) == ("ears", "picture, boxes")


def test_baselines_come_first_and_in_the_order_of_the_tables(checkpoint: str) -> None:
    assert [row.name for row in find_methods([])] == list(BASELINES)
    backwards = [checkpoint, *reversed(BASELINES), "mixture"]
    rows = find_methods(backwards)
    # A file's row bears its last two names.
    name = f"{Path(checkpoint).parent.name}/model"
    assert [row.name for row in rows] == [*BASELINES, f"{name} (given)", f"{name} (predicted)"]
    reads = [*INPUTS.values(), "label given", "label predicted"]
    assert [row.inputs for row in rows] == reads
    assert rows[-1].front_end.settings == FRONT_END and rows[-1].separator is rows[-2].separator
    assert not rows[-1].separator.training  # type: ignore[attr-defined]


def test_a_row_for_each_way_and_trial(checkpoint: str) -> None:
    given = [checkpoint], "predicted", ["all", "swapped", "swapped"]
    rows = find_methods(*given, with_baselines=False)
    assert [row.name for row in find_methods(*given)] == [*BASELINES, *(r.name for r in rows)]
    name = f"{Path(checkpoint).parent.name}/model"
    assert [row.name for row in rows] == [f"{name} (predicted)", f"{name} (predicted, swapped)"]
    assert rows[1].cue_settings is not None and rows[1].cue_settings.labels == "predicted"
    assert (rows[1].cue_settings.ablation, rows[1].cue_settings.crops) == ("swapped", CROPS)


def test_nobody_to_ask() -> None:
    with pytest.raises(InputError, match="no method is named: name a model of `avsep models`"):
        find_methods([], with_baselines=False)


def test_files_of_one_name_keep_their_paths(checkpoint: str, tmp_path: Path) -> None:
    copies = [str(tmp_path / place / "run" / "model.safetensors") for place in ("a", "b")]
    for copy in copies:
        Path(copy).parent.mkdir(parents=True)
        shutil.copy(checkpoint, copy)
    names = [row.name for row in find_methods(copies, "given", with_baselines=False)]
    assert names == [f"{copy} (given)" for copy in copies]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["mixture", "mixtur"],), "unknown method 'mixtur'; did you mean 'mixture'"),
        ((["mixture"], "gven"), "unknown labels 'gven'; did you mean 'given'? known: both, give"),
        ((["mixture"], "given", ["swap"]), "unknown cues 'swap'; did you mean 'swapped'?"),
        ((["gone.safetensors"],), "'gone.safetensors' is not a file"),
    ],
)
def test_names_that_mean_nothing(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError) as caught:
        find_methods(*arguments)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_model_is_scored_in_all_its_rows(checkpoint: str, duet: ClipFiles) -> None:
    rows = find_methods(["mixture", checkpoint], with_baselines=False)
    done = tuple(score_clips([duet], rows))
    written = json.loads(json.dumps(as_json(Evaluation(rows, done), "band"), allow_nan=False))
    assert [result["inputs"] for result in written["methods"].values()] == [
        row.inputs for row in rows
    ]
    told = rows[1].name
    used = written["mixtures"][0]["scores"][told]["categories_used"]
    # The violin was told; a piano is none of the model's categories, so its picture decided.
    assert used[duet.sources.index(next(s for s in duet.sources if s.category == "violin"))] == (
        "violin"
    )
    assert set(used) <= set(CATEGORIES)
    assert written["methods"][told]["category_accuracy"] == 0.5
    assert written["methods"]["mixture"]["category_accuracy"] is None
    assert written["methods"][told]["strict"]["sdr_db"] is not None
    assert next(iter(score_clips([duet], rows))).scores[told].scores_db.tolist() == (
        done[0].scores[told].scores_db.tolist()
    )


def test_a_model_whose_categories_have_no_words_is_not_scored_by_the_namer() -> None:
    (row,) = model_methods("tiny", tiny_model("dgfnet"), "named")
    assert row.inputs == "label by the namer"
    with pytest.raises(InputError) as caught:
        list(model_methods("tiny", tiny_model("dgfnet", categories=("harp", "oboe")), "named"))
    assert str(caught.value) == (
        "the namer has no word for 1 of the categories of 'tiny', such as 'oboe', which therefore "
        "predicts its own: give --labels predicted"
    )


@pytest.mark.slow
def test_a_model_that_predicts_the_labels_is_run_once(
    duet: ClipFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model("dgfnet")
    runs: list[int] = []
    separate = model.separate

    def counted(*arguments: Any, **options: Any) -> Separation:
        runs.append(1)
        return separate(*arguments, **options)

    monkeypatch.setattr(model, "separate", counted)
    methods = tuple(model_methods("tiny", model))
    names = [method.name for method in methods]
    first = next(iter(score_clips([duet], methods)))
    assert len(runs) == 2 and list(first.scores) == names
    predicted = first.categories_used["tiny (predicted)"]
    sources = tuple(
        replace(source, category=word) for source, word in zip(duet.sources, predicted, strict=True)
    )
    runs.clear()
    again = next(iter(score_clips([replace(duet, sources=sources)], methods)))
    assert len(runs) == 1 and list(again.scores) == names
    rows_db = [again.scores[name].scores_db.tolist() for name in names]
    assert rows_db[0] == rows_db[1] == first.scores["tiny (predicted)"].scores_db.tolist()


@pytest.mark.slow
def test_exchanged_objects_exchange_the_scores_sources(duet: ClipFiles) -> None:
    straight, swapped = model_methods("tiny", tiny_model("dgfnet"), "predicted", ["all", "swapped"])
    result = next(iter(score_clips([duet], [straight, swapped])))
    used = result.categories_used
    assert used[swapped.name] == tuple(reversed(used[straight.name]))


@pytest.mark.slow
def test_a_model_that_reads_no_category_has_a_row_by_picture_and_one_by_word(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(tiny_model("davis-flow"), path, model_name="davis-flow", metadata={})
    name = f"{tmp_path.name}/model"
    for labels in ("both", "given", "predicted"):
        rows = find_methods([str(path)], labels, ["all", "word", "swapped"], with_baselines=False)
        assert [row.name for row in rows] == [
            name,
            f"{name} (word)",
            f"{name} (swapped)",
        ]
        assert [row.inputs for row in rows] == ["picture", "word", "picture"]
        read = {row.cue_settings.labels for row in rows if row.cue_settings is not None}
        assert read == {"predicted"}


@pytest.mark.parametrize("name", ["dgfnet", "davis"])
def test_without_stored_words_there_is_no_row_by_word(name: str) -> None:
    model = tiny_model(name, **{"categories": (), "word_probability": 0} if name == "davis" else {})
    with pytest.raises(InputError) as caught:
        list(model_methods("tiny", model, "both", ["word"]))
    assert str(caught.value) == (
        "the cues 'word' are for models with stored words, and 'tiny' has none: leave it out, or "
        "choose other cues"
    )


@pytest.mark.slow
def test_words_are_heard_of_and_pictures_seen(duet: ClipFiles) -> None:
    model = tiny_model("davis", categories=("harp", "piano", "violin"))
    by_picture, by_word, hidden = model_methods("tiny", model, "both", ["all", "word", "hidden"])
    (seen,) = score_clips([duet], [by_picture, by_word, hidden])
    scores = {name: pair.scores_db.tolist() for name, pair in seen.scores.items()}
    assert scores["tiny"] != scores["tiny (word)"]
    assert scores["tiny"] != scores["tiny (hidden)"]
    assert seen.categories_used == {}
    # Sounds that nobody sees are told by their words in the row by picture too.
    (heard,) = score_clips([replace(duet, is_visible=False)], [by_picture, by_word])
    for row in (by_picture, by_word):
        expected = seen.scores["tiny (word)"].scores_db
        # Three words that are one and the same, added up in another order.
        np.testing.assert_allclose(heard.scores[row.name].scores_db, expected, atol=1e-2)


@pytest.mark.slow
def test_the_gate_is_measured_for_each_source(duet: ClipFiles) -> None:
    rows = tuple(model_methods("tiny", tiny_model("dgfnet"), "given", ["all", "hidden"]))
    samples = list(measure_gates([duet], rows))
    assert [sample.category for sample in samples] == 2 * [s.category for s in duet.sources]
    assert [sample.method for sample in samples[1:3]] == ["tiny (given)", "tiny (given, hidden)"]
    assert samples[0].mean != samples[2].mean
    assert all(0 < sample.mean < 1 and sample.gate.ndim == 2 for sample in samples)
    (gateless,) = model_methods("plain", tiny_model("iquery"), "given")
    with pytest.raises(InputError, match="has no gate: give a model with fusion = 'gate'"):
        list(measure_gates([duet], [gateless]))


def test_alone_there_is_nothing_to_measure(duet: ClipFiles) -> None:
    (row,) = model_methods("tiny", tiny_model("dgfnet"), "given")
    solo = ClipFiles(duet.name, duet.video, duet.sources[:1])
    assert list(measure_gates([solo], [row])) == []
    assert next(iter(score_clips([solo], [row]))).scores == {}
    assert torch.is_inference_mode_enabled() is False


@pytest.mark.slow
def test_sampling_is_changed_of_models_that_generate(checkpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(tiny_model("davis"), path, model_name="davis", metadata={})
    changes = {"silence": "equation-5", "silence_threshold": 0.01}
    rows = find_methods([str(path), checkpoint], "given", with_baselines=False, sampling=changes)
    davis = rows[0].separator
    assert isinstance(davis, DAVIS)
    sampling = davis.settings.sampling
    assert (sampling.silence, sampling.silence_threshold) == ("equation-5", 0.01)
    assert sampling.num_steps == tiny_model("davis").settings.model_dump()["sampling"]["num_steps"]
    with pytest.raises(InputError, match=r"sampling\.silence is a setting of models that generate"):
        find_methods([checkpoint], with_baselines=False, sampling=changes)
    with pytest.raises(InputError, match="unknown setting 'silense'; did you mean 'silence'"):
        find_methods([str(path)], sampling={"silense": "off"})
