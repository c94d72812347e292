"""Test `avsep evaluate` with a model: rows, groups, ablations, equal JSON for equal seeds."""

import json
from pathlib import Path

import pytest

from avsep.checkpoint import save_checkpoint
from avsep.evaluation.baselines import BASELINES
from evaluation.solos import SOLOS, hide_solos, make_solos
from tiny_models import tiny_model


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and a band of three small duets."""
    from avsep.toyband.build import make_toyband
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    folder = tmp_path_factory.mktemp("place")
    settings = ToybandSettings(
        clip_seconds=2,
        num_performers=(2,),
        pictures=PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4),
    )
    list(make_toyband(folder / "band", 3, 1000, settings, Material.read(), num_workers=1))
    save_checkpoint(
        tiny_model("dgfnet"), folder / "tiny.safetensors", model_name="dgfnet", metadata={}
    )
    return folder


@pytest.mark.slow
def test_a_model_stands_between_floor_and_ceiling(run, place: Path, tmp_path: Path) -> None:
    words = ["mixture", place / "tiny.safetensors", "--data", place / "band", "--limit", 2]
    done = run("evaluate", *words, "-o", tmp_path / "scores")
    assert done.code == 0 and not done.err
    assert "2 clips of" in done.out and "SDR by group of mixtures" in done.out
    for word in ("label given", "label predicted", "nothing", "2 sources"):
        assert word in done.out
    again = run("evaluate", *words, "--json")
    assert json.loads(again.out) == json.loads((tmp_path / "scores" / "results.json").read_text())
    assert len(json.loads(again.out)["mixtures"]) == 2


@pytest.mark.slow
def test_a_device_can_be_named_and_changes_nothing(run, place: Path) -> None:
    words = [place / "tiny.safetensors", "--data", place / "band", "--limit", 1, "--json"]
    on_cpu = run("evaluate", *words, "--device", "cpu")
    again = run("evaluate", *words, "--device", "cpu:0")
    assert on_cpu.code == 0 and json.loads(on_cpu.out) == json.loads(again.out)
    refused = run("evaluate", *words, "--device", "abacus")
    assert refused.code == 2 and "device 'abacus' cannot be used" in refused.err


@pytest.mark.slow
def test_trials_are_rows_of_their_own(run, place: Path) -> None:
    words = [place / "tiny.safetensors", "--data", place / "band", "--labels", "predicted"]
    done = run("evaluate", *words, "--limit", 1, "--cues", "all", "--cues", "hidden", "--json")
    name = f"{place.name}/tiny"
    assert list(json.loads(done.out)["methods"]) == [
        *BASELINES,
        f"{name} (predicted)",
        f"{name} (predicted, hidden)",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--labels", "predict"], "unknown labels 'predict'; did you mean 'predicted'?"),
        (["--cues", "wrongs"], "unknown cues 'wrongs'; did you mean 'wrong'?"),
    ],
)
def test_bad_words_are_one_line(run, place: Path, words: list[str], message: str) -> None:
    done = run("evaluate", "mixture", "--data", place / "band", *words)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


@pytest.mark.slow
def test_a_pair_file_over_a_folder_of_solos(run, place: Path, tmp_path: Path) -> None:
    make_solos(tmp_path / "solos", seconds=1.0)
    pairs = tmp_path / "testsep.csv"
    pairs.write_text("/violin/a.wav, /cello/c.wav\n/violin/b.wav, /tuba/gone.wav\n")
    words = [place / "tiny.safetensors", "--data", tmp_path / "solos", "--labels", "given"]
    done = run("evaluate", *words, "--pairs", pairs, "--set=metrics=si-sdr", "-o", tmp_path / "out")
    assert done.code == 0 and not done.err
    assert "1 mixtures of" in done.out and "SI-SDR" in done.out
    missing = "1 of 2 mixtures of 'testsep.csv' are left out: 1 of their videos are not in the data"
    assert missing in done.out
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["mixtures"][0]["videos"] == ["violin/a", "cello/c"]
    assert result["warnings"] == [f"{missing}: tuba/gone (1)"]
    for name in ("results.csv", "tables.md", "tables.tex"):
        assert "nmf-mfcc" in (tmp_path / "out" / name).read_text()
    drawn = run("evaluate", *words, "--limit", 3, "--set", "num_sources=3", "--json")
    clips = json.loads(drawn.out)["mixtures"]
    assert len(clips) == 3 and all(len(set(clip["videos"])) == 3 for clip in clips)


@pytest.mark.slow
def test_sounds_that_nobody_sees_are_drawn_and_scored(run, place: Path, tmp_path: Path) -> None:
    make_solos(tmp_path / "solos", seconds=1.0)
    hide_solos(tmp_path / "solos", *(name for name, _ in SOLOS))
    words = [place / "tiny.safetensors", "--data", tmp_path / "solos", "--labels", "given"]
    done = run("evaluate", *words, "--limit", 2, "-o", tmp_path / "out")
    assert done.code == 0 and not done.err
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    strict = {name: row["strict"] for name, row in result["methods"].items()}
    assert strict["mixture"]["sdr_db"] < strict["ideal-ratio-mask"]["sdr_db"]
    assert all(row["num_mixtures"] == 2 for row in strict.values())
    page = (tmp_path / "out" / "results.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 2 * 5 and "data:image/jpeg" not in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set=metrics=si-sdrr"], "unknown metric 'si-sdrr'; did you mean 'si-sdr"),
        (["--set=metrics=ild-error"], "ild-error needs 2 channels, the sound has 1"),
        (["--set", "num_source=3"], "unknown setting 'num_source'; did you mean 'num_sources'"),
        (["--pairs", "gone.csv"], "'gone.csv' does not exist"),
    ],
)
def test_bad_lists_and_metrics_are_one_line(
    run, place: Path, words: list[str], message: str
) -> None:
    done = run("evaluate", "mixture", "--data", place / "band", *words)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


@pytest.mark.slow
def test_the_page_and_the_figures_are_written_and_the_same_each_time(
    run, place: Path, tmp_path: Path
) -> None:
    words = [place / "tiny.safetensors", "--data", place / "band", "--limit", 2, "--figures", 1]
    words += ["--labels", "predicted"]
    for name in ("a", "b"):
        done = run("evaluate", *words, "-o", tmp_path / name)
        assert done.code == 0 and not done.err
    page = (tmp_path / "a" / "results.html").read_text(encoding="utf-8")
    name = f"{place.name}/tiny (predicted)"
    assert page.count(f"among the best of {name}") == 1 and f"among the worst of {name}" in page
    # Of each of two mixtures: itself, and of two sources the truth and the answer.
    assert page.count("<audio") == 2 * 5 and page.count("data:image/jpeg") == 4
    written = sorted(path.name for path in (tmp_path / "a" / "figures").iterdir())
    assert written == ["masks-1.pdf", "masks-1.png", "spectrograms-1.pdf", "spectrograms-1.png"]
    for path in ("results.html", *(f"figures/{name}" for name in written)):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


@pytest.mark.slow
def test_figures_want_a_folder_and_names_that_are_there(run, place: Path, tmp_path: Path) -> None:
    words = ["mixture", "--data", place / "band", "--limit", 1]
    refused = run("evaluate", *words, "--figures", 2)
    assert refused.code == 2 and "add -o DIR" in refused.err
    refused = run("evaluate", *words, "-o", tmp_path / "x", "--set=figure_pairs=00000")
    assert refused.code == 2 and "unknown mixture '00000'; did you mean" in refused.err
    assert not (tmp_path / "x").exists()
    done = run("evaluate", *words, "-o", tmp_path / "y", "--set=figure_pairs=000001")
    assert done.code == 0 and (tmp_path / "y" / "figures" / "masks-1.pdf").is_file()


@pytest.mark.slow
def test_table_4_of_davis(run, place: Path, tmp_path: Path) -> None:
    """The rule for silence and its threshold are set from the command line, and reported."""
    path = tmp_path / "davis.safetensors"
    save_checkpoint(tiny_model("davis"), path, model_name="davis", metadata={})
    words = ["evaluate", path, "--data", place / "band", "--limit", 1]
    rule = ["--set", "sampling.silence=equation-5", "--set", "sampling.silence_threshold=0.5"]
    as_it_is, changed = (run(*words, *more, "--json") for more in ([], rule))
    scores = [json.loads(done.out)["mixtures"][0]["scores"] for done in (as_it_is, changed)]
    name = f"{tmp_path.name}/davis"
    assert scores[0]["mixture"] == scores[1]["mixture"] and scores[0][name] != scores[1][name]
    line = "sampling of models that generate: silence = equation-5, silence_threshold = 0.5"
    assert line in json.loads(changed.out)["warnings"]
    assert line in " ".join(run(*words, *rule).out.split())
    refused = run("evaluate", "mixture", "--data", place / "band", *rule)
    assert refused.code == 2 and "is a setting of models that generate" in refused.err
