"""Test `avsep score` on files: scores, unequal lengths, silence, bad input."""

import json
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
from media.making import Track, make

RATE_HZ = 8000
APP = typer.Typer()
APP.command(cls=ListCommand)(score)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Stereo files a, b (true) and x, y (their estimates) in the working folder; float32."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a, b, noise = rng.uniform(-0.3, 0.3, (3, 2, 3000)).astype(np.float32)
    waveforms = {"a": a, "b": b, "x": a + 0.2 * b + 0.1 * noise, "y": b - 0.1 * a}
    for name, waveform in waveforms.items():
        write(f"{name}.wav", waveform)
    return waveforms


def write(name: str, waveform: np.ndarray, rate_hz: int = RATE_HZ) -> None:
    soundfile.write(name, waveform.T, rate_hz, subtype="FLOAT")


def run(line: str) -> Result:
    return CliRunner().invoke(APP, line.split())


def figures(line: str) -> dict:
    result = run(line + " --json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)


def expected_mean_db(files: dict[str, np.ndarray], num_samples: int = 3000) -> list[float]:
    """SDR of each source by channel, then the mean over channels."""
    by_name = {name: waveform[:, :num_samples] for name, waveform in files.items()}
    truth, guess = np.stack([by_name["a"], by_name["b"]]), np.stack([by_name["x"], by_name["y"]])
    channels = [bss_eval(truth[:, channel], guess[:, channel]).sdr_db for channel in (0, 1)]
    return np.mean(channels, axis=0).tolist()


@pytest.mark.slow
def test_table_for_people(files: dict[str, np.ndarray]) -> None:
    result = run("--reference a.wav b.wav --estimate x.wav y.wav")
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.split("\n")]
    rows = [row for row in rows if row]
    first, second = expected_mean_db(files)
    assert [row[:2] for row in rows] == [
        ["x.wav against a.wav", f"{first:.2f}"],
        ["y.wav against b.wav", f"{second:.2f}"],
        ["mean", f"{(first + second) / 2:.2f}"],
    ]
    assert result.stderr == ""


@pytest.mark.slow
def test_json_for_programs(files: dict[str, np.ndarray]) -> None:
    actual = figures("--reference a.wav --reference b.wav --estimate=x.wav y.wav")
    assert [row["sdr_db"] for row in actual["sources"]] == pytest.approx(expected_mean_db(files))
    assert actual["mean"]["sdr_db"] == pytest.approx(np.mean(expected_mean_db(files)))
    assert [row["estimate"] for row in actual["sources"]] == ["x.wav", "y.wav"]
    assert [actual[key] for key in ("sample_rate_hz", "num_channels", "num_samples")] == [
        RATE_HZ,
        2,
        3000,
    ]
    assert actual["warnings"] == []


@pytest.mark.slow
def test_one_source_has_no_figure_for_interference(files: dict[str, np.ndarray]) -> None:
    assert figures("--reference a.wav --estimate x.wav")["sources"][0]["sir_db"] is None


@pytest.mark.slow
def test_permute_finds_one_order_for_both_channels(files: dict[str, np.ndarray]) -> None:
    straight = figures("--reference a.wav b.wav --estimate x.wav y.wav")
    assert figures("--reference a.wav b.wav --estimate y.wav x.wav --permute") == straight
    assert figures("--reference a.wav b.wav --estimate y.wav x.wav") != straight


@pytest.mark.slow
def test_longer_files_are_cut_and_it_is_said(files: dict[str, np.ndarray]) -> None:
    write("x.wav", files["x"][:, :2950])
    actual = figures("--reference a.wav b.wav --estimate x.wav y.wav")
    assert actual["num_samples"] == 2950
    assert actual["warnings"] == [
        "cut to the 2950 samples of 'x.wav', the shortest file (the longest, 'a.wav', has 3000)"
    ]
    sdr_db = [row["sdr_db"] for row in actual["sources"]]
    assert sdr_db == pytest.approx(expected_mean_db(files, 2950))
    assert "avsep: cut to the 2950 samples" in run("--reference a.wav --estimate x.wav").stderr


