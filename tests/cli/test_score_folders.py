"""Test `avsep score` on folders: tools, songs, metrics, frames, written scores."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from typer.testing import CliRunner, Result

from avsep.cli.options import ListCommand
from avsep.cli.score import score
from avsep.errors import InputError
from avsep.evaluation.bss_eval import bss_eval
from avsep.evaluation.bss_eval_images import bss_eval_images
from avsep.evaluation.metrics.framewise import bss_eval_framewise
from avsep.evaluation.metrics.plugins import CLAP_VARIABLE, ClapEmbedder, frechet_audio_distance
from avsep.evaluation.metrics.registry import METRICS, measure
from evaluation.tiny_clap import write_tiny_clap

RATE_HZ = 8000
APP = typer.Typer()
APP.command(cls=ListCommand)(score)
SONGS = ("one", "three", "two")


def write(name: str, waveform: np.ndarray) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform.T, RATE_HZ, subtype="FLOAT")


@pytest.fixture
def songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, np.ndarray]]:
    """Three songs of two stereo sources with their mixture, and two tools, b worse than a."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    made = {}
    for song in SONGS:
        horn, drum, noise = rng.uniform(-0.3, 0.3, (3, 2, 3000)).astype(np.float32)
        made[song] = {
            f"true/{song}/drum.wav": drum,
            f"true/{song}/horn.wav": horn,
            f"true/{song}/mixture.wav": horn + drum,
            f"a/{song}/02-drum.wav": drum + 0.1 * noise,
            f"a/{song}/01-Horn.wav": horn + 0.1 * drum,
            f"a/{song}/residual.wav": noise,
            f"b/{song}/drum.wav": drum + 0.5 * noise,
            f"b/{song}/horn.wav": horn + 0.5 * drum,
        }
        for name, waveform in made[song].items():
            write(name, waveform)
    return made


def run(line: str) -> Result:
    return CliRunner().invoke(APP, line.split())


