"""Test the commands: output, files, exit codes, and one-line errors for bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from avsep.data.toyband import read_toyband
from avsep.evaluation.baselines import BASELINES
from avsep.toyband.folder import ClipPaths

SMALL = [
    "--set=clip_seconds=2",
    "--set=pictures.width_pixels=96",
    "--set=pictures.height_pixels=64",
    "--set=pictures.frame_rate_hz=4",
]


@pytest.fixture(scope="module")
def band(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small clips: a solo, a duet, and a duet of which one is silent."""
    from avsep.toyband.build import make_toyband
    from avsep.toyband.clip import ToybandSettings
    from avsep.toyband.material import Material
    from avsep.toyband.pictures.performers import PictureSettings

    folder = tmp_path_factory.mktemp("bands") / "band"
    pictures = PictureSettings(width_pixels=96, height_pixels=64, frame_rate_hz=4)
    settings = ToybandSettings(
        clip_seconds=3, num_performers=(2,), pictures=pictures, offscreen_player_probability=0
    )
    list(make_toyband(folder, 3, 2, settings, Material.read(), num_workers=1))
    first, second, _ = read_toyband(folder)
    first.sources[1].path.unlink()
    entries = json.loads(ClipPaths(folder, first.name).objects.read_text())
    ClipPaths(folder, first.name).objects.write_text(json.dumps(entries[:1]))
    stem = second.sources[0].path
    waveform, rate_hz = soundfile.read(stem)
    soundfile.write(stem, 0 * waveform, rate_hz)
    return folder


@pytest.mark.slow
def test_toyband_makes_clips_and_goes_on(run, tmp_path: Path) -> None:
    folder = tmp_path / "band"
    done = run("toyband", folder, "--clips", 2, "--seed", 1000, "--workers", 1, *SMALL)
    assert done.code == 0
    assert f"2 clips in {folder}, seed 1000 (held-out notes)" in done.out
    assert sorted(path.name for path in folder.glob("*.mp4")) == ["000001.mp4", "000002.mp4"]
    assert run("toyband", folder, "--clips", 2, "--seed", 1000, *SMALL).code == 0
    other = run("toyband", folder, "--clips", 2, "--seed", 1, *SMALL)
    assert other.code == 2 and "another seed, recipe or material" in other.err
    assert other.err.count("\n") == 1 and not other.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "toyband-duet"], "unknown recipe 'toyband-duet'; did you mean 'toyband-du"),
        (["--set", "clip_second=3"], "unknown setting 'clip_second'; did you mean 'clip_seconds'"),
        (["--set", "num_performers=[7]"], "num_performers: each must be 1 to 4"),
        (["--set", 'categories=["kazoo"]'], "unknown category 'kazoo'"),
        (["--sounds", "nowhere"], "no folder of notes at nowhere"),
        (["--noise", "nowhere"], "no folder of noise at nowhere"),
        (["--photos", "nowhere"], "nowhere"),
        (["--chorales", "nowhere.json"], "nowhere.json"),
        (["--head", "any.sofa"], "'any.sofa' is only used for two-channel sound: add --binaural"),
        (["--binaural", "--head", "nowhere.sofa"], "cannot read 'nowhere.sofa' as a SOFA file"),
        (["--set", "binaural.room.order=9"], "binaural.room.order: Input should be less than or"),
    ],
)
def test_toyband_bad_input(run, tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("toyband", tmp_path / "band", "--clips", 1, *arguments)
    assert done.code == 2 and message in done.err
    assert done.err.count("\n") == 1 and not (tmp_path / "band").exists()


@pytest.mark.slow
def test_two_ears_for_a_recipe_of_one_channel(run, tmp_path: Path) -> None:
    done = run("toyband", tmp_path / "band", "--clips", 1, "--binaural", "--workers", 1, *SMALL)
    assert done.code == 0
    (clip,) = read_toyband(tmp_path / "band")
    stems = [soundfile.info(path) for path in (clip.sources[0].path, *clip.offscreen)]
    assert all(stem.channels == 2 for stem in stems)
    assert all(source.visible.azimuth_degrees for source in clip.sources)
    assert run("check", tmp_path / "band").code == 0


@pytest.mark.slow
def test_wrong_usage_is_two(run) -> None:
    assert run("toyband").code == 2
    assert run("toyband", "x", "--clips", "many").code == 2
    assert run("separte").code == 2


@pytest.mark.slow
def test_evaluate_counts_what_it_leaves_out(run, band: Path, tmp_path: Path) -> None:
    done = run("evaluate", "--data", band, "-o", tmp_path / "scores")
    assert done.code == 0
    assert "1 left out: one source only, nothing to separate it from" in done.out
    assert "1 left out: silent reference" in done.out
    results = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert list(results["methods"]) == [
        "mixture",
        "nmf-mfcc",
        "ideal-ratio-mask",
        "ideal-binary-mask",
    ]
    figures = {name: result["strict"] for name, result in results["methods"].items()}
    assert all(f["num_mixtures"] == 3 and f["num_left_out"] == 2 for f in figures.values())
    # A mask of the truth beats the mixture by far, on any clip.
    assert figures["ideal-ratio-mask"]["sdr_db"] > figures["mixture"]["sdr_db"] + 5
    assert [clip["left_out"] is None for clip in results["mixtures"]] == [False, True, True]
    silent = results["mixtures"][1]["scores"]["mixture"]
    assert (
        silent["left_out"]["strict"] == "silent reference"
        and silent["sources"][0]["sdr_db"] is None
    )


@pytest.mark.slow
def test_evaluate_is_the_same_twice_to_the_byte(run, band: Path) -> None:
    first, second = (run("evaluate", "mixture", "--data", band, "--json") for _ in range(2))
    assert first.code == 0 and first.out == second.out
    assert list(json.loads(first.out)["methods"]) == list(BASELINES)


def test_evaluate_bad_input(run, band: Path, tmp_path: Path) -> None:
    done = run("evaluate", "ideal-ratio", "--data", band)
    assert done.code == 2
    assert "unknown method 'ideal-ratio'; did you mean 'ideal-ratio-mask'" in done.err
    empty = run("evaluate", "--data", tmp_path)
    assert empty.code == 2 and "holds no clips" in empty.err


@pytest.mark.slow
def test_models(run) -> None:
    shown = run("models").out
    assert "ideal-binary-mask" in shown
    listed = json.loads(run("models", "--json").out)
    (mini,) = (entry for entry in listed if entry["name"] == "dgfnet-mini")
    assert len(mini["categories"]) == 16 and "violin" in mini["categories"]
    assert f"Categories of dgfnet-mini: {', '.join(mini['categories'])}\n" in shown
    assert listed[0]["name"] == "mixture" and "baseline" in listed[0]["description"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["models"], ["models", "--json"], ["--help"]])
def test_a_reader_that_ends_early_is_no_fault(words: list[str]) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "avsep", *words]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.slow
def test_doctor(run, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = run("doctor")
    assert passed.code == 0 and "note bank" in passed.out and "MISSING" not in passed.out
    monkeypatch.setattr("avsep.doctor.CODECS", ("libx264", "codec-of-tomorrow"))
    failed = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(failed.out)["checks"]}
    assert failed.code == 2 and not checks["FFmpeg"]["passed"]
    assert "cannot write: codec-of-tomorrow" in checks["FFmpeg"]["detail"]
    assert "pip install" in checks["FFmpeg"]["remedy"]