@pytest.mark.slow
def test_a_silent_channel_is_left_out(files: dict[str, np.ndarray]) -> None:
    left = {name: waveform[:1] for name, waveform in files.items()}
    write("a.wav", np.concatenate([left["a"], 0 * left["a"]]))
    stereo = figures("--reference a.wav b.wav --estimate x.wav y.wav")
    assert stereo["warnings"] == [
        "reference 'a.wav' is silent in channel 2 of 2, which is left out of the mean"
    ]
    for name, waveform in left.items():
        write(f"{name}.wav", waveform)
    mono = figures("--reference a.wav b.wav --estimate x.wav y.wav")
    assert stereo["mean"] == pytest.approx(mono["mean"])


def test_a_silent_estimate_is_told(files: dict[str, np.ndarray]) -> None:
    write("x.wav", 0 * files["x"])
    actual = figures("--reference a.wav --estimate x.wav")
    assert actual["mean"] == {"sdr_db": None, "sir_db": None, "sar_db": None}
    assert (
        actual["warnings"][0] == "estimate 'x.wav' is silent in channel 1 of 2, which scores -inf"
    )


@pytest.mark.slow
def test_a_source_that_is_silent_in_one_ear(files: dict[str, np.ndarray]) -> None:
    """With one source SIR is inf in the other ear; the mean of both is no number, the worst is."""
    write("x.wav", np.stack([files["x"][0], 0 * files["x"][1]]))
    actual = figures("--reference a.wav --estimate x.wav")
    assert actual["mean"] == {"sdr_db": None, "sir_db": None, "sar_db": None}
    rows = run("--reference a.wav --estimate x.wav").stdout.split("\n")
    assert [cell.strip() for cell in rows[4].split("│")[2:5]] == ["-inf"] * 3
    beside = figures("--reference a.wav b.wav --estimate x.wav y.wav")
    assert beside["sources"][1]["sdr_db"] > 10 and beside["mean"]["sdr_db"] is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "0 reference and 0 estimate files given; give as many of one as of the other: --ref"),
        ("--reference a.wav b.wav --estimate x.wav", "2 reference and 1 estimate files given"),
        ("--reference a.wav --estimate no.wav", "'no.wav' does not exist"),
        ("--reference a.wav b.wav --estimate x.wav fast.wav", "8000 Hz, 'fast.wav' 16000 Hz; conv"),
        ("--reference a.wav --estimate mono.wav", "'a.wav' has 2 channels, 'mono.wav' 1; convert"),
        ("--reference mute.wav --estimate x.wav", "reference 'mute.wav' is silent in channel 1 of"),
        ("--reference a.wav b.wav --estimate x.wav short.wav", "9 samples are too short"),
    ],
)
def test_bad_input_is_one_line(files: dict[str, np.ndarray], line: str, message: str) -> None:
    write("fast.wav", files["a"], 16000)
    write("mono.wav", files["a"][:1])
    write("mute.wav", 0 * files["a"])
    write("short.wav", files["y"][:, :9])
    result = run(line)
    assert isinstance(result.exception, InputError)  # `avsep.cli.main` prints it and exits with 2
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_an_image_with_a_silent_channel_is_named(files: dict[str, np.ndarray]) -> None:
    write("left.wav", files["b"] * np.array([[1], [0]], np.float32))
    failed = run("--reference a.wav left.wav --estimate x.wav y.wav --image").exception
    assert isinstance(failed, InputError)
    assert "reference 'left.wav' is silent in channel 2 of 2: as an image it has no" in str(failed)