def answer(line: str) -> dict:
    result = run(line + " --json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def rows_of(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.exception
    lines = [line.split("│")[1:-1] for line in result.stdout.split("\n")]
    return [[cell.strip() for cell in cells] for cells in lines if cells]


def sdr_db(song: dict[str, np.ndarray], name: str, tool: str) -> list[float]:
    """Of drum and horn, by channel, then the mean."""
    files = {"a": ("02-drum", "01-Horn"), "b": ("drum", "horn")}[tool]
    truth = np.stack([song[f"true/{name}/drum.wav"], song[f"true/{name}/horn.wav"]], axis=1)
    guess = np.stack([song[f"{tool}/{name}/{file}.wav"] for file in files], axis=1)
    return bss_eval(truth, guess).sdr_db.mean(axis=0).tolist()


@pytest.mark.slow
def test_tools_side_by_side(songs: dict) -> None:
    result = run("--reference true/one --estimate a/one b/one")
    first, second = sdr_db(songs["one"], "one", "a"), sdr_db(songs["one"], "one", "b")
    assert [row[:3] for row in rows_of(result)] == [
        ["a/one", "drum", f"{first[0]:.2f}"],
        ["a/one", "horn", f"{first[1]:.2f}"],
        ["a/one", "mean", f"{np.mean(first):.2f}"],
        ["b/one", "drum", f"{second[0]:.2f}"],
        ["b/one", "horn", f"{second[1]:.2f}"],
        ["b/one", "mean", f"{np.mean(second):.2f}"],
    ]
    assert "no reference has such a name: residual.wav" in result.stderr
    assert "mixture.wav is taken as the mixture" in result.stderr


@pytest.mark.slow
def test_songs_have_a_mean_and_a_median(songs: dict) -> None:
    rows = rows_of(run("--reference true --estimate a b"))
    by_song = {tool: [sdr_db(songs[name], name, tool) for name in SONGS] for tool in "ab"}
    expected = []
    for average in (np.mean, np.median):
        for tool in "ab":
            drum, horn = average(by_song[tool], axis=0)
            all_db = average(np.mean(by_song[tool], axis=1))
            expected += [
                [tool, "drum", "3", f"{drum:.2f}"],
                [tool, "horn", "3", f"{horn:.2f}"],
                [tool, "all", "3", f"{all_db:.2f}"],
            ]
    assert [row[:4] for row in rows] == expected
    actual = answer("--reference true --estimate a b")
    first = actual["tools"][0]
    assert [song["song"] for song in first["songs"]] == list(SONGS)
    source = first["songs"][2]["sources"][1]
    assert source["source"] == "horn" and source["estimate"] == "a/two/01-Horn.wav"
    assert source["sdr_db"] == pytest.approx(by_song["a"][2][1])
    last = first["over_songs"][-1]
    assert last["source"] is None and last["num_songs"] == 3
    assert last["median"]["sdr_db"] == pytest.approx(np.median(np.mean(by_song["a"], axis=1)))


@pytest.mark.slow
def test_a_silent_reference_is_left_out_of_its_song(songs: dict) -> None:
    write("true/two/drum.wav", np.zeros((2, 3000), np.float32))
    actual = answer("--reference true --estimate a --metric si-sir")["tools"][0]
    assert "reference 'true/two/drum.wav' is silent, and left out" in actual["songs"][2]["warnings"]
    drum, horn = actual["songs"][2]["sources"]
    assert drum["sdr_db"] is None and horn["sdr_db"] > 10
    # Beside silence there is no interference to speak of.
    assert horn["sir_db"] is None and horn["si_sir_db"] is None
    assert [row["num_songs"] for row in actual["over_songs"]] == [2, 3, 3]
    drums_db = [song["sources"][0]["sdr_db"] for song in actual["songs"][:2]]
    assert actual["over_songs"][0]["mean"]["sdr_db"] == pytest.approx(np.mean(drums_db))
    write("true/two/horn.wav", np.zeros((2, 3000), np.float32))
    failed = run("--reference true --estimate a").exception
    assert isinstance(failed, InputError) and "two: reference 'true/two/drum.wav'" in str(failed)


@pytest.mark.slow
def test_metrics_are_columns(songs: dict) -> None:
    names = [name for name, metric in METRICS.items() if metric.package is None]
    line = f"--reference true/one --estimate a/one --metric {' '.join(names)}"
    result = run(line)
    head = [cell.strip() for cell in result.stdout.split("\n")[2].strip("┃").split("┃")]
    assert head[2:6] == ["SDR (dB)", "SIR (dB)", "SAR (dB)", "SI-SDR (dB)"]
    assert "ITD error (µs)" in head and "MR-STFT" in head
    sources = answer(line)["tools"][0]["songs"][0]["sources"]
    item = songs["one"]
    truth = np.stack([item["true/one/drum.wav"], item["true/one/horn.wav"]])
    guess = np.stack([item["a/one/02-drum.wav"], item["a/one/01-Horn.wav"]])
    expected = measure(names, truth, guess, item["true/one/mixture.wav"], RATE_HZ)
    for name in names:
        actual = [source[METRICS[name].key] for source in sources]
        np.testing.assert_allclose(actual, expected[name], rtol=1e-9, atol=1e-9)


def test_help_names_every_metric() -> None:
    output = " ".join(run("--help").stdout.replace("│", " ").split())
    assert all(f" {name}" in output for name in METRICS)


@pytest.mark.slow
def test_a_mixture_adds_what_was_gained(songs: dict) -> None:
    line = (
        "--reference true/one/drum.wav true/one/horn.wav --estimate b/one/drum.wav b/one/horn.wav"
    )
    rows = answer(line + " --mixture true/one/mixture.wav")["sources"]
    assert list(rows[0])[-2:] == ["sdri_db", "si_sdri_db"]
    mixture = "true/one/mixture.wav"
    floor = answer(
        f"--reference true/one/drum.wav true/one/horn.wav --estimate {mixture} {mixture}"
    )
    for row, low in zip(rows, floor["sources"], strict=True):
        assert row["sdri_db"] == pytest.approx(row["sdr_db"] - low["sdr_db"], abs=1e-6)
    over_songs = answer("--reference true --estimate b --mixture true --metric sdri")["tools"][0]
    keys = list(over_songs["over_songs"][0]["mean"])
    assert keys == ["sdr_db", "sir_db", "sar_db", "sdri_db"]
    assert over_songs["songs"][0]["sources"][0]["sdri_db"] == pytest.approx(rows[0]["sdri_db"])


@pytest.mark.slow
def test_frames_have_medians(songs: dict) -> None:
    line = "--reference true/one --estimate a/one --frames 0.1 --hop 0.05"
    item = songs["one"]
    truth = np.stack([item["true/one/drum.wav"], item["true/one/horn.wav"]], axis=1)
    guess = np.stack([item["a/one/02-drum.wav"], item["a/one/01-Horn.wav"]], axis=1)
    expected = bss_eval_framewise(truth, guess, 800, 400).median_db.mean(axis=0)
    song = answer(line)["tools"][0]["songs"][0]
    actual = [[row[key] for key in ("sdr_db", "sir_db", "sar_db")] for row in song["sources"]]
    np.testing.assert_allclose(actual, expected, rtol=1e-9)
    assert (
        "SDR, SIR and SAR are medians over 6 frames of 0.1 s, one every 0.05 s" in song["warnings"]
    )
    whole = answer("--reference true/one --estimate a/one --frames 30")["tools"][0]["songs"][0]
    assert "fewer than two frames of 30 s fit: the whole is scored as one" in whole["warnings"]
    assert whole["sources"][0]["sdr_db"] == pytest.approx(sdr_db(item, "one", "a")[0])
    quiet = item["true/one/drum.wav"].copy()
    quiet[:, :900] = 0.0
    write("true/one/drum.wav", quiet)
    warnings = answer(line)["tools"][0]["songs"][0]["warnings"]
    assert any(
        "; 1 are left out, in which a reference or an estimate is silent" in r for r in warnings
    )


@pytest.mark.slow
def test_scores_are_written_whole(songs: dict) -> None:
    line = "--reference true/one --estimate a/one b/one --metric si-sdr"
    assert "SI-SDR" in run(line + " -o scores.json").stdout
    expected = answer(line + " -o scores.csv")
    assert json.loads(Path("scores.json").read_text(encoding="utf-8")) == expected
    with Path("scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["estimates"] for row in rows] == ["a/one", "a/one", "b/one", "b/one"]
    last = expected["tools"][1]["songs"][0]["sources"][1]
    assert float(rows[3]["si_sdr_db"]) == last["si_sdr_db"] and rows[3]["source"] == "horn"
    files = "--reference true/one/drum.wav --estimate a/one/02-drum.wav -o one.csv"
    run(files)
    with Path("one.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    # One source: nothing interferes, and an infinite figure is an empty cell.
    assert row["sir_db"] == "" and float(row["sdr_db"]) > 10
    assert not list(Path().glob(".*.part"))


@pytest.mark.slow
def test_images_are_compared_with_all_channels_together(songs: dict) -> None:
    item = songs["one"]
    truth = np.stack([item["true/one/drum.wav"], item["true/one/horn.wav"]])
    guess = np.stack([item["a/one/02-drum.wav"], item["a/one/01-Horn.wav"]])
    expected = bss_eval_images(truth, guess)
    line = "--reference true/one --estimate a/one --image"
    rows = answer(line)["tools"][0]["songs"][0]["sources"]
    for key in ("sdr_db", "isr_db", "sir_db", "sar_db"):
        actual = [row[key] for row in rows]
        np.testing.assert_allclose(actual, getattr(expected, key), rtol=0, atol=1e-9)
    assert [cell.strip() for cell in run(line).stdout.split("\n")[2].split("┃")[3:7]] == [
        "SDR",
        "ISR",
        "SIR",
        "SAR",
    ]
    failed = run(line + " --frames 1").exception
    assert "--image scores the whole sound; leave out --image or --frames" in str(failed)


@pytest.mark.slow
def test_fad_compares_sets(songs: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On weights that mean nothing: the figure is that of the embeddings, source by source."""
    write_tiny_clap(tmp_path / "clap")
    monkeypatch.setenv(CLAP_VARIABLE, str(tmp_path / "clap"))
    line = "--reference true --estimate a --metric fad"
    drum, _, whole = answer(line)["tools"][0]["over_songs"]
    embedder = ClapEmbedder.load()
    sets = [
        np.concatenate([embedder.embed(songs[name][file.format(name)], RATE_HZ) for name in SONGS])
        for file in ("true/{}/drum.wav", "a/{}/02-drum.wav")
    ]
    expected = frechet_audio_distance(*sets)
    assert drum["mean"]["fad"] == drum["median"]["fad"] == pytest.approx(expected, rel=1e-6)
    assert whole["mean"]["fad"] > 0
    assert rows_of(run(line))[0][-1] == f"{expected:.2f}"
    alone = answer("--reference true/one --estimate a/one --metric fad")["tools"][0]["over_songs"]
    assert alone[0]["mean"]["fad"] is None and alone[2]["mean"]["fad"] is not None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--reference true/one --estimate b --metric si-sdr", "'b' holds no sound file; folders"),
        (
            "--reference true --estimate a --permute",
            "--permute is for files; in folders stems match",
        ),
        ("--reference true --estimate a --metric loud", "unknown metric 'loud'; known: clap, fad"),
        ("--reference true --estimate a --hop 1", "--hop is from one frame to the next: give"),
        ("--reference true --estimate a --frames 0", "--frames is 0.0; give seconds above 0"),
        ("--reference true --estimate a --frames nan", "--frames is nan; give seconds above 0"),
        ("--reference true --estimate a --frames 0.01", "one: 80 samples are too short: filters"),
        ("--reference true --estimate a -o scores.txt", "'scores.txt': scores are written as .jso"),
        ("--reference true --estimate a -o no/s.csv", "'no/s.csv' cannot be written: make the fol"),
        ("--reference true --estimate a/one/residual.wav", "'true' is a folder of references, and"),
        (
            "--reference a/one/01-Horn.wav --estimate b/one/horn.wav --metric fad",
            "fad compares set",
        ),
        ("--reference b/one --estimate b/one --metric sdri", "sdri needs the mixture: give it, by"),
    ],
)
def test_bad_input_is_one_line(songs: dict, line: str, message: str) -> None:
    result = run(line)
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_folder_is_no_output_before_files_are_read(
    songs: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("folder.csv").mkdir()
    monkeypatch.setattr(
        "avsep.evaluation.stems.file_scores.read_audio", lambda *_, **__: pytest.fail("read")
    )
    failed = run("--reference true --estimate a -o folder.csv").exception
    assert "'folder.csv' is a folder; give the name of a file to write" in str(failed)


def test_metrics_are_known_before_files_are_read(
    songs: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "avsep.evaluation.stems.file_scores.read_audio", lambda *_, **__: pytest.fail("read")
    )
    monkeypatch.setitem(sys.modules, "pesq", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    for metric, package in (("pesq", "pesq"), ("clap", "transformers"), ("fad", "transformers")):
        failed = run(f"--reference true --estimate a --metric {metric}").exception
        assert f"{metric} needs a package: pip install {package}" in str(failed)