@pytest.mark.parametrize("offset_samples", [40, -25])
def test_constant_offset_is_told_and_taken_off(
    files: dict[str, np.ndarray], offset_samples: int
) -> None:
    """Estimates later or earlier than their references, and longer by what precedes them."""
    names = "--reference a.wav b.wav --estimate x.wav y.wav"
    for name in "xy":
        late = np.pad(files[name], ((0, 0), (max(0, offset_samples), 0)))
        write(f"{name}.wav", late[:, max(0, -offset_samples) :])
    scored = figures(names)
    side = "later" if offset_samples > 0 else "earlier"
    told = (
        f"'x.wav' is {abs(offset_samples)} samples ({abs(offset_samples) / RATE_HZ:.4f} s) {side}"
    )
    assert f"{told} than 'a.wav': scored as it is; --align takes it off" in scored["warnings"]
    aligned = figures(f"{names} --align")
    assert f"{told} than 'a.wav': taken off" in aligned["warnings"]
    # What is left of the sound is scored as it would have been without the offset.
    begin = max(0, -offset_samples)
    cut = {name: waveform[:, begin:] for name, waveform in files.items()}
    actual = [row["sdr_db"] for row in aligned["sources"]]
    assert actual == pytest.approx(expected_mean_db(cut, 3000 - begin), abs=1e-3)


def test_permuted_estimates_are_aligned_with_their_own_references(
    files: dict[str, np.ndarray],
) -> None:
    write("x.wav", np.pad(files["x"], ((0, 0), (40, 0))))
    scored = figures("--reference a.wav b.wav --estimate y.wav x.wav --permute --align")
    assert [row["estimate"] for row in scored["sources"]] == ["x.wav", "y.wav"]
    actual = [row["sdr_db"] for row in scored["sources"]]
    assert actual == pytest.approx(expected_mean_db(files), abs=1e-3)


def test_sounds_without_an_offset_are_not_warned_about(files: dict[str, np.ndarray]) -> None:
    """Also tones, which are like themselves a period later, and unrelated noise."""
    times = np.arange(8000) / RATE_HZ
    tone = np.sin(2 * np.pi * 220 * times).astype(np.float32)[None] / 2
    generator = np.random.default_rng(1)
    write("tone.wav", tone + 0.01 * generator.standard_normal(tone.shape).astype(np.float32))
    write("copy.wav", tone + 0.05 * generator.standard_normal(tone.shape).astype(np.float32))
    write("noise.wav", generator.uniform(-0.3, 0.3, tone.shape).astype(np.float32))
    for estimate in ("copy", "noise"):
        assert figures(f"--reference tone.wav --estimate {estimate}.wav")["warnings"] == []


def test_files_that_are_cut_off_are_scored_with_a_warning_or_refused(
    files: dict[str, np.ndarray],
) -> None:
    path = Path("x.wav")
    path.write_bytes(path.read_bytes()[:-8000])
    names = "--reference a.wav b.wav --estimate x.wav y.wav"
    scored = figures(names)
    assert scored["num_samples"] == 2000
    assert (
        "'x.wav': the sound ends after 0.25 s, where the file is cut off" in (scored["warnings"][0])
    )
    result = run(f"{names} --on-damage error")
    assert isinstance(result.exception, InputError)
    assert "'x.wav': the sound ends after 0.25 s" in str(result.exception)


def test_audio_track_is_chosen(files: dict[str, np.ndarray]) -> None:
    tracks = [Track(files[name], RATE_HZ, "stereo", "pcm_f32le") for name in "xa"]
    make(Path("x.mkv"), tracks=tracks)
    scored = figures("--reference a.wav --estimate x.mkv --audio-track 1")
    assert scored["warnings"] == []
    assert "has 2 audio tracks" in figures("--reference a.wav --estimate x.mkv")["warnings"][0]
    assert scored["sources"][0]["sdr_db"] < 30
    exact = run("--reference x.mkv --estimate x.mkv --audio-track 2 --json")
    assert json.loads(exact.stdout)["sources"][0]["sdr_db"] > 100
